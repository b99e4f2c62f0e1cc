package blockio_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
)

func TestSparseIsLikeMemory(t *testing.T) {
	const size = 5<<20 + 777
	rnd := rand.New(rand.NewPCG(1, 1))
	s := blockio.NewSparse(size)
	want := make([]byte, size)
	type snap struct {
		s    *blockio.Sparse
		want []byte
	}
	var snaps []snap
	for i := range 2000 {
		off := rnd.Int64N(size)
		p := make([]byte, min(size-off, rnd.Int64N(20_000)))
		if rnd.IntN(3) > 0 {
			for j := range p {
				p[j] = byte(rnd.Uint32())
			}
		}
		n, err := s.WriteAt(p, off)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
		copy(want[off:], p)
		if i%300 == 0 {
			snaps = append(snaps, snap{s.Snapshot(), bytes.Clone(want)})
		}
	}
	snaps = append(snaps, snap{s, want})
	for _, sn := range snaps {
		got := make([]byte, size+10)
		n, err := sn.s.ReadAt(got, 0)
		assert.Equal(t, io.EOF, err)
		assert.True(t, bytes.Equal(sn.want, got[:n]))
	}
	_, err := s.WriteAt([]byte("xx"), size-1)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestSparseHoles(t *testing.T) {
	s := blockio.NewSparse(1 << 40)
	_, err := s.WriteAt([]byte("x"), 1<<39)
	require.NoError(t, err)
	_, err = s.WriteAt(make([]byte, 1<<20), 1<<30)
	require.NoError(t, err)
	data, err := s.SeekData(0)
	require.NoError(t, err)
	assert.Equal(t, int64(1<<39), data)
	hole, err := s.SeekHole(data)
	require.NoError(t, err)
	assert.Equal(t, int64(1<<39+4096), hole)
	_, err = s.SeekData(hole)
	assert.Equal(t, io.EOF, err)
}
