package blockio

import (
	"sync"
)

// Faults wraps a device and makes its reads and writes fail where a test wants
// it: the bad sectors, flipped bits and torn writes of real media.
type Faults struct {
	dev Device

	mu      sync.Mutex
	reads   int
	writes  int
	onRead  func(n int, p []byte, off int64) error
	onWrite func(n int, p []byte, off int64) (keep int, err error)
}

// NewFaults returns dev without any fault.
func NewFaults(dev Device) *Faults { return &Faults{dev: dev} }

// OnRead sets a function that sees every read after it has been done: n counts
// reads from 1, p is what was read, off where. It may change p (a flipped
// bit); an error it returns is the read's. It must be safe for concurrent use.
func (f *Faults) OnRead(fn func(n int, p []byte, off int64) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onRead = fn
}

// OnWrite sets a function that sees every write before it is done: n counts
// writes from 1. It returns how many bytes to write (fewer than len(p) tears
// the write) and the error to report.
func (f *Faults) OnWrite(fn func(n int, p []byte, off int64) (keep int, err error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onWrite = fn
}

// FailRange makes every read that touches the n bytes at off return err: a bad
// sector.
func (f *Faults) FailRange(off, n int64, err error) {
	f.OnRead(func(_ int, p []byte, at int64) error {
		if at < off+n && off < at+int64(len(p)) {
			return err
		}
		return nil
	})
}

// Size is that of the device below.
func (f *Faults) Size() int64 { return f.dev.Size() }

// SectorSize is that of the device below.
func (f *Faults) SectorSize() int { return f.dev.SectorSize() }

// ReadAt implements [io.ReaderAt].
func (f *Faults) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.dev.ReadAt(p, off)
	f.mu.Lock()
	f.reads++
	count, fn := f.reads, f.onRead
	f.mu.Unlock()
	if fn != nil {
		if ferr := fn(count, p[:n], off); ferr != nil {
			return 0, ferr
		}
	}
	return n, err
}

// WriteAt implements [io.WriterAt] if the device below is writable, and is
// [ErrReadOnly] otherwise.
func (f *Faults) WriteAt(p []byte, off int64) (int, error) {
	w, ok := f.dev.(Writable)
	if !ok {
		return 0, ErrReadOnly
	}
	f.mu.Lock()
	f.writes++
	count, fn := f.writes, f.onWrite
	f.mu.Unlock()
	if fn == nil {
		return w.WriteAt(p, off)
	}
	keep, ferr := fn(count, p, off)
	n, err := w.WriteAt(p[:min(max(keep, 0), len(p))], off)
	if ferr != nil {
		err = ferr
	}
	return n, err
}

// Sync passes on to the device below.
func (f *Faults) Sync() error {
	if w, ok := f.dev.(Writable); ok {
		return w.Sync()
	}
	return ErrReadOnly
}
