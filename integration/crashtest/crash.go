package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
	"github.com/resflash/resflash/image/vfs"
)

// crash cuts the recorded session everywhere.
func (s *Session) crash(ctx context.Context) error {
	rnd := rand.New(rand.NewPCG(s.seed, 9))
	ops := s.rec.Ops()
	// Where the power is cut, and how often.
	shuffles := make([]int, len(ops)+1)
	for range s.Shuffles {
		shuffles[rnd.IntN(len(shuffles))]++
	}
	for r := blockiotest.NewReplay(s.start, ops); ; r.Step() {
		try := func(how string, m *blockiotest.Medium) error {
			if err := s.judge(ctx, m, r.At(), rnd); err != nil {
				return fmt.Errorf("%s at operation %d of %d: %w", how, r.At(), len(ops), err)
			}
			return nil
		}
		s.count.Cuts++
		if err := try("killed", r.Cut()); err != nil {
			return err
		}
		for range shuffles[r.At()] {
			s.count.Shuffles++
			if err := try("power cut", r.Shuffle(rnd)); err != nil {
				return err
			}
		}
		if r.Done() {
			return nil
		}
		if rnd.IntN(4) == 0 {
			if m := r.Torn(rnd); m != nil {
				s.count.Cuts++
				if err := try("torn", m); err != nil {
					return err
				}
			}
		}
	}
}

// judge opens what a crash left when at operations had been done.
func (s *Session) judge(ctx context.Context, m *blockiotest.Medium, at int, rnd *rand.Rand) error {
	rec := blockiotest.NewRecorder(m)
	var reader []byte
	if rnd.IntN(32) == 0 {
		var err error
		if reader, err = readAs(rec); err != nil {
			return err
		}
	}
	if _, err := blockio.Recover(rec.Image(), rec.Store()); err != nil {
		return err
	}
	if _, err := rec.Store().Open(false); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the journal is still there: %w", err)
	}
	disk := rec.Medium().Disk
	if reader != nil && string(reader) != string(disk.Bytes()) {
		return errors.New("a reader saw something else than the next writer")
	}
	if !s.sound[disk.Hash()] {
		s.count.Distinct++
		if err := s.check(ctx, disk); err != nil {
			return err
		}
		s.sound[disk.Hash()] = true
	}
	last := 0 // the last commit that had returned
	for i, p := range s.points {
		if p.done <= at {
			last = i
		}
	}
	var errs []error
	for i := last; i < min(last+2, len(s.points)); i++ {
		err := s.holds(ctx, disk, i, at)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("it is not commit %d: %w", i, err))
	}
	return errors.Join(errs...)
}

// readAs returns the image as a reader sees it, who finishes nothing.
func readAs(rec *blockiotest.Recorder) ([]byte, error) {
	var dev blockio.Device = rec.Image()
	d, err := blockio.OpenRecovered(rec.Image(), rec.Store())
	if err != nil {
		return nil, err
	}
	if d != nil {
		dev = d
	}
	return blockio.ReadFull(dev, 0, int(dev.Size()))
}

// check runs the checker.
func (s *Session) check(ctx context.Context, disk *blockiotest.Disk) error {
	var found []error
	err := s.Check(ctx, disk, func(f vfs.Finding) { found = append(found, errors.New(f.String())) })
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if len(found) > 0 {
		return fmt.Errorf("the checker finds: %w", errors.Join(found[:min(len(found), 5)]...))
	}
	return nil
}

// holds says in what way the image is not that of a commit.
func (s *Session) holds(ctx context.Context, disk *blockiotest.Disk, i, at int) error {
	disk = s.forgive(disk, i, at)
	key := sameKey{disk.Hash(), i}
	if s.same[key] {
		return nil
	}
	fsys, err := s.Driver.Open(ctx, disk)
	if err != nil {
		return err
	}
	defer fsys.Close()
	var errs []error
	for _, state := range s.points[i].states {
		err := s.Model.Comparison.Compare(ctx, state, fsys)
		if err == nil {
			s.same[key] = true
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forgive puts contents that have been overwritten in place since the commit
// back to what they were, byte by byte, if they are what was written.
func (s *Session) forgive(disk *blockiotest.Disk, i, at int) *blockiotest.Disk {
	p := s.points[i]
	cloned := false
	for _, w := range s.loose {
		if w.at < p.done || w.at > at {
			continue
		}
		now := make([]byte, len(w.data))
		then := make([]byte, len(w.data))
		disk.ReadAt(now, w.off)
		p.disk.ReadAt(then, w.off)
		changed := false
		for j, b := range now {
			if b != then[j] && b == w.data[j] {
				now[j], changed = then[j], true
			}
		}
		if changed {
			if !cloned {
				disk, cloned = disk.Clone(), true
			}
			disk.WriteAt(now, w.off)
		}
	}
	return disk
}
