package populate

import (
	"context"
	"errors"
	"io"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// What makes no sense within a file system.
var (
	errIntoItself = errors.New("cannot be copied into itself")
	errSameFile   = errors.New("is the same file")
)

// CopyTree is [Copy] from a file system of an image. The file at src is copied
// as it is, a symbolic link as a link, unless a slash follows. Creation times
// and file flags are preserved, too; options.Flags, MaxTime and AllXattrs are
// about the host and have no meaning here.
func CopyTree(ctx context.Context, fsys vfs.WritableFS, tree *vfs.Tree, src string, dir vfs.Ino, name string, opt Options) (Result, error) {
	c := newCopier(fsys, &opt)
	attr, err := tree.ResolveLink(ctx, src)
	if err != nil {
		return c.done, err
	}
	t := &treeCopier{copier: c, src: tree, above: map[vfs.Ino]bool{}}
	if err := t.add(ctx, attr, c.start(src, dir, name)); err != nil {
		return c.done, err
	}
	err = c.finishFlags(ctx)
	return c.done, err
}

type treeCopier struct {
	*copier
	src   *vfs.Tree
	above map[vfs.Ino]bool // directories that are being copied
}

// add copies a file, and what is below it.
func (t *treeCopier) add(ctx context.Context, attr vfs.Attr, at place) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := t.make(ctx, attr, at)
	var told *toldError
	if err == nil || errors.As(err, &told) {
		return err
	}
	return t.problem(ctx, at, err)
}

// same reports whether it is a copy within a file system.
func (t *treeCopier) same() bool { return t.src.FS() == vfs.FS(t.fs) }

func (t *treeCopier) make(ctx context.Context, attr vfs.Attr, at place) error {
	node := vfs.NewNode{Mode: attr.Mode, UID: attr.UID, GID: attr.GID, Rdev: attr.Rdev, Mtime: attr.Mtime}
	if t.opt.Owner != nil {
		node.UID, node.GID = t.opt.Owner(node.UID, node.GID)
	}
	t.plain(&node)
	if attr.Mode.IsSymlink() {
		var err error
		if node.Target, err = t.src.FS().Readlink(ctx, attr.Ino); err != nil {
			return err
		}
	}
	if attr.Mode.IsDir() {
		return t.directory(ctx, attr, node, at)
	}
	if t.same() && at.name != "." {
		if there, err := t.fs.Lookup(ctx, at.dir, at.name); err == nil && there.Ino == attr.Ino {
			return errSameFile
		}
	}
	m := Made{Node: node}
	if attr.Mode.IsRegular() {
		m.Size = attr.Size
	}
	return t.once(ctx, at, hostFile{ino: uint64(attr.Ino)}, uint64(attr.Nlink), m, &treeItem{t, attr, node})
}

// A treeItem is a file of a tree that is copied.
type treeItem struct {
	t    *treeCopier
	attr vfs.Attr
	node vfs.NewNode
}

func (it *treeItem) whole() ([]byte, error) { return nil, nil }

func (it *treeItem) fill(ctx context.Context, ino vfs.Ino, _ bool) error {
	if it.attr.Mode.IsRegular() {
		if err := it.t.contents(ctx, it.attr, ino); err != nil {
			return err
		}
	}
	return it.t.finish(ctx, it.attr, it.node, ino)
}

// finish gives a file that is complete what its original has.
func (t *treeCopier) finish(ctx context.Context, attr vfs.Attr, node vfs.NewNode, ino vfs.Ino) error {
	if t.opt.Plain {
		return nil
	}
	if x, ok := t.src.FS().(vfs.Xattrer); ok {
		all, err := x.Xattrs(ctx, attr.Ino)
		if err != nil {
			return err
		}
		names := make([]string, 0, len(all))
		for name := range all {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if err := t.setXattr(ctx, ino, name, all[name]); err != nil {
				return err
			}
		}
	}
	set := vfs.SetAttr{UID: &node.UID, GID: &node.GID}
	if !attr.Mode.IsSymlink() {
		set.Mode = &node.Mode
	}
	if !attr.Mtime.IsZero() {
		set.Mtime, set.Atime = &attr.Mtime, &attr.Mtime
	}
	if !attr.Atime.IsZero() {
		set.Atime = &attr.Atime
	}
	if !attr.Btime.IsZero() {
		set.Btime = &attr.Btime
	}
	if attr.Flags != 0 {
		set.Flags = &attr.Flags
	}
	names := uint64(attr.Nlink)
	if attr.Mode.IsDir() {
		names = 1
	}
	return t.setattr(ctx, ino, set, names)
}

func (t *treeCopier) directory(ctx context.Context, attr vfs.Attr, node vfs.NewNode, at place) error {
	if t.same() && (attr.Ino == t.first || attr.Ino == at.dir) || t.above[attr.Ino] {
		return errIntoItself
	}
	t.above[attr.Ino] = true
	defer delete(t.above, attr.Ino)
	list, err := t.src.List(ctx, attr.Ino)
	if err != nil {
		return err
	}
	ino, _, err := t.enter(ctx, &at, node)
	if err == nil && t.same() && ino == attr.Ino {
		err = errSameFile
	}
	if err != nil {
		return err
	}
	// Files first: those of a directory are to lie next to each other.
	for _, dirs := range []bool{false, true} {
		for _, e := range list {
			child, err := t.src.FS().Getattr(ctx, e.Ino)
			if err == nil && child.Mode.IsDir() != dirs {
				continue
			}
			to := at.in(ino, e.Name)
			switch {
			case err == nil:
				err = t.add(ctx, child, to)
			case dirs:
				continue // it was told of before
			default:
				err = t.problem(ctx, to, err)
			}
			if err != nil {
				return err
			}
		}
	}
	return t.finish(ctx, attr, node, ino)
}

// contents copies what is in a file, but for its holes.
func (t *treeCopier) contents(ctx context.Context, attr vfs.Attr, ino vfs.Ino) error {
	if attr.Size == 0 {
		return nil
	}
	holes, _ := t.src.FS().(vfs.HoleSeeker)
	end := int64(0)
	for off := int64(0); off < attr.Size; {
		data, hole := off, attr.Size
		if holes != nil {
			var err error
			data, err = holes.SeekData(ctx, attr.Ino, off)
			if errors.Is(err, syscall.ENXIO) {
				break
			}
			if err == nil {
				hole, err = holes.SeekHole(ctx, attr.Ino, data)
			}
			if err != nil {
				return err
			}
			hole = min(hole, attr.Size)
			if data < off || hole <= data {
				return vfs.Corruptf(-1, "file map", "no progress at file offset %d", off)
			}
		}
		if err := t.span(ctx, attr.Ino, ino, data, hole); err != nil {
			return err
		}
		off, end = hole, hole
	}
	if end == attr.Size {
		return nil
	}
	_, err := t.fs.Setattr(ctx, ino, vfs.SetAttr{Size: &attr.Size}) // it ends with a hole
	return err
}

// span copies the bytes from off to end.
func (t *treeCopier) span(ctx context.Context, from, to vfs.Ino, off, end int64) error {
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := t.buffer()[:min(end, off-off%bufferSize+bufferSize)-off]
		n, err := t.src.FS().ReadAt(ctx, from, p, off)
		switch {
		case n == len(p):
		case err == nil, err == io.EOF:
			return errShrunk
		default:
			return err
		}
		if err := t.write(ctx, to, p, off); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}
