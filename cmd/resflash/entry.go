package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
)

// fileJSON is how ls, find, tree and stat print a file with --json. Names that
// are not UTF-8 have U+FFFD for what is not, and their bytes as base64 in the
// member of the same name with "Bytes" behind it.
type fileJSON struct {
	Path        string      `json:"path"` // absolute, in the volume
	PathBytes   []byte      `json:"pathBytes,omitempty"`
	Type        string      `json:"type"` // file, directory, symlink, char, block, fifo, socket, whiteout
	Mode        string      `json:"mode"` // octal permissions with set-id and sticky bits: "4755"
	UID         uint32      `json:"uid"`
	GID         uint32      `json:"gid"`
	Owner       string      `json:"owner,omitempty"` // by the image's own /etc/passwd
	Group       string      `json:"group,omitempty"`
	Size        int64       `json:"size"`      // bytes
	Allocated   int64       `json:"allocated"` // bytes
	Links       uint32      `json:"links"`
	Inode       vfs.Ino     `json:"inode"`
	Generation  uint32      `json:"generation,omitempty"`
	Device      *deviceJSON `json:"device,omitempty"`
	Target      *string     `json:"target,omitempty"` // of a symbolic link
	TargetBytes []byte      `json:"targetBytes,omitempty"`
	Flags       []string    `json:"flags,omitempty"` // by the names of chflags(1)
	Modified    jsonTime    `json:"modified,omitzero"`
	Accessed    jsonTime    `json:"accessed,omitzero"`
	Changed     jsonTime    `json:"changed,omitzero"`
	Created     jsonTime    `json:"created,omitzero"`
}

type deviceJSON struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
}

// jsonTime is RFC 3339 in UTC with as many nanoseconds as there are. A time
// beyond the year 9999 or before 0 has no such form and is null.
type jsonTime time.Time

func (t jsonTime) IsZero() bool { return time.Time(t).IsZero() }

func (t jsonTime) MarshalJSON() ([]byte, error) {
	u := time.Time(t).UTC()
	if y := u.Year(); y < 0 || y > 9999 {
		return []byte("null"), nil
	}
	return json.Marshal(u.Format(time.RFC3339Nano))
}

func typeName(m vfs.Mode) string {
	switch m.Type() {
	case vfs.Regular:
		return "file"
	case vfs.Dir:
		return "directory"
	case vfs.Symlink:
		return "symlink"
	case vfs.Char:
		return "char"
	case vfs.Block:
		return "block"
	case vfs.FIFO:
		return "fifo"
	case vfs.Socket:
		return "socket"
	case vfs.Whiteout:
		return "whiteout"
	}
	return "unknown"
}

// bytesIfInvalid is s if JSON cannot hold it.
func bytesIfInvalid(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

func (w *world) fileJSON(ctx context.Context, v *image.Volume, path string, a vfs.Attr) fileJSON {
	names := w.owners(ctx, v)
	f := fileJSON{
		Path: path, PathBytes: bytesIfInvalid(path), Type: typeName(a.Mode), Mode: fmt.Sprintf("%04o", uint32(a.Mode.Perm())),
		UID: a.UID, GID: a.GID, Owner: names.users[a.UID], Group: names.groups[a.GID],
		Size: a.Size, Allocated: a.Blocks * 512, Links: a.Nlink, Inode: a.Ino, Generation: a.Gen,
		Modified: jsonTime(a.Mtime), Accessed: jsonTime(a.Atime), Changed: jsonTime(a.Ctime), Created: jsonTime(a.Btime),
	}
	if a.Mode.IsDevice() {
		f.Device = &deviceJSON{a.Rdev.Major, a.Rdev.Minor}
	}
	if flags := export.FlagNames(a.Flags); flags != "" {
		f.Flags = strings.Split(flags, ",")
	}
	if a.Mode.IsSymlink() {
		if target, err := v.FS.Readlink(ctx, a.Ino); err == nil {
			f.Target, f.TargetBytes = &target, bytesIfInvalid(target)
		}
	}
	return f
}

// longFormat are the options of a listing as ls -l prints it.
type longFormat struct {
	Numeric bool
	Flags   bool
	Inode   bool
	Human   bool
}

// cells are the columns of one line but for the name.
func (l longFormat) cells(ctx context.Context, w *world, v *image.Volume, a vfs.Attr) []string {
	var row []string
	if l.Inode {
		row = append(row, fmt.Sprint(a.Ino))
	}
	names := &ownerNames{}
	if !l.Numeric {
		names = w.owners(ctx, v)
	}
	row = append(row, a.Mode.String(), fmt.Sprint(a.Nlink), escape(names.user(a.UID)), escape(names.group(a.GID)))
	if l.Flags {
		flags := export.FlagNames(a.Flags)
		if flags == "" {
			flags = "-"
		}
		row = append(row, flags)
	}
	switch {
	case a.Mode.IsDevice():
		row = append(row, fmt.Sprintf("%d, %d", a.Rdev.Major, a.Rdev.Minor))
	case l.Human:
		row = append(row, shortSize(a.Size))
	default:
		row = append(row, fmt.Sprint(a.Size))
	}
	return append(row, clock(a.Mtime))
}

// columns says which of the cells are aligned to the right.
func (l longFormat) columns() []bool {
	right := []bool{false, true, false, false}
	if l.Inode {
		right = append([]bool{true}, right...)
	}
	if l.Flags {
		right = append(right, false)
	}
	return append(right, true, false)
}

// arrow is what follows the name of a symbolic link.
func (w *world) arrow(ctx context.Context, v *image.Volume, a vfs.Attr) string {
	if !a.Mode.IsSymlink() {
		return ""
	}
	target, err := v.FS.Readlink(ctx, a.Ino)
	if err != nil {
		return " -> ?"
	}
	return " -> " + w.name(target)
}
