package fusefs

import (
	"encoding/binary"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// The requests of lsattr(1) and chattr(1), and those that the kernel makes of
// them. In the numbers of the first two is the size of a long, but what is
// passed is an int.
const (
	getFlags  = 0x80086601 // FS_IOC_GETFLAGS
	setFlags  = 0x40086602 // FS_IOC_SETFLAGS
	getXflags = 0x801c581f // FS_IOC_FSGETXATTR: a struct fsxattr,
	setXflags = 0x401c5820 // FS_IOC_FSSETXATTR: which begins with the flags

	fsxattrSize = 28
)

// The attributes that have a BSD flag of the same meaning.
var linuxFlags = []struct {
	linux, xflag uint32    // FS_*_FL, FS_XFLAG_*
	set, any     vfs.Flags // what it becomes, and what shows as it
}{
	{0x10, 0x08, vfs.SystemImmutable, vfs.SystemImmutable | vfs.UserImmutable},
	{0x20, 0x10, vfs.SystemAppend, vfs.SystemAppend | vfs.UserAppend},
	{0x40, 0x80, vfs.UserNoDump, vfs.UserNoDump},
}

// Ioctl implements [fuse.RawFileSystem]. What is unknown is ENOTTY; ENOSYS
// would do as well, but would be logged by go-fuse.
func (r *raw) Ioctl(_ <-chan struct{}, in *fuse.IoctlIn, input []byte, out *fuse.IoctlOut, output []byte) fuse.Status {
	v, ino, err := r.find(in.NodeId)
	if err != nil {
		return r.status(err)
	}
	xflags := in.Cmd == getXflags || in.Cmd == setXflags
	need := 4
	if xflags {
		need = fsxattrSize
	}
	switch {
	case (in.Cmd == getFlags || in.Cmd == getXflags) && len(output) >= need:
		attr, err := v.fs.Getattr(background, ino)
		if err != nil {
			return r.status(err)
		}
		clear(output)
		binary.NativeEndian.PutUint32(output, toLinux(attr.Flags, xflags))
		return fuse.OK
	case (in.Cmd == setFlags || in.Cmd == setXflags) && len(input) >= need:
		if v.w == nil {
			return fuse.EROFS
		}
		return r.status(v.w.setFlags(ino, binary.NativeEndian.Uint32(input), xflags))
	}
	return fuse.Status(syscall.ENOTTY)
}

func toLinux(flags vfs.Flags, xflags bool) (linux uint32) {
	for _, f := range linuxFlags {
		switch {
		case flags&f.any == 0:
		case xflags:
			linux |= f.xflag
		default:
			linux |= f.linux
		}
	}
	return linux
}

func (w *writer) setFlags(ino vfs.Ino, linux uint32, xflags bool) error {
	attr, err := w.fs.Getattr(background, ino)
	if err != nil {
		return err
	}
	flags := attr.Flags
	for _, f := range linuxFlags {
		bit := f.linux
		if xflags {
			bit = f.xflag
		}
		switch {
		case linux&bit == 0:
			flags &^= f.any
		case flags&f.any == 0:
			flags |= f.set
		}
		linux &^= bit
	}
	if linux != 0 {
		return syscall.EOPNOTSUPP // attributes that only ext4 and its like have
	}
	_, err = w.fs.Setattr(background, ino, vfs.SetAttr{Flags: &flags})
	if err == nil {
		w.changes.file(ino, 0)
		w.changed()
	}
	return err
}
