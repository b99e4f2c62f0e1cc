package blockio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyStep is how much is copied between two looks at the context.
const copyStep = 8 << 20

// copyHole is the smallest run of zeros that becomes a hole.
const copyHole = 64 << 10

// CopyTo makes dst, an empty file, a copy of d. Where the host can, both share
// their blocks (a reflink, which takes no time); otherwise holes stay holes.
// progress, which may be nil, is told how many bytes of the image are done.
func (d *File) CopyTo(ctx context.Context, dst *os.File, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if !d.block && unix.IoctlFileClone(int(dst.Fd()), int(d.f.Fd())) == nil {
		progress(d.size, d.size)
		return nil
	}
	if err := dst.Truncate(d.size); err != nil {
		return err
	}
	c := copier{src: d, dst: dst, inKernel: !d.block}
	for at := int64(0); at < d.size; {
		start, err := d.SeekData(at)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		end, err := d.SeekHole(start)
		if err != nil {
			return err
		}
		for at = start; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := c.copy(at, min(end-at, copyStep))
			if err != nil {
				return err
			}
			at += n
			progress(at, d.size)
		}
	}
	progress(d.size, d.size)
	return nil
}

// A copier copies ranges of a file to the same place in another.
type copier struct {
	src      *File
	dst      *os.File
	inKernel bool // copy_file_range(2) has not failed yet
	buf      []byte
}

// copy copies at most n bytes, and returns how many.
func (c *copier) copy(off, n int64) (int64, error) {
	if c.inKernel {
		from, to := off, off
		done, err := unix.CopyFileRange(int(c.src.f.Fd()), &from, int(c.dst.Fd()), &to, int(n), 0)
		switch {
		case err == nil && done > 0:
			return int64(done), nil
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EIO):
			return 0, &os.PathError{Op: "copy", Path: c.dst.Name(), Err: err}
		}
		c.inKernel = false
	}
	if c.buf == nil {
		c.buf = make([]byte, 1<<20)
	}
	p := c.buf[:min(n, int64(len(c.buf)))]
	if _, err := c.src.ReadAt(p, off); err != nil {
		return 0, noEOF(err)
	}
	// Zeros become holes: a block device does not say where it has any.
	for done := 0; done < len(p); done += copyHole {
		part := p[done:min(len(p), done+copyHole)]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		if _, err := c.dst.WriteAt(part, off+int64(done)); err != nil {
			return 0, err
		}
	}
	return int64(len(p)), nil
}

var zeros [copyHole]byte

// FinishIn finishes the interrupted commit in dst, a copy of the image.
func (d *Recovered) FinishIn(dst Writable) error {
	if d.gone.Load() {
		return nil
	}
	_, err := d.redo.finish(dst)
	return err
}
