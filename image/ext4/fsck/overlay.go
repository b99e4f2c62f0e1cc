package fsck

import (
	"io"
	"slices"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// An overlay is a device as it would be with its journal replayed.
type overlay struct {
	dev     blockio.Device
	bsize   int64
	patches []logged // by home
}

func (o *overlay) Size() int64     { return o.dev.Size() }
func (o *overlay) SectorSize() int { return o.dev.SectorSize() }

// ReadAt implements [io.ReaderAt].
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= o.Size() {
			return done, io.EOF
		}
		block, in := uint64(at/o.bsize), at%o.bsize
		i, found := slices.BinarySearchFunc(o.patches, block, func(l logged, b uint64) int {
			switch {
			case l.home < b:
				return -1
			case l.home > b:
				return 1
			}
			return 0
		})
		n := int64(len(p) - done)
		src := at
		if found {
			n = min(n, o.bsize-in)
			src = int64(o.patches[i].src)*o.bsize + in
		} else if i < len(o.patches) {
			n = min(n, int64(o.patches[i].home)*o.bsize-at)
		}
		part := p[done : done+int(n)]
		if got, err := o.dev.ReadAt(part, src); got < len(part) {
			return done + got, err
		}
		if found && o.patches[i].magic && in < 4 {
			var magic [4]byte
			be.PutUint32(magic[:], ondisk.JournalMagic)
			copy(part, magic[in:])
		}
		done += len(part)
	}
	return done, nil
}
