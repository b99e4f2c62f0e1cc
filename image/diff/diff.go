// Package diff says in what two volumes differ: the files in them, the packages
// that are installed, and the blocks.
//
// Two trees are gone through side by side, directory by directory, so that
// trees of any size need no more memory than their largest directories. What is
// compared of a file is what [Change.Differs] can name; times only if that is
// asked for, as they differ between builds of the same.
package diff

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// A Side is one of two directories that are compared.
type Side struct {
	Tree *vfs.Tree
	Path string // of a directory, or of a file; free of symbolic links
}

// Options choose what is compared.
type Options struct {
	Mtime bool // also times of modification
	// Problem is told of what could not be read, by its path below the second
	// side if other, else below the first. What it returns ends the comparison,
	// unless it is nil.
	Problem func(other bool, path string, err error) error
}

// A Change is a file that is not the same on both sides.
type Change struct {
	Path    string    // below the sides: "/etc/fstab"; "" for what they name
	Old     *vfs.Attr // nil: it was added
	New     *vfs.Attr // nil: it was removed
	Differs []string  // of what is on both sides: see the constants
	// Targets of symbolic links, if there are any.
	OldTarget, NewTarget string
	Xattrs               []string // names of those that differ
}

// What can differ in a file.
const (
	Type    = "type"
	Content = "content"
	Size    = "size" // of a regular file
	Mode    = "mode"
	Owner   = "owner"
	Device  = "device"
	Flags   = "flags"
	Target  = "target"
	Mtime   = "mtime"
	Xattrs  = "xattrs"
)

// Trees calls report for every difference, in the order of paths: parents come
// before what is in them.
func Trees(ctx context.Context, a, b Side, opt Options, report func(Change) error) error {
	c := &comparison{ctx: ctx, a: a, b: b, opt: opt, report: report, bufs: [2][]byte{make([]byte, bufferSize), make([]byte, bufferSize)}}
	c.bare = isBare(a.Tree) || isBare(b.Tree)
	old, err := a.Tree.ResolveLink(ctx, a.Path)
	if err != nil {
		return err
	}
	now, err := b.Tree.ResolveLink(ctx, b.Path)
	if err != nil {
		return err
	}
	return c.both("", old, now, 0)
}

// isBare reports whether a format records no owners, permissions and attributes.
func isBare(t *vfs.Tree) bool { return strings.HasPrefix(t.FS().Info().Type, "FAT") }

const (
	bufferSize = 256 << 10
	// maxDepth ends a comparison of directories that contain themselves.
	maxDepth = 1024
)

type comparison struct {
	ctx    context.Context
	a, b   Side
	opt    Options
	report func(Change) error
	bare   bool // do not compare what one side has no place for
	bufs   [2][]byte
}

// problem tells of what could not be read.
func (c *comparison) problem(other bool, path string, err error) error {
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if c.opt.Problem == nil {
		return err
	}
	return c.opt.Problem(other, path, err)
}

// both compares a file that both sides have, and what is in it.
func (c *comparison) both(path string, old, now vfs.Attr, depth int) error {
	change := Change{Path: path, Old: &old, New: &now}
	if err := c.compare(&change); err != nil {
		return err
	}
	if len(change.Differs) > 0 {
		if err := c.report(change); err != nil {
			return err
		}
	}
	switch oldDir, newDir := old.Mode.IsDir(), now.Mode.IsDir(); {
	case oldDir && newDir:
		return c.directories(path, old.Ino, now.Ino, depth+1)
	case oldDir:
		return c.inside(false, path, old.Ino, depth+1)
	case newDir:
		return c.inside(true, path, now.Ino, depth+1)
	}
	return nil
}

// list lists a directory of one side; what cannot be read is told, and left out.
func (c *comparison) list(other bool, path string, dir vfs.Ino, depth int) ([]vfs.DirEntry, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, c.problem(other, path, vfs.Corruptf(-1, "directory", "is %d levels deep", depth))
	}
	list, err := c.side(other).Tree.List(c.ctx, dir)
	if err != nil {
		err = c.problem(other, path, err)
	}
	return list, err
}

func (c *comparison) side(other bool) *Side {
	if other {
		return &c.b
	}
	return &c.a
}

