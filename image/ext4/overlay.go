package ext4

import (
	"encoding/binary"
	"io"
	"os"
	"sort"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// overlay is a device with the blocks of a journal laid over it: what the
// device would hold after the journal had been replayed. It keeps where the
// copies are, not what is in them.
type overlay struct {
	dev       blockio.Device
	blockSize int64
	patches   []patch // by block, each block once
}

// patch says that block is to be read from the block src.
type patch struct {
	block uint64
	src   uint64 // with escaped set if the copy's first word is not the real one
}

// escaped marks a copy that began with the journal's magic number: zeros stand
// there in the journal, so that it is not taken for a block of the journal's
// own.
const escaped = 1 << 63

func (o *overlay) Size() int64     { return o.dev.Size() }
func (o *overlay) SectorSize() int { return o.dev.SectorSize() }

// next is the index of the first patch at or behind the block.
func (o *overlay) next(block uint64) int {
	return sort.Search(len(o.patches), func(i int) bool { return o.patches[i].block >= block })
}

// piece says where the bytes at off lie and how many of n lie there.
func (o *overlay) piece(off, n int64) (at, length int64, esc bool) {
	block, in := uint64(off/o.blockSize), off%o.blockSize
	i := o.next(block)
	if i == len(o.patches) {
		return off, n, false
	}
	p := o.patches[i]
	if p.block != block {
		return off, min(n, int64(p.block)*o.blockSize-off), false
	}
	return int64(p.src&^escaped)*o.blockSize + in, min(n, o.blockSize-in), p.src&escaped != 0
}

// ReadAt implements [io.ReaderAt].
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	size := o.Size()
	if off < 0 {
		return 0, &blockio.RangeError{Off: off, Len: int64(len(p)), Size: size}
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= size {
			return done, io.EOF
		}
		src, n, esc := o.piece(at, min(int64(len(p)-done), size-at))
		part := p[done : done+int(n)]
		if got, err := o.dev.ReadAt(part, src); got < len(part) {
			return done + got, err
		}
		if esc {
			var magic [4]byte
			binary.BigEndian.PutUint32(magic[:], ondisk.JournalMagic)
			if in := at % o.blockSize; in < int64(len(magic)) {
				copy(part, magic[in:])
			}
		}
		done += len(part)
	}
	return done, nil
}

// locate returns where on the device below the bytes at off lie, and how many
// of n lie there together; -1 if they lie nowhere as they are.
func (o *overlay) locate(off, n int64) (devOff, length int64) {
	at, length, esc := o.piece(off, n)
	if esc {
		return -1, length
	}
	return at, length
}

// FileRange implements [blockio.FileBacked] where the device below does.
func (o *overlay) FileRange(off, n int64) (*os.File, int64, bool) {
	fb, ok := o.dev.(blockio.FileBacked)
	if !ok || off < 0 || n < 0 || off > o.Size() || n > o.Size()-off {
		return nil, 0, false
	}
	at, length, esc := o.piece(off, n)
	if esc || length < n {
		return nil, 0, false
	}
	return fb.FileRange(at, n)
}
