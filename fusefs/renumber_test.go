package fusefs_test

import (
	"context"
	"iter"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// renumbered gives the files of a memfs other inode numbers: the first file
// gets 1, the second one that is too large.
type renumbered struct{ *memfs.FS }

const huge vfs.Ino = 1 << 48

func (renumbered) out(ino vfs.Ino) vfs.Ino {
	switch ino {
	case 3:
		return 1
	case 4:
		return huge + 4
	}
	return ino
}

func (renumbered) in(ino vfs.Ino) vfs.Ino {
	switch ino {
	case 1:
		return 3
	case huge + 4:
		return 4
	}
	return ino
}

func (r renumbered) Getattr(ctx context.Context, ino vfs.Ino) (vfs.Attr, error) {
	attr, err := r.FS.Getattr(ctx, r.in(ino))
	attr.Ino = ino
	return attr, err
}

func (r renumbered) Lookup(ctx context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	attr, err := r.FS.Lookup(ctx, r.in(dir), name)
	attr.Ino = r.out(attr.Ino)
	return attr, err
}

func (r renumbered) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		for e, err := range r.FS.ReadDir(ctx, r.in(dir), cookie) {
			e.Ino = r.out(e.Ino)
			if !yield(e, err) {
				return
			}
		}
	}
}

func (r renumbered) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	return r.FS.ReadAt(ctx, r.in(ino), p, off)
}
