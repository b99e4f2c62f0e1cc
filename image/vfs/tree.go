package vfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// A Tree finds files by path. Symbolic links are followed inside the volume
// and never outside: an absolute target starts at the root of the volume, and
// ".." stops there, as for a process in a chroot.
//
// If the file system is a [WritableFS], a Tree changes files by path, too:
// [Tree.WriteFile], [Tree.MkdirAll], [Tree.RemoveAll] and so on.
//
// A Tree is also an io/fs file system ([fs.StatFS], [fs.ReadDirFS],
// [fs.ReadFileFS], [fs.ReadLinkFS]); the Sys method of its [fs.FileInfo] gives
// the *Attr. Paths of the methods that take a context may be absolute or
// relative to the root; paths of the io/fs methods follow [fs.ValidPath].
type Tree struct {
	fs FS
}

// Limits of path resolution, as on Linux.
const (
	maxSymlinks = 40    // ELOOP beyond
	maxPath     = 65536 // bytes of path still to resolve; ENAMETOOLONG beyond
	maxDepth    = 4096  // directories below each other in a walk
)

// NewTree returns the tree of paths of fsys.
func NewTree(fsys FS) *Tree { return &Tree{fs: fsys} }

// FS is the file system below.
func (t *Tree) FS() FS { return t.fs }

// Resolve returns the attributes of the file at path, following every symbolic
// link. Errors are *fs.PathError.
func (t *Tree) Resolve(ctx context.Context, path string) (Attr, error) {
	_, attr, err := t.resolve(ctx, "stat", path, true)
	return attr, err
}

// ResolveLink is [Tree.Resolve] without following a symbolic link in the last
// place, like lstat(2).
func (t *Tree) ResolveLink(ctx context.Context, path string) (Attr, error) {
	_, attr, err := t.resolve(ctx, "lstat", path, false)
	return attr, err
}

// RealPath returns the absolute path of the file at path, free of symbolic
// links, "." and "..", and its attributes.
func (t *Tree) RealPath(ctx context.Context, path string) (string, Attr, error) {
	return t.resolve(ctx, "realpath", path, true)
}

// place is a directory or file on the way from the root to where a resolution
// has got.
type place struct {
	name string
	attr Attr
}

func (t *Tree) resolve(ctx context.Context, op, path string, follow bool) (string, Attr, error) {
	fail := func(err error) (string, Attr, error) {
		return "", Attr{}, &fs.PathError{Op: op, Path: path, Err: err}
	}
	root, err := t.fs.Getattr(ctx, t.fs.Root())
	if err != nil {
		return fail(err)
	}
	here := []place{{"", root}}
	rest := path
	links := 0
	// A trailing slash says that the path must be a directory.
	needDir := strings.HasSuffix(path, "/")
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if len(here) > 1 {
				here = here[:len(here)-1]
			}
			continue
		}
		dir := here[len(here)-1].attr
		if !dir.Mode.IsDir() {
			return fail(syscall.ENOTDIR)
		}
		attr, err := t.fs.Lookup(ctx, dir.Ino, name)
		if err != nil {
			return fail(err)
		}
		last := strings.Trim(rest, "/") == ""
		if attr.Mode.IsSymlink() && (!last || follow || needDir) {
			if links++; links > maxSymlinks {
				return fail(syscall.ELOOP)
			}
			target, err := t.fs.Readlink(ctx, attr.Ino)
			if err != nil {
				return fail(err)
			}
			if target == "" {
				return fail(syscall.ENOENT)
			}
			if strings.HasPrefix(target, "/") {
				here = here[:1]
			}
			if rest = target + "/" + rest; last {
				rest = target
			}
			if len(rest) > maxPath {
				return fail(syscall.ENAMETOOLONG)
			}
			continue
		}
		if len(here) >= maxDepth {
			return fail(syscall.ENAMETOOLONG)
		}
		here = append(here, place{name, attr})
	}
	end := here[len(here)-1].attr
	if needDir && !end.Mode.IsDir() {
		return fail(syscall.ENOTDIR)
	}
	var real strings.Builder
	for _, p := range here[1:] {
		real.WriteString("/" + p.name)
	}
	if real.Len() == 0 {
		real.WriteString("/")
	}
	return real.String(), end, nil
}