// directories compares what is in two directories.
func (c *comparison) directories(path string, a, b vfs.Ino, depth int) error {
	old, err := c.list(false, path, a, depth)
	if err != nil {
		return err
	}
	now, err := c.list(true, path, b, depth)
	if err != nil {
		return err
	}
	for len(old) > 0 || len(now) > 0 {
		switch order := compareNames(old, now); {
		case order < 0:
			err = c.alone(false, path+"/"+old[0].Name, old[0], depth)
			old = old[1:]
		case order > 0:
			err = c.alone(true, path+"/"+now[0].Name, now[0], depth)
			now = now[1:]
		default:
			err = c.pair(path+"/"+old[0].Name, old[0], now[0], depth)
			old, now = old[1:], now[1:]
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// compareNames says in which of two lists the next name is.
func compareNames(old, now []vfs.DirEntry) int {
	switch {
	case len(old) == 0:
		return 1
	case len(now) == 0:
		return -1
	}
	return strings.Compare(old[0].Name, now[0].Name)
}

// pair compares a name that both directories have.
func (c *comparison) pair(path string, old, now vfs.DirEntry, depth int) error {
	a, err := c.a.Tree.FS().Getattr(c.ctx, old.Ino)
	if err != nil {
		return c.problem(false, path, err)
	}
	b, err := c.b.Tree.FS().Getattr(c.ctx, now.Ino)
	if err != nil {
		return c.problem(true, path, err)
	}
	return c.both(path, a, b, depth)
}

// alone reports a name that only one side has, and all that is in it.
func (c *comparison) alone(other bool, path string, e vfs.DirEntry, depth int) error {
	side := c.side(other)
	attr, err := side.Tree.FS().Getattr(c.ctx, e.Ino)
	if err != nil {
		return c.problem(other, path, err)
	}
	target := ""
	if attr.Mode.IsSymlink() {
		if target, err = side.Tree.FS().Readlink(c.ctx, e.Ino); err != nil {
			if err := c.problem(other, path, err); err != nil {
				return err
			}
		}
	}
	change := Change{Path: path, Old: &attr, OldTarget: target}
	if other {
		change = Change{Path: path, New: &attr, NewTarget: target}
	}
	if err := c.report(change); err != nil || !attr.Mode.IsDir() {
		return err
	}
	return c.inside(other, path, e.Ino, depth+1)
}

// inside reports everything in a directory that only one side has.
func (c *comparison) inside(other bool, path string, dir vfs.Ino, depth int) error {
	list, err := c.list(other, path, dir, depth)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := c.alone(other, path+"/"+e.Name, e, depth); err != nil {
			return err
		}
	}
	return nil
}

// compare finds out in what a file differs.
func (c *comparison) compare(x *Change) error {
	old, now := x.Old, x.New
	differs := func(what string, is bool) {
		if is {
			x.Differs = append(x.Differs, what)
		}
	}
	if old.Mode.Type() != now.Mode.Type() {
		differs(Type, true)
		return nil
	}
	switch {
	case old.Mode.IsRegular() && old.Size != now.Size:
		x.Differs = append(x.Differs, Content, Size)
	case old.Mode.IsRegular():
		same, err := c.sameContents(x.Path, old, now)
		if err != nil {
			return err
		}
		differs(Content, !same)
	case old.Mode.IsSymlink():
		var err error
		if x.OldTarget, err = c.a.Tree.FS().Readlink(c.ctx, old.Ino); err != nil {
			return c.problem(false, x.Path, err)
		}
		if x.NewTarget, err = c.b.Tree.FS().Readlink(c.ctx, now.Ino); err != nil {
			return c.problem(true, x.Path, err)
		}
		differs(Target, x.OldTarget != x.NewTarget)
	case old.Mode.IsDevice():
		differs(Device, old.Rdev != now.Rdev)
	}
	differs(Mtime, c.opt.Mtime && !old.Mtime.Equal(now.Mtime))
	if c.bare {
		return nil
	}
	differs(Mode, old.Mode.Perm() != now.Mode.Perm() && !old.Mode.IsSymlink())
	differs(Owner, old.UID != now.UID || old.GID != now.GID)
	differs(Flags, old.Flags != now.Flags)
	err := c.compareXattrs(x)
	differs(Xattrs, len(x.Xattrs) > 0)
	return err
}

// sameContents compares two files of the same length. What cannot be read is
// taken as different, and told.
func (c *comparison) sameContents(path string, old, now *vfs.Attr) (bool, error) {
	for off := int64(0); off < old.Size; {
		if err := c.ctx.Err(); err != nil {
			return false, err
		}
		n := min(bufferSize, old.Size-off)
		for i, ino := range []vfs.Ino{old.Ino, now.Ino} {
			got, err := c.side(i == 1).Tree.FS().ReadAt(c.ctx, ino, c.bufs[i][:n], off)
			if int64(got) < n {
				if err == nil || err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return false, c.problem(i == 1, path, err)
			}
		}
		if !bytes.Equal(c.bufs[0][:n], c.bufs[1][:n]) {
			return false, nil
		}
		off = c.skipHoles(old.Ino, now.Ino, off+n)
	}
	return true, nil
}

// skipHoles returns where the next data is of either file.
func (c *comparison) skipHoles(a, b vfs.Ino, off int64) int64 {
	next := int64(1<<63 - 1)
	for i, ino := range []vfs.Ino{a, b} {
		h, ok := c.side(i == 1).Tree.FS().(vfs.HoleSeeker)
		if !ok {
			return off
		}
		at, err := h.SeekData(c.ctx, ino, off)
		switch {
		case errors.Is(err, syscall.ENXIO): // only a hole follows
		case err != nil:
			return off
		default:
			next = min(next, at)
		}
	}
	return max(next, off)
}

// compareXattrs compares extended attributes, where both sides have any.
func (c *comparison) compareXattrs(x *Change) error {
	a, okA := c.a.Tree.FS().(vfs.Xattrer)
	b, okB := c.b.Tree.FS().(vfs.Xattrer)
	if !okA || !okB {
		return nil
	}
	old, err := a.Xattrs(c.ctx, x.Old.Ino)
	if err != nil {
		return c.problem(false, x.Path, err)
	}
	now, err := b.Xattrs(c.ctx, x.New.Ino)
	if err != nil {
		return c.problem(true, x.Path, err)
	}
	for name, value := range old {
		if v, ok := now[name]; ok && bytes.Equal(v, value) {
			delete(old, name)
			delete(now, name)
		}
	}
	maps.Copy(old, now)
	x.Xattrs = slices.Sorted(maps.Keys(old))
	return nil
}
