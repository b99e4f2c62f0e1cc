package erofs

import (
	"context"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A piece is a stretch of a file's contents that lies together on the device,
// or is a hole.
type piece struct {
	at   int64 // on the device; hole
	n    int64 // bytes
	tail bool  // it is the end that stands behind the inode
}

const hole = -1

// piece returns where the byte off of a file lies, which is in front of its
// end.
func (f *FS) piece(ctx context.Context, in *inode, off int64) (piece, error) {
	switch in.Layout {
	case ondisk.FlatPlain:
		if in.Where == ondisk.NoBlock {
			return piece{hole, int64(in.Size) - off, false}, nil
		}
		return f.flat(in, off, int64(in.Size))
	case ondisk.FlatInline:
		// All but the last block, which may be short, are in one piece.
		whole := (int64(in.Size) - 1) / f.blockSize * f.blockSize
		if off < whole {
			return f.flat(in, off, whole)
		}
		return f.inline(in, off, whole)
	case ondisk.ChunkBased:
		return f.chunks(ctx, in, off)
	}
	return piece{}, f.compressed(in)
}

// flat returns the piece at off of the first size bytes, which lie together.
func (f *FS) flat(in *inode, off, size int64) (piece, error) {
	start := int64(in.Where) * f.blockSize
	if err := f.inside(in.name(), start, size); err != nil {
		return piece{}, err
	}
	return piece{start + off, size - off, false}, nil
}

// inline returns the piece at off of the end of a file, which begins at whole.
func (f *FS) inline(in *inode, off, whole int64) (piece, error) {
	n := int64(in.Size) - whole
	if in.tail%f.blockSize+n > f.blockSize {
		return piece{}, in.name().corrupt(in.at, "its last %d bytes, from byte %d on, do not end in one block", n, in.tail)
	}
	if err := f.inside(in.name(), in.tail, n); err != nil {
		return piece{}, err
	}
	return piece{in.tail + off - whole, int64(in.Size) - off, true}, nil
}

// compressed returns the error that says by what a file is compressed.
func (f *FS) compressed(in *inode) error {
	at := (in.tail + ondisk.CompressSize - 1) &^ (ondisk.CompressSize - 1)
	b, err := f.bytes(in.name(), at, ondisk.CompressSize)
	if err != nil {
		return err
	}
	h := ondisk.DecodeCompress(b)
	if h.Packed {
		return &vfs.NotSupportedError{What: fmt.Sprintf("erofs inode %d: its contents are in the packed inode (fragments)", in.ino), Off: at}
	}
	by := []string{h.Heads[0].String()}
	if h.Heads[1] != h.Heads[0] {
		by = append(by, h.Heads[1].String())
	}
	if h.Advise&ondisk.InlinePcluster != 0 {
		by = append(by, "ztailpacking")
	}
	if h.Advise&ondisk.FragmentPcluster != 0 {
		by = append(by, "fragments")
	}
	return &vfs.NotSupportedError{What: fmt.Sprintf("erofs inode %d: contents compressed with %s", in.ino, strings.Join(by, ", ")), Off: at}
}
