package blockio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
)

var ctx = context.Background()

// recorded returns a recorder over an image of size bytes with something in it.
func recorded(size int) (*blockiotest.Recorder, []byte) {
	data := pattern(size)
	return blockiotest.NewRecorder(&blockiotest.Medium{Disk: blockiotest.DiskOf(data)}), data
}

func readAll(t *testing.T, dev blockio.Device) []byte {
	p, err := blockio.ReadFull(dev, 0, int(dev.Size()))
	require.NoError(t, err)
	return p
}

// Whatever is written in whatever way is what is read, before and after
// commits, whether it is in memory or spilled; and no sector is written to that
// nobody wrote to.
func TestSessionAgreesWithMemory(t *testing.T) {
	for _, c := range []struct {
		size int
		opt  blockio.SessionOptions
	}{
		{1 << 20, blockio.SessionOptions{}},
		{1 << 20, blockio.SessionOptions{Memory: 16 << 10}},
		{1<<20 + 777, blockio.SessionOptions{Memory: 1, Atomic: true}},
		{3<<20 + 1, blockio.SessionOptions{Memory: 64 << 10}},
		{1<<20 + 777, blockio.SessionOptions{Private: true}},
		{1<<20 + 777, blockio.SessionOptions{Private: true, Atomic: true}},
	} {
		t.Run(fmt.Sprintf("%d/%+v", c.size, c.opt), func(t *testing.T) {
			rec, model := recorded(c.size)
			opt := c.opt
			if !opt.Private {
				opt.Journal = rec.Store()
			}
			s := blockio.NewSession(rec.Image(), opt)
			rnd := rand.New(rand.NewPCG(uint64(c.size), 1))
			committed := bytes.Clone(model)
			touched := make([]bool, c.size/512+1)
			write := func() {
				off := rnd.IntN(c.size)
				n := min(1+rnd.IntN([]int{600, 9000, 200_000}[rnd.IntN(3)]), c.size-off)
				p := make([]byte, n)
				for i := range p {
					p[i] = byte(rnd.Uint32())
				}
				copy(model[off:], p)
				for sec := off / 512; sec <= (off+n-1)/512; sec++ {
					touched[sec] = true
				}
				var err error
				if rnd.IntN(2) == 0 {
					_, err = s.WriteAt(p, int64(off))
				} else {
					err = s.WriteData(p, int64(off), !opt.Atomic)
				}
				require.NoError(t, err)
			}
			for range 8 {
				for range 30 {
					write()
					off := rnd.IntN(c.size)
					p := make([]byte, min(c.size-off, rnd.IntN(100_000)))
					_, err := s.ReadAt(p, int64(off))
					require.NoError(t, err)
					require.True(t, bytes.Equal(model[off:off+len(p)], p), "%d bytes at %d", len(p), off)
				}
				require.True(t, bytes.Equal(model, readAll(t, s)))
				if opt.Atomic && !opt.Private {
					require.True(t, bytes.Equal(committed, rec.Medium().Disk.Bytes()), "nothing is seen before the commit")
				}
				require.NoError(t, s.Commit(ctx))
				committed = bytes.Clone(model)
				require.True(t, bytes.Equal(model, rec.Medium().Disk.Bytes()))
				require.True(t, bytes.Equal(model, readAll(t, s)))
			}
			if !opt.Private {
				write()
				s.Discard()
			}
			require.NoError(t, s.Close())
			assert.False(t, rec.Medium().Exists, "the journal is removed")
			for _, op := range rec.Ops() {
				if op.On == blockiotest.Image && op.Kind == blockiotest.Write {
					for sec := op.Off / 512; sec <= (op.Off+int64(len(op.Data))-1)/512; sec++ {
						require.True(t, touched[sec], "sector %d was not to be written", sec)
					}
				}
			}
			_, err := s.WriteAt([]byte{1}, 0)
			assert.ErrorContains(t, err, "closed")
		})
	}
}

func TestNothingToCommitIsNoIO(t *testing.T) {
	rec, _ := recorded(1 << 20)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
	require.NoError(t, s.Commit(ctx))
	require.NoError(t, s.Sync())
	assert.Zero(t, rec.Len())
	assert.Equal(t, blockio.Stats{}, s.Stats())

	_, err := s.WriteAt([]byte("metadata"), 5000)
	require.NoError(t, err)
	require.NoError(t, s.WriteData(make([]byte, 5000), 10_000, true))
	require.NoError(t, s.Commit(ctx))
	assert.Equal(t, blockio.Stats{Commits: 1, Data: 5000, Metadata: 512}, s.Stats())
	require.NoError(t, s.Commit(ctx)) // makes an end of the commit before
	n := rec.Len()
	require.NoError(t, s.Commit(ctx))
	assert.Equal(t, n, rec.Len())
	require.NoError(t, s.Close())

	rec, _ = recorded(1 << 20)
	s = blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
	require.NoError(t, s.Close())
	assert.Zero(t, rec.Len())
}

