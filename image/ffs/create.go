package ffs

import (
	"context"
	"strings"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Limits of the format.
const (
	maxLinks   = 32767 // LINK_MAX: di_nlink is signed
	maxSymlink = 1023  // MAXPATHLEN with its NUL
)

// Flags that forbid changes.
const (
	immutable  = vfs.UserImmutable | vfs.SystemImmutable
	appendOnly = vfs.UserAppend | vfs.SystemAppend
)

// Create implements [vfs.WritableFS].
func (w *Writer) Create(ctx context.Context, dir vfs.Ino, name string, node vfs.NewNode) (vfs.Attr, error) {
	var attr vfs.Attr
	err := w.do(ctx, func(o *op) error {
		in, err := o.create(dir, name, &node)
		if err == nil {
			attr = w.attr(in)
		}
		return err
	})
	return attr, err
}

func (o *op) create(dirIno vfs.Ino, name string, node *vfs.NewNode) (*inode, error) {
	dir, p, err := o.newName(dirIno, name)
	if err != nil {
		return nil, err
	}
	if err := o.checkNode(node); err != nil {
		return nil, err
	}
	if node.Mode.IsDir() && dir.Nlink >= maxLinks {
		return nil, syscall.EMLINK
	}
	in, err := o.allocInode(dir, node.Mode)
	if err != nil {
		return nil, err
	}
	if err := o.fillNode(in, dir, node); err != nil {
		return nil, err
	}
	return in, o.addName(dir, p, name, in.num, node.Mode)
}

// checkNode says what is wrong with a node before anything is done.
func (o *op) checkNode(node *vfs.NewNode) error {
	if node.Mode&^(vfs.TypeMask|0o7777) != 0 {
		return syscall.EINVAL
	}
	switch node.Mode.Type() {
	case vfs.Regular, vfs.Dir, vfs.FIFO, vfs.Socket:
	case vfs.Char, vfs.Block:
		if _, ok := o.g.flavour.PackDevice(node.Rdev.Major, node.Rdev.Minor, o.g.version); !ok {
			return syscall.EINVAL
		}
	case vfs.Symlink:
		switch {
		case node.Target == "":
			return syscall.ENOENT
		case len(node.Target) > maxSymlink:
			return syscall.ENAMETOOLONG
		case strings.IndexByte(node.Target, 0) >= 0:
			return syscall.EINVAL
		}
	default:
		return syscall.EINVAL
	}
	return nil
}

// fillNode makes a fresh inode what node says.
func (o *op) fillNode(in, dir *inode, node *vfs.NewNode) error {
	in.Mode, in.Nlink = uint16(node.Mode), 1
	in.UID, in.GID, in.Flags = node.UID, node.GID, uint32(node.Flags)
	in.Ctime = o.now
	in.Mtime = o.now
	if !node.Mtime.IsZero() {
		in.Mtime = o.w.diskTime(node.Mtime)
	}
	in.Atime = in.Mtime
	if o.g.flavour != ondisk.OpenBSD { // which leaves it zero
		in.Btime = o.now
	}
	switch node.Mode.Type() {
	case vfs.Regular:
		return o.putContents(in, node.Contents)
	case vfs.Dir:
		in.Nlink = 2
		dir.Nlink++
		return o.makeDir(in, dir.num)
	case vfs.Char, vfs.Block:
		raw, _ := o.g.flavour.PackDevice(node.Rdev.Major, node.Rdev.Minor, o.g.version)
		in.Direct[0] = int64(raw)
	case vfs.Symlink:
		return o.makeSymlink(in, node.Target)
	}
	return nil
}

// putContents gives a fresh file its contents.
func (o *op) putContents(in *inode, p []byte) error {
	if int64(len(p)) > o.w.super.maxFile {
		return syscall.EFBIG
	}
	_, err := o.write(in, p, 0)
	return err
}

// makeSymlink stores a target: in place of the pointers if it is short, or else
// in a block.
func (o *op) makeSymlink(in *inode, target string) error {
	var inline [(ondisk.NDirect + ondisk.NIndirect) * 8]byte
	g := o.g
	size := g.version.PointerSize()
	area := inline[:(ondisk.NDirect+ondisk.NIndirect)*size]
	if int64(len(target)) < min(g.maxSymlink, int64(len(area))+1) {
		copy(area, target)
		for i := range in.Direct {
			in.Direct[i] = g.version.Pointer(g.order, area[i*size:])
		}
		for i := range in.Indirect {
			in.Indirect[i] = g.version.Pointer(g.order, area[(ondisk.NDirect+i)*size:])
		}
		in.size = int64(len(target))
		return nil
	}
	_, err := o.write(in, []byte(target), 0)
	return err
}

// diskTime is t as inodes hold it. What FFS1 cannot hold becomes the nearest
// time that it can.
func (w *Writer) diskTime(t time.Time) ondisk.Time {
	sec := t.Unix()
	if w.geo.version == ondisk.V1 {
		if sec > 1<<31-1 {
			return ondisk.Time{Sec: 1<<31 - 1, Nsec: 999_999_999}
		}
		if sec < -1<<31 {
			return ondisk.Time{Sec: -1 << 31}
		}
	}
	return ondisk.Time{Sec: sec, Nsec: int32(t.Nanosecond())}
}
