package vfs

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
)

// WriteFile makes r, to its end, the whole contents of the regular file at
// path. A file that is there keeps its attributes, and is found through
// symbolic links; one that is not is made as node says (its type does not
// matter). If that fails half way, a file that was there holds what has been
// written so far, and a new one is taken away again.
func (t *Tree) WriteFile(ctx context.Context, path string, r io.Reader, node NewNode) (Attr, error) {
	attr, err := t.writeFile(ctx, path, r, node)
	return attr, pathError("write", path, err)
}

func (t *Tree) writeFile(ctx context.Context, path string, r io.Reader, node NewNode) (Attr, error) {
	w, err := t.writable()
	if err != nil {
		return Attr{}, err
	}
	s, attr, err := t.follow(ctx, path)
	switch {
	case errors.Is(err, syscall.ENOENT) && s.name != "":
		return newFile(ctx, w, s, r, node)
	case err != nil:
		return Attr{}, err
	}
	if _, err := w.Setattr(ctx, attr.Ino, SetAttr{Size: new(int64)}); err != nil {
		return Attr{}, err
	}
	if err := fill(ctx, w, attr.Ino, r); err != nil {
		return Attr{}, err
	}
	return w.Getattr(ctx, attr.Ino)
}

// newFile makes a regular file and fills it.
func newFile(ctx context.Context, w WritableFS, s spot, r io.Reader, node NewNode) (attr Attr, err error) {
	if s.slash {
		return Attr{}, syscall.EISDIR
	}
	// Flags may forbid writing, and writing sets the time: both come last.
	set := SetAttr{}
	if node.Flags != 0 {
		set.Flags = &node.Flags
	}
	if !node.Mtime.IsZero() {
		set.Atime, set.Mtime = &node.Mtime, &node.Mtime
	}
	plain := node
	plain.Mode, plain.Flags = Regular|node.Mode.Perm(), 0
	if attr, err = w.Create(ctx, s.dir, s.name, plain); err != nil {
		return Attr{}, err
	}
	if err = fill(ctx, w, attr.Ino, r); err == nil {
		attr, err = w.Setattr(ctx, attr.Ino, set)
	}
	if err != nil {
		if gone := w.Unlink(ctx, s.dir, s.name); gone != nil {
			err = errors.Join(err, gone)
		}
		return Attr{}, err
	}
	return attr, nil
}

// units are the buffers of fill. Their size is a multiple of every block size.
var units = sync.Pool{New: func() any { return new([1 << 20]byte) }}

// fill writes what r has into an empty file.
func fill(ctx context.Context, w WritableFS, ino Ino, r io.Reader) error {
	unit := units.Get().(*[1 << 20]byte)
	defer units.Put(unit)
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, unit[:])
		if n > 0 {
			k, err := w.WriteAt(ctx, ino, unit[:n], off)
			if off += int64(k); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Writer writes to a regular file, from its start unless told otherwise.
func (t *Tree) Writer(ctx context.Context, attr Attr) *io.OffsetWriter {
	return io.NewOffsetWriter(&contents{ctx, t.fs, attr.Ino}, 0)
}

// WriteAt implements [io.WriterAt].
func (c *contents) WriteAt(p []byte, off int64) (int, error) {
	w, ok := c.fs.(WritableFS)
	if !ok {
		return 0, syscall.EROFS
	}
	return w.WriteAt(c.ctx, c.ino, p, off)
}
