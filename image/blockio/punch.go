package blockio

import (
	"os"

	"golang.org/x/sys/unix"
)

// A Puncher can give space back to the host.
type Puncher interface {
	// Punch makes n bytes at off a hole: they read as zeros from then on, and
	// take no space. In a transaction they must be free in the last commit. It
	// says false, having changed nothing, where that cannot be done; then zeros
	// have to be written.
	Punch(off, n int64) (bool, error)
}

// Punch implements [Puncher] by fallocate(2). A block device has no holes.
func (d *WritableFile) Punch(off, n int64) (bool, error) {
	if off < 0 || n <= 0 || off > d.size || n > d.size-off {
		return false, &RangeError{Off: off, Len: n, Size: d.size}
	}
	if d.block {
		return false, nil
	}
	err := unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	switch err {
	case nil:
		return true, nil
	case unix.EOPNOTSUPP, unix.ENOSYS:
		return false, nil
	}
	return false, &os.PathError{Op: "fallocate", Path: d.Name(), Err: err}
}

// Punch implements [Puncher] where the device below does, and for what is not
// collected.
func (s *Session) Punch(off, n int64) (bool, error) {
	p, ok := s.base.(Puncher)
	if !ok {
		return false, nil
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return false, s.broken
	}
	end := off + n
	if s.collected.overlaps(off, end) {
		return false, nil
	}
	if touches(s.named, off, end) { // see WriteData
		if err := s.bury(); err != nil {
			return false, err
		}
	}
	if err := s.held.flush(s.writeBase); err != nil {
		return false, err
	}
	done, err := p.Punch(off, n)
	s.unsynced.Store(true)
	return done, err
}

// Punch implements [Puncher] where the transaction does.
func (s *TransactionSection) Punch(off, n int64) (bool, error) {
	if off < 0 || n < 0 || off > s.size || n > s.size-off {
		return false, &RangeError{Off: off, Len: n, Size: s.size}
	}
	if p, ok := s.tx.(Puncher); ok {
		return p.Punch(s.off+off, n)
	}
	return false, nil
}
