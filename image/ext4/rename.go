package ext4

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
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
	in, s, err := o.named(from, oldName)
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
	taken := at.ino != 0
	switch {
	case flags == vfs.RenameExchange && !taken:
		return syscall.ENOENT
	case flags == vfs.RenameNoReplace && taken:
		return syscall.EEXIST
	case at.ino == in.num:
		return nil // two names of one file
	}
	if err := o.notBelow(in, to); err != nil {
		return err
	}
	if !taken {
		if err := mayRemove(from, in); err != nil {
			return err
		}
		if to.has(ondisk.FlImmutable) {
			return syscall.EPERM
		}
		return o.moveName(in, from, s, to, newName)
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
		return o.exchange(in, from, s, target, to, at)
	}
	return o.replace(in, from, s, target, to, at)
}

// notBelow makes sure that dir is not in, or below it.
func (o *op) notBelow(in, dir *inode) error {
	if !in.mode().IsDir() {
		return nil
	}
	at := *dir
	for steps := o.f.sb.InodesCount; at.num != ondisk.RootIno; steps-- {
		if at.num == in.num {
			return syscall.EINVAL
		}
		up, err := o.f.find(o.ctx, &at, "..")
		if err == syscall.ENOENT || err == nil && (steps == 0 || up == at.num) {
			return at.corrupt("its parents do not lead to the root directory")
		}
		if err != nil {
			return err
		}
		if err := o.f.dir(vfs.Ino(up), &at); err != nil {
			return err
		}
	}
	return nil
}

// moveName gives a file a name that is free in place of the one that it has.
func (o *op) moveName(in, from *inode, s dirSlot, to *inode, newName string) error {
	// What is added may move entries, but only in its own directory: taken away
	// first, the old name is where it was found.
	if err := o.removeName(from, s); err != nil {
		return err
	}
	if err := o.addName(to, newName, in.num, in.mode()); err != nil {
		return err
	}
	o.touch(in, false)
	if in.mode().IsDir() && from != to {
		if o.f.manyDirs(to) {
			return syscall.EMLINK
		}
		return o.reparent(in, from, to)
	}
	return nil
}

// reparent makes a directory the child of another: its "..", and the links that
// this is.
func (o *op) reparent(in, from, to *inode) error {
	o.f.dropDir(from)
	o.f.addDir(to)
	return o.setParent(in, from.num, to.num)
}

// replace gives a file a name that another one loses.
func (o *op) replace(in, from *inode, s dirSlot, target, to *inode, at dirSlot) error {
	if target.mode().IsDir() {
		empty, err := o.isEmpty(target)
		if err != nil {
			return err
		}
		if !empty || target.num == from.num {
			return syscall.ENOTEMPTY
		}
	}
	if err := o.setName(to, at, in.num, in.mode()); err != nil {
		return err
	}
	if err := o.removeName(from, s); err != nil {
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
func (o *op) exchange(in, from *inode, s dirSlot, target, to *inode, at dirSlot) error {
	if err := o.setName(to, at, in.num, in.mode()); err != nil {
		return err
	}
	if err := o.setName(from, s, target.num, target.mode()); err != nil {
		return err
	}
	o.touch(in, false)
	o.touch(target, false)
	if from == to {
		return nil
	}
	moved := 0
	for _, x := range []struct{ in, from, to *inode }{{in, from, to}, {target, to, from}} {
		if !x.in.mode().IsDir() {
			continue
		}
		moved++
		if err := o.setParent(x.in, x.from.num, x.to.num); err != nil {
			return err
		}
	}
	if moved == 1 { // two that swap keep the counts as they are
		gets, loses := to, from
		if target.mode().IsDir() {
			gets, loses = from, to
		}
		if o.f.manyDirs(gets) {
			return syscall.EMLINK
		}
		o.f.dropDir(loses)
		o.f.addDir(gets)
	}
	return nil
}
