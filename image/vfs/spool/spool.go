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

// Zero writes zeros to the n bytes at off, within the file.
func (s *File) Zero(off, n int64) error {
	size, err := s.Size()
	if err != nil {
		return err
	}
	zeros := make([]byte, min(max(n, 0), 64<<10))
	for end := min(off+n, size); off < end; {
		k, err := s.f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(k)
	}
	return nil
}

// Fill copies what read gives for the bytes from 0 to size, leaving holes where
// a piece is all zeros.
func (s *File) Fill(read io.ReaderAt, size int64) error {
	buf := make([]byte, 256<<10)
	for off := int64(0); off < size; {
		p := buf[:min(int64(len(buf)), size-off)]
		n, err := read.ReadAt(p, off)
		if n < len(p) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if !isZero(p) {
			if _, err := s.f.WriteAt(p, off); err != nil {
				return err
			}
		}
		off += int64(len(p))
	}
	return s.f.Truncate(size)
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// Close gives the space back.
func (s *File) Close() error { return s.f.Close() }
