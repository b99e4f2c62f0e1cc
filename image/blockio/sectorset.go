package blockio

import (
	"io"
	"math/bits"
	"slices"
)

// The unit in which changes are kept apart: a sector, whatever the device says.
// Eight make a page, so that a byte has a bit for each.
const (
	sectorLen   = 512
	pageLen     = 4096
	pageSectors = pageLen / sectorLen
	chunkPages  = 64
	chunkLen    = chunkPages * pageLen
)

// A sectorSet is a sparse set of sectors with contents: what lies over a
// device. Contents are in memory, or spilled to a file. The zero value is
// empty. It has no lock of its own; reading it concurrently is safe.
type sectorSet struct {
	chunks map[int64]*sectorChunk // by offset / chunkLen
	held   int                    // pages in memory
	file   io.ReaderAt            // where spilled pages are
	free   []*[pageLen]byte       // pages to use again
}

// A sectorChunk is chunkPages pages, so that a large range that has nothing in
// the set costs a few look-ups, not one for every page.
type sectorChunk struct {
	any   uint64 // has a bit for every page with something in it
	pages [chunkPages]setPage
}

// A setPage is a page of which some sectors are in the set. Those in memory go
// before those that were spilled.
type setPage struct {
	mem     *[pageLen]byte
	inMem   uint8
	spilled uint8
	at      int64 // in the file: the spilled sectors, one after the other
}

func (pg *setPage) mask() uint8 { return pg.inMem | pg.spilled }

// empty says that nothing is in the set.
func (s *sectorSet) empty() bool { return len(s.chunks) == 0 }

// clear empties the set, and keeps a few pages to use again.
func (s *sectorSet) clear() {
	s.dropMemory()
	s.chunks = nil
	s.file = nil
}

// maxFreePages bounds what an empty set holds on to: 2 MiB.
const maxFreePages = 512

// dropMemory takes the pages out of memory.
func (s *sectorSet) dropMemory() {
	if s.held == 0 {
		return
	}
	for _, c := range s.chunks {
		for rest := c.any; rest != 0; rest &= rest - 1 {
			pg := &c.pages[bits.TrailingZeros64(rest)]
			if pg.mem != nil && len(s.free) < maxFreePages {
				s.free = append(s.free, pg.mem)
			}
			pg.mem, pg.inMem = nil, 0
		}
	}
	s.held = 0
}

// page returns page num, to put something in.
func (s *sectorSet) page(num int64) *setPage {
	c := s.chunks[num/chunkPages]
	if c == nil {
		if s.chunks == nil {
			s.chunks = map[int64]*sectorChunk{}
		}
		c = new(sectorChunk)
		s.chunks[num/chunkPages] = c
	}
	c.any |= 1 << (num % chunkPages)
	return &c.pages[num%chunkPages]
}

// load makes room for the page in memory.
func (s *sectorSet) load(pg *setPage) {
	if pg.mem != nil {
		return
	}
	s.held++
	if n := len(s.free); n > 0 {
		pg.mem, s.free = s.free[n-1], s.free[:n-1]
		return
	}
	pg.mem = new([pageLen]byte)
}

// next returns where the run that begins at off ends, at end the latest. It is
// a run of bytes that are not in the set, as long as there is one (pg is nil),
// or of bytes that are, within page pg.
func (s *sectorSet) next(off, end int64) (stop int64, pg *setPage) {
	if len(s.chunks) == 0 {
		return end, nil
	}
	for at := off; at < end; {
		c := s.chunks[at/chunkLen]
		if c == nil {
			at = (at/chunkLen + 1) * chunkLen
			continue
		}
		rest := c.any >> (at % chunkLen / pageLen)
		if rest == 0 {
			at = (at/chunkLen + 1) * chunkLen
			continue
		}
		if rest&1 == 0 {
			at = (at/pageLen + int64(bits.TrailingZeros64(rest))) * pageLen
			continue
		}
		p := &c.pages[at%chunkLen/pageLen]
		sec := at % pageLen / sectorLen
		in := uint16(p.mask()) >> sec
		if in&1 == 0 {
			at = (at/sectorLen + 1) * sectorLen
			continue
		}
		if at > off {
			return min(at, end), nil
		}
		stop = (at/sectorLen + int64(bits.TrailingZeros16(^in))) * sectorLen
		return min(stop, end), p
	}
	return end, nil
}

