package seal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/customize"
)

// swapHeader is what is kept of swap space: the header fills the first page,
// which is as large as this on some machines.
const swapHeader = 64 << 10

// zeroSwap overwrites what was swapped out. Header, UUID and label stay.
func zeroSwap(p *planner, f *audit.Finding, why string) {
	if f.Path != "" {
		p.not(f, Remains, "not supported: overwriting a swap file; remove it and let each machine make its own, or make it anew (mkswap)")
		return
	}
	var part *image.Partition
	for _, v := range p.target.Volumes {
		if v.ID == f.Volume {
			part = v.Partition
		}
	}
	if part == nil || part.Content.Type != "swap" {
		p.not(f, Refused, "a hibernated system is in it: boot it and shut it down, or make the swap space anew")
		return
	}
	p.step(f, audit.Zero, "", fmt.Sprintf("behind the first %d bytes", swapHeader), why, func(ctx context.Context, _ *customize.Editor, _ string) error {
		return zero(ctx, part, swapHeader)
	})
}

// zero overwrites what is not zero in a partition, from a byte on.
func zero(ctx context.Context, p *image.Partition, from int64) error {
	tx := p.Transaction()
	if tx == nil {
		return errors.New("the image was opened for reading")
	}
	const piece, sector = 1 << 20, 512
	buf, zeros := make([]byte, piece), make([]byte, sector)
	for off := from; off < tx.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		if next, ok := nextData(p.Device(), off); ok {
			if off = next / sector * sector; off >= tx.Size() {
				return nil
			}
		}
		n, err := tx.ReadAt(buf[:min(piece, tx.Size()-off)], off)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		for at := 0; at < n; at += sector {
			end := min(at+sector, n)
			if allZero(buf[at:end]) {
				continue
			}
			if err := tx.WriteData(zeros[:end-at], off+int64(at), false); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	return nil
}

// nextData skips a hole, if the device knows of any.
func nextData(dev any, off int64) (int64, bool) {
	h, ok := dev.(interface{ SeekData(int64) (int64, error) })
	if !ok {
		return 0, false
	}
	next, err := h.SeekData(off)
	if err == io.EOF {
		return 1<<63 - 1, true
	}
	return next, err == nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
