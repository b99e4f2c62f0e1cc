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

// Many small files, one behind the other, are few writes.
func TestShortWritesReachTheDeviceTogether(t *testing.T) {
	rec, data := recorded(4 << 20)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store(), Atomic: true})
	p := pattern(1 << 20)
	for at := 0; at < len(p); at += 4096 {
		require.NoError(t, s.WriteData(p[at:at+4096], int64(1<<20+at), true))
	}
	copy(data[1<<20:], p)
	assert.LessOrEqual(t, rec.Len(), 4)
	require.True(t, bytes.Equal(data, readAll(t, s)))
	_, _, ok := s.FileRange(2<<20-4096, 4096)
	assert.False(t, ok, "what waits is not in the file")
	require.NoError(t, s.Commit(ctx))
	assert.True(t, bytes.Equal(data, rec.Medium().Disk.Bytes()))
}

// Whether short writes wait or not, what is read is what was written, and what is
// written over it in another way stays on top. A device that fails now and then
// loses nothing that was accepted.
func TestGatheredWritesAgreeWithMemory(t *testing.T) {
	for _, private := range []bool{false, true} {
		for _, faulty := range []bool{false, true} {
			for seed := range uint64(5) {
				gathered(t, private, faulty, seed)
			}
		}
	}
}

// What is collected is whole sectors, of which a part may wait still.
func TestCollectedSectorThatWaitsInPart(t *testing.T) {
	rec, data := recorded(1 << 20)
	s := blockio.NewSession(rec.Image(), blockio.SessionOptions{Journal: rec.Store(), Atomic: true})
	p := bytes.Repeat([]byte{0xd9}, 1000)
	require.NoError(t, s.WriteData(p, 10_000, true))
	_, err := s.WriteAt(p[:500], 9400) // up to the middle of the sector
	require.NoError(t, err)
	copy(data[10_000:], p)
	copy(data[9400:], p[:500])
	require.True(t, bytes.Equal(data, readAll(t, s)))
	require.NoError(t, s.Commit(ctx))
	assert.True(t, bytes.Equal(data, rec.Medium().Disk.Bytes()))
}

func gathered(t *testing.T, private, faulty bool, seed uint64) {
	const size = 1<<20 + 777
	rnd := rand.New(rand.NewPCG(seed, 3))
	rec, model := recorded(size)
	opt := blockio.SessionOptions{Atomic: true, Private: private, Memory: 64 << 10}
	if !private {
		opt.Journal = rec.Store()
	}
	s := blockio.NewSession(rec.Image(), opt)
	failing := false
	rec.OnOp(func(_ int, op blockiotest.Op) (int, error) {
		if failing && op.On == blockiotest.Image && op.Kind == blockiotest.Write && rnd.IntN(3) == 0 {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	})
	end, refused := 0, 0
	for step := range 1500 {
		failing = faulty && step%100 > 20
		off, n := end, 1+rnd.IntN([]int{600, 9000, 9000, 100_000}[rnd.IntN(4)])
		if rnd.IntN(4) == 0 || off == size {
			off = rnd.IntN(size)
		}
		n = min(n, size-off)
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		var err error
		switch rnd.IntN(8) {
		case 0:
			if faulty { // it is one piece, or none
				p = p[:min(n, 600)]
				off, p = off&^511, p[:len(p)&^511]
			}
			_, err = s.WriteAt(p, int64(off))
		case 1:
			_, err = s.SeekData(int64(off))
			p = nil
		default:
			// Where nothing is collected, it is written as a whole or not at all.
			if faulty {
				p = p[:min(n, 512)]
				off, p = off&^511, p[:len(p)&^511]
			}
			err = s.WriteData(p, int64(off), true)
		}
		if err != nil {
			require.True(t, failing, "step %d: %v", step, err)
			require.ErrorIs(t, err, syscall.ENOSPC)
			refused++
		} else {
			copy(model[off:], p)
			end = off + len(p)
		}
		at := rnd.IntN(size)
		got := make([]byte, min(size-at, rnd.IntN(50_000)))
		_, err = s.ReadAt(got, int64(at))
		require.NoError(t, err)
		require.True(t, bytes.Equal(model[at:at+len(got)], got), "step %d: %d bytes at %d", step, len(got), at)
		if step%400 == 399 {
			failing = failing && private // a journal would be written before it fails
			for err = s.Commit(ctx); failing && err != nil; err = s.Commit(ctx) {
				require.ErrorIs(t, err, syscall.ENOSPC)
				failing = false
			}
			require.NoError(t, err)
			require.True(t, bytes.Equal(model, rec.Medium().Disk.Bytes()), "step %d", step)
		}
	}
	if faulty {
		assert.Positive(t, refused)
	}
	require.NoError(t, s.Close())
}
