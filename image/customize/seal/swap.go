package seal

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/audit"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/customize"
)

// swapHeader is what is kept of swap space: the header fills the first page,
// which is as large as this on some machines.
const swapHeader = 64 << 10

// zeroSwap overwrites what was swapped out. Header, UUID and label stay.
func zeroSwap(p *planner, f *audit.Finding, why string) {
	detail := fmt.Sprintf("behind the first %d bytes", swapHeader)
	if f.Path != "" {
		p.step(f, audit.Zero, f.Path, detail, why, func(ctx context.Context, e *customize.Editor, file string) error {
			r, attr, err := e.Open(ctx, file)
			if err != nil {
				return err
			}
			return zero(ctx, r, attr.Size, nil, func(b []byte, off int64) error { return e.WriteAt(ctx, file, b, off) })
		})
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
	p.step(f, audit.Zero, "", detail, why, func(ctx context.Context, _ *customize.Editor, _ string) error {
		tx := part.Transaction()
		if tx == nil {
			return errors.New("the image was opened for reading")
		}
		return zero(ctx, tx, tx.Size(), part.Device(), func(b []byte, off int64) error { return tx.WriteData(b, off, false) })
	})
}

// zero overwrites what is not zero behind a swap header. dev may know of holes.
func zero(ctx context.Context, r io.ReaderAt, size int64, dev blockio.Device, write func(b []byte, off int64) error) error {
	const piece, page = 1 << 20, 4096
	buf, zeros := make([]byte, piece), make([]byte, page)
	for off := int64(swapHeader); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if off = max(off, blockio.NextData(dev, off)/page*page); off >= size {
			return nil
		}
		n, err := r.ReadAt(buf[:min(piece, size-off)], off)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		for at := 0; at < n; at += page {
			end := min(at+page, n)
			if blockio.IsZero(buf[at:end]) {
				continue
			}
			if err := write(zeros[:end-at], off+int64(at)); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	return nil
}
