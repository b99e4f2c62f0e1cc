package blockio

import "context"

// A TransactionSection is part of a transaction: a partition that is written
// to.
type TransactionSection struct {
	Section
	tx Transaction
}

// NewTransactionSection returns the size bytes of tx at off.
func NewTransactionSection(tx Transaction, off, size int64) (*TransactionSection, error) {
	var below Device = tx
	if t, ok := tx.(*TransactionSection); ok {
		below, tx = &t.Section, t.tx
	}
	s, err := NewSection(below, off, size)
	if err != nil {
		return nil, err
	}
	return &TransactionSection{Section: *s, tx: tx}, nil
}

func (s *TransactionSection) inside(off int64, n int) error {
	if off < 0 || off > s.size || int64(n) > s.size-off {
		return &RangeError{Off: off, Len: int64(n), Size: s.size}
	}
	return nil
}

// WriteAt implements [Transaction].
func (s *TransactionSection) WriteAt(p []byte, off int64) (int, error) {
	if err := s.inside(off, len(p)); err != nil {
		return 0, err
	}
	return s.tx.WriteAt(p, s.off+off)
}

// WriteData implements [Transaction].
func (s *TransactionSection) WriteData(p []byte, off int64, fresh bool) error {
	if err := s.inside(off, len(p)); err != nil {
		return err
	}
	return s.tx.WriteData(p, s.off+off, fresh)
}

// Atomic implements [Transaction].
func (s *TransactionSection) Atomic() bool { return s.tx.Atomic() }

// Join implements [Transaction].
func (s *TransactionSection) Join(p Participant) func() { return s.tx.Join(p) }

// Commit implements [Transaction]: of the whole image.
func (s *TransactionSection) Commit(ctx context.Context) error { return s.tx.Commit(ctx) }

// Sync implements [Writable].
func (s *TransactionSection) Sync() error { return s.tx.Sync() }

var (
	_ Transaction = (*Session)(nil)
	_ Transaction = (*TransactionSection)(nil)
)
