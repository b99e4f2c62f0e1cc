package blockio_test

import (
	"bytes"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/blockio/blockiotest"
)

// A reader that reads from the journal of a commit sees that commit, or the
// next, however far a writer has come with it.
func TestReaderWhileTheNextCommitIsWritten(t *testing.T) {
	for n := 0; ; n++ {
		rec, first := recorded(300_000)
		s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
		write := func(b byte, model []byte) {
			for _, off := range []int{1000, 100_000, 200_000} {
				p := bytes.Repeat([]byte{b}, 5000)
				_, err := s.WriteAt(p, int64(off))
				require.NoError(t, err)
				copy(model[off:], p)
			}
		}
		write(1, first)
		require.NoError(t, s.Commit(ctx))
		reader, err := blockio.OpenRecovered(rec.Image(), rec.Store())
		require.NoError(t, err)
		require.NotNil(t, reader)
		second := bytes.Clone(first)
		write(2, second)

		// The writer stops for ever before operation n.
		begin := rec.Len()
		stopped, home := false, false
		rec.OnOp(func(at int, op blockiotest.Op) (int, error) {
			if stopped || at == begin+n {
				stopped = true
				return 0, syscall.EIO
			}
			home = home || op.On == blockiotest.Image && op.Kind == blockiotest.Write
			return 0, nil
		})
		err = s.Commit(ctx)
		got := readAll(t, reader)
		if !stopped {
			require.NoError(t, err)
			require.Equal(t, second, got)
			assert.Greater(t, n, 6)
			return
		}
		if !home {
			require.True(t, bytes.Equal(first, got), "stopped at operation %d", n)
			continue
		}
		for i, b := range got {
			require.True(t, b == first[i] || b == second[i], "stopped at operation %d: byte %d", n, i)
		}
	}
}

// A commit that failed does not come back, whatever the power cut leaves of
// what was tried.
func TestFailedCommitNeverComesBack(t *testing.T) {
	data := pattern(300_000)
	start := &blockiotest.Medium{Disk: blockiotest.DiskOf(data)}
	rec := blockiotest.NewRecorder(start.Clone())
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store()})
	_, err := s.WriteAt(bytes.Repeat([]byte{1}, 5000), 100_000)
	require.NoError(t, err)
	failed := false
	rec.OnOp(func(n int, op blockiotest.Op) (int, error) {
		if !failed && op.On == blockiotest.Journal && op.Kind == blockiotest.Sync {
			failed = true
			return 0, syscall.EIO
		}
		return 0, nil
	})
	require.ErrorIs(t, s.Commit(ctx), syscall.EIO)
	s.Discard()
	// The same sectors are free space now, and hold contents.
	p := bytes.Repeat([]byte{2}, 6000)
	require.NoError(t, s.WriteData(p, 99_840, true))
	require.NoError(t, s.Commit(ctx))
	copy(data[99_840:], p)

	rnd := rand.New(rand.NewPCG(1, 1))
	r := blockiotest.NewReplay(start, rec.Ops())
	for !r.Done() {
		r.Step()
	}
	for range 200 {
		again := blockiotest.NewRecorder(r.Shuffle(rnd))
		_, err := blockio.Recover(again.Image(), again.Store())
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, again.Medium().Disk.Bytes()))
	}
}
