package blockio

import (
	"io"
)

// Memory is a device held in memory, for tests and for small structures that
// were assembled from pieces.
type Memory struct {
	data   []byte
	sector int
}

// NewMemory returns a device of the bytes in data, which it does not copy.
func NewMemory(data []byte) *Memory { return &Memory{data: data, sector: DefaultSectorSize} }

// NewMemorySectors is [NewMemory] with a sector size other than 512.
func NewMemorySectors(data []byte, sector int) *Memory { return &Memory{data: data, sector: sector} }

// Size is the length in bytes.
func (m *Memory) Size() int64 { return int64(len(m.data)) }

// SectorSize is the sector size the device was made with.
func (m *Memory) SectorSize() int { return m.sector }

// ReadAt implements [io.ReaderAt].
func (m *Memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: m.Size()}
	}
	if off >= m.Size() {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [io.WriterAt]; it never grows the device. Concurrent
// writes must not overlap reads of the same bytes.
func (m *Memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > m.Size() || int64(len(p)) > m.Size()-off {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: m.Size()}
	}
	return copy(m.data[off:], p), nil
}

// Sync does nothing: memory is as durable as it gets.
func (m *Memory) Sync() error { return nil }
