package blockio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// A Session is the [Transaction] over a whole image.
//
// What is collected lies in memory, up to a bound; what is more is spilled to
// the journal, which has to hold it at the commit anyway. Without a journal
// everything stays in memory, and a commit is only as safe as the device.
type Session struct {
	base    Writable
	opt     SessionOptions
	journal *journal // nil: none. Changed under mu, or by a commit under gate

	// The locks, in the order in which they are taken: turn is held by the one
	// commit that is at work; gate is held shared by everyone who writes, and
	// alone by a commit from when the participants are frozen; mu guards what
	// follows it, and is never held by a commit while it waits for the medium,
	// so that reading goes on.
	turn chan struct{}
	gate sync.RWMutex

	mu        sync.RWMutex
	collected sectorSet
	held      gather   // short writes that nobody needs on the device yet
	spillAt   int      // pages in memory at which to spill
	named     []extent // what a journal that is not yet dead for good names
	members   []Participant
	broken    error // why nothing may be written any more
	private   bool  // see SessionOptions. Changed by a commit under gate

	began     atomic.Uint64 // commits
	succeeded uint64        // the last one to succeed. Under turn

	unsynced  atomic.Bool  // base has been written to since its last Sync
	recent    atomic.Int64 // bytes of data written since
	commits   atomic.Int64
	dataBytes atomic.Int64
	metaBytes atomic.Int64
}

// SessionOptions change how a session works. The zero value is a session that
// commits when asked, and has no journal.
type SessionOptions struct {
	// Atomic makes Sync do nothing: see [Transaction].
	Atomic bool
	// Journal is where commits are written first. [Recover] must have been
	// called with it.
	Journal JournalStore
	// Private says that nobody else sees the device: it is an overlay, or a copy
	// that has no name yet. There is no need of a journal then: everything goes
	// straight to its place, and cannot be discarded.
	Private bool
	// Publish is called at the end of the first commit of a private session,
	// which is not private any more when it has succeeded.
	Publish func() error
	// Memory is how many bytes of what is collected are kept in memory at most
	// (about). Zero is 16 MiB.
	Memory int64
}

const sessionMemory = 16 << 20

// Stats say what a session has done so far.
type Stats struct {
	Commits  int64 // that wrote something
	Data     int64 // bytes of contents written to their place at once
	Metadata int64 // bytes of what was collected and committed
}

// NewSession begins a transaction over base.
func NewSession(base Writable, opt SessionOptions) *Session {
	s := &Session{base: base, opt: opt, private: opt.Private, turn: make(chan struct{}, 1)}
	if opt.Memory == 0 {
		opt.Memory = sessionMemory
	}
	s.opt.Memory = opt.Memory
	s.spillAt = int(max(opt.Memory/pageLen, 1))
	if opt.Journal != nil {
		s.journal = newJournal(opt.Journal, base.Size())
	}
	// Who publishes wants to be sure of everything that is there.
	s.unsynced.Store(opt.Publish != nil)
	return s
}

// Size is that of the device below.
func (s *Session) Size() int64 { return s.base.Size() }

// SectorSize is that of the device below.
func (s *Session) SectorSize() int { return s.base.SectorSize() }

// Atomic implements [Transaction].
func (s *Session) Atomic() bool { return s.opt.Atomic }

// Private reports whether nobody else sees what is written: see
// [SessionOptions]. It is not private any more once it has been published.
func (s *Session) Private() bool {
	s.gate.RLock()
	defer s.gate.RUnlock()
	return s.private
}

// Stats returns what has been done so far.
func (s *Session) Stats() Stats {
	return Stats{Commits: s.commits.Load(), Data: s.dataBytes.Load(), Metadata: s.metaBytes.Load()}
}

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
	n, err := s.readBase(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	if oerr := s.collected.readOver(p[:n], off); oerr != nil {
		return 0, oerr
	}
	return n, err
}

// readBase reads what has been written to the device below, or is on its way.
func (s *Session) readBase(p []byte, off int64) (int, error) {
	if !s.opt.Atomic && !s.opt.Private {
		return s.base.ReadAt(p, off) // nothing ever waits
	}
	return s.held.readOver(p, off, s.base.ReadAt)
}

// FileRange implements [FileBacked]: false for what is collected.
func (s *Session) FileRange(off, n int64) (*os.File, int64, bool) {
	fb, ok := s.base.(FileBacked)
	if !ok {
		return nil, 0, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.collected.hides(off, n) || s.held.overlaps(off, off+n) {
		return nil, 0, false
	}
	return fb.FileRange(off, n)
}

// SeekData implements [HoleSeeker].
func (s *Session) SeekData(off int64) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.held.flush(s.writeBase); err != nil {
		return 0, err
	}
	return s.collected.seekData(s.base, off)
}

