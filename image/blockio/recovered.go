package blockio

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
)

// A Recovered is an image as it will be once the commit in its journal has been
// finished: for readers, who write nothing. The journal stays open, and is read
// from where it is.
//
// A writer may come and finish the commit for real, and write the next one over
// the journal. It marks the journal as dead before that, when the image has it
// all; a Recovered looks at the mark after every read from the journal, and
// once it is dead, reads the image alone.
type Recovered struct {
	base Device
	redo *redo
	gone atomic.Bool // the image has it all
}

// OpenRecovered returns dev with a complete journal laid over it. Without one
// it returns nil. If the image contradicts the journal, the error is a
// *[ForeignJournalError].
func OpenRecovered(dev Device, store JournalStore) (*Recovered, error) {
	const tries = 5
	for try := 1; ; try++ {
		file, err := store.Open(false)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		r, err := readJournal(file, store.Name(), dev.Size())
		if errors.Is(err, errIncomplete) {
			return nil, file.Close()
		}
		if err == nil {
			err = r.check(dev)
		}
		if err == nil {
			return &Recovered{base: dev, redo: r}, nil
		}
		file.Close()
		// A writer that is at work may have been in the middle of a sector.
		if try == tries {
			return nil, err
		}
	}
}

// Size is that of the image.
func (d *Recovered) Size() int64 { return d.base.Size() }

// SectorSize is that of the image.
func (d *Recovered) SectorSize() int { return d.base.SectorSize() }

// Close closes the journal, not the image.
func (d *Recovered) Close() error { return d.redo.file.Close() }

// ReadAt implements [io.ReaderAt].
func (d *Recovered) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.base.ReadAt(p, off)
	if n == 0 || d.gone.Load() || !d.redo.set.overlaps(off, off+int64(n)) {
		return n, err
	}
	readErr := d.redo.set.readOver(p[:n], off)
	h, headErr := readHeader(d.redo.file)
	if headErr != nil && !errors.Is(headErr, errIncomplete) {
		return 0, headErr
	}
	if headErr != nil || h != d.redo.header || errors.Is(readErr, io.ErrUnexpectedEOF) {
		d.gone.Store(true)
		return d.base.ReadAt(p, off)
	}
	if readErr != nil {
		return 0, readErr
	}
	return n, err
}

// FileRange implements [FileBacked]: false for what is in the journal.
func (d *Recovered) FileRange(off, n int64) (*os.File, int64, bool) {
	fb, ok := d.base.(FileBacked)
	if !ok || !d.gone.Load() && d.redo.set.hides(off, n) {
		return nil, 0, false
	}
	return fb.FileRange(off, n)
}

// SeekData implements [HoleSeeker].
func (d *Recovered) SeekData(off int64) (int64, error) { return d.redo.set.seekData(d.base, off) }

// SeekHole implements [HoleSeeker].
func (d *Recovered) SeekHole(off int64) (int64, error) { return d.redo.set.seekHole(d.base, off) }