// overlaps says whether any of the bytes from off to end is in the set.
func (s *sectorSet) overlaps(off, end int64) bool {
	stop, pg := s.next(off, end)
	return pg != nil || stop < end
}

// readOver copies what is in the set over p, which was read at off.
func (s *sectorSet) readOver(p []byte, off int64) error {
	for end := off + int64(len(p)); off < end; {
		stop, pg := s.next(off, end)
		n := stop - off
		if pg != nil {
			if err := s.readPage(pg, p[:n], off%pageLen); err != nil {
				return err
			}
		}
		p, off = p[n:], stop
	}
	return nil
}

// readPage reads bytes of a page, from in on, all of them in the set.
func (s *sectorSet) readPage(pg *setPage, p []byte, in int64) error {
	for len(p) > 0 {
		sec := in / sectorLen
		inMem := pg.inMem>>sec&1 != 0
		end := (sec + 1) * sectorLen
		for end < in+int64(len(p)) && (pg.inMem>>(end/sectorLen)&1 != 0) == inMem {
			end += sectorLen
		}
		n := min(end-in, int64(len(p)))
		if inMem {
			copy(p[:n], pg.mem[in:])
		} else {
			at := pg.at + compact(pg.spilled, sec) + in%sectorLen
			if _, err := s.file.ReadAt(p[:n], at); err != nil {
				return noEOF(err)
			}
		}
		p, in = p[n:], in+n
	}
	return nil
}

// compact is where sector sec lies among those of mask, one after the other.
func compact(mask uint8, sec int64) int64 {
	return int64(bits.OnesCount8(mask&(1<<sec-1))) * sectorLen
}

// noEOF makes the end of a file an error where more was expected.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// write puts p at off into the set. Sectors that p covers in part are completed
// by what below reads.
func (s *sectorSet) write(p []byte, off int64, below func(p []byte, off int64) error) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		in := at % pageLen
		part := p[done:min(len(p), done+int(pageLen-in))]
		end := in + int64(len(part))
		pg := s.page(at / pageLen)
		s.load(pg)
		first, last := in/sectorLen, (end-1)/sectorLen
		for _, sec := range [2]int64{first, last} {
			start := sec * sectorLen
			if (in <= start && end >= start+sectorLen) || pg.inMem>>sec&1 != 0 {
				continue
			}
			var err error
			if b := pg.mem[start : start+sectorLen]; pg.spilled>>sec&1 != 0 {
				err = s.readPage(pg, b, start)
			} else {
				err = below(b, at-in+start)
			}
			if err != nil {
				return done, err
			}
			pg.inMem |= 1 << sec
		}
		copy(pg.mem[in:], part)
		pg.inMem |= uint8(1<<(last+1) - 1<<first)
		done += len(part)
	}
	return done, nil
}

// each goes through the pages of the set by rising offset.
func (s *sectorSet) each(fn func(num int64, pg *setPage) error) error {
	nums := make([]int64, 0, len(s.chunks))
	for num := range s.chunks {
		nums = append(nums, num)
	}
	slices.Sort(nums)
	for _, num := range nums {
		c := s.chunks[num]
		for rest := c.any; rest != 0; rest &= rest - 1 {
			i := int64(bits.TrailingZeros64(rest))
			if pg := &c.pages[i]; pg.mask() != 0 {
				if err := fn(num*chunkPages+i, pg); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// copyPage copies what is in the set of a page.
func (s *sectorSet) copyPage(pg *setPage, to *[pageLen]byte) error {
	for sec := range int64(pageSectors) {
		if pg.mask()>>sec&1 != 0 {
			if err := s.readPage(pg, to[sec*sectorLen:(sec+1)*sectorLen], sec*sectorLen); err != nil {
				return err
			}
		}
	}
	return nil
}
