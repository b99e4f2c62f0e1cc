package ffs

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Rename implements [vfs.WritableFS].
func (w *Writer) Rename(ctx context.Context, oldDir vfs.Ino, oldName string, newDir vfs.Ino, newName string, flags vfs.RenameFlags) error {
	return w.do(ctx, func(o *op) error {
		return o.rename(oldDir, oldName, newDir, newName, flags)
	})
}

func (o *op) rename(oldIno vfs.Ino, oldName string, newIno vfs.Ino, newName string, flags vfs.RenameFlags) error {
	if flags&^(vfs.RenameNoReplace|vfs.RenameExchange) != 0 || flags == vfs.RenameNoReplace|vfs.RenameExchange {
		return syscall.EINVAL
	}
	from, err := o.loadDir(oldIno)
	if err != nil {
		return err
	}
	to, err := o.loadDir(newIno)
	if err != nil {
		return err
	}
	for _, name := range []string{oldName, newName} {
		if name == "." || name == ".." {
			return syscall.EINVAL
		}
	}
	in, p, err := o.named(from, oldName)
	if err != nil {
		return err
	}
	if err := checkName(newName); err != nil {
		return err
	}
	if to.isGone() {
		return syscall.ENOENT
	}
	at, err := o.locate(to, newName)
	if err != nil {
		return err
	}
	taken := at.found && !at.white
	switch {
	case flags == vfs.RenameExchange && !taken:
		return syscall.ENOENT
	case flags == vfs.RenameNoReplace && taken:
		return syscall.EEXIST
	case taken && uint64(at.entry.ino) == in.num:
		return nil // two names of one file
	}
	if err := o.notBelow(in, to); err != nil {
		return err
	}
	if !taken {
		if err := mayRemove(from, in); err != nil {
			return err
		}
		if vfs.Flags(to.Flags)&immutable != 0 {
			return syscall.EPERM
		}
		return o.moveName(in, from, p, to, newName)
	}
	target, _, err := o.named(to, newName)
	switch {
	case err != nil:
		return err
	case flags == vfs.RenameExchange:
		err = o.notBelow(target, from)
	case target.mode().IsDir() && !in.mode().IsDir():
		err = syscall.EISDIR
	case in.mode().IsDir() && !target.mode().IsDir():
		err = syscall.ENOTDIR
	}
	if err != nil {
		return err
	}
	if err := mayRemove(from, in); err != nil {
		return err
	}
	if err := mayRemove(to, target); err != nil {
		return err
	}
	if flags == vfs.RenameExchange {
		return o.exchange(in, from, p, target, to, at)
	}
	return o.replace(in, from, p, target, to, at)
}

// notBelow makes sure that dir is not in, or below it.
func (o *op) notBelow(in, dir *inode) error {
	if !in.mode().IsDir() {
		return nil
	}
	var at inode
	for num, steps := dir.num, o.w.total.Dirs+16; num != ondisk.RootIno; steps-- {
		if num == in.num {
			return syscall.EINVAL
		}
		if err := o.f.openDir(vfs.Ino(num), &at); err != nil {
			return err
		}
		up, ok, err := o.f.find(o.ctx, &at, "..")
		if err != nil {
			return err
		}
		if !ok || steps <= 0 || uint64(up.ino) == num {
			return at.corrupt("its parents do not lead to the root directory")
		}
		num = uint64(up.ino)
	}
	return nil
}

// moveName gives a file a name that is free in place of the one that it has.
func (o *op) moveName(in, from *inode, p place, to *inode, newName string) error {
	if err := o.removeName(from, p.entry.off); err != nil {
		return err
	}
	// Where there is room now may be elsewhere than before.
	at, err := o.locate(to, newName)
	if err != nil {
		return err
	}
	if err := o.addName(to, at, newName, in.num, in.mode()); err != nil {
		return err
	}
	o.touch(in, false)
	if in.mode().IsDir() && from != to {
		return o.reparent(in, from, to)
	}
	return nil
}

// reparent makes a directory the child of another: its "..", and the links that
// this is.
func (o *op) reparent(in, from, to *inode) error {
	if to.Nlink >= maxLinks {
		return syscall.EMLINK
	}
	from.Nlink -= min(from.Nlink, 1)
	to.Nlink++
	from.dirty, to.dirty = true, true
	return o.setParent(in, from.num, to.num)
}

// setParent rewrites the ".." of a directory.
func (o *op) setParent(in *inode, from, to uint64) error {
	up, ok, err := o.f.find(o.ctx, in, "..")
	if err != nil {
		return err
	}
	if !ok || uint64(up.ino) != from {
		return in.corrupt("its \"..\" is not inode %d", from)
	}
	return o.setEntry(in, up.off, to, uint8(vfs.Dir>>12))
}

// replace gives a file a name that another one loses.
func (o *op) replace(in, from *inode, p place, target, to *inode, at place) error {
	if target.mode().IsDir() {
		if err := o.f.checkDir(target); err != nil {
			return err
		}
		empty, err := o.isEmpty(target)
		if err != nil {
			return err
		}
		if !empty || target.num == from.num {
			return syscall.ENOTEMPTY
		}
	}
	if err := o.setEntry(to, at.entry.off, in.num, uint8(in.mode().Type()>>12)); err != nil {
		return err
	}
	o.touch(to, true)
	if err := o.removeName(from, p.entry.off); err != nil {
		return err
	}
	o.touch(in, false)
	if !target.mode().IsDir() {
		return o.dropLink(target)
	}
	if err := o.destroyDir(to, target); err != nil {
		return err
	}
	if from != to {
		return o.reparent(in, from, to)
	}
	return nil
}

// exchange swaps two files.
func (o *op) exchange(in, from *inode, p place, target, to *inode, at place) error {
	if err := o.setEntry(to, at.entry.off, in.num, uint8(in.mode().Type()>>12)); err != nil {
		return err
	}
	if err := o.setEntry(from, p.entry.off, target.num, uint8(target.mode().Type()>>12)); err != nil {
		return err
	}
	for _, x := range []*inode{from, to} {
		o.touch(x, true)
	}
	for _, x := range []*inode{in, target} {
		o.touch(x, false)
	}
	if from == to {
		return nil
	}
	// First down, then up: two directories that swap keep the counts as they are.
	for _, x := range []struct{ in, from, to *inode }{{in, from, to}, {target, to, from}} {
		if !x.in.mode().IsDir() {
			continue
		}
		if err := o.f.checkDir(x.in); err != nil {
			return err
		}
		if err := o.setParent(x.in, x.from.num, x.to.num); err != nil {
			return err
		}
		x.from.Nlink--
		x.to.Nlink++
	}
	if from.Nlink > maxLinks || to.Nlink > maxLinks {
		return syscall.EMLINK
	}
	return nil
}
