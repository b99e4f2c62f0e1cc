package blockio

import (
	"bytes"
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// CopyOnto makes dst, a block device or a file that is large enough, begin with
// the bytes of src, and makes that durable. Holes and zeros are written, too:
// what dst held before must not shine through. progress, which may be nil, is
// told how many bytes are done.
func CopyOnto(ctx context.Context, src Device, dst *os.File, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	c := overwriter{dst: dst, zeroRange: true}
	buf := make([]byte, 1<<20)
	holes, _ := src.(HoleSeeker)
	for at := int64(0); at < src.Size(); progress(at, src.Size()) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if holes != nil {
			next, err := holes.SeekData(at)
			if err == io.EOF {
				next, err = src.Size(), nil
			}
			if err != nil {
				return err
			}
			if next > at {
				if err := c.zero(at, next-at); err != nil {
					return err
				}
				at = next
				continue
			}
		}
		n, err := src.ReadAt(buf[:min(int64(len(buf)), src.Size()-at)], at)
		if err != nil && err != io.EOF {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		if p := buf[:n]; bytes.Count(p, zeros[:1]) == n {
			err = c.zero(at, int64(n))
		} else {
			_, err = dst.WriteAt(p, at)
		}
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return dst.Sync()
}

// An overwriter writes zeros.
type overwriter struct {
	dst       *os.File
	zeroRange bool // fallocate(2) has not failed yet
}

// zero makes n bytes at off zeros: a device may be able to do that by itself.
func (c *overwriter) zero(off, n int64) error {
	if c.zeroRange {
		if unix.Fallocate(int(c.dst.Fd()), unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, off, n) == nil {
			return nil
		}
		c.zeroRange = false
	}
	for n > 0 {
		part := zeros[:min(n, int64(len(zeros)))]
		if _, err := c.dst.WriteAt(part, off); err != nil {
			return err
		}
		off, n = off+int64(len(part)), n-int64(len(part))
	}
	return nil
}
