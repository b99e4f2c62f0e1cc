package fat

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// Link implements [vfs.WritableFS]: a file has one name.
func (w *Writer) Link(ctx context.Context, ino, dir vfs.Ino, name string) (vfs.Attr, error) {
	return vfs.Attr{}, w.do(ctx, func(o *op) error {
		or := w.orphans[ino]
		if or == nil && ino != rootIno {
			if _, err := o.open(ino); err != nil {
				return err
			}
		}
		if _, err := o.newName(dir, name); err != nil {
			return err
		}
		if or != nil && !or.isDir() {
			return syscall.ENOENT
		}
		return errNoLinks
	})
}

// Unlink implements [vfs.WritableFS]. As on Linux, files with the read-only
// attribute can be removed.
func (w *Writer) Unlink(ctx context.Context, dir vfs.Ino, name string) error {
	return w.do(ctx, func(o *op) error {
		d, err := o.openDir(dir)
		gone := err == syscall.ENOENT && w.orphans[dir] != nil
		switch {
		case err != nil && !gone:
			return err
		case name == "." || name == "..":
			return syscall.EISDIR
		case gone:
			return noName(name)
		}
		e, err := o.named(d, name)
		if err != nil {
			return err
		}
		in := o.f.fileOf(&e)
		if in.isDir() {
			return syscall.EISDIR
		}
		return o.remove(d, &e, in)
	})
}

// Rmdir implements [vfs.WritableFS].
func (w *Writer) Rmdir(ctx context.Context, dir vfs.Ino, name string) error {
	return w.do(ctx, func(o *op) error {
		d, err := o.openDir(dir)
		gone := err == syscall.ENOENT && w.orphans[dir] != nil
		switch {
		case err != nil && !gone:
			return err
		case name == ".":
			return syscall.EINVAL
		case name == "..":
			return syscall.ENOTEMPTY
		case gone:
			return noName(name)
		}
		e, err := o.named(d, name)
		if err != nil {
			return err
		}
		in := o.f.fileOf(&e)
		if !in.isDir() {
			return syscall.ENOTDIR
		}
		if err := o.mustBeEmpty(in.ino); err != nil {
			return err
		}
		return o.remove(d, &e, in)
	})
}

// remove takes away a name, and the file with it.
func (o *op) remove(d *dir, e *entry, in file) error {
	if err := o.removeName(d, e); err != nil {
		return err
	}
	if err := o.kill(d, in); err != nil {
		return err
	}
	return o.touchDir(d)
}

// kill frees a file whose name was taken away.
func (o *op) kill(parent *dir, in file) error {
	if err := o.w.checkStart(in.off, &in.dirent); err != nil {
		return err
	}
	dead := deadFile{file: in}
	if first := o.f.firstCluster(&in.dirent); first != 0 {
		runs, err := o.runs(o.ctx, first, 0)
		if err != nil {
			return err
		}
		if err := o.release(runs, in.isDir()); err != nil {
			return err
		}
		dead.runs = runs
	}
	if in.isDir() {
		o.count(parent, -1)
	}
	o.dead = append(o.dead, dead)
	return nil
}

// mustBeEmpty says whether there is something in a directory.
func (o *op) mustBeEmpty(ino vfs.Ino) error {
	d, err := o.openDir(ino)
	if err != nil {
		return err
	}
	empty := true
	err = o.f.scan(o.ctx, d, 0, func(*entry) bool {
		empty = false
		return false
	})
	if err == nil && !empty {
		err = syscall.ENOTEMPTY
	}
	return err
}
