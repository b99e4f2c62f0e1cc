package erofs

import (
	"context"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// file reads the inode of a regular file, or returns why it cannot be read.
func (f *FS) file(ino vfs.Ino, off int64, in *inode) error {
	if err := f.readInode(ino, in); err != nil {
		return err
	}
	switch {
	case in.mode().IsDir():
		return syscall.EISDIR
	case !in.mode().IsRegular(), off < 0:
		return syscall.EINVAL
	}
	return nil
}

// ReadAt implements [vfs.FS].
func (f *FS) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	var in inode
	if err := f.file(ino, off, &in); err != nil {
		return 0, err
	}
	size := int64(in.Size)
	if off >= size {
		return 0, io.EOF
	}
	n, err := f.read(ctx, &in, p[:min(int64(len(p)), size-off)], off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// read fills p from off, all of which lies in the file.
func (f *FS) read(ctx context.Context, in *inode, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		at, err := f.piece(ctx, in, off+int64(n))
		if err != nil {
			return n, err
		}
		part := p[n:]
		part = part[:min(int64(len(part)), at.n)]
		switch {
		case at.at == hole:
			clear(part)
		case at.tail:
			err = f.readRaw(in.name(), f.cache, part, at.at)
		default:
			err = f.readRaw(in.name(), f.dev, part, at.at)
		}
		if err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// Map implements [vfs.Mapper].
func (f *FS) Map(ctx context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	var in inode
	if err := f.file(ino, off, &in); err != nil {
		return 0, 0, err
	}
	if off >= int64(in.Size) {
		return 0, 0, io.EOF
	}
	if in.Layout.Compressed() {
		return hole, int64(in.Size) - off, nil
	}
	at, err := f.piece(ctx, &in, off)
	return at.at, at.n, err
}

// SeekData implements [vfs.HoleSeeker].
func (f *FS) SeekData(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.seek(ctx, ino, off, false)
}

// SeekHole implements [vfs.HoleSeeker].
func (f *FS) SeekHole(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.seek(ctx, ino, off, true)
}

// seek finds the next byte at or behind off that is in a hole, or not. Behind
// the end is a hole; a compressed file has no other.
func (f *FS) seek(ctx context.Context, ino vfs.Ino, off int64, wantHole bool) (int64, error) {
	var in inode
	if err := f.file(ino, off, &in); err != nil {
		return 0, err
	}
	size := int64(in.Size)
	if off >= size {
		return 0, syscall.ENXIO
	}
	for !in.Layout.Compressed() && off < size {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		at, err := f.piece(ctx, &in, off)
		if err != nil {
			return 0, err
		}
		if (at.at == hole) == wantHole {
			return off, nil
		}
		off += at.n
	}
	switch {
	case wantHole:
		return size, nil
	case in.Layout.Compressed():
		return off, nil
	}
	return 0, syscall.ENXIO
}
