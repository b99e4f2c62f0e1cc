package erofs

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// maxChunks bounds how many entries of a table make up one piece.
const maxChunks = 1024

// chunks returns the piece at off of a file in chunks. The table has an entry
// for each of them, so the size of the image bounds what is looked at.
func (f *FS) chunks(ctx context.Context, in *inode, off int64) (piece, error) {
	format := ondisk.ChunkFormat(in.Where)
	bits := uint(f.sb.BlockBits) + format.Bits()
	if format.Unknown() != 0 {
		return piece{}, &vfs.NotSupportedError{What: fmt.Sprintf("erofs inode %d: chunks of the format %#x", in.ino, in.Where), Off: in.at}
	}
	size, unit := int64(in.Size), format.EntrySize()
	table := (in.tail + unit - 1) &^ (unit - 1)
	count := (size-1)>>bits + 1
	if count > f.size/unit {
		return piece{}, in.name().corrupt(in.at, "%d chunks in a file system of %d bytes", count, f.size)
	}
	if err := f.inside(in.name(), table, count*unit); err != nil {
		return piece{}, err
	}

	var whole piece // from the start of the first chunk
	first := off >> bits
	for i := first; i < count && i < first+maxChunks; i++ {
		p, err := f.chunk(in, format, table+i*unit, min(size-i<<bits, 1<<bits))
		switch {
		case i == first && err != nil:
			return piece{}, err
		case i == first:
			whole = p
		case err != nil, !whole.goesOn(p):
			return whole.behind(off - first<<bits), nil
		default:
			whole.n += p.n
		}
	}
	return whole.behind(off - first<<bits), ctx.Err()
}

// goesOn reports whether p begins where whole ends.
func (whole piece) goesOn(p piece) bool {
	if whole.at == hole {
		return p.at == hole
	}
	return p.at == whole.at+whole.n
}

// behind leaves out the first n bytes.
func (whole piece) behind(n int64) piece {
	if whole.n -= n; whole.at != hole {
		whole.at += n
	}
	return whole
}

// chunk returns the piece that the entry of a table at byte at leads to, which
// has n bytes.
func (f *FS) chunk(in *inode, format ondisk.ChunkFormat, at, n int64) (piece, error) {
	b, err := f.bytes(in.name(), at, int(format.EntrySize()))
	if err != nil {
		return piece{}, err
	}
	c := format.DecodeChunk(b)
	if c.Block == ondisk.NoBlock {
		return piece{hole, n, false}, nil
	}
	start := int64(c.Block) * f.blockSize
	// Where there are more devices, a block behind the end of this one is on
	// another as well.
	if f.sb.ExtraDevices > 0 && (c.Device != 0 || start >= f.size) {
		return piece{}, &vfs.NotSupportedError{What: fmt.Sprintf("erofs inode %d: contents on a device besides the image (%d)", in.ino, c.Device), Off: at}
	}
	if c.Device != 0 {
		return piece{}, in.name().corrupt(at, "a chunk is on device %d, and there is none but the image", c.Device)
	}
	if err := f.inside(in.name(), start, n); err != nil {
		return piece{}, err
	}
	return piece{start, n, false}, nil
}
