// Package crashtest cuts the power of file systems that are being written to.
//
// A [Session] does random operations on a driver, commits now and then, and
// records every operation on the image and on its journal. Then the power is
// cut: after every recorded operation, in the middle of writes, and with the
// writes since the last flush done in part and in any order. Each image that
// this leaves is opened again, which finishes or drops the last commit, is
// checked, and must hold exactly the tree of a commit that is not older than
// the last one that had returned.
//
// One thing may differ. On a mount, contents that are overwritten in place are
// not part of the transaction, so their bytes may be old or new.
//
// Nothing in here knows a format.
package crashtest

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
)

// A Case is a file system, and what is done to it.
type Case struct {
	Driver *vfs.Driver
	Check  func(ctx context.Context, dev blockio.Device, report func(vfs.Finding)) error
	Size   int64 // bytes
	Format vfs.FormatOptions
	Image  []byte        // what to begin with, instead of Size and Format
	Model  model.Options // Seed and Committed are the session's

	// Atomic sessions commit once or twice, at the end of many operations.
	Atomic bool
	// Memory is what the session may keep in memory before it spills.
	Memory int64
	// Operations is how many there are, roughly.
	Operations int
	// Shuffles is how many power cuts within flush windows are tried.
	Shuffles int
}

// A Count is what was tried.
type Count struct {
	Cuts     int // images left by a kill at an operation or in it
	Shuffles int // images left by a power cut
	Distinct int // of both, that had to be looked at
	Commits  int
}

// Add adds up counts.
func (c *Count) Add(d Count) {
	c.Cuts += d.Cuts
	c.Shuffles += d.Shuffles
	c.Distinct += d.Distinct
	c.Commits += d.Commits
}

// A point is a commit: the states that it may hold, and where it was.
type point struct {
	states []*memfs.FS
	done   int               // operations on the medium when it had returned
	disk   *blockiotest.Disk // the image then
}

// A Session is one run of a case.
type Session struct {
	Case
	seed   uint64
	start  *blockiotest.Medium
	rec    *blockiotest.Recorder
	points []point
	loose  []overwrite

	sound map[uint64]bool // images by hash, checked
	same  map[sameKey]bool
	count Count
}

// An overwrite is contents written in place of others.
type overwrite struct {
	at   int // operation
	off  int64
	data []byte
}

type sameKey struct {
	hash  uint64
	point int
}

// Run does the session with the given seed, and cuts it everywhere. The error
// says where and why an image was not as it has to be.
func (c Case) Run(ctx context.Context, seed uint64) (Count, error) {
	s := &Session{Case: c, seed: seed, sound: map[uint64]bool{}, same: map[sameKey]bool{}}
	err := s.record(ctx)
	if err == nil {
		err = s.crash(ctx)
	}
	s.count.Commits = len(s.points) - 1
	if err != nil {
		return s.count, fmt.Errorf("session %d: %w", seed, err)
	}
	return s.count, nil
}

// watched is the session's transaction, which takes a note of what is
// overwritten in place.
type watched struct {
	*blockio.Session
	s *Session
}

func (w watched) WriteData(p []byte, off int64, fresh bool) error {
	if !fresh && !w.Atomic() {
		w.s.loose = append(w.s.loose, overwrite{w.s.rec.Len(), off, append([]byte(nil), p...)})
	}
	return w.Session.WriteData(p, off, fresh)
}

// record makes a file system and does the operations.
func (s *Session) record(ctx context.Context) error {
	disk, err := s.disk(ctx)
	if err != nil {
		return err
	}
	s.start = &blockiotest.Medium{Disk: disk}
	s.rec = blockiotest.NewRecorder(s.start.Clone())
	tx := blockio.NewSession(s.rec.Image(), blockio.SessionOptions{
		Atomic: s.Atomic, Journal: s.rec.Store(), Memory: s.Memory,
	})
	fsys, err := s.Driver.OpenWritable(ctx, watched{tx, s})
	if err != nil {
		return err
	}
	if err := s.operate(ctx, tx, fsys); err != nil {
		return err
	}
	if err := fsys.Close(); err != nil {
		return err
	}
	return tx.Close()
}

// disk returns an empty file system.
func (s *Session) disk(ctx context.Context) (*blockiotest.Disk, error) {
	if s.Image != nil {
		return blockiotest.DiskOf(s.Image), nil
	}
	disk := blockiotest.NewDisk(s.Size)
	maker := blockio.NewSession(disk, blockio.SessionOptions{})
	if err := s.Driver.Format(maker, s.Format); err != nil {
		return nil, err
	}
	return disk, maker.Commit(ctx)
}

func (s *Session) operate(ctx context.Context, tx *blockio.Session, fsys vfs.WritableFS) error {
	opt := s.Model
	opt.Seed = s.seed
	if !s.Atomic {
		opt.Committed = func(_ context.Context, state *memfs.FS) error {
			s.committed(state)
			return nil
		}
	}
	run := model.New(fsys, opt)
	if err := run.Adopt(ctx); err != nil {
		return err
	}
	s.committed(run.Committed())
	rnd := rand.New(rand.NewPCG(s.seed, 8))
	// The last operations are followed by no commit.
	left := s.Operations/2 + rnd.IntN(s.Operations)
	commits := 1 + rnd.IntN(2)
	for n := range left {
		before, commitsBefore := run.Model().Snapshot(), tx.Stats().Commits
		points := len(s.points)
		if _, err := run.Step(ctx); err != nil {
			return err
		}
		if tx.Stats().Commits != commitsBefore && len(s.points) == points {
			// The driver needed a commit in the middle of an operation.
			s.committed(before, run.Model().Snapshot())
		}
		switch {
		case s.Atomic && n > left*2/3 && commits > 0:
			commits--
			if err := tx.Commit(ctx); err != nil {
				return err
			}
			s.committed(run.Model().Snapshot())
		case !s.Atomic && rnd.IntN(12) == 0:
			if err := run.Sync(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// committed remembers a commit that has returned just now.
func (s *Session) committed(states ...*memfs.FS) {
	s.points = append(s.points, point{states: states, done: s.rec.Len(), disk: s.rec.Medium().Disk})
}
