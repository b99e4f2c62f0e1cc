package vfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// The methods below change files by path. Paths are resolved as [Tree.Resolve]
// does it, inside the volume. Errors are *fs.PathError, or *os.LinkError where
// there are two paths, and EROFS if the file system is no [WritableFS].

// writable returns the file system below for changing.
func (t *Tree) writable() (WritableFS, error) {
	if w, ok := t.fs.(WritableFS); ok {
		return w, nil
	}
	return nil, syscall.EROFS
}

// A spot is a name in a directory, which may be taken or not.
type spot struct {
	path  string // absolute; symbolic links above the name are resolved
	dir   Ino
	name  string
	slash bool // the path ended in a slash: it must be a directory
}

// spot finds the directory in which path is or would be. The root is the name
// "." in itself, and gets the errors that "." gets.
func (t *Tree) spot(ctx context.Context, path string) (spot, error) {
	trimmed := strings.TrimRight(path, "/")
	s := spot{slash: trimmed != path}
	above := ""
	if i := strings.LastIndexByte(trimmed, '/'); i >= 0 {
		above, s.name = trimmed[:i], trimmed[i+1:]
	} else {
		s.name = trimmed
	}
	if s.name == "" {
		s.name = "."
	}
	real, attr, err := t.resolve(ctx, "", above+"/", true)
	if err != nil {
		return spot{}, leaf(err)
	}
	if s.dir, s.path = attr.Ino, real+"/"+s.name; real == "/" {
		s.path = "/" + s.name
	}
	return s, nil
}

// follow finds the spot of path and what is there, following symbolic links
// there as well, also those that lead to nothing yet: the error is ENOENT then.
func (t *Tree) follow(ctx context.Context, path string) (spot, Attr, error) {
	for range maxSymlinks + 1 {
		s, err := t.spot(ctx, path)
		if err != nil {
			return spot{}, Attr{}, err
		}
		attr, err := t.fs.Lookup(ctx, s.dir, s.name)
		if err != nil || !attr.Mode.IsSymlink() {
			if err == nil && s.slash && !attr.Mode.IsDir() {
				err = syscall.ENOTDIR
			}
			return s, attr, err
		}
		target, err := t.fs.Readlink(ctx, attr.Ino)
		if err != nil {
			return spot{}, Attr{}, err
		}
		slash := s.slash
		if path = target; !strings.HasPrefix(target, "/") {
			path = strings.TrimSuffix(s.path, s.name) + target
		}
		if slash {
			path += "/"
		}
	}
	return spot{}, Attr{}, syscall.ELOOP
}

// leaf takes the path off an error.
func leaf(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: leaf(err)}
}

func linkError(op, old, new string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: old, New: new, Err: leaf(err)}
}

// Create makes a file of any type at path, which must not be there: not even
// as a symbolic link (EEXIST).
func (t *Tree) Create(ctx context.Context, path string, node NewNode) (Attr, error) {
	attr, err := t.create(ctx, path, node)
	return attr, pathError("create", path, err)
}

func (t *Tree) create(ctx context.Context, path string, node NewNode) (Attr, error) {
	w, err := t.writable()
	if err != nil {
		return Attr{}, err
	}
	s, err := t.spot(ctx, path)
	if err != nil {
		return Attr{}, err
	}
	if s.slash && !node.Mode.IsDir() && s.name != "." {
		return Attr{}, syscall.EISDIR
	}
	return w.Create(ctx, s.dir, s.name, node)
}

// Mkdir makes a directory.
func (t *Tree) Mkdir(ctx context.Context, path string, perm Mode) error {
	_, err := t.create(ctx, path, NewNode{Mode: Dir | perm.Perm()})
	return pathError("mkdir", path, err)
}

// MkdirAll makes the directory at path and those above it that are missing,
// all of them as node says (its type does not matter). What is there already
// is left alone; symbolic links to directories will do.
func (t *Tree) MkdirAll(ctx context.Context, path string, node NewNode) error {
	w, err := t.writable()
	if err != nil {
		return pathError("mkdir", path, err)
	}
	node.Mode = Dir | node.Mode.Perm()
	// Each directory on the way, the first one first.
	for end := 0; end < len(path); {
		for end++; end < len(path) && path[end] != '/'; end++ {
		}
		s, attr, err := t.follow(ctx, path[:end])
		if errors.Is(err, syscall.ENOENT) && s.name != "" {
			attr, err = w.Create(ctx, s.dir, s.name, node)
		}
		if err == nil && !attr.Mode.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			return pathError("mkdir", path[:end], err)
		}
	}
	return nil
}

// Symlink makes a symbolic link to target, which is stored as it is.
func (t *Tree) Symlink(ctx context.Context, target, path string) error {
	_, err := t.create(ctx, path, NewNode{Mode: Symlink | 0o777, Target: target})
	return linkError("symlink", target, path, err)
}

// Link gives the file at old, a symbolic link itself if it is one, another
// name.
func (t *Tree) Link(ctx context.Context, old, new string) error {
	return linkError("link", old, new, t.link(ctx, old, new))
}

func (t *Tree) link(ctx context.Context, old, new string) error {
	w, err := t.writable()
	if err != nil {
		return err
	}
	attr, err := t.ResolveLink(ctx, old)
	if err != nil {
		return err
	}
	s, err := t.spot(ctx, new)
	if err != nil {
		return err
	}
	if s.slash && s.name != "." {
		return syscall.ENOENT // no directory can be made by linking
	}
	_, err = w.Link(ctx, attr.Ino, s.dir, s.name)
	return err
}

// Rename moves old to new by the rules of rename(2).
func (t *Tree) Rename(ctx context.Context, old, new string, flags RenameFlags) error {
	return linkError("rename", old, new, t.rename(ctx, old, new, flags))
}

func (t *Tree) rename(ctx context.Context, old, new string, flags RenameFlags) error {
	w, err := t.writable()
	if err != nil {
		return err
	}
	from, err := t.spot(ctx, old)
	if err != nil {
		return err
	}
	to, err := t.spot(ctx, new)
	if err != nil {
		return err
	}
	if from.slash || to.slash {
		attr, err := w.Lookup(ctx, from.dir, from.name)
		if err != nil {
			return err
		}
		if !attr.Mode.IsDir() {
			return syscall.ENOTDIR
		}
	}
	return w.Rename(ctx, from.dir, from.name, to.dir, to.name, flags)
}

// Remove removes a name, or an empty directory.
func (t *Tree) Remove(ctx context.Context, path string) error {
	return pathError("remove", path, t.remove(ctx, path))
}

func (t *Tree) remove(ctx context.Context, path string) error {
	w, err := t.writable()
	if err != nil {
		return err
	}
	s, err := t.spot(ctx, path)
	if err != nil {
		return err
	}
	attr, err := w.Lookup(ctx, s.dir, s.name)
	switch {
	case err != nil:
		return err
	case attr.Mode.IsDir():
		return w.Rmdir(ctx, s.dir, s.name)
	case s.slash:
		return syscall.ENOTDIR
	}
	return w.Unlink(ctx, s.dir, s.name)
}
