package ext4

import (
	"context"
	"errors"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// smallDir is the largest directory that is searched from start to end, in
// bytes; larger ones without a hash tree get an index in memory.
const smallDir = 8 << 10

// Lookup finds name in dir.
func (fs *FS) Lookup(ctx context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	var in inode
	if err := fs.dir(dir, &in); err != nil {
		return vfs.Attr{}, err
	}
	if len(name) > ondisk.NameMax {
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	if name == "." {
		return fs.attr(&in), nil
	}
	ino, err := fs.find(ctx, &in, name)
	if err != nil {
		return vfs.Attr{}, err
	}
	var target inode
	if err := fs.readInode(vfs.Ino(ino), &target); err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return vfs.Attr{}, vfs.Corruptf(in.off, in.dirName(), "%q is inode %d, which is not in use", name, ino)
		}
		return vfs.Attr{}, err
	}
	return fs.attr(&target), nil
}

// find returns the inode number of name in a directory, or ENOENT.
func (fs *FS) find(ctx context.Context, in *inode, name string) (uint32, error) {
	if d := fs.fast.dir(in.num); d != nil {
		ino, ok := d.names[name]
		if ok && ino != 0 {
			return ino, nil
		}
		if ok || d.fresh {
			return 0, syscall.ENOENT
		}
	}
	if name == ".." {
		if in.has(ondisk.FlInlineData) {
			return inlineParent(in), nil
		}
		return fs.findLinear(ctx, in, name) // in the first block
	}
	// The hash of a casefolded name depends on tables of Unicode.
	if fs.indexed(in) && !in.has(ondisk.FlCasefold) {
		ino, usable, err := fs.findHashed(ctx, in, name)
		if usable || err != nil {
			return ino, err
		}
	}
	if in.size > smallDir {
		e, usable, err := fs.findNamed(ctx, in, name)
		if usable || err != nil {
			return e.ino, err
		}
	}
	return fs.findLinear(ctx, in, name)
}

// findLinear searches a directory from the start.
func (fs *FS) findLinear(ctx context.Context, in *inode, name string) (ino uint32, err error) {
	if in.has(ondisk.FlInlineData) {
		err = fs.scanInline(in, 0, func(e *entry) bool {
			if string(e.name) == name {
				ino = e.ino
			}
			return ino == 0
		})
	} else {
		var s dirSlot
		s, err = fs.search(ctx, in, name)
		ino = s.ino
	}
	if err == nil && ino == 0 {
		err = syscall.ENOENT
	}
	return ino, err
}

// search finds a name in the blocks of a directory, from the first to the last.
func (fs *FS) search(ctx context.Context, in *inode, name string) (dirSlot, error) {
	m := fs.mapper(in)
	for lblk := uint64(0); lblk*uint64(fs.blockSize) < uint64(in.size); lblk++ {
		if err := ctx.Err(); err != nil {
			return dirSlot{}, err
		}
		b, off, err := fs.dirBlock(&m, lblk)
		if err != nil {
			return dirSlot{}, err
		}
		// A checksum, and an index, lie in an entry without a name.
		a := dirArea{fs: fs, in: in, b: b, off: off}
		if at, ino, err := a.find(name); err != nil || at >= 0 {
			return dirSlot{lblk, at, ino}, err
		}
	}
	return dirSlot{}, nil
}
