package fusefs

import (
	"encoding/binary"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// The requests of lsattr(1) and chattr(1), and the attributes that have a BSD
// flag of the same meaning. In their numbers is the size of a long, but what is
// passed is an int.
const (
	getFlags = 0x80086601 // FS_IOC_GETFLAGS
	setFlags = 0x40086602 // FS_IOC_SETFLAGS

	flagImmutable = 0x10 // FS_IMMUTABLE_FL
	flagAppend    = 0x20 // FS_APPEND_FL
	flagNoDump    = 0x40 // FS_NODUMP_FL
)

var linuxFlags = []struct {
	linux    uint32
	set, any vfs.Flags // what it becomes, and what shows as it
}{
	{flagImmutable, vfs.SystemImmutable, vfs.SystemImmutable | vfs.UserImmutable},
	{flagAppend, vfs.SystemAppend, vfs.SystemAppend | vfs.UserAppend},
	{flagNoDump, vfs.UserNoDump, vfs.UserNoDump},
}

// Ioctl implements [fuse.RawFileSystem]. What is unknown is ENOTTY; ENOSYS
// would do as well, but would be logged by go-fuse.
func (r *raw) Ioctl(_ <-chan struct{}, in *fuse.IoctlIn, input []byte, out *fuse.IoctlOut, output []byte) fuse.Status {
	v, ino, err := r.find(in.NodeId)
	if err != nil {
		return r.status(err)
	}
	switch {
	case in.Cmd == getFlags && len(output) >= 4:
		attr, err := v.fs.Getattr(background, ino)
		if err != nil {
			return r.status(err)
		}
		clear(output)
		binary.NativeEndian.PutUint32(output, toLinux(attr.Flags))
		return fuse.OK
	case in.Cmd == setFlags && len(input) >= 4:
		if v.w == nil {
			return fuse.EROFS
		}
		return r.status(v.w.setFlags(ino, binary.NativeEndian.Uint32(input)))
	}
	return fuse.Status(syscall.ENOTTY)
}

func toLinux(flags vfs.Flags) (linux uint32) {
	for _, f := range linuxFlags {
		if flags&f.any != 0 {
			linux |= f.linux
		}
	}
	return linux
}

func (w *writer) setFlags(ino vfs.Ino, linux uint32) error {
	attr, err := w.fs.Getattr(background, ino)
	if err != nil {
		return err
	}
	flags := attr.Flags
	for _, f := range linuxFlags {
		switch {
		case linux&f.linux == 0:
			flags &^= f.any
		case flags&f.any == 0:
			flags |= f.set
		}
		linux &^= f.linux
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
