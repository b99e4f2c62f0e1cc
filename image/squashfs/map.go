package squashfs

import (
	"context"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Map implements [vfs.Mapper]: what is stored as it is can be found on the
// device.
func (f *FS) Map(ctx context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	var in inode
	if err := f.file(ino, off, &in); err != nil {
		return 0, 0, err
	}
	if off >= int64(in.Size) {
		return 0, 0, io.EOF
	}
	first, blocks := off/int64(f.sb.BlockSize), f.blockCount(&in)
	if first >= blocks {
		return f.mapTail(&in, off-blocks*int64(f.sb.BlockSize))
	}
	l, err := f.list(ctx, &in, first)
	if err != nil {
		return 0, 0, err
	}
	w, err := l.read()
	if err != nil {
		return 0, 0, err
	}
	from := off - first*int64(f.sb.BlockSize)
	devOff, n = -1, f.length(&in, first)-from
	if w.word.Raw() {
		if err := f.checkRaw(&in, w); err != nil {
			return 0, 0, err
		}
		devOff = w.off + from
	}
	// The blocks that follow in the file follow on the device.
	for i := first + 1; i < blocks && i < first+maxMapped; i++ {
		next, err := l.read()
		if err != nil || next.word.Raw() != w.word.Raw() || next.word.Raw() && f.checkRaw(&in, next) != nil {
			break
		}
		n += f.length(&in, i)
	}
	return devOff, n, nil
}

// maxMapped bounds how many blocks Map looks at.
const maxMapped = 1024

func (f *FS) mapTail(in *inode, from int64) (devOff, n int64, err error) {
	t, err := f.tail(in)
	if err != nil {
		return 0, 0, err
	}
	n = t.size - from
	if !t.Word.Raw() {
		return -1, n, nil
	}
	if err := t.inTail(in, t.Word.Size()); err != nil {
		return 0, 0, err
	}
	return int64(t.Start) + t.from + from, n, nil
}

// SeekData implements [vfs.HoleSeeker]. Holes are whole blocks.
func (f *FS) SeekData(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.seekBlock(ctx, ino, off, func(w ondisk.BlockWord) bool { return w != 0 })
}

// SeekHole implements [vfs.HoleSeeker].
func (f *FS) SeekHole(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return f.seekBlock(ctx, ino, off, func(w ondisk.BlockWord) bool { return w == 0 })
}

// seekBlock finds the next byte at or behind off in a block for which is is
// true. The end in a fragment is data, and behind the end is a hole.
func (f *FS) seekBlock(ctx context.Context, ino vfs.Ino, off int64, is func(ondisk.BlockWord) bool) (int64, error) {
	var in inode
	if err := f.file(ino, off, &in); err != nil {
		return 0, err
	}
	size := int64(in.Size)
	if off >= size {
		return 0, syscall.ENXIO
	}
	blockSize, blocks := int64(f.sb.BlockSize), f.blockCount(&in)
	if first := off / blockSize; first < blocks {
		l, err := f.list(ctx, &in, first)
		if err != nil {
			return 0, err
		}
		for i := first; i < blocks; i++ {
			if i%spotEvery == 0 && ctx.Err() != nil {
				return 0, ctx.Err()
			}
			w, err := l.read()
			if err != nil {
				return 0, err
			}
			if is(w.word) {
				return max(off, i*blockSize), nil
			}
		}
	}
	if tail := blocks * blockSize; tail < size && is(1) {
		return max(off, tail), nil
	}
	if is(0) {
		return size, nil
	}
	return 0, syscall.ENXIO
}
