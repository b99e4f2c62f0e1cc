package diff

import (
	"bytes"
	"context"
	"io"

	"github.com/resflash/resflash/image/blockio"
)

// BlockSize is the unit in which blocks are compared, in bytes.
const BlockSize = 4096

// BlockCount says how many blocks of a volume differ: what has to be written
// over the first to make it the second.
type BlockCount struct {
	Size      int   `json:"size"`      // of a block, bytes
	Total     int64 `json:"total"`     // of the second volume
	Different int64 `json:"different"` // of those
	Bytes     int64 `json:"bytes"`     // in these
}

// Blocks compares two volumes. Where both were never written to, nothing is
// read.
func Blocks(ctx context.Context, a, b blockio.Device) (BlockCount, error) {
	c := BlockCount{Size: BlockSize, Total: (b.Size() + BlockSize - 1) / BlockSize}
	old, now := make([]byte, 4*bufferSize), make([]byte, 4*bufferSize)
	for off := int64(0); off < b.Size(); {
		if err := ctx.Err(); err != nil {
			return c, err
		}
		if next := min(nextData(a, off), nextData(b, off)) / BlockSize * BlockSize; next > off {
			off = next
			continue
		}
		n := min(int64(len(now)), b.Size()-off)
		if err := readAll(b, now[:n], off); err != nil {
			return c, err
		}
		have := min(max(a.Size()-off, 0), n)
		if err := readAll(a, old[:have], off); err != nil {
			return c, err
		}
		for at := int64(0); at < n; at += BlockSize {
			end := min(at+BlockSize, n)
			if end > have || !bytes.Equal(old[at:end], now[at:end]) {
				c.Different++
				c.Bytes += end - at
			}
		}
		off += n
	}
	return c, nil
}

// nextData is where a device has data, from an offset on. What lies behind its
// end has none.
func nextData(d blockio.Device, off int64) int64 {
	h, ok := d.(blockio.HoleSeeker)
	if !ok {
		return off
	}
	at, err := h.SeekData(off)
	switch {
	case err == io.EOF && off < d.Size():
		return d.Size()
	case err != nil:
		return off
	}
	return at
}

func readAll(d blockio.Device, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	n, err := d.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
