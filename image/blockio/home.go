package blockio

import (
	"fmt"
	"io"
)

// homeBuffer is the longest write to the image.
const homeBuffer = 1 << 20

// writeHome writes a set of sectors to their places in dev, neighbours in one
// write. Nothing beside them is touched.
func (s *sectorSet) writeHome(dev Writable) (written int64, err error) {
	size := dev.Size()
	buf := make([]byte, 0, min(homeBuffer, s.held*pageLen))
	start := int64(0) // where buf goes
	flush := func() error {
		if len(buf) == 0 {
			return nil
		}
		_, err := dev.WriteAt(buf, start)
		written += int64(len(buf))
		buf = buf[:0]
		if err != nil {
			return fmt.Errorf("write at byte %d: %w", start, err)
		}
		return nil
	}
	err = s.each(func(num int64, pg *setPage) error {
		end := min((num+1)*pageLen, size)
		for at := num * pageLen; at < end; {
			stop, in := s.next(at, end)
			if in != nil {
				if at != start+int64(len(buf)) || len(buf)+int(stop-at) > homeBuffer {
					if err := flush(); err != nil {
						return err
					}
					start = at
				}
				n := len(buf)
				buf = append(buf, make([]byte, stop-at)...)
				if err := s.readPage(in, buf[n:], at%pageLen); err != nil {
					return err
				}
			}
			at = stop
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	return written, err
}

// A Preallocator can make sure that a later write of the n bytes at off does not
// fail for want of space.
type Preallocator interface {
	Preallocate(off, n int64) error
}

// preallocate does so for all of list. What is no hole costs nothing.
func preallocate(dev Device, list []extent) error {
	pre, ok := dev.(Preallocator)
	if !ok {
		return nil
	}
	holes, _ := dev.(HoleSeeker)
	full := int64(0) // up to here there is no hole
	for _, e := range list {
		if e.end <= full {
			continue
		}
		if holes != nil {
			at, err := holes.SeekHole(e.off)
			if err != nil && err != io.EOF {
				return err
			}
			if full = at; e.end <= full {
				continue
			}
		}
		if err := pre.Preallocate(e.off, e.end-e.off); err != nil {
			return err
		}
	}
	return nil
}

// beforeReader reads what an image holds in the pages of a set, to be asked for
// by rising page number. Neighbouring pages are read in one go.
type beforeReader struct {
	dev   io.ReaderAt
	set   *sectorSet
	buf   []byte
	first int64 // page
	pages int64
}

// sums returns the checksums of the sectors of a page named by mask.
func (b *beforeReader) sums(num int64, mask uint8) (sums [pageSectors]uint32, err error) {
	if num < b.first || num >= b.first+b.pages {
		b.first, b.pages = num, 1
		for b.pages < chunkPages && b.set.has(num+b.pages) {
			b.pages++
		}
		if b.buf == nil {
			b.buf = make([]byte, chunkLen)
		}
		if err := readPadded(b.dev, b.buf[:b.pages*pageLen], num*pageLen); err != nil {
			return sums, err
		}
	}
	page := b.buf[(num-b.first)*pageLen:][:pageLen]
	for sec := range pageSectors {
		if mask>>sec&1 != 0 {
			sums[sec] = sectorSum(page[sec*sectorLen:])
		}
	}
	return sums, nil
}

// has says whether anything of page num is in the set.
func (s *sectorSet) has(num int64) bool {
	c := s.chunks[num/chunkPages]
	return c != nil && c.any>>(num%chunkPages)&1 != 0
}
