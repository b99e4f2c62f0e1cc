package blockio

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// An Overlay is a device that is written to without being changed: everything
// written is kept beside it, in memory up to a bound, and beyond that in a
// temporary file that has no name. It is what a dry run works on.
type Overlay struct {
	base Device
	max  int // pages in memory

	mu   sync.RWMutex
	set  sectorSet
	temp func() (*os.File, error)
	file *os.File // nil: nothing spilled yet
	end  int64
}

const overlayMemory = 16 << 20

// NewOverlay returns an overlay over base with nothing in it.
func NewOverlay(base Device) *Overlay {
	return &Overlay{base: base, max: overlayMemory / pageLen, temp: tempFile}
}

// tempFile makes a file that goes away by itself.
func tempFile() (*os.File, error) {
	f, err := os.CreateTemp("", "resflash-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Size is that of the device below.
func (d *Overlay) Size() int64 { return d.base.Size() }

// SectorSize is that of the device below.
func (d *Overlay) SectorSize() int { return d.base.SectorSize() }

// ReadAt implements [io.ReaderAt].
func (d *Overlay) ReadAt(p []byte, off int64) (int, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	n, err := d.base.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	if oerr := d.set.readOver(p[:n], off); oerr != nil {
		return 0, oerr
	}
	return n, err
}

// WriteAt implements [io.WriterAt].
func (d *Overlay) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.Size() || int64(len(p)) > d.Size()-off {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: d.Size()}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	done := 0
	for done < len(p) {
		if d.set.held >= d.max {
			if err := d.spill(); err != nil {
				return done, fmt.Errorf("keep what a dry run would write: %w", err)
			}
		}
		portion := p[done:min(len(p), done+1<<20)]
		n, err := d.set.write(portion, off+int64(done), func(p []byte, off int64) error {
			return readPadded(d.base, p, off)
		})
		done += n
		if err != nil {
			return done, fmt.Errorf("read before write: %w", err)
		}
	}
	return done, nil
}

// spill writes the pages that are in memory to the end of the temporary file.
// Requires mu.
func (d *Overlay) spill() error {
	if d.file == nil {
		f, err := d.temp()
		if err != nil {
			return err
		}
		d.file, d.set.file = f, f
	}
	var moved []placed
	buf := make([]byte, 0, homeBuffer)
	start, end := d.end, d.end
	err := d.set.each(func(num int64, pg *setPage) error {
		if pg.inMem == 0 {
			return nil
		}
		var page [pageLen]byte
		if err := d.set.copyPage(pg, &page); err != nil {
			return err
		}
		mask := pg.mask()
		moved = append(moved, placed{pg, end, mask})
		for sec := range pageSectors {
			if mask>>sec&1 != 0 {
				buf = append(buf, page[sec*sectorLen:(sec+1)*sectorLen]...)
				end += sectorLen
			}
		}
		if len(buf)+pageLen <= cap(buf) {
			return nil
		}
		_, err := d.file.WriteAt(buf, start)
		start, buf = end, buf[:0]
		return err
	})
	if err == nil && len(buf) > 0 {
		_, err = d.file.WriteAt(buf, start)
	}
	if err != nil {
		return err
	}
	d.end = end
	for _, m := range moved {
		m.pg.spilled, m.pg.at = m.mask, m.at
	}
	d.set.dropMemory()
	return nil
}

// Sync does nothing: it is all going to be thrown away.
func (d *Overlay) Sync() error { return nil }

// Close throws everything away. The device below stays open.
func (d *Overlay) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set.clear()
	if d.file == nil {
		return nil
	}
	f := d.file
	d.file = nil
	return f.Close()
}

// FileRange implements [FileBacked]: false for what was written.
func (d *Overlay) FileRange(off, n int64) (*os.File, int64, bool) {
	fb, ok := d.base.(FileBacked)
	if !ok {
		return nil, 0, false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.set.hides(off, n) {
		return nil, 0, false
	}
	return fb.FileRange(off, n)
}

// SeekData implements [HoleSeeker].
func (d *Overlay) SeekData(off int64) (int64, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.set.seekData(d.base, off)
}

// SeekHole implements [HoleSeeker].
func (d *Overlay) SeekHole(off int64) (int64, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.set.seekHole(d.base, off)
}
