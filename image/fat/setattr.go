package fat

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Setattr implements [vfs.WritableFS], as far as FAT can hold it:
//
//   - Of a mode, the read-only attribute is kept: a regular file has it unless
//     its owner may write. Set-id and sticky bits are EPERM; all others are what
//     they are, and no error.
//   - Owners other than 0 are EPERM.
//   - Flags other than those of [heldFlags] are EOPNOTSUPP.
//   - Times are rounded down: Mtime to 2 s, Btime to 10 ms, Atime to a day.
//
// The root directory has no entry, and so nothing that could be kept.
func (w *Writer) Setattr(ctx context.Context, ino vfs.Ino, set vfs.SetAttr) (vfs.Attr, error) {
	var attr vfs.Attr
	err := w.do(ctx, func(o *op) error {
		if or := w.orphans[ino]; or != nil {
			err := o.setattr(&or.file, or, &set)
			attr = w.orphanAttr(or)
			return err
		}
		var in file
		var err error
		if ino == rootIno {
			in.dirent.Attr = ondisk.AttrDir
		} else if in, err = o.open(ino); err != nil {
			return err
		}
		if err := o.setattr(&in, nil, &set); err != nil {
			return err
		}
		if ino == rootIno || set == (vfs.SetAttr{}) {
			attr, err = w.FS.Getattr(ctx, ino)
			return err
		}
		if err := o.store(&in); err != nil {
			return err
		}
		attr, err = w.attr(ctx, &entry{off: in.off, dirent: in.dirent})
		return err
	})
	return attr, err
}

func (o *op) setattr(in *file, or *orphan, set *vfs.SetAttr) error {
	switch {
	case set.Size != nil && in.isDir():
		return syscall.EISDIR
	case set.Size != nil && *set.Size < 0:
		return syscall.EINVAL
	case set.UID != nil && *set.UID != 0, set.GID != nil && *set.GID != 0:
		return errNoOwners
	case set.Mode != nil && set.Mode.Perm()&^0o777 != 0:
		return errNoSetID
	case set.Flags != nil && *set.Flags&^heldFlags != 0:
		return errNoFlag
	case set.Size != nil && *set.Size > maxFile:
		return syscall.EFBIG
	}
	if set.Size != nil {
		if err := o.setSize(in, or, *set.Size); err != nil {
			return err
		}
		in.changed(o.now)
	}
	d := &in.dirent
	if set.Flags != nil {
		d.Attr = attrOf(*set.Flags, d.Attr)
	}
	if set.Mode != nil && !in.isDir() {
		d.Attr &^= ondisk.AttrReadOnly
		if *set.Mode&0o200 == 0 {
			d.Attr |= ondisk.AttrReadOnly
		}
	}
	if set.Atime != nil {
		d.AccessDate, _, _ = fatStamp(*set.Atime)
	}
	if set.Mtime != nil {
		d.WriteDate, d.WriteTime, _ = fatStamp(*set.Mtime)
	}
	if set.Btime != nil {
		d.CreateDate, d.CreateTime, d.CreateTen = fatStamp(*set.Btime)
	}
	return nil
}

func (o *op) setSize(in *file, or *orphan, size int64) error {
	if or != nil {
		return o.resizeOrphan(or, size)
	}
	if err := o.w.checkStart(in.off, &in.dirent); err != nil {
		return err
	}
	return o.resize(in, size)
}
