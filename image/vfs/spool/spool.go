// Package spool keeps the contents of files that have no place in their file
// system any more: those without a name, which somebody still has open and
// writes to. A [File] is an anonymous temporary file of the host, which
// vanishes with the process.
package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// A File is a temporary file without a name. Its methods are safe for
// concurrent use as far as those of an *os.File are.
type File struct {
	f *os.File
}

// New makes an empty one, in the host's directory for temporary files.
func New() (*File, error) {
	f, err := os.CreateTemp("", "resflash-unlinked-*")
	if err != nil {
		return nil, fmt.Errorf("space for an unlinked file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("space for an unlinked file: %w", err)
	}
	return &File{f}, nil
}

// ReadAt implements [io.ReaderAt].
func (s *File) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, off) }

// WriteAt implements [io.WriterAt].
func (s *File) WriteAt(p []byte, off int64) (int, error) { return s.f.WriteAt(p, off) }

// Size is the length of the file in bytes.
func (s *File) Size() (int64, error) {
	st, err := s.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Truncate changes the length, by a hole or by cutting off.
func (s *File) Truncate(size int64) error { return s.f.Truncate(size) }

// Blocks is the space that the host has given it, in units of 512 bytes.
func (s *File) Blocks() int64 {
	st, err := s.f.Stat()
	if err != nil {
		return 0
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int64(sys.Blocks)
	}
	return (st.Size() + 511) / 512
}

// Zero makes zeros of the n bytes at off, as far as they lie within the file.
func (s *File) Zero(off, n int64) error {
	size, err := s.Size()
	if err != nil || off >= size || n <= 0 {
		return err
	}
	n = min(n, size-off)
	const keepSize, punchHole = 1, 2 // FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE
	if syscall.Fallocate(int(s.f.Fd()), keepSize|punchHole, off, n) == nil {
		return nil
	}
	zeros := make([]byte, min(n, 64<<10))
	for end := off + n; off < end; {
		k, err := s.f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(k)
	}
	return nil
}

// A Source is what a file held before.
type Source interface {
	io.ReaderAt
	// SeekData returns where the next data is from off on, or size if there is
	// none, and SeekHole where they end.
	SeekData(off int64) (int64, error)
	SeekHole(off int64) (int64, error)
}

// Fill copies the size bytes of a file, holes as holes.
func (s *File) Fill(from Source, size int64) error {
	buf := make([]byte, 256<<10)
	for off := int64(0); off < size; {
		data, err := from.SeekData(off)
		if err != nil {
			return err
		}
		if data >= size {
			break
		}
		end, err := from.SeekHole(data)
		if err != nil {
			return err
		}
		for off = data; off < end; {
			p := buf[:min(int64(len(buf)), end-off)]
			n, err := from.ReadAt(p, off)
			if n < len(p) {
				if err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return err
			}
			if _, err := s.f.WriteAt(p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return s.f.Truncate(size)
}

// Close gives the space back.
func (s *File) Close() error { return s.f.Close() }
