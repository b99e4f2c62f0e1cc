package vfs

import (
	"context"
	"errors"
	"strconv"
	"syscall"
)

// RemoveAll removes the file at path and, if it is a directory, everything
// below it, symbolic links not followed. A path that is not there is no error.
// The first file that cannot be removed ends it; the error has its path.
func (t *Tree) RemoveAll(ctx context.Context, path string) error {
	w, err := t.writable()
	if err != nil {
		return pathError("remove", path, err)
	}
	s, err := t.spot(ctx, path)
	if err == nil {
		var attr Attr
		attr, err = w.Lookup(ctx, s.dir, s.name)
		switch {
		case err != nil:
		case s.name == "." || s.name == "..":
			err = syscall.EINVAL
		case s.slash && !attr.Mode.IsDir():
			err = syscall.ENOTDIR
		default:
			r := remover{w: w, above: map[Ino]bool{}}
			return r.remove(ctx, s.dir, s.name, attr.Ino, attr.Mode.Type(), s.path)
		}
	}
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return pathError("remove", path, err)
}

type remover struct {
	w     WritableFS
	above map[Ino]bool // directories between the start and here
}

// remove takes away one name, and what lies below it. If somebody else did so
// meanwhile, that is fine.
func (r *remover) remove(ctx context.Context, dir Ino, name string, ino Ino, typ Mode, path string) error {
	if err := ctx.Err(); err != nil {
		return pathError("remove", path, err)
	}
	if typ != Dir {
		return pathError("remove", path, unlessGone(r.w.Unlink(ctx, dir, name)))
	}
	for {
		some, err := r.empty(ctx, ino, path)
		if err != nil {
			return err
		}
		err = r.w.Rmdir(ctx, dir, name)
		if some && errors.Is(err, syscall.ENOTEMPTY) {
			continue // names were missed, or added, while it was listed
		}
		return pathError("remove", path, unlessGone(err))
	}
}

// batch is how many names are removed between two looks at a directory.
const batch = 512

// empty removes what is in a directory. some says that there was something.
func (r *remover) empty(ctx context.Context, dir Ino, path string) (some bool, err error) {
	if r.above[dir] {
		return false, pathError("remove", path, Corruptf(-1, "directory inode "+strconv.FormatUint(uint64(dir), 10), "contains itself (a cycle)"))
	}
	if len(r.above) >= maxDepth {
		return false, pathError("remove", path, syscall.ENAMETOOLONG)
	}
	r.above[dir] = true
	defer delete(r.above, dir)
	for cookie := uint64(0); ; {
		// Nothing is changed while a listing is under way.
		list := make([]DirEntry, 0, 16)
		for e, err := range r.w.ReadDir(ctx, dir, cookie) {
			if err != nil {
				return some, pathError("remove", path, unlessGone(err))
			}
			if list = append(list, e); len(list) == batch {
				break
			}
		}
		for _, e := range list {
			typ := e.Type
			if typ == 0 {
				attr, err := r.w.Getattr(ctx, e.Ino)
				if err != nil {
					return some, pathError("remove", path+"/"+e.Name, err)
				}
				typ = attr.Mode.Type()
			}
			if err := r.remove(ctx, dir, e.Name, e.Ino, typ, path+"/"+e.Name); err != nil {
				return some, err
			}
			some, cookie = true, e.Next
		}
		if len(list) < batch {
			return some, nil
		}
	}
}

// unlessGone takes a file that is gone for one that was removed.
func unlessGone(err error) error {
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}
