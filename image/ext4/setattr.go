package ext4

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
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

// flagBits are the flags that vfs has a name for.
var flagBits = [...]struct {
	bit  uint32
	flag vfs.Flags
}{
	{ondisk.FlImmutable, vfs.SystemImmutable},
	{ondisk.FlAppend, vfs.SystemAppend},
	{ondisk.FlNoDump, vfs.UserNoDump},
}

// errNoFlag is the error for flags that vfs has a name for and ext4 has not.
var errNoFlag = &vfs.LimitError{
	What:  "ext4 has no such file flag here: only schg and sappnd (of files and directories) and nodump",
	Errno: syscall.EOPNOTSUPP,
}

// inodeFlags puts flags into the flags of an inode, the rest of which stay:
// EOPNOTSUPP for those that the format has not.
func inodeFlags(old uint32, mode vfs.Mode, flags vfs.Flags) (uint32, error) {
	if flags&(vfs.SystemImmutable|vfs.SystemAppend) != 0 && !mode.IsRegular() && !mode.IsDir() {
		return 0, errNoFlag // Linux has no way to set them there, and e2fsck takes them away
	}
	for _, f := range flagBits {
		old &^= f.bit
		if flags&f.flag != 0 {
			old |= f.bit
		}
		flags &^= f.flag
	}
	if flags != 0 {
		return 0, errNoFlag
	}
	return old, nil
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
	forbid := in.Flags
	if set.Flags != nil {
		flags, err := inodeFlags(in.Flags, in.mode(), *set.Flags)
		if err != nil {
			return err
		}
		if flags&(ondisk.FlImmutable|ondisk.FlAppend) == 0 {
			forbid = flags
		}
	}
	if *set != (vfs.SetAttr{Flags: set.Flags}) && forbid&(ondisk.FlImmutable|ondisk.FlAppend) != 0 {
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
		if or == nil {
			if err := o.chmodACL(in); err != nil {
				return err
			}
		}
	}
	if set.UID != nil {
		in.UID = *set.UID
	}
	if set.GID != nil {
		in.GID = *set.GID
	}
	if set.Flags != nil {
		in.Flags, _ = inodeFlags(in.Flags, in.mode(), *set.Flags)
	}
	if set.Atime != nil {
		in.Atime = in.time(*set.Atime)
	}
	if set.Mtime != nil {
		in.Mtime = in.time(*set.Mtime)
	}
	if set.Btime != nil && in.HasCrtime {
		in.Crtime = in.time(*set.Btime)
	}
	return nil
}

func (o *op) setSize(in *inode, or *orphan, size int64) error {
	if err := in.writable(); err != nil {
		return err
	}
	switch {
	case size > o.f.maxSize(in):
		return syscall.EFBIG
	case or != nil:
		return o.resizeOrphan(or, size)
	}
	return o.truncate(in, size)
}
