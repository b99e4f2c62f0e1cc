package export

import (
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// A Run is a part of a file that holds data, in bytes.
type Run struct {
	Off, Len int64
}

// End is the first byte behind the run.
func (r Run) End() int64 { return r.Off + r.Len }

const (
	bufferSize = 1 << 20
	// Holes shorter than this are taken as data: the map of a sparse archive
	// costs more.
	minHole = 4096
	// maxRuns bounds the memory for the map of one file; what lies behind the
	// last run is one run of data.
	maxRuns = 1 << 18
)

// Runs returns the parts of a regular file that hold data, in order. They
// begin and end at multiples of 512 bytes, or at the end of the file: GNU tar
// reads the runs of a sparse file in whole blocks. What lies between them and
// behind the last is holes, which read as zeros. A file system that knows of
// no holes gives one run.
func Runs(ctx context.Context, fsys vfs.FS, attr vfs.Attr) ([]Run, error) {
	if attr.Size <= 0 {
		return nil, nil
	}
	hs, ok := fsys.(vfs.HoleSeeker)
	if !ok {
		return []Run{{0, attr.Size}}, nil
	}
	var runs []Run
	for pos := int64(0); pos < attr.Size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, err := hs.SeekData(ctx, attr.Ino, pos)
		if errors.Is(err, syscall.ENXIO) || err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		hole, err := hs.SeekHole(ctx, attr.Ino, data)
		if err != nil {
			return nil, err
		}
		if data < pos || hole <= data {
			return nil, vfs.Corruptf(-1, "file map", "no progress at file offset %d", pos)
		}
		if data >= attr.Size {
			break
		}
		hole = min(hole, attr.Size) // before it is rounded up: it may be the largest int64
		pos = hole
		data, hole = data&^(tarBlock-1), min(hole+padding(hole), attr.Size)
		switch last := len(runs) - 1; {
		case last >= 0 && data-runs[last].End() < minHole:
			runs[last].Len = hole - runs[last].Off
		case len(runs) == maxRuns:
			runs[last].Len = attr.Size - runs[last].Off
			return runs, nil
		default:
			runs = append(runs, Run{data, hole - data})
		}
	}
	return runs, nil
}

// stream hands the bytes of run to fn, piece by piece. A file that ends early
// is io.ErrUnexpectedEOF.
func stream(ctx context.Context, fsys vfs.FS, ino vfs.Ino, run Run, buf []byte, fn func(p []byte, off int64) error) error {
	for pos := run.Off; pos < run.End(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), run.End()-pos)]
		n, err := fsys.ReadAt(ctx, ino, p, pos)
		if n > 0 {
			if err := fn(p[:n], pos); err != nil {
				return &sinkError{err}
			}
			pos += int64(n)
		}
		if err != nil && (err != io.EOF || pos < run.End()) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if n == 0 && err == nil {
			return io.ErrNoProgress
		}
	}
	return nil
}

// sinkError is a failure to write, as opposed to one to read: it ends the
// whole export, not only this file.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

// fatal reports whether err ends the whole export.
func fatal(ctx context.Context, err error) bool {
	var sink *sinkError
	return errors.As(err, &sink) || ctx.Err() != nil
}

var zeros [64 << 10]byte

// Contents writes the contents of a regular file to w, holes as zeros.
func Contents(ctx context.Context, w io.Writer, fsys vfs.FS, attr vfs.Attr, opt *Options) error {
	return contents(ctx, w, fsys, attr, opt, make([]byte, min(bufferSize, max(attr.Size, 1))))
}

func contents(ctx context.Context, w io.Writer, fsys vfs.FS, attr vfs.Attr, opt *Options, buf []byte) error {
	runs, err := Runs(ctx, fsys, attr)
	if err != nil {
		return err
	}
	pos := int64(0)
	for _, run := range runs {
		if err := writeZeros(ctx, w, run.Off-pos, opt); err != nil {
			return err
		}
		err := stream(ctx, fsys, attr.Ino, run, buf, func(p []byte, off int64) error {
			n, err := w.Write(p)
			pos = off + int64(n)
			opt.progress(int64(n))
			return err
		})
		if err != nil {
			return err
		}
	}
	return writeZeros(ctx, w, attr.Size-pos, opt)
}

func writeZeros(ctx context.Context, w io.Writer, n int64, opt *Options) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := w.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return &sinkError{err}
		}
		opt.progress(int64(k))
		n -= int64(k)
	}
	return nil
}
