package ffs

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Setattr implements [vfs.WritableFS].
func (w *Writer) Setattr(ctx context.Context, ino vfs.Ino, set vfs.SetAttr) (vfs.Attr, error) {
	var attr vfs.Attr
	err := w.do(ctx, func(o *op) error {
		in, or, err := o.loadAny(ino)
		if err != nil {
			return err
		}
		if err := o.setattr(in, or, &set); err != nil {
			return err
		}
		attr = w.attr(in)
		return nil
	})
	return attr, err
}

func (o *op) setattr(in *inode, or *orphan, set *vfs.SetAttr) error {
	if *set == (vfs.SetAttr{}) {
		return nil
	}
	if set.Size != nil {
		switch {
		case in.mode().IsDir():
			return syscall.EISDIR
		case !in.mode().IsRegular() || *set.Size < 0:
			return syscall.EINVAL
		}
	}
	// Flags may be taken away in the same call, or set by it.
	flags := vfs.Flags(in.Flags)
	if set.Flags != nil && *set.Flags&(immutable|appendOnly) == 0 {
		flags = 0
	}
	if *set != (vfs.SetAttr{Flags: set.Flags}) && flags&(immutable|appendOnly) != 0 {
		return syscall.EPERM
	}
	if set.Size != nil {
		if err := o.setSize(in, or, *set.Size); err != nil {
			return err
		}
	}
	o.touch(in, set.Size != nil)
	if set.Mode != nil {
		in.Mode = uint16(in.mode().Type() | set.Mode.Perm())
	}
	if set.UID != nil {
		in.UID = *set.UID
	}
	if set.GID != nil {
		in.GID = *set.GID
	}
	if set.Flags != nil {
		in.Flags = uint32(*set.Flags)
	}
	if set.Atime != nil {
		in.Atime = o.w.diskTime(*set.Atime)
	}
	if set.Mtime != nil {
		in.Mtime = o.w.diskTime(*set.Mtime)
	}
	if set.Btime != nil && o.g.version == ondisk.V2 {
		in.Btime = o.w.diskTime(*set.Btime)
	}
	return nil
}

func (o *op) setSize(in *inode, or *orphan, size int64) error {
	switch {
	case size > o.w.super.maxFile:
		return syscall.EFBIG
	case or != nil:
		return o.resizeOrphan(or, size)
	}
	return o.resize(in, size)
}
