package blockio

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"sort"
	"sync"
)

// A Session is the [Transaction] over a whole image. What is collected is kept
// in memory until the commit.
type Session struct {
	base Writable
	opt  SessionOptions

	// commit is held for the length of a commit; it orders them. mu guards
	// what follows it, and is held for the length of one read or write.
	commit sync.Mutex

	mu      sync.RWMutex
	pages   map[int64]*sessionPage // what is collected, by page number
	members []Participant
}

// SessionOptions change how a session works. The zero value is a session that
// commits when asked.
type SessionOptions struct {
	// Atomic makes Sync do nothing: see [Transaction].
	Atomic bool
}

const (
	sessionSector = 512
	sessionPageSz = 4096 // 8 sectors: one bit each in a byte
)

// A sessionPage is eight sectors, of which those in dirty were written.
type sessionPage struct {
	dirty uint8
	data  [sessionPageSz]byte
}

// NewSession begins a transaction over base.
func NewSession(base Writable, opt SessionOptions) *Session {
	return &Session{base: base, opt: opt, pages: map[int64]*sessionPage{}}
}

// Size is that of the device below.
func (s *Session) Size() int64 { return s.base.Size() }

// SectorSize is that of the device below.
func (s *Session) SectorSize() int { return s.base.SectorSize() }

// Atomic implements [Transaction].
func (s *Session) Atomic() bool { return s.opt.Atomic }

// Join implements [Transaction].
func (s *Session) Join(p Participant) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(s.members, p)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, m := range s.members {
			if m == p {
				s.members = append(s.members[:i:i], s.members[i+1:]...)
				return
			}
		}
	}
}

// ReadAt implements [io.ReaderAt]: the device below, with what was collected
// laid over it.
func (s *Session) ReadAt(p []byte, off int64) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, err := s.base.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	s.overlay(p[:n], off)
	return n, err
}

// overlay copies what was collected over p, which was read at off. Requires
// s.mu.
func (s *Session) overlay(p []byte, off int64) {
	if len(s.pages) == 0 {
		return
	}
	s.eachDirty(off, int64(len(p)), func(pg *sessionPage, in, at, n int64) {
		copy(p[at:at+n], pg.data[in:in+n])
	}, nil)
}

// eachDirty goes through the n bytes at off in order: dirty is called with
// every run of collected bytes (in: offset in the page, at: offset from off),
// and clean, if it is not nil, with every run of the others. Requires s.mu.
func (s *Session) eachDirty(off, n int64, dirty func(pg *sessionPage, in, at, n int64), clean func(at, n int64)) {
	for at := int64(0); at < n; {
		num, in := (off+at)/sessionPageSz, (off+at)%sessionPageSz
		pg := s.pages[num]
		run := min(sessionPageSz-in, n-at)
		if pg == nil {
			if clean != nil {
				clean(at, run)
			}
			at += run
			continue
		}
		// The longest run of sectors that are alike.
		is := pg.dirty>>(in/sessionSector)&1 != 0
		end := in
		for end < in+run && (pg.dirty>>(end/sessionSector)&1 != 0) == is {
			end += sessionSector - end%sessionSector
		}
		run = min(end-in, run)
		if is {
			dirty(pg, in, at, run)
		} else if clean != nil {
			clean(at, run)
		}
		at += run
	}
}

func (s *Session) inside(off int64, n int) error {
	if off < 0 || off > s.Size() || int64(n) > s.Size()-off {
		return &RangeError{Off: off, Len: int64(n), Size: s.Size()}
	}
	return nil
}

// WriteAt implements [Transaction]: p is collected.
func (s *Session) WriteAt(p []byte, off int64) (int, error) {
	if err := s.inside(off, len(p)); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.collect(p, off)
}

// collect lays p over the device. Requires s.mu.
func (s *Session) collect(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		num, in := at/sessionPageSz, at%sessionPageSz
		part := p[done:min(len(p), done+int(sessionPageSz-in))]
		pg := s.pages[num]
		if pg == nil {
			pg = new(sessionPage)
		}
		// Sectors that are written in part are read first.
		first, last := in/sessionSector, (in+int64(len(part))-1)/sessionSector
		for _, sec := range []int64{first, last} {
			start := sec * sessionSector
			whole := in <= start && in+int64(len(part)) >= start+sessionSector
			if whole || pg.dirty>>sec&1 != 0 {
				continue
			}
			b := pg.data[start : start+sessionSector]
			if _, err := s.base.ReadAt(b, num*sessionPageSz+start); err != nil && err != io.EOF {
				return done, fmt.Errorf("read before write: %w", err)
			}
			pg.dirty |= 1 << sec
		}
		copy(pg.data[in:], part)
		for sec := first; sec <= last; sec++ {
			pg.dirty |= 1 << sec
		}
		s.pages[num] = pg
		done += len(part)
	}
	return done, nil
}

// WriteData implements [Transaction].
func (s *Session) WriteData(p []byte, off int64, fresh bool) error {
	if err := s.inside(off, len(p)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opt.Atomic && !fresh {
		_, err := s.collect(p, off)
		return err
	}
	var failed error
	write := func(at, n int64) {
		if failed == nil {
			_, failed = s.base.WriteAt(p[at:at+n], off+at)
		}
	}
	if len(s.pages) == 0 {
		write(0, int64(len(p)))
		return failed
	}
	// Collected sectors stay so; the others go to their place in runs.
	start, run := int64(0), int64(0)
	s.eachDirty(off, int64(len(p)), func(pg *sessionPage, in, at, n int64) {
		copy(pg.data[in:in+n], p[at:at+n])
	}, func(at, n int64) {
		if at != start+run {
			if run > 0 {
				write(start, run)
			}
			start, run = at, 0
		}
		run += n
	})
	if run > 0 {
		write(start, run)
	}
	return failed
}

// Sync implements [Writable]: it commits, unless the session is atomic.
func (s *Session) Sync() error {
	if s.opt.Atomic {
		return nil
	}
	return s.Commit(context.Background())
}

// Commit implements [Transaction].
func (s *Session) Commit(ctx context.Context) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.RLock()
	members := append([]Participant(nil), s.members...)
	s.mu.RUnlock()

	committed := false
	frozen := 0
	defer func() {
		for _, m := range members[:frozen] {
			m.Thaw(committed)
		}
	}()
	for _, m := range members {
		frozen++
		if err := m.Freeze(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writeHome(); err != nil {
		return err
	}
	committed = true
	clear(s.pages)
	return nil
}

// writeHome writes what was collected to its place. Requires s.mu.
func (s *Session) writeHome() error {
	nums := make([]int64, 0, len(s.pages))
	for num := range s.pages {
		nums = append(nums, num)
	}
	sort.Slice(nums, func(i, j int) bool { return nums[i] < nums[j] })
	for _, num := range nums {
		pg := s.pages[num]
		for dirty := pg.dirty; dirty != 0; {
			first := bits.TrailingZeros8(dirty)
			count := bits.TrailingZeros8(^(dirty >> first))
			from := int64(first) * sessionSector
			b := pg.data[from : from+int64(count)*sessionSector]
			if _, err := s.base.WriteAt(b, num*sessionPageSz+from); err != nil {
				return err
			}
			dirty &^= uint8(1<<count-1) << first
		}
	}
	return s.base.Sync()
}

// Discard forgets what was collected since the last commit. Contents that were
// written to free space stay there; nothing refers to them.
func (s *Session) Discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.pages)
}

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
