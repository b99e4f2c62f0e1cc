package blockio_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
)

func TestOverlayLeavesTheDeviceAlone(t *testing.T) {
	data := pattern(40<<20 + 100)
	o := blockio.NewOverlay(blockio.NewMemory(bytes.Clone(data)))
	below := bytes.Clone(data)
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 400 {
		off := rnd.IntN(len(data))
		p := make([]byte, min(1+rnd.IntN(300_000), len(data)-off))
		for i := 0; i < len(p); i += 64 {
			p[i] = byte(rnd.Uint32())
		}
		_, err := o.WriteAt(p, int64(off))
		require.NoError(t, err)
		copy(data[off:], p)
		off = rnd.IntN(len(data))
		q := make([]byte, min(rnd.IntN(300_000), len(data)-off))
		_, err = o.ReadAt(q, int64(off))
		require.NoError(t, err)
		require.True(t, bytes.Equal(data[off:off+len(q)], q))
	}
	require.True(t, bytes.Equal(data, readAll(t, o)), "in memory, and in a temporary file")
	_, err := o.WriteAt([]byte{1, 2}, int64(len(data)-1))
	assert.Error(t, err, "it does not grow")
	require.NoError(t, o.Close())
	require.True(t, bytes.Equal(below, readAll(t, o)), "what was written is gone")
}

func TestCopyKeepsHoles(t *testing.T) {
	src, _ := sparse(t)
	data, err := os.ReadFile(src)
	require.NoError(t, err)
	file, err := blockio.OpenFile(src)
	require.NoError(t, err)
	defer file.Close()
	dst, err := os.Create(filepath.Join(t.TempDir(), "copy"))
	require.NoError(t, err)
	defer dst.Close()
	var last, total int64
	require.NoError(t, file.CopyTo(ctx, dst, func(d, of int64) {
		assert.GreaterOrEqual(t, d, last)
		last, total = d, of
	}))
	assert.Equal(t, file.Size(), last)
	assert.Equal(t, file.Size(), total)
	got, err := os.ReadFile(dst.Name())
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
	var st, was syscall.Stat_t
	require.NoError(t, syscall.Stat(dst.Name(), &st))
	require.NoError(t, syscall.Stat(src, &was))
	assert.LessOrEqual(t, st.Blocks, was.Blocks+64, "holes are holes")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, dst.Truncate(0))
	if err := file.CopyTo(cancelled, dst, nil); err != nil { // a reflink is done before anyone can look
		assert.ErrorIs(t, err, context.Canceled)
	}
}
