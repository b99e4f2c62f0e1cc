package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A structure is what errors call something. It is put into words only when
// there is an error.
type structure struct {
	what string
	num  uint64
	more string
}

func (s structure) String() string {
	if s.num == 0 {
		return s.what
	}
	return fmt.Sprintf("%s %d%s", s.what, s.num, s.more)
}

func (s structure) corrupt(off int64, format string, args ...any) error {
	return vfs.Corruptf(off, s.String(), format, args...)
}

// inside checks that n bytes at off lie in the file system.
func (f *FS) inside(s structure, off, n int64) error {
	if off < ondisk.SuperSize || off > f.size || n > f.size-off {
		return s.corrupt(off, "%d bytes do not lie in the file system, which has %d", n, f.size)
	}
	return nil
}

// decompress returns what the compressed bytes src, which lie at off, hold: at
// most limit bytes.
func (f *FS) decompress(s structure, off int64, src []byte, limit int) (_ []byte, err error) {
	// The libraries are not ours: what should break one of them is the block's
	// fault, not the end of the program.
	defer func() {
		if r := recover(); r != nil {
			err = s.corrupt(off, "decompress %s: %v", f.sb.Compression, r)
		}
	}()
	dst := make([]byte, limit)
	n, err := f.codec.decode(dst, src)
	if unsupported := (*vfs.NotSupportedError)(nil); errors.As(err, &unsupported) {
		return nil, &vfs.NotSupportedError{What: "squashfs with " + unsupported.What, Off: off}
	}
	if err != nil {
		return nil, s.corrupt(off, "decompress %d bytes of %s: %v", len(src), f.sb.Compression, err)
	}
	if n < limit/2 { // what is kept should not be mostly room
		return append(make([]byte, 0, n), dst[:n]...), nil
	}
	return dst[:n:n], nil
}

// dataBlock returns the contents of the compressed block of data or fragments
// that lies at off.
func (f *FS) dataBlock(ctx context.Context, s structure, off int64, word ondisk.BlockWord) ([]byte, error) {
	key := blockKey{off, word.Size()}
	return f.data.get(ctx, key, func() ([]byte, error) { return f.loadData(s, key) })
}

func (f *FS) loadData(s structure, key blockKey) ([]byte, error) {
	src, err := f.readBlock(s, key.off, key.size)
	if err != nil {
		return nil, err
	}
	return f.decompress(s, key.off, src, int(f.sb.BlockSize))
}

// readBlock reads a block as it is stored.
func (f *FS) readBlock(s structure, off, size int64) ([]byte, error) {
	if err := f.checkBlock(s, off, size); err != nil {
		return nil, err
	}
	src := make([]byte, size)
	if err := f.readRaw(s, src, off); err != nil {
		return nil, err
	}
	return src, nil
}

// checkBlock checks the place of a block. One that did not become smaller by
// compression is stored as it is, so none is larger than a block.
func (f *FS) checkBlock(s structure, off, size int64) error {
	if size > int64(f.sb.BlockSize) {
		return s.corrupt(off, "a block of %d bytes is stored in %d", f.sb.BlockSize, size)
	}
	return f.inside(s, off, size)
}

func (f *FS) readRaw(s structure, p []byte, off int64) error {
	n, err := f.dev.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s at byte %d: %w", s, off, err)
}
