package memfs

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// Rename implements [vfs.WritableFS].
func (fs *FS) Rename(_ context.Context, oldDir vfs.Ino, oldName string, newDir vfs.Ino, newName string, flags vfs.RenameFlags) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if flags&^(vfs.RenameNoReplace|vfs.RenameExchange) != 0 || flags == vfs.RenameNoReplace|vfs.RenameExchange {
		return syscall.EINVAL
	}
	from, err := fs.dir(oldDir)
	if err != nil {
		return err
	}
	to, err := fs.dir(newDir)
	if err != nil {
		return err
	}
	for _, name := range []string{oldName, newName} {
		if name == "." || name == ".." {
			return syscall.EINVAL
		}
	}
	n, err := fs.lookup(from, oldName)
	if err != nil {
		return err
	}
	if err := fs.checkName(newName); err != nil {
		return err
	}
	if to.attr.Nlink == 0 {
		return syscall.ENOENT
	}
	// What bears the new name, or nil.
	over, _ := fs.lookup(to, newName)
	respelled := over == n && from == to && from.names.key(oldName) == from.names.key(newName) && from.names.spelled(oldName) != newName
	switch {
	case flags == vfs.RenameNoReplace && over != nil && !respelled:
		return syscall.EEXIST
	case flags == vfs.RenameExchange && over == nil:
		return syscall.ENOENT
	case respelled && flags != vfs.RenameExchange:
		over = nil // another spelling
	case over == n:
		return nil // two names of one file, or one name
	case n.attr.Mode.IsDir() && fs.below(to, n):
		return syscall.EINVAL
	}
	if flags == vfs.RenameExchange {
		return fs.exchange(from, oldName, n, to, newName, over)
	}
	if over != nil {
		switch {
		case n.attr.Mode.IsDir() && !over.attr.Mode.IsDir():
			return syscall.ENOTDIR
		case !n.attr.Mode.IsDir() && over.attr.Mode.IsDir():
			return syscall.EISDIR
		}
	}
	if err := mayGo(from, n); err != nil {
		return err
	}
	if to.attr.Flags&immutable != 0 {
		return syscall.EPERM
	}
	if over != nil {
		if err := mayGo(to, over); err != nil {
			return err
		}
		if over.attr.Mode.IsDir() && len(over.names.at) > 0 {
			return syscall.ENOTEMPTY
		}
	}
	if n.attr.Mode.IsDir() && from != to && over == nil && to.attr.Nlink >= fs.opt.LinkMax {
		return syscall.EMLINK
	}

	n = fs.edit(n)
	from = fs.edit(from)
	to = fs.edit(to) // the same, if it was
	from.names.remove(oldName)
	if over != nil && fs.opt.Limits.Fold != nil {
		to.names.remove(newName) // which may be spelled in another way
	}
	to.names.set(newName, n)
	if n.attr.Mode.IsDir() {
		from.attr.Nlink--
		to.attr.Nlink++
		n.parent = newDir
	}
	fs.changed(n)
	fs.touch(from)
	fs.touch(to)
	if over != nil {
		if over.attr.Mode.IsDir() {
			to.attr.Nlink--
		}
		fs.drop(over)
	}
	return nil
}

// below reports whether dir is top, or lies somewhere below it.
func (fs *FS) below(dir, top *node) bool {
	for dir.attr.Ino != top.attr.Ino {
		if dir.attr.Ino == rootIno {
			return false
		}
		dir = fs.nodes[dir.parent]
	}
	return true
}

// exchange swaps two files, which are not the same.
func (fs *FS) exchange(from *node, oldName string, n *node, to *node, newName string, over *node) error {
	if over.attr.Mode.IsDir() && fs.below(from, over) {
		return syscall.EINVAL
	}
	for _, err := range []error{mayGo(from, n), mayGo(to, over)} {
		if err != nil {
			return err
		}
	}
	nDir, overDir := n.attr.Mode.IsDir(), over.attr.Mode.IsDir()
	if from != to && (nDir && !overDir && to.attr.Nlink >= fs.opt.LinkMax ||
		overDir && !nDir && from.attr.Nlink >= fs.opt.LinkMax) {
		return syscall.EMLINK
	}
	n, over = fs.edit(n), fs.edit(over)
	from = fs.edit(from)
	to = fs.edit(to)
	from.names.set(oldName, over)
	to.names.set(newName, n)
	if nDir {
		n.parent = to.attr.Ino
		from.attr.Nlink--
		to.attr.Nlink++
	}
	if overDir {
		over.parent = from.attr.Ino
		to.attr.Nlink--
		from.attr.Nlink++
	}
	fs.changed(n)
	fs.changed(over)
	fs.touch(from)
	fs.touch(to)
	return nil
}
