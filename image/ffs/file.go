package ffs

import (
	"context"
	"fmt"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// open reads the inode of a file whose contents are wanted.
func (f *FS) open(ino vfs.Ino, in *inode) error {
	if err := f.read(ino, in); err != nil {
		return err
	}
	switch in.mode().Type() {
	case vfs.Regular:
		return nil
	case vfs.Dir:
		return syscall.EISDIR
	}
	return syscall.EINVAL
}

// ReadAt implements [vfs.FS]. Adjacent blocks are read with one call, straight
// from the device.
func (f *FS) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	var in inode
	if err := f.open(ino, &in); err != nil {
		return 0, err
	}
	return f.readAt(ctx, &in, p, off)
}

func (f *FS) readAt(ctx context.Context, in *inode, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if off >= in.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > in.size-off {
		p, eof = p[:in.size-off], io.EOF
	}
	done := 0
	for done < len(p) {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		at, n, err := f.extent(in, off+int64(done), int64(len(p)-done))
		if err != nil {
			return done, err
		}
		q := p[done:]
		q = q[:min(int64(len(q)), n)]
		if at == hole {
			clear(q)
		} else if m, err := f.dev.ReadAt(q, at); m < len(q) {
			if err == io.EOF { // of the device, not of the file
				err = io.ErrUnexpectedEOF
			}
			return done + m, fmt.Errorf("read inode %d at byte %d: %w", in.num, at+int64(m), err)
		}
		done += len(q)
	}
	return done, eof
}

// Map implements [vfs.Mapper], for directories as well.
func (f *FS) Map(_ context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	var in inode
	if err := f.open(ino, &in); err != nil && err != syscall.EISDIR {
		return 0, 0, err
	}
	if off < 0 {
		return 0, 0, syscall.EINVAL
	}
	if off >= in.size {
		return 0, 0, io.EOF
	}
	return f.extent(&in, off, in.size-off)
}

// SeekData implements [vfs.HoleSeeker].
func (f *FS) SeekData(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.seek(ctx, ino, off, false)
}

// SeekHole implements [vfs.HoleSeeker].
func (f *FS) SeekHole(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.seek(ctx, ino, off, true)
}

// seek looks for the first hole, or the first data, from off on.
func (f *FS) seek(ctx context.Context, ino vfs.Ino, off int64, wantHole bool) (int64, error) {
	var in inode
	if err := f.open(ino, &in); err != nil {
		return 0, err
	}
	return f.seekIn(ctx, &in, off, wantHole)
}

func (f *FS) seekIn(ctx context.Context, in *inode, off int64, wantHole bool) (int64, error) {
	if off < 0 || off >= in.size {
		return 0, syscall.ENXIO
	}
	// Indirect blocks that point at each other can make a file of a few blocks
	// look endless. An honest file has one step for every data block at most,
	// and for an indirect block as many as it takes to look at its pointers.
	for steps := 8*min(f.geo.frags, f.geo.devFrags) + 64; off < in.size; steps-- {
		if steps == 0 {
			return 0, in.corrupt("its block map has more pieces than the file system has fragments")
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		at, n, err := f.extent(in, off, in.size-off)
		if err != nil {
			return 0, err
		}
		if (at == hole) == wantHole {
			return off, nil
		}
		off += n
	}
	if wantHole {
		return in.size, nil // the implicit hole at the end
	}
	return 0, syscall.ENXIO
}
