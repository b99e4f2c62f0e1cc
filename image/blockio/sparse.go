package blockio

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
)

// Sparse is a device in memory that takes no more of it than was written, for
// tests with devices of any size. A [Sparse.Snapshot] shares what neither has
// changed since.
type Sparse struct {
	size   int64
	sector int

	mu    sync.RWMutex
	epoch uint64 // leaves and pages of another epoch are shared
	top   []*sparseLeaf
}

const (
	sparsePageSize = 4096
	sparseFanout   = 512
	sparseLeafSize = sparseFanout * sparsePageSize
)

// A sparseLeaf is 2 MiB of the device; nil pages are zeros.
type sparseLeaf struct {
	epoch uint64
	pages [sparseFanout]*sparsePage
}

type sparsePage struct {
	epoch uint64
	data  [sparsePageSize]byte
}

var sparseEpochs atomic.Uint64

// NewSparse returns a device of size bytes, all of them zero.
func NewSparse(size int64) *Sparse {
	return &Sparse{
		size: size, sector: DefaultSectorSize, epoch: sparseEpochs.Add(1),
		top: make([]*sparseLeaf, (size+sparseLeafSize-1)/sparseLeafSize),
	}
}

// Snapshot returns the device as it is now, as one of its own: neither sees
// what is written to the other from now on.
func (s *Sparse) Snapshot() *Sparse {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Sparse{size: s.size, sector: s.sector, epoch: sparseEpochs.Add(1), top: append([]*sparseLeaf(nil), s.top...)}
	s.epoch = sparseEpochs.Add(1)
	return c
}

// Size is the length in bytes.
func (s *Sparse) Size() int64 { return s.size }

// SectorSize is 512.
func (s *Sparse) SectorSize() int { return s.sector }

// Sync does nothing: memory is as durable as it gets.
func (s *Sparse) Sync() error { return nil }

// page returns the page at off, or nil if it is zeros. Requires s.mu.
func (s *Sparse) page(off int64) *sparsePage {
	leaf := s.top[off/sparseLeafSize]
	if leaf == nil {
		return nil
	}
	return leaf.pages[off%sparseLeafSize/sparsePageSize]
}

// edit returns the page at off as it may be written to. Requires s.mu.
func (s *Sparse) edit(off int64) *sparsePage {
	at := &s.top[off/sparseLeafSize]
	switch leaf := *at; {
	case leaf == nil:
		*at = &sparseLeaf{epoch: s.epoch}
	case leaf.epoch != s.epoch:
		*at = &sparseLeaf{epoch: s.epoch, pages: leaf.pages}
	}
	pg := &(*at).pages[off%sparseLeafSize/sparsePageSize]
	switch p := *pg; {
	case p == nil:
		*pg = &sparsePage{epoch: s.epoch}
	case p.epoch != s.epoch:
		*pg = &sparsePage{epoch: s.epoch, data: p.data}
	}
	return *pg
}

// ReadAt implements [io.ReaderAt].
func (s *Sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: s.size}
	}
	if off >= s.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > s.size-off {
		p, end = p[:s.size-off], io.EOF
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for done := 0; done < len(p); {
		at := off + int64(done)
		part := p[done:min(len(p), done+int(sparsePageSize-at%sparsePageSize))]
		if pg := s.page(at); pg != nil {
			copy(part, pg.data[at%sparsePageSize:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(p), end
}

// WriteAt implements [io.WriterAt]; it never grows the device.
func (s *Sparse) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > s.size || int64(len(p)) > s.size-off {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: s.size}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for done := 0; done < len(p); {
		at := off + int64(done)
		part := p[done:min(len(p), done+int(sparsePageSize-at%sparsePageSize))]
		// Zeros where there are zeros need no memory.
		if s.page(at) != nil || !bytes.Equal(part, sparseZeros[:len(part)]) {
			copy(s.edit(at).data[at%sparsePageSize:], part)
		}
		done += len(part)
	}
	return len(p), nil
}

var sparseZeros [sparsePageSize]byte

// SeekData implements [HoleSeeker].
func (s *Sparse) SeekData(off int64) (int64, error) {
	at := s.seek(off, false)
	if at >= s.size {
		return 0, io.EOF
	}
	return at, nil
}

// SeekHole implements [HoleSeeker].
func (s *Sparse) SeekHole(off int64) (int64, error) {
	if off >= s.size {
		return 0, io.EOF
	}
	return min(s.seek(off, true), s.size), nil
}

func (s *Sparse) seek(off int64, hole bool) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for off < s.size {
		if s.top[off/sparseLeafSize] == nil && !hole {
			off += sparseLeafSize - off%sparseLeafSize
			continue
		}
		if (s.page(off) == nil) == hole {
			break
		}
		off += sparsePageSize - off%sparsePageSize
	}
	return off
}
