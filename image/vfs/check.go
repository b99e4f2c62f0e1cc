package vfs

import (
	"fmt"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/blockio"
)

// A Finding is something that a checker found wrong with a file system.
type Finding struct {
	Code      string // stable, for scripts: "inode-block-count", "free-map"
	Structure string // "inode 17", "cylinder group 3", "superblock"
	Off       int64  // byte offset of the structure in the volume, or -1
	Detail    string // what is wrong, with both values: "12 blocks, counted 10"
	Path      string // of the file it concerns, if known
	// Preen says that the repair loses nothing and needs no decision: it is
	// what fsck -p would do.
	Preen bool
	// Fixed says that it has been repaired, and Lost what that cost, if
	// anything: "2 blocks of /etc/motd now read as zeros".
	Fixed bool
	Lost  string
}

func (f Finding) String() string {
	s := f.Structure
	if f.Off >= 0 {
		s += fmt.Sprintf(" at byte %d", f.Off)
	}
	return s + ": " + f.Detail
}

// RepairMode is how far a repair goes.
type RepairMode int

// The modes.
const (
	// RepairNone only looks.
	RepairNone RepairMode = iota
	// RepairPreen mends what has one right answer and loses nothing.
	RepairPreen
	// RepairAll mends everything, even where that loses data.
	RepairAll
)

// FormatOptions are the choices of mkfs. Zero values are the format's defaults.
type FormatOptions struct {
	Type          string  // one of the driver's Formats: "ffs1", "ffs2"
	BlockSize     int     // bytes
	FragSize      int     // bytes, where the format has fragments
	ClusterSize   int     // bytes, where the format has clusters
	BytesPerInode int     // one inode for so many bytes
	Inodes        int64   // how many, in place of BytesPerInode
	InodeSize     int     // bytes
	ReservePct    *int    // percent kept for the superuser (minfree)
	JournalSize   int64   // bytes
	Features      string  // added to the format's own, or with ^ taken away, in its own words: "^has_journal,inline_data"
	FATs          int     // copies of the file allocation table
	RootEntries   int     // room in the root directory of FAT12 and FAT16
	Hidden        *uint32 // sectors of the disk before the volume, where the format records that
	Label         string
	UUID          string // the identifier of the volume, in the form of the format; "" is random
	HashSeed      string // UUID that the hashes of names start from; "" is random
	MountPoint    string // recorded as the last mount point, where the format does
	// Time is the time of creation; zero is now.
	Time time.Time
	// Seed makes everything that is random follow from it, so that the same
	// options give the same bytes; nil is random.
	Seed *uint64
}

// A FormatError says why a file system cannot be made as asked for, and what
// would help. It unwraps to EINVAL.
type FormatError struct{ What string }

func (e *FormatError) Error() string { return e.What }

// Unwrap makes errors.Is(err, syscall.EINVAL) true.
func (e *FormatError) Unwrap() error { return syscall.EINVAL }

// A DirtyError says that a file system cannot be written to before it has been
// checked. It unwraps to EUCLEAN.
type DirtyError struct {
	Why string // "not cleanly unmounted"
}

func (e *DirtyError) Error() string { return e.Why + ": check it before writing" }

// Unwrap makes errors.Is(err, EUCLEAN) true.
func (e *DirtyError) Unwrap() error { return syscall.EUCLEAN }

// A Formatter makes an empty file system that fills dev. What was there before
// is lost; nothing is taken for zero that it did not write.
type Formatter func(dev blockio.Transaction, opt FormatOptions) error
