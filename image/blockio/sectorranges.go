package blockio

import (
	"io"
	"slices"
)

// An extent is a range of bytes.
type extent struct{ off, end int64 }

// extents returns the set as ranges, by rising offset, of a device of size
// bytes.
func (s *sectorSet) extents(size int64) []extent {
	var all []extent
	s.each(func(num int64, pg *setPage) error {
		for at := num * pageLen; at < (num+1)*pageLen && at < size; {
			stop, in := s.next(at, min((num+1)*pageLen, size))
			if in != nil {
				if n := len(all); n > 0 && all[n-1].end == at {
					all[n-1].end = stop
				} else {
					all = append(all, extent{at, stop})
				}
			}
			at = stop
		}
		return nil
	})
	return all
}

// touches says whether any of list, which is in order, has a byte from off to
// end.
func touches(list []extent, off, end int64) bool {
	i, _ := slices.BinarySearchFunc(list, off, func(e extent, off int64) int {
		if e.end <= off {
			return -1
		}
		return 1
	})
	return i < len(list) && list[i].off < end
}

// seekData is [HoleSeeker] for a device below with the set over it.
func (s *sectorSet) seekData(below Device, off int64) (int64, error) {
	if off < 0 || off >= below.Size() {
		return 0, io.EOF
	}
	first := below.Size()
	if stop, pg := s.next(off, first); pg != nil {
		return off, nil
	} else if stop < first {
		first = stop
	}
	hs, ok := below.(HoleSeeker)
	if !ok {
		return off, nil
	}
	at, err := hs.SeekData(off)
	switch {
	case err == nil:
		return min(at, first), nil
	case err == io.EOF && first < below.Size():
		return first, nil
	}
	return 0, err
}

// seekHole is [HoleSeeker] for a device below with the set over it.
func (s *sectorSet) seekHole(below Device, off int64) (int64, error) {
	size := below.Size()
	if off < 0 || off >= size {
		return 0, io.EOF
	}
	hs, ok := below.(HoleSeeker)
	if !ok {
		return size, nil
	}
	for off < size {
		at, err := hs.SeekHole(off)
		if err != nil || at >= size {
			return at, err
		}
		stop, pg := s.next(at, size)
		if pg == nil {
			return at, nil
		}
		off = stop
	}
	return size, nil
}

// hides says that the set has some of the n bytes at off, or that there are no
// such bytes.
func (s *sectorSet) hides(off, n int64) bool {
	return off < 0 || n < 0 || s.overlaps(off, off+n)
}
