package blockio

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// ErrPending reports a commit that has happened, but whose changes could not all
// be written to their places. They are safe in the journal; the next opening of
// the image for writing finishes the commit.
var ErrPending = errors.New("the commit is complete in the journal, and will be finished when the image is opened for writing the next time")

// earlySync is how many bytes of data are worth a Sync of their own before the
// participants are frozen, so that they do not have to wait for long.
const earlySync = 1 << 20

// Commit implements [Transaction]. Of many who call it at once, one does the
// work. After an error, what was collected is still there, and Commit may be
// tried again, unless the error says otherwise.
func (s *Session) Commit(ctx context.Context) error {
	seen := s.began.Load()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.succeeded > seen {
		return nil // by a commit that began after this call
	}
	now := s.began.Add(1)

	s.mu.RLock()
	broken := s.broken
	members := append([]Participant(nil), s.members...)
	s.mu.RUnlock()
	if broken != nil {
		return broken
	}
	if s.recent.Load() >= earlySync {
		if err := s.syncBase(); err != nil {
			return err
		}
	}
	committed := false
	thaw, err := freeze(ctx, members)
	defer func() { thaw(committed) }()
	if err != nil {
		return err
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	if err := s.commit(ctx); err != nil {
		return err
	}
	committed = true
	s.succeeded = now
	return nil
}

// freeze has participants write what they hold, and keeps them as they are until
// thaw is called, which is also needed after an error.
func freeze(ctx context.Context, members []Participant) (thaw func(committed bool), err error) {
	frozen := 0
	thaw = func(committed bool) {
		for _, m := range members[:frozen] {
			m.Thaw(committed)
		}
	}
	for _, m := range members {
		frozen++
		if err := m.Freeze(ctx); err != nil {
			return thaw, err
		}
	}
	return thaw, nil
}

// Flush has the participants write what they hold, so that whoever reads through
// the session sees all of it, and commits nothing.
func (s *Session) Flush(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	s.mu.RLock()
	members := append([]Participant(nil), s.members...)
	s.mu.RUnlock()
	thaw, err := freeze(ctx, members)
	thaw(false)
	return err
}

// commit makes everything durable. It syncs three times, in this order:
//
//  1. the image: the contents that the new metadata refer to, and what the last
//     commit wrote to its places, so that its journal is not needed any more;
//  2. the journal: now the commit has happened;
//  3. the image, with the collected sectors in their places. Nobody has to wait
//     for that: the journal has them. So it is left to the next commit (its
//     first step), to Close, or to a commit that has nothing else to do.
//
// Requires gate, alone.
func (s *Session) commit(ctx context.Context) error {
	if s.broken != nil {
		return s.broken
	}
	if err := s.held.flush(s.writeBase); err != nil {
		return hostFull(err)
	}
	wrote := s.private && s.unsynced.Load()
	if err := s.syncBase(); err != nil {
		return err
	}
	if s.collected.empty() {
		if err := s.publish(); err != nil {
			return err
		}
		if wrote {
			s.commits.Add(1)
		}
		return s.settle()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	journaled := s.journal != nil
	if journaled {
		if err := s.writeJournal(s.collected.extents(s.Size())); err != nil {
			return err
		}
	}
	n, err := s.collected.writeHome(s.base)
	s.unsynced.Store(true)
	switch {
	case err != nil:
	case !journaled:
		if err := s.syncBase(); err != nil {
			return err
		}
	case s.opt.Atomic:
		err = s.base.Sync()
		s.unsynced.Store(err != nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !journaled {
			return err
		}
		s.broken = fmt.Errorf("%w (%s): %w", ErrPending, s.journal.store.Name(), err)
		return s.broken
	}
	s.collected.clear()
	s.commits.Add(1)
	s.metaBytes.Add(n)
	if s.opt.Atomic && journaled {
		// The commit is what the caller wanted, and it is durable whether or
		// not its journal can be declared dead now.
		if err := s.journal.kill(); err != nil {
			s.broken = err
		}
	}
	return nil
}

// publish ends the privacy of a session. Requires gate, alone.
func (s *Session) publish() error {
	if !s.private || s.opt.Publish == nil {
		return nil
	}
	if err := s.opt.Publish(); err != nil {
		return err
	}
	s.private = false
	return nil
}

// writeJournal writes what was collected to the journal, so that it is durable.
// If it fails, the commit has not happened and never will. Requires gate,
// alone.
func (s *Session) writeJournal(places []extent) error {
	// Room for everything first: a full host must not stop a commit that has
	// happened already.
	err := preallocate(s.base, places)
	if err != nil {
		return hostFull(err)
	}
	if err := s.journal.begin(); err != nil { // the image was synced just now
		return hostFull(err)
	}
	start := s.journal.mark()
	if _, err = s.appendRecords(); err == nil {
		err = s.journal.seal()
	}
	if err == nil {
		s.named = places
		return nil
	}
	if werr := s.journal.withdraw(start); werr != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.broken = fmt.Errorf("the last commit failed, and its journal cannot be taken back: %w", werr)
		return errors.Join(hostFull(err), s.broken)
	}
	s.named = nil
	return hostFull(err)
}

// hostFull says what a failed commit leaves behind.
func hostFull(err error) error {
	why := "commit failed"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		why = "commit failed for want of space on the host"
	}
	return fmt.Errorf("%s; the image holds the last commit: %w", why, err)
}

// settle makes an end of the last commit: it is in its place for good, and its
// journal is dead. Requires gate, alone.
func (s *Session) settle() error {
	if s.journal == nil || s.journal.state != journalLive {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.kill()
}

// bury is settle, for good even after a power cut. Requires mu.
func (s *Session) bury() error {
	if s.journal == nil {
		return nil
	}
	if s.journal.state != journalDead {
		if err := s.syncBaseLocked(); err != nil {
			return err
		}
		if err := s.journal.bury(); err != nil {
			return err
		}
	}
	s.named = nil
	return nil
}

// syncBase makes what was written to the image durable. Requires turn.
func (s *Session) syncBase() error {
	err := s.sync()
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.breakBy(err)
		return s.broken
	}
	return nil
}

// syncBaseLocked is syncBase for those who hold mu.
func (s *Session) syncBaseLocked() error {
	if err := s.sync(); err != nil {
		s.breakBy(err)
		return s.broken
	}
	return nil
}

func (s *Session) sync() error {
	recent := s.recent.Load()
	if !s.unsynced.Swap(false) {
		return nil
	}
	s.recent.Add(-recent)
	return s.base.Sync()
}

// breakBy ends the session after a failed Sync of the image. The host reports
// such a failure once, and forgets about what it could not write, so a later
// Sync that succeeds would mean nothing. Requires mu.
func (s *Session) breakBy(err error) {
	what := "the image holds the last commit"
	if s.journal != nil && s.journal.state == journalLive {
		what = "the last commit is in the journal " + s.journal.store.Name() +
			", and will be finished when the image is opened for writing the next time"
	}
	s.broken = fmt.Errorf("the host could not write to the image, so nothing more is written; %s: %w", what, err)
}

// discard forgets what is collected. Requires gate, alone, and mu.
func (s *Session) discard() {
	s.collected.clear()
	s.held.drop()
	if s.journal != nil && !s.journal.sealed {
		s.journal.back(mark{end: journalStart})
	}
}
