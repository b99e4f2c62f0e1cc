package vfs

import (
	"fmt"
	"syscall"
)

// CorruptError reports damage on the medium: a structure that breaks the rules
// of its format. It unwraps to EIO.
type CorruptError struct {
	Structure string // "superblock", "inode 17", "directory 2", "group 3 descriptor"
	Off       int64  // byte offset of the structure in the volume, or -1 if it has none
	Detail    string // what is wrong: "bad magic 0x0"
}

func (e *CorruptError) Error() string {
	if e.Off < 0 {
		return e.Structure + ": " + e.Detail
	}
	return fmt.Sprintf("%s at byte %d: %s", e.Structure, e.Off, e.Detail)
}

// Unwrap makes errors.Is(err, syscall.EIO) true.
func (e *CorruptError) Unwrap() error { return syscall.EIO }

// Corruptf returns a [*CorruptError] with a formatted detail.
func Corruptf(off int64, structure, format string, args ...any) error {
	return &CorruptError{Structure: structure, Off: off, Detail: fmt.Sprintf(format, args...)}
}

// LimitError reports what a format has no way to record, however much room
// there is: a symbolic link on FAT. It unwraps to the errno that Linux has for
// it, which says less.
type LimitError struct {
	What  string // "FAT has no symbolic links"
	Errno syscall.Errno
}

func (e *LimitError) Error() string { return e.What }

// Unwrap makes errors.Is with the errno true.
func (e *LimitError) Unwrap() error { return e.Errno }

// NotSupportedError reports something that is not damaged, but that this
// program does not read or write. It unwraps to EOPNOTSUPP.
type NotSupportedError struct {
	What string // "ext4 feature encrypt", "btrfs"
	Off  int64  // byte offset in the volume of what says so, or -1
}

func (e *NotSupportedError) Error() string {
	if e.Off < 0 {
		return "not supported: " + e.What
	}
	return fmt.Sprintf("not supported: %s (at byte %d)", e.What, e.Off)
}

// Unwrap makes errors.Is(err, syscall.EOPNOTSUPP) true.
func (e *NotSupportedError) Unwrap() error { return syscall.EOPNOTSUPP }
