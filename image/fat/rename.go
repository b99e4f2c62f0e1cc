package fat

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Rename implements [vfs.WritableFS]. A file can be given a name that it has by
// another spelling: in capitals, or its short name.
func (w *Writer) Rename(ctx context.Context, oldDir vfs.Ino, oldName string, newDir vfs.Ino, newName string, flags vfs.RenameFlags) error {
	return w.do(ctx, func(o *op) error {
		return o.rename(oldDir, oldName, newDir, newName, flags)
	})
}

func (o *op) rename(oldIno vfs.Ino, oldName string, newIno vfs.Ino, newName string, flags vfs.RenameFlags) error {
	if flags&^(vfs.RenameNoReplace|vfs.RenameExchange) != 0 || flags == vfs.RenameNoReplace|vfs.RenameExchange {
		return syscall.EINVAL
	}
	from, fromErr := o.openDir(oldIno)
	to, toErr := from, fromErr
	if newIno != oldIno {
		to, toErr = o.openDir(newIno)
	}
	// A directory that was removed has no names, but may be asked for one.
	for _, x := range []struct {
		ino vfs.Ino
		err error
	}{{oldIno, fromErr}, {newIno, toErr}} {
		if x.err != nil && (x.err != syscall.ENOENT || o.w.orphans[x.ino] == nil) {
			return x.err
		}
	}
	for _, name := range []string{oldName, newName} {
		if name == "." || name == ".." {
			return syscall.EINVAL
		}
	}
	if fromErr != nil {
		return noName(oldName)
	}
	e, err := o.named(from, oldName)
	if err != nil {
		return err
	}
	if err := checkName(newName); err != nil {
		return err
	}
	if toErr != nil {
		return toErr
	}
	at, taken, err := o.lookup(to, newName)
	if err != nil {
		return err
	}
	self := taken && at.off == e.off
	same := self && string(e.appendName(nil)) == newName
	switch {
	case flags == vfs.RenameExchange && !taken:
		return syscall.ENOENT
	case flags == vfs.RenameNoReplace && taken && (same || !self):
		return syscall.EEXIST
	case same, self && flags == vfs.RenameExchange:
		return nil
	}
	in := o.f.fileOf(&e)
	if err := o.notBelow(&in, to); err != nil {
		return err
	}
	if !taken || self {
		return o.move(in, from, &e, to, newName)
	}
	target := o.f.fileOf(&at)
	switch {
	case flags == vfs.RenameExchange:
		if err := o.notBelow(&target, from); err != nil {
			return err
		}
		return o.exchange(in, from, target, to)
	case target.isDir() && !in.isDir():
		return syscall.EISDIR
	case in.isDir() && !target.isDir():
		return syscall.ENOTDIR
	case target.isDir():
		if err := o.mustBeEmpty(target.ino); err != nil {
			return err
		}
	}
	if err := o.removeName(to, &at); err != nil {
		return err
	}
	if err := o.kill(to, target); err != nil {
		return err
	}
	return o.move(in, from, &e, to, newName)
}

// notBelow makes sure that dir is not in, or below it.
func (o *op) notBelow(in *file, dir *dir) error {
	if !in.isDir() {
		return nil
	}
	for ino, steps := dir.ino, 0; ino != rootIno; steps++ {
		if ino == in.ino {
			return syscall.EINVAL
		}
		d, err := o.f.dir(o.ctx, ino)
		if err != nil {
			return err
		}
		if steps > maxClaims {
			return vfs.Corruptf(o.f.clusterOff(d.start), d.structure(), "its parents do not lead to the root directory")
		}
		if ino, err = o.f.parent(o.ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// move gives a file a name that is free, or its own, in place of the one that it
// has.
func (o *op) move(in file, from *dir, e *entry, to *dir, name string) error {
	if err := o.removeName(from, e); err != nil {
		return err
	}
	off, err := o.addName(to, name, &in.dirent)
	if err != nil {
		return err
	}
	o.place(in.ino, positionOf(in.off), positionOf(off))
	if in.isDir() && from != to {
		o.count(from, -1)
		o.count(to, +1)
		if err := o.setParent(&in, to); err != nil {
			return err
		}
	}
	if err := o.touchDir(from); err != nil || from == to {
		return err
	}
	return o.touchDir(to)
}

// setParent rewrites the ".." of a directory.
func (o *op) setParent(in *file, to *dir) error {
	first := o.f.firstCluster(&in.dirent)
	if _, err := o.f.dotdot(first); err != nil {
		return err
	}
	b, err := o.modify(o.f.clusterOff(first)+ondisk.DirentSize, ondisk.DirentSize)
	if err != nil {
		return err
	}
	up := ondisk.DecodeDirent(b)
	o.f.setStart(&up, to.link())
	up.Encode(b)
	return nil
}

// exchange swaps two files: the names stay where they are.
func (o *op) exchange(a file, from *dir, b file, to *dir) error {
	posA, posB := positionOf(a.off), positionOf(b.off)
	was := a
	a.off, a.dirent.Name, a.dirent.Case = b.off, b.dirent.Name, b.dirent.Case
	b.off, b.dirent.Name, b.dirent.Case = was.off, was.dirent.Name, was.dirent.Case
	for _, in := range []*file{&a, &b} {
		if err := o.store(in); err != nil {
			return err
		}
	}
	o.swap(a.ino, posA, b.ino, posB)
	if from != to {
		for _, x := range []struct {
			in       *file
			from, to *dir
		}{{&a, from, to}, {&b, to, from}} {
			if !x.in.isDir() {
				continue
			}
			o.count(x.from, -1)
			o.count(x.to, +1)
			if err := o.setParent(x.in, x.to); err != nil {
				return err
			}
		}
	}
	if err := o.touchDir(from); err != nil || from == to {
		return err
	}
	return o.touchDir(to)
}

// swap gives each of two files the place of the other.
func (o *op) swap(a vfs.Ino, posA position, b vfs.Ino, posB position) {
	t := o.f.inos
	put := func(posA, posB position) {
		t.drop(a)
		t.drop(b)
		t.set(a, posA)
		t.set(b, posB)
	}
	put(posB, posA)
	o.undos = append(o.undos, func() { put(posA, posB) })
}
