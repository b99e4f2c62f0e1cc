package ext4

import (
	"context"
	"errors"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Link implements [vfs.WritableFS].
func (w *Writer) Link(ctx context.Context, ino, dir vfs.Ino, name string) (vfs.Attr, error) {
	var attr vfs.Attr
	err := w.do(ctx, func(o *op) error {
		in, err := o.link(ino, dir, name)
		if err == nil {
			attr = w.attr(in)
		}
		return err
	})
	return attr, err
}

func (o *op) link(ino, dirIno vfs.Ino, name string) (*inode, error) {
	in, _, err := o.loadAny(ino)
	if err != nil {
		return nil, err
	}
	dir, err := o.newName(dirIno, name)
	switch {
	case err != nil:
		return nil, err
	case in.mode().IsDir():
		return nil, syscall.EPERM
	case in.Links == 0:
		return nil, syscall.ENOENT
	case in.has(ondisk.FlImmutable | ondisk.FlAppend):
		return nil, syscall.EPERM
	case in.Links >= maxLinks:
		return nil, syscall.EMLINK
	}
	in.Links++
	o.touch(in, false)
	return in, o.addName(dir, name, in.num, in.mode())
}

// named loads the file that a directory has under a name.
func (o *op) named(dir *inode, name string) (*inode, dirSlot, error) {
	if len(name) > ondisk.NameMax {
		return nil, dirSlot{}, syscall.ENAMETOOLONG
	}
	if name == "." && !dir.isGone() {
		return dir, dirSlot{}, nil
	}
	s, err := o.locate(dir, name)
	switch {
	case err != nil:
		return nil, s, err
	case name == "" || s.ino == 0:
		return nil, s, syscall.ENOENT
	}
	in, err := o.load(vfs.Ino(s.ino))
	if errors.Is(err, syscall.ENOENT) {
		err = vfs.Corruptf(dir.off, dir.dirName(), "%q is inode %d, which is not in use", name, s.ino)
	}
	return in, s, err
}

// mayRemove says whether the flags of a file and of its directory allow its
// name to be taken away.
func mayRemove(dir, in *inode) error {
	const fixed = ondisk.FlImmutable | ondisk.FlAppend
	if in.has(fixed) || dir.has(fixed) {
		return syscall.EPERM
	}
	return nil
}

// Unlink implements [vfs.WritableFS].
func (w *Writer) Unlink(ctx context.Context, dir vfs.Ino, name string) error {
	return w.do(ctx, func(o *op) error {
		d, err := o.loadDir(dir)
		if err != nil {
			return err
		}
		if name == "." || name == ".." {
			return syscall.EISDIR
		}
		in, s, err := o.named(d, name)
		if err != nil {
			return err
		}
		if in.mode().IsDir() {
			return syscall.EISDIR
		}
		if err := mayRemove(d, in); err != nil {
			return err
		}
		if err := o.removeName(d, s); err != nil {
			return err
		}
		return o.dropLink(in)
	})
}

// dropLink takes a name from a file that is no directory; with the last one the
// file goes.
func (o *op) dropLink(in *inode) error {
	o.touch(in, false)
	if in.Links > 1 {
		in.Links--
		return nil
	}
	return o.dropFile(in)
}

// dropFile frees a file that has no name any more, and what its attributes hold.
// Should it be pinned, it keeps them in memory.
func (o *op) dropFile(in *inode) error {
	kept, err := o.f.xattrs(o.ctx, in)
	if err != nil {
		return err
	}
	if err := o.releaseXattrs(in); err != nil {
		return err
	}
	if err := o.destroy(in); err != nil {
		return err
	}
	o.dead[len(o.dead)-1].xattrs = kept
	return nil
}

// Rmdir implements [vfs.WritableFS].
func (w *Writer) Rmdir(ctx context.Context, dir vfs.Ino, name string) error {
	return w.do(ctx, func(o *op) error {
		d, err := o.loadDir(dir)
		if err != nil {
			return err
		}
		switch name {
		case ".":
			return syscall.EINVAL
		case "..":
			return syscall.ENOTEMPTY
		}
		in, s, err := o.named(d, name)
		if err != nil {
			return err
		}
		if !in.mode().IsDir() {
			return syscall.ENOTDIR
		}
		if err := mayRemove(d, in); err != nil {
			return err
		}
		empty, err := o.isEmpty(in)
		if err != nil {
			return err
		}
		if !empty {
			return syscall.ENOTEMPTY
		}
		if err := o.removeName(d, s); err != nil {
			return err
		}
		return o.destroyDir(d, in)
	})
}

// destroyDir frees an empty directory, whose name has been taken away.
func (o *op) destroyDir(parent, in *inode) error {
	if in.num == parent.num {
		return in.corrupt("directory is its own parent")
	}
	o.f.dropDir(parent)
	o.touch(in, false)
	return o.dropFile(in)
}