// SeekHole implements [HoleSeeker].
func (s *Session) SeekHole(off int64) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.held.flush(s.writeBase); err != nil {
		return 0, err
	}
	return s.collected.seekHole(s.base, off)
}

func (s *Session) inside(off int64, n int) error {
	if off < 0 || off > s.Size() || int64(n) > s.Size()-off {
		return &RangeError{Off: off, Len: int64(n), Size: s.Size()}
	}
	return nil
}

// WriteAt implements [Transaction]: p is collected, unless nobody sees it
// anyway.
func (s *Session) WriteAt(p []byte, off int64) (int, error) {
	if err := s.inside(off, len(p)); err != nil {
		return 0, err
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.private {
		return s.collect(p, off)
	}
	if s.broken != nil {
		return 0, s.broken
	}
	if err := s.held.write(p, off, s.writeBase); err != nil {
		return 0, err
	}
	s.metaBytes.Add(int64(len(p)))
	return len(p), nil
}

// collect lays p over the device. Requires gate and mu.
func (s *Session) collect(p []byte, off int64) (int, error) {
	// Of the sectors that p covers in part, the rest is read from the device.
	if s.held.overlaps(off&^(sectorLen-1), (off+int64(len(p))+sectorLen-1)&^(sectorLen-1)) {
		if err := s.held.flush(s.writeBase); err != nil {
			return 0, err
		}
	}
	// In portions that memory has room for.
	done := 0
	for done < len(p) {
		if s.broken != nil {
			return done, s.broken
		}
		if s.collected.held >= s.spillAt {
			if err := s.spill(); err != nil {
				return done, err
			}
		}
		portion := p[done:min(len(p), done+1<<20)]
		n, err := s.collected.write(portion, off+int64(done), s.readBelow)
		done += n
		if err != nil {
			return done, fmt.Errorf("read before write: %w", err)
		}
	}
	return done, nil
}

func (s *Session) readBelow(p []byte, off int64) error { return readPadded(s.base, p, off) }

// WriteData implements [Transaction].
func (s *Session) WriteData(p []byte, off int64, fresh bool) error {
	if err := s.inside(off, len(p)); err != nil {
		return err
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	end := off + int64(len(p))
	if !s.opt.Atomic || fresh || s.private {
		s.mu.RLock()
		if s.broken == nil && !s.collected.overlaps(off, end) && !touches(s.named, off, end) {
			// The common case, in which writers do not wait for each other.
			defer s.mu.RUnlock()
			return s.writeData(p, off)
		}
		s.mu.RUnlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	if s.opt.Atomic && !fresh && !s.private {
		_, err := s.collect(p, off)
		return err
	}
	// A journal that could come back to life after a power cut must not find
	// that what it names has changed.
	if touches(s.named, off, end) {
		if err := s.bury(); err != nil {
			return err
		}
	}
	for len(p) > 0 {
		stop, pg := s.collected.next(off, end)
		n := stop - off
		var err error
		if pg == nil {
			err = s.writeData(p[:n], off)
		} else {
			_, err = s.collect(p[:n], off)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], stop
	}
	return nil
}

// writeData writes contents to their place: at once or, if nothing is promised
// before the commit, soon. Requires gate.
func (s *Session) writeData(p []byte, off int64) error {
	var err error
	if s.opt.Atomic || s.private {
		err = s.held.write(p, off, s.writeBase)
	} else {
		err = s.writeBase(p, off)
	}
	if err == nil {
		s.dataBytes.Add(int64(len(p)))
	}
	return err
}

func (s *Session) writeBase(p []byte, off int64) error {
	n, err := s.base.WriteAt(p, off)
	// Set after the write, so that a Sync that runs meanwhile does not count.
	s.unsynced.Store(true)
	s.recent.Add(int64(n))
	return err
}

// Sync implements [Writable]: it commits, unless the session is atomic.
func (s *Session) Sync() error {
	if s.opt.Atomic {
		return nil
	}
	return s.Commit(context.Background())
}

// Discard forgets what was collected since the last commit. Contents that were
// written to free space stay there; nothing refers to them. So does everything
// of a private session: who owns the device throws it away.
func (s *Session) Discard() {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discard()
}

// Close discards what was not committed, sees to it that the last commit is in
// its place, and removes the journal. The device below stays open.
func (s *Session) Close() error {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.discard()
	var err error
	if s.broken == nil {
		err = s.bury()
	}
	s.broken = errClosed
	if s.journal != nil {
		err = errors.Join(err, s.journal.close())
	}
	return err
}

var errClosed = errors.New("the session is closed")
