package fusefs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// Owner is who files belong to.
type Owner struct {
	UID, GID uint32
}

// Create implements [fuse.RawFileSystem]. ENOSYS tells the kernel to use Mknod:
// a file that was opened by Create would have to be closed by a message, unlike
// all others.
func (r *raw) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return fuse.ENOSYS
}

// Tmpfile implements [fuse.RawFileSystem]. A file that was made without a name
// cannot be given one; so open(2) answers EOPNOTSUPP, and programs use a name.
func (r *raw) Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.ENOSYS
}

// Mknod implements [fuse.RawFileSystem]: files of all types but directories
// and symbolic links.
func (r *raw) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	node := vfs.NewNode{Mode: vfs.Mode(in.Mode)}
	if node.Mode.Type() == 0 {
		node.Mode |= vfs.Regular
	}
	if node.Mode.IsDevice() {
		node.Rdev = newDecodeDev(in.Rdev)
	}
	return r.create(&in.InHeader, name, node, out)
}

// Mkdir implements [fuse.RawFileSystem].
func (r *raw) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return r.create(&in.InHeader, name, vfs.NewNode{Mode: vfs.Dir | vfs.Mode(in.Mode).Perm()}, out)
}

// Symlink implements [fuse.RawFileSystem].
func (r *raw) Symlink(_ <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	return r.create(header, name, vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: target}, out)
}

// create makes a file in the directory header.NodeId. The kernel has applied
// the umask.
func (r *raw) create(header *fuse.InHeader, name string, node vfs.NewNode, out *fuse.EntryOut) fuse.Status {
	v, dir, err := r.findWritable(header.NodeId)
	if err != nil {
		return r.status(err)
	}
	if err := r.own(background, v, dir, &header.Caller, &node); err != nil {
		return r.status(err)
	}
	err = v.w.roomy(func() error {
		v.w.names.RLock()
		defer v.w.names.RUnlock()
		attr, err := v.w.fs.Create(background, dir, name, node)
		if err != nil {
			return err
		}
		v.w.changes.made(dir, name, attr.Ino)
		v.w.changed()
		return v.entry(out, &attr)
	})
	return r.status(err)
}

// own decides whom a new file in dir belongs to: the options say so, but in a
// set-group-id directory it belongs to the group of that, and a directory
// becomes one like it.
func (r *raw) own(ctx context.Context, v *volume, dir vfs.Ino, caller *fuse.Caller, node *vfs.NewNode) error {
	switch {
	case r.owner != nil:
		node.UID, node.GID = r.owner.UID, r.owner.GID
	case r.keepOwner:
		node.UID, node.GID = caller.Uid, caller.Gid
	}
	above, err := v.fs.Getattr(ctx, dir)
	if err != nil {
		return err
	}
	if above.Mode&vfs.SetGID != 0 {
		node.GID = above.GID
		if node.Mode.IsDir() {
			node.Mode |= vfs.SetGID
		}
	}
	return nil
}

// newDecodeDev is the reverse of newEncodeDev.
func newDecodeDev(dev uint32) vfs.Dev {
	return vfs.Dev{Major: dev >> 8 & 0xfff, Minor: dev&0xff | dev>>12&0xfff00}
}

// Link implements [fuse.RawFileSystem].
func (r *raw) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	v, dir, err := r.findWritable(in.NodeId)
	if err != nil {
		return r.status(err)
	}
	from, ino, err := r.find(in.Oldnodeid)
	if err != nil {
		return r.status(err)
	}
	if from != v {
		return fuse.EXDEV
	}
	err = v.w.roomy(func() error {
		v.w.names.RLock()
		defer v.w.names.RUnlock()
		attr, err := v.w.fs.Link(background, ino, dir, name)
		if err != nil {
			return err
		}
		v.w.changes.made(dir, name, 0)
		v.w.changed()
		return v.entry(out, &attr)
	})
	return r.status(err)
}

// findWritable is find for requests that change the file.
func (r *raw) findWritable(id uint64) (*volume, vfs.Ino, error) {
	v, ino, err := r.find(id)
	if err == nil && v.w == nil {
		err = syscall.EROFS
	}
	return v, ino, err
}
