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
		if next := min(blockio.NextData(a, off), blockio.NextData(b, off)) / BlockSize * BlockSize; next > off {
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
