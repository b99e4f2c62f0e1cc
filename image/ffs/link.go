package ffs

import (
	"context"
	"math"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
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
	dir, p, err := o.newName(dirIno, name)
	switch {
	case err != nil:
		return nil, err
	case in.mode().IsDir():
		return nil, syscall.EPERM
	case in.Nlink == 0:
		return nil, syscall.ENOENT
	case vfs.Flags(in.Flags)&(immutable|appendOnly) != 0:
		return nil, syscall.EPERM
	case in.Nlink >= maxLinks:
		return nil, syscall.EMLINK
	}
	in.Nlink++
	o.touch(in, false)
	return in, o.addName(dir, p, name, in.num, in.mode())
}

// named loads the file that a directory has under a name.
func (o *op) named(dir *inode, name string) (*inode, place, error) {
	if len(name) > ondisk.MaxNameLen {
		return nil, place{}, syscall.ENAMETOOLONG
	}
	p, err := o.locate(dir, name)
	switch {
	case err != nil:
		return nil, p, err
	case name == "" || !p.found || p.white:
		return nil, p, syscall.ENOENT
	}
	if uint64(p.entry.ino) == dir.num {
		return dir, p, nil
	}
	in, err := o.load(vfs.Ino(p.entry.ino))
	if err == syscall.ENOENT {
		err = o.f.badEntry(dir, p.entry.at, p.entry.off, "entry %q refers to inode %d, which is not in use", name, p.entry.ino)
	}
	return in, p, err
}

// mayRemove says whether the flags of a file and of its directory allow its
// name to be taken away.
func mayRemove(dir, in *inode) error {
	if vfs.Flags(in.Flags)&(immutable|appendOnly) != 0 || vfs.Flags(dir.Flags)&(immutable|appendOnly) != 0 {
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
		in, p, err := o.named(d, name)
		if err != nil {
			return err
		}
		if in.mode().IsDir() {
			return syscall.EISDIR
		}
		if err := mayRemove(d, in); err != nil {
			return err
		}
		if err := o.removeName(d, p.entry.off); err != nil {
			return err
		}
		return o.dropLink(in)
	})
}

// dropLink takes a name from a file that is no directory; with the last one the
// file goes.
func (o *op) dropLink(in *inode) error {
	o.touch(in, false)
	if in.Nlink > 1 {
		in.Nlink--
		return nil
	}
	return o.destroy(in)
}

// destroy frees an inode and all that it holds.
func (o *op) destroy(in *inode) error {
	o.barrier = len(o.frees)
	d := deadInode{in: *in, from: len(o.frees)}
	d.in.Nlink = 0
	switch in.mode().Type() {
	case vfs.Regular, vfs.Dir, vfs.Symlink:
		if in.mode().IsSymlink() && o.f.isInline(in) {
			break
		}
		if err := o.releaseBlocks(in, 0, math.MaxInt64, in.mode().IsDir()); err != nil {
			return err
		}
	}
	if err := o.releaseXattrs(in); err != nil {
		return err
	}
	d.to = len(o.frees)
	o.barrier = len(o.frees)
	o.dead = append(o.dead, d)
	return o.freeInode(in)
}

// releaseXattrs frees the blocks of extended attributes.
func (o *op) releaseXattrs(in *inode) error {
	g := o.g
	if !o.f.hasXattrs(in) {
		return nil
	}
	for i, addr := range in.Ext {
		left := int64(in.ExtSize) - int64(i)<<g.blockShift
		if addr == 0 || left <= 0 {
			continue
		}
		n := min((left+g.fragSize-1)>>g.fragShift, g.frag)
		if err := o.release(in, addr, n, true); err != nil {
			return err
		}
	}
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
		in, p, err := o.named(d, name)
		if err != nil {
			return err
		}
		if err := o.f.checkDir(in); err != nil {
			return err
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
		if err := o.removeName(d, p.entry.off); err != nil {
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
	parent.Nlink -= min(parent.Nlink, 1)
	parent.dirty = true
	o.touch(in, false)
	return o.destroy(in)
}
