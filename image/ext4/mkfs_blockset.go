package ext4

import "sort"

// A blockSet is the blocks that are in use while a file system is made: runs in
// ascending order, with free blocks between them. There are few, however large
// the file system is.
type blockSet struct {
	runs       []span
	start, end uint64 // of the file system
	unit       uint64 // blocks that are taken together: a cluster
}

func newBlockSet(start, end uint64) blockSet { return blockSet{start: start, end: end, unit: 1} }

// index finds the first run that ends behind block.
func (s *blockSet) index(block uint64) int {
	return sort.Search(len(s.runs), func(i int) bool { return s.runs[i].end > block })
}

// add takes n blocks.
func (s *blockSet) add(start, n uint64) {
	if n == 0 {
		return
	}
	r := span{start, start + n}
	// Everything that r touches becomes one run.
	from := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].end >= r.start })
	to := from
	for ; to < len(s.runs) && s.runs[to].start <= r.end; to++ {
		r.start, r.end = min(r.start, s.runs[to].start), max(r.end, s.runs[to].end)
	}
	if to == from {
		s.runs = append(s.runs, span{})
		copy(s.runs[from+1:], s.runs[from:])
	} else {
		s.runs = append(s.runs[:from+1], s.runs[to:]...)
	}
	s.runs[from] = r
}

// coarsen makes clusters of so many blocks the unit: where one block is in use,
// all of them are.
func (s *blockSet) coarsen(unit uint64) {
	old := s.runs
	s.runs, s.unit = nil, unit
	for _, r := range old {
		from := r.start / unit * unit
		s.add(from, min(howMany(r.end, unit)*unit, s.end)-from)
	}
}

// find finds n free blocks in a row, of which the first lies at from or behind
// it, and before until.
func (s *blockSet) find(from, until, n uint64) (uint64, bool) {
	at := max(from, s.start)
	for i := s.index(at); ; i++ {
		if at > from && at >= until || at+n > s.end {
			return 0, false
		}
		if i == len(s.runs) || at+n <= s.runs[i].start {
			return at, true
		}
		at = s.runs[i].end
	}
}

// next takes the free blocks from goal on, n at most, that lie in a row, and
// begins anew at the start of the file system behind its end. None are returned
// if none are free.
func (s *blockSet) next(goal, n uint64) span {
	at, ok := s.find(goal, s.end, 1)
	if !ok {
		if at, ok = s.find(s.start, s.end, 1); !ok {
			return span{}
		}
	}
	end := s.end
	if i := s.index(at); i < len(s.runs) {
		end = s.runs[i].start
	}
	r := span{at, min(end, at+n)}
	s.add(at, min(howMany(r.end-at, s.unit)*s.unit, s.end-at))
	return r
}

// count is the number of blocks in use from start to end.
func (s *blockSet) count(start, end uint64) (n uint64) {
	for i := s.index(start); i < len(s.runs) && s.runs[i].start < end; i++ {
		n += min(s.runs[i].end, end) - max(s.runs[i].start, start)
	}
	return n
}

// bitmap returns the bits of the units from start to end that are in use, in
// size bytes, of which the rest is set.
func (s *blockSet) bitmap(start, end uint64, size int64) []byte {
	b := make([]byte, size)
	for i := s.index(start); i < len(s.runs) && s.runs[i].start < end; i++ {
		from := (max(s.runs[i].start, start) - start) / s.unit
		fillBits(b, from, howMany(min(s.runs[i].end, end)-start, s.unit))
	}
	fillBits(b, howMany(end-start, s.unit), uint64(size)*8)
	return b
}

// fillBits sets the bits from from to end.
func fillBits(b []byte, from, end uint64) {
	for from < end {
		if from%8 == 0 && end-from >= 8 {
			b[from/8] = 0xff
			from += 8
			continue
		}
		b[from/8] |= 1 << (from % 8)
		from++
	}
}