// Neighbours go to the image in one write.
func TestCommitWritesLargeRuns(t *testing.T) {
	rec, _ := recorded(4 << 20)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
	for _, block := range rand.Perm(128) {
		_, err := s.WriteAt(pattern(16<<10), int64(block)*16<<10)
		require.NoError(t, err)
	}
	require.NoError(t, s.Commit(ctx))
	image, journal := 0, 0
	for _, op := range rec.Ops() {
		switch {
		case op.Kind != blockiotest.Write:
		case op.On == blockiotest.Image:
			image++
		default:
			journal++
		}
	}
	assert.Equal(t, 2, image, "2 MiB, 1 MiB at a time")
	assert.Less(t, journal, 12)
}

func TestAtomicSessionCommitsOnlyWhenTold(t *testing.T) {
	rec, data := recorded(1 << 20)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store(), Atomic: true})
	assert.True(t, s.Atomic())
	_, err := s.WriteAt(make([]byte, 1000), 0)
	require.NoError(t, err)
	require.NoError(t, s.WriteData(make([]byte, 1000), 100_000, false), "contents that are overwritten")
	require.NoError(t, s.Sync())
	assert.Zero(t, rec.Len(), "neither is written, and Sync does nothing")
	require.NoError(t, s.WriteData(make([]byte, 100_000), 200_000, true), "free space")
	assert.Equal(t, 1, rec.Len())
	require.NoError(t, s.WriteData(make([]byte, 1000), 400_000, true), "little, in free space")
	assert.Equal(t, 1, rec.Len(), "may wait for more")
	require.NoError(t, s.Close())
	copy(data[200_000:], make([]byte, 100_000))
	assert.Equal(t, data, rec.Medium().Disk.Bytes())
}

// blocking is a participant that waits in Freeze.
type blocking struct {
	entered chan struct{}
	release chan struct{}
	freezes atomic.Int64
}

func (b *blocking) Freeze(context.Context) error {
	b.freezes.Add(1)
	b.entered <- struct{}{}
	<-b.release
	return nil
}
func (b *blocking) Thaw(bool) {}

// Those who ask for a commit while one is at work share the next one.
func TestCommitsAreCoalesced(t *testing.T) {
	rec, _ := recorded(1 << 20)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
	b := &blocking{entered: make(chan struct{}, 100), release: make(chan struct{}, 100)}
	leave := s.Join(b)
	first := make(chan error, 1)
	go func() { first <- s.Commit(ctx) }()
	<-b.entered
	var wg sync.WaitGroup
	started := make(chan struct{}, 20)
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			started <- struct{}{}
			assert.NoError(t, s.Commit(ctx))
		}()
	}
	for range 20 {
		<-started
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, s.Commit(cancelled), context.Canceled)
	for range 30 {
		b.release <- struct{}{}
	}
	require.NoError(t, <-first)
	wg.Wait()
	// A goroutine that had not come to the point where it looks at the count
	// may need a third.
	assert.LessOrEqual(t, b.freezes.Load(), int64(4))
	assert.GreaterOrEqual(t, b.freezes.Load(), int64(2), "a commit that was at work already is not enough")
	leave()
	n := b.freezes.Load()
	require.NoError(t, s.Commit(ctx))
	assert.Equal(t, n, b.freezes.Load(), "who has left is not asked")
}

