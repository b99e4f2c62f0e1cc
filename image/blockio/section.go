package blockio

import (
	"fmt"
	"io"
	"os"
)

// RangeError reports an access beyond the end of a device.
type RangeError struct {
	Off, Len, Size int64 // bytes
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("%d bytes at byte %d lie outside a device of %d bytes", e.Len, e.Off, e.Size)
}

// Unwrap makes errors.Is(err, io.ErrUnexpectedEOF) true: the device is too short.
func (e *RangeError) Unwrap() error { return io.ErrUnexpectedEOF }

// A Section is part of another device: a partition. It never reads outside
// its bounds, whatever it is asked.
type Section struct {
	dev       Device
	off, size int64
}

// NewSection returns the size bytes of dev at off. A section that reaches
// beyond the end of dev is an error: use a shorter size if that is what is
// wanted.
func NewSection(dev Device, off, size int64) (*Section, error) {
	if off < 0 || size < 0 || off > dev.Size() || size > dev.Size()-off {
		return nil, &RangeError{Off: off, Len: size, Size: dev.Size()}
	}
	// A section of a section is a section of the device below: one hop.
	if s, ok := dev.(*Section); ok {
		return &Section{dev: s.dev, off: s.off + off, size: size}, nil
	}
	return &Section{dev: dev, off: off, size: size}, nil
}

// Size is the length of the section in bytes.
func (s *Section) Size() int64 { return s.size }

// SectorSize is that of the device below.
func (s *Section) SectorSize() int { return s.dev.SectorSize() }

// Offset is where the section starts in the device below, in bytes.
func (s *Section) Offset() int64 { return s.off }

// ReadAt implements [io.ReaderAt].
func (s *Section) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: s.size}
	}
	if off >= s.size {
		return 0, io.EOF
	}
	if max := s.size - off; int64(len(p)) > max {
		n, err := s.dev.ReadAt(p[:max], s.off+off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return s.dev.ReadAt(p, s.off+off)
}

// FileRange implements [FileBacked] where the device below does.
func (s *Section) FileRange(off, n int64) (*os.File, int64, bool) {
	fb, ok := s.dev.(FileBacked)
	if !ok || off < 0 || n < 0 || off > s.size || n > s.size-off {
		return nil, 0, false
	}
	return fb.FileRange(s.off+off, n)
}

// SeekData implements [HoleSeeker]; a device below that knows of no holes is
// all data.
func (s *Section) SeekData(off int64) (int64, error) {
	if off < 0 || off >= s.size {
		return 0, io.EOF
	}
	hs, ok := s.dev.(HoleSeeker)
	if !ok {
		return off, nil
	}
	at, err := hs.SeekData(s.off + off)
	if err != nil {
		return 0, err
	}
	if at -= s.off; at >= s.size {
		return 0, io.EOF
	}
	return at, nil
}

// SeekHole implements [HoleSeeker].
func (s *Section) SeekHole(off int64) (int64, error) {
	if off < 0 || off >= s.size {
		return 0, io.EOF
	}
	hs, ok := s.dev.(HoleSeeker)
	if !ok {
		return s.size, nil
	}
	at, err := hs.SeekHole(s.off + off)
	if err != nil {
		return 0, err
	}
	return min(at-s.off, s.size), nil
}
