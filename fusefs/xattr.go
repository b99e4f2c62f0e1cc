package fusefs

import (
	"sort"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// anyXattrs reports whether a volume of the mount has extended attributes.
// Where none has, ENOSYS tells the kernel to stop asking: ls(1) and cp(1) ask
// for every file.
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
	all, err := v.xattrs.Xattrs(request(cancel), ino)
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
	all, err := v.xattrs.Xattrs(request(cancel), ino)
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

// give copies a value to dest. Without room the answer is how much is needed,
// and ERANGE: go-fuse drops the latter where the caller only asked for the
// size.
func give(dest, value []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}