// List returns all entries of the directory dir, sorted by name.
func (t *Tree) List(ctx context.Context, dir Ino) ([]DirEntry, error) {
	var list []DirEntry
	for e, err := range t.fs.ReadDir(ctx, dir, 0) {
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

// A WalkFunc is called by [Tree.Walk] for every file. A non-nil err says that
// the file's attributes or, called a second time for a directory, its entries
// could not be read. Returning nil goes on; [fs.SkipDir] skips a directory (or
// the rest of the one the file is in), [fs.SkipAll] ends the walk; any other
// error ends it and is returned.
type WalkFunc func(path string, attr Attr, err error) error

// Walk calls fn for the file at path and everything below it, parents first,
// names in byte order, symbolic links not followed. Paths given to fn are
// absolute. A directory that contains itself is reported to fn as a
// *CorruptError and not entered again.
func (t *Tree) Walk(ctx context.Context, path string, fn WalkFunc) error {
	real, attr, err := t.resolve(ctx, "walk", path, false)
	if err != nil {
		return err
	}
	w := walk{t: t, fn: fn, above: map[Ino]bool{}}
	err = w.visit(ctx, real, attr)
	if errors.Is(err, fs.SkipAll) || errors.Is(err, fs.SkipDir) {
		return nil
	}
	return err
}

type walk struct {
	t     *Tree
	fn    WalkFunc
	above map[Ino]bool // directories between the start and here
}

func (w *walk) visit(ctx context.Context, path string, attr Attr) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if attr.Mode.IsDir() && w.above[attr.Ino] {
		return skipHere(w.fn(path, attr, w.cycle(ctx, attr.Ino)))
	}
	if attr.Mode.IsDir() && len(w.above) >= maxDepth {
		return skipHere(w.fn(path, attr, syscall.ENAMETOOLONG))
	}
	if err := w.fn(path, attr, nil); err != nil {
		if attr.Mode.IsDir() {
			return skipHere(err)
		}
		return err
	}
	if !attr.Mode.IsDir() {
		return nil
	}
	w.above[attr.Ino] = true
	defer delete(w.above, attr.Ino)
	list, err := w.t.List(ctx, attr.Ino)
	if err != nil {
		// What could be read before the error is still walked.
		if err := w.fn(path, attr, err); err != nil {
			return skipHere(err)
		}
	}
	for _, e := range list {
		child := path + "/" + e.Name
		if path == "/" {
			child = "/" + e.Name
		}
		a, err := w.t.fs.Getattr(ctx, e.Ino)
		if err != nil {
			err = w.fn(child, Attr{Ino: e.Ino, Mode: e.Type}, err)
		} else {
			err = w.visit(ctx, child, a)
		}
		if errors.Is(err, fs.SkipDir) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cycle says which directory contains itself, and where it lies if the driver
// can tell.
func (w *walk) cycle(ctx context.Context, dir Ino) error {
	off := int64(-1)
	if m, ok := w.t.fs.(Mapper); ok {
		if at, _, err := m.Map(ctx, dir, 0); err == nil {
			off = at
		}
	}
	return Corruptf(off, "directory inode "+strconv.FormatUint(uint64(dir), 10), "contains itself (a cycle)")
}

// skipHere takes SkipDir for a directory as done.
func skipHere(err error) error {
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	return err
}

// Reader returns the contents of a regular file.
func (t *Tree) Reader(ctx context.Context, attr Attr) *io.SectionReader {
	return io.NewSectionReader(&contents{ctx, t.fs, attr.Ino}, 0, attr.Size)
}

type contents struct {
	ctx context.Context
	fs  FS
	ino Ino
}

func (c *contents) ReadAt(p []byte, off int64) (int, error) {
	return c.fs.ReadAt(c.ctx, c.ino, p, off)
}
