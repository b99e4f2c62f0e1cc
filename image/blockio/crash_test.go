package blockio_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
)

// A commitPoint is a state that was committed, and between which operations.
type commitPoint struct {
	state       toyState
	begun, done int // number of operations before and after the commit
	// loosened are the files that were overwritten in place since.
	loosened map[int]bool
}

// recordToy runs a random session, and returns what happened to the medium.
func recordToy(t *testing.T, seed uint64, opt blockio.SessionOptions) (*blockiotest.Medium, []blockiotest.Op, []commitPoint) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	start := &blockiotest.Medium{Disk: blockiotest.NewDisk(toySize)}
	rec := blockiotest.NewRecorder(start.Clone())
	opt.Journal = rec.Store()
	s := blockio.NewSession(rec.Image(), opt)
	toy := newToy(s)
	leave := s.Join(toy)
	points := []commitPoint{{loosened: map[int]bool{}}}
	commits := 6
	if opt.Atomic {
		commits = 2
	}
	for range commits {
		for range 1 + rnd.IntN(12) {
			before := toy.state()
			require.NoError(t, toy.step(rnd))
			for i, f := range toy.state() {
				if f.loose && !before[i].loose && f.block == before[i].block {
					points[len(points)-1].loosened[i] = true
				}
			}
		}
		p := commitPoint{state: toy.state(), begun: rec.Len(), loosened: map[int]bool{}}
		require.NoError(t, s.Commit(context.Background()))
		p.done = rec.Len()
		points = append(points, p)
	}
	for range rnd.IntN(5) {
		require.NoError(t, toy.step(rnd)) // never committed
		for i, f := range toy.state() {
			if f.loose {
				points[len(points)-1].loosened[i] = true
			}
		}
	}
	leave()
	require.NoError(t, s.Close())
	return start, rec.Ops(), points
}

// checkCrash opens what a crash left, and looks for the commit that it holds.
func checkCrash(m *blockiotest.Medium, at int, points []commitPoint, atomic bool, rnd *rand.Rand) error {
	left := m.Clone()
	// A reader sees the same as a writer, before the writer came.
	rec := blockiotest.NewRecorder(m)
	reader, err := blockio.OpenRecovered(rec.Image(), rec.Store())
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	before := rec.Image().(blockio.Device)
	if reader != nil {
		before = reader
	}
	seen, err := readToy(before)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if rec.Len() != 0 {
		return fmt.Errorf("a reader wrote to the medium")
	}
	if _, err := blockio.Recover(rec.Image(), rec.Store()); err != nil {
		return err
	}
	if rnd != nil && rec.Len() > 0 {
		// The power may fail again while the commit is being finished.
		again := blockiotest.NewReplay(left, rec.Ops())
		for range rnd.IntN(rec.Len() + 1) {
			again.Step()
		}
		if err := checkCrash(again.Shuffle(rnd), at, points, atomic, nil); err != nil {
			return fmt.Errorf("crashed again: %w", err)
		}
	}
	if _, err := rec.Store().Open(false); err == nil {
		return fmt.Errorf("there is still a journal")
	}
	oldest, newest := 0, 0
	for i, p := range points {
		if p.done <= at {
			oldest = i
		}
		if p.begun <= at {
			newest = i
		}
	}
	var why error
	for i := newest; i >= oldest; i-- {
		loose := func(file int) bool {
			for _, p := range points[i:] {
				if p.loosened[file] {
					return !atomic
				}
			}
			return false
		}
		if why = sameToy(rec.Image(), points[i].state, loose); why == nil {
			if after, _ := readToy(rec.Image()); after != seen {
				return fmt.Errorf("the reader saw another state than the writer")
			}
			return nil
		}
	}
	return fmt.Errorf("no commit from %d to %d: %w", oldest, newest, why)
}

// Whatever a crash leaves, opening it gives a state that was committed, and not
// an older one than the last commit that returned.
func TestCrashLeavesACommit(t *testing.T) {
	for name, opt := range map[string]blockio.SessionOptions{
		"mount":          {},
		"atomic":         {Atomic: true},
		"mount, spilled": {Memory: 4096},
		"atomic spilled": {Atomic: true, Memory: 4096},
	} {
		t.Run(name, func(t *testing.T) {
			cuts, shuffles := 0, 0
			for seed := range uint64(3) {
				start, ops, points := recordToy(t, seed, opt)
				rnd := rand.New(rand.NewPCG(seed, 2))
				for r := blockiotest.NewReplay(start, ops); ; r.Step() {
					require.NoError(t, checkCrash(r.Cut(), r.At(), points, opt.Atomic, rnd), "seed %d, killed at %d", seed, r.At())
					cuts++
					if r.Done() {
						break
					}
					if m := r.Torn(rnd); m != nil {
						require.NoError(t, checkCrash(m, r.At(), points, opt.Atomic, rnd), "seed %d, torn at %d", seed, r.At())
						cuts++
					}
					for range min(r.Pending(), 4) {
						require.NoError(t, checkCrash(r.Shuffle(rnd), r.At(), points, opt.Atomic, rnd), "seed %d, power cut at %d", seed, r.At())
						shuffles++
					}
				}
			}
			t.Logf("%d cuts, %d shuffles", cuts, shuffles)
			assert.Greater(t, cuts, 150)
			assert.Greater(t, shuffles, 200)
		})
	}
}
