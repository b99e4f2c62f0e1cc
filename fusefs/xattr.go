package fusefs

import (
	"sort"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// A volume that is written to has extended attributes only if they can be
// written as well. Otherwise those that are there can be seen when it is mounted
// for reading.

// anyXattrs reports whether a volume of the mount has extended attributes.
// Where none has, ENOSYS tells the kernel to stop asking: ls(1) and cp(1) ask
// for every file, and the kernel itself before it writes to one.
func (r *raw) anyXattrs() bool {
	for _, v := range r.volumes {
		if v.xattrs != nil {
			return true
		}
	}
	return false
}

// GetXAttr implements [fuse.RawFileSystem].
func (r *raw) GetXAttr(cancel <-chan struct{}, header *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if !r.anyXattrs() {
		return 0, fuse.ENOSYS
	}
	v, ino, err := r.find(header.NodeId)
	if err != nil {
		return 0, r.status(err)
	}
	if v.xattrs == nil {
		return 0, fuse.Status(syscall.EOPNOTSUPP)
	}
	all, err := v.xattrs.Xattrs(uninterrupted, ino)
	if err != nil {
		return 0, r.status(err)
	}
	value, ok := all[name]
	if !ok {
		return 0, fuse.ENODATA
	}
	return give(dest, value)
}

// ListXAttr implements [fuse.RawFileSystem].
func (r *raw) ListXAttr(cancel <-chan struct{}, header *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	if !r.anyXattrs() {
		return 0, fuse.ENOSYS
	}
	v, ino, err := r.find(header.NodeId)
	if err != nil {
		return 0, r.status(err)
	}
	if v.xattrs == nil {
		return 0, fuse.OK
	}
	all, err := v.xattrs.Xattrs(uninterrupted, ino)
	if err != nil {
		return 0, r.status(err)
	}
	names := make([]string, 0, len(all))
	for name := range all {
		// Like the file systems of Linux: trusted.* is for root, and the
		// kernel would not let anyone else have the value.
		if header.Uid != 0 && strings.HasPrefix(name, "trusted.") {
			continue
		}
		names = append(names, name)
	}
	sort.Strings(names)
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	return give(dest, list)
}

// SetXAttr implements [fuse.RawFileSystem].
func (r *raw) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	return r.changeXattr(in.NodeId, func(w *writer, ino vfs.Ino) error {
		create, replace := in.Flags&unix.XATTR_CREATE != 0, in.Flags&unix.XATTR_REPLACE != 0
		return w.xattrs.SetXattr(background, ino, name, value, create, replace)
	})
}

// RemoveXAttr implements [fuse.RawFileSystem].
func (r *raw) RemoveXAttr(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return r.changeXattr(header.NodeId, func(w *writer, ino vfs.Ino) error {
		return w.xattrs.RemoveXattr(background, ino, name)
	})
}

func (r *raw) changeXattr(id uint64, fn func(*writer, vfs.Ino) error) fuse.Status {
	v, ino, err := r.findWritable(id)
	if err != nil {
		return r.status(err)
	}
	if v.w.xattrs == nil {
		if !r.anyXattrs() {
			return fuse.ENOSYS
		}
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	err = v.w.roomy(func() error { return fn(v.w, ino) })
	if err == nil {
		v.w.changes.file(ino, 0)
		v.w.changed()
	}
	return r.status(err)
}

// give copies a value to dest. Without room the answer is how much is needed,
// and ERANGE: go-fuse drops the latter where the caller only asked for the
// size.
func give(dest, value []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}