// An operation that fails, at any place, leaves the image with the last commit
// or with the new one; which one, the error says. Where the session can go on,
// the next commit succeeds.
func TestCommitFailsAnywhere(t *testing.T) {
	failure := map[string]error{"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC}
	for name, fail := range failure {
		for _, memory := range []int64{0, 4096} {
			for _, keep := range []int{0, 1024} {
				for n := 0; ; n++ {
					if !failCommit(t, fmt.Sprintf("%s, memory %d, keep %d, operation %d", name, memory, keep, n), fail, memory, keep, n) {
						assert.Greater(t, n, 8)
						break
					}
				}
			}
		}
	}
}

func failCommit(t *testing.T, what string, fail error, memory int64, keep, n int) (failed bool) {
	rec, _ := recorded(256 << 10)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store(), Memory: memory})
	change := func(seed byte) (want []byte, err error) {
		want = readAll(t, s)
		for i := range 6 {
			off := int64(i)*40_000 + int64(seed)
			p := bytes.Repeat([]byte{seed}, 3000)
			if _, err := s.WriteAt(p, off); err != nil {
				return nil, err
			}
			copy(want[off:], p)
		}
		return want, nil
	}
	old, err := change(1)
	require.NoError(t, err)
	require.NoError(t, s.Commit(ctx))

	begin := rec.Len()
	rec.OnOp(func(at int, op blockiotest.Op) (int, error) {
		if !failed && at == begin+n {
			failed = true
			return keep, fail
		}
		return 0, nil
	})
	next, err := change(2)
	if err != nil {
		// Spilling needs a Sync of the image, whose failure is the end.
		require.ErrorIs(t, err, fail, what)
		require.ErrorIs(t, s.Commit(ctx), fail, what)
		again := blockiotest.NewRecorder(rec.Medium())
		_, err := blockio.Recover(again.Image(), again.Store())
		require.NoError(t, err, what)
		require.True(t, bytes.Equal(old, again.Medium().Disk.Bytes()), what)
		return true
	}
	err = s.Commit(ctx)
	rec.OnOp(nil)
	if !failed {
		require.NoError(t, err)
		return false
	}
	// A failed spill is made up for by memory.
	if err != nil {
		require.ErrorIs(t, err, fail, what)
	}
	onMedium := func() []byte {
		again := blockiotest.NewRecorder(rec.Medium())
		_, err := blockio.Recover(again.Image(), again.Store())
		require.NoError(t, err, what)
		return again.Medium().Disk.Bytes()
	}
	require.True(t, bytes.Equal(next, readAll(t, s)), "%s: nothing is forgotten", what)
	pending := errors.Is(err, blockio.ErrPending)
	if err == nil || pending {
		require.True(t, bytes.Equal(next, onMedium()), "%s: %v", what, err)
	} else {
		require.True(t, bytes.Equal(old, onMedium()), "%s: %v", what, err)
		assert.ErrorContains(t, err, "last commit", what)
	}
	if fail == syscall.ENOSPC && err != nil && !pending {
		assert.ErrorContains(t, err, "host", what)
	}
	// Once more. A Sync of the image that failed cannot be made up for.
	again := s.Commit(ctx)
	if again == nil {
		require.False(t, pending, what)
		require.True(t, bytes.Equal(next, onMedium()), what)
		last, err := change(3)
		require.NoError(t, err, what)
		require.NoError(t, s.Commit(ctx), what)
		require.True(t, bytes.Equal(last, onMedium()), what)
		require.NoError(t, s.Close(), what)
		require.False(t, rec.Medium().Exists, what)
	} else {
		_, werr := s.WriteAt([]byte{1}, 0)
		require.Error(t, werr, what)
		require.Error(t, s.WriteData([]byte{1}, 0, true), what)
		s.Close()
		if pending {
			require.True(t, rec.Medium().Exists, "%s: the journal is still needed", what)
			require.True(t, bytes.Equal(next, onMedium()), what)
		}
	}
	return true
}

func TestFailedFreezeLosesNothing(t *testing.T) {
	rec, old := recorded(256 << 10)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
	toy := newToy(s)
	defer s.Join(toy)()
	_, err := s.WriteAt([]byte("metadata"), 200<<10)
	require.NoError(t, err)
	toy.freezeErr = errors.New("no memory")
	require.ErrorIs(t, s.Commit(ctx), toy.freezeErr)
	assert.Equal(t, old, rec.Medium().Disk.Bytes())
	toy.freezeErr = nil
	require.NoError(t, s.Commit(ctx))
	copy(old[200<<10:], "metadata")
	assert.Equal(t, old, rec.Medium().Disk.Bytes())
}

// Readers, writers and commits get along (for the race detector), and a reader
// never sees what has been overwritten.
func TestSessionIsSafeForConcurrentUse(t *testing.T) {
	rec, _ := recorded(1 << 20)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store(), Memory: 32 << 10})
	var wg sync.WaitGroup
	var stop atomic.Bool
	for g := range int64(4) {
		wg.Add(1)
		go func() { // each in a place of its own: counts up
			defer wg.Done()
			off := g * 200_000
			for n := byte(1); n < 100; n++ {
				p := bytes.Repeat([]byte{n}, 8192+512*int(g))
				var err error
				if g%2 == 0 {
					_, err = s.WriteAt(p, off)
				} else {
					err = s.WriteData(p, off, true)
				}
				assert.NoError(t, err)
				q := make([]byte, len(p))
				_, err = s.ReadAt(q, off)
				assert.NoError(t, err)
				assert.Equal(t, p, q)
			}
		}()
	}
	var committers sync.WaitGroup
	for range 2 {
		committers.Add(1)
		go func() {
			defer committers.Done()
			for !stop.Load() {
				assert.NoError(t, s.Commit(ctx))
			}
		}()
	}
	wg.Wait()
	stop.Store(true)
	committers.Wait()
	require.NoError(t, s.Close())
}

// A large commit does not have to fit in memory.
func TestLargeCommitIsSpilled(t *testing.T) {
	rec := blockiotest.NewRecorder(&blockiotest.Medium{Disk: blockiotest.NewDisk(64 << 20)})
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store(), Memory: 1 << 20, Atomic: true})
	p := pattern(1 << 20)
	for off := int64(0); off < 48<<20; off += 1 << 20 {
		require.NoError(t, s.WriteData(p, off, false))
	}
	assert.Greater(t, len(rec.Medium().Journal), 45<<20, "most of it is in the journal already")
	require.NoError(t, s.Commit(ctx))
	assert.LessOrEqual(t, len(rec.Medium().Journal), 32<<20, "the space is given back")
	require.NoError(t, s.Close())
	got := rec.Medium().Disk.Bytes()
	for off := 0; off < 48<<20; off += 1 << 20 {
		require.True(t, bytes.Equal(p, got[off:off+1<<20]))
	}
}
