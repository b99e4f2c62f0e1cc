package fusefs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// Unlink implements [fuse.RawFileSystem].
func (r *raw) Unlink(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return r.remove(header.NodeId, name, false)
}

// Rmdir implements [fuse.RawFileSystem].
func (r *raw) Rmdir(_ <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return r.remove(header.NodeId, name, true)
}

func (r *raw) remove(id uint64, name string, isDir bool) fuse.Status {
	v, dir, err := r.findWritable(id)
	if err != nil {
		return r.status(err)
	}
	w := v.w
	w.names.Lock()
	defer w.names.Unlock()
	victim, err := w.fs.Lookup(background, dir, name)
	if err == nil && v.grafted(victim.Ino) {
		err = syscall.EBUSY
	}
	if err != nil {
		return r.status(err)
	}
	err = w.remove(&victim, func() error {
		if isDir {
			return w.fs.Rmdir(background, dir, name)
		}
		return w.fs.Unlink(background, dir, name)
	})
	if err == nil {
		if isDir {
			w.changes.forget(victim.Ino)
		}
		w.changes.gone(dir, name)
		w.changed()
	}
	return r.status(err)
}

// Rename implements [fuse.RawFileSystem], with the flags of renameat2(2). There
// are no whiteouts to be left behind: EINVAL.
func (r *raw) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	v, oldDir, err := r.findWritable(in.NodeId)
	if err != nil {
		return r.status(err)
	}
	to, newDir, err := r.find(in.Newdir)
	switch {
	case err != nil:
		return r.status(err)
	case to != v:
		return fuse.EXDEV
	case in.Flags&^uint32(vfs.RenameNoReplace|vfs.RenameExchange) != 0:
		return fuse.EINVAL
	}
	w, flags := v.w, vfs.RenameFlags(in.Flags)
	err = w.roomy(func() error {
		w.names.Lock()
		defer w.names.Unlock()
		source, err := w.fs.Lookup(background, oldDir, oldName)
		if err != nil {
			return err
		}
		var victim *vfs.Attr
		over, err := w.fs.Lookup(background, newDir, newName)
		switch {
		case v.grafted(source.Ino) || err == nil && v.grafted(over.Ino):
			return syscall.EBUSY
		case err == nil && flags == 0 && over.Ino != source.Ino:
			victim = &over
		}
		err = w.remove(victim, func() error {
			return w.fs.Rename(background, oldDir, oldName, newDir, newName, flags)
		})
		if err == nil {
			if victim != nil && victim.Mode.IsDir() {
				w.changes.forget(victim.Ino)
			}
			w.changes.moved(oldDir, oldName, newDir, newName, victim != nil)
			w.changed()
		}
		return err
	})
	return r.status(err)
}

// grafted reports whether a volume is mounted over the directory ino, which
// then stays where it is.
func (v *volume) grafted(ino vfs.Ino) bool {
	_, ok := v.grafts[ino]
	return ok
}
