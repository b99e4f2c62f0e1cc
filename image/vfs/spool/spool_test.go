package spool

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sparse is a file of a terabyte with a few bytes in it.
type sparse struct {
	data []byte
	at   int64
}

const terabyte = 1 << 40

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < s.at+int64(len(s.data)) && off+int64(len(p)) > s.at {
		copy(p[max(s.at-off, 0):], s.data[max(off-s.at, 0):])
	}
	return len(p), nil
}

func (s sparse) SeekData(off int64) (int64, error) {
	if off >= s.at+int64(len(s.data)) {
		return terabyte, nil
	}
	return max(off, s.at), nil
}

func (s sparse) SeekHole(off int64) (int64, error) { return s.at + int64(len(s.data)), nil }

// A file is copied with its holes, and can be changed then.
func TestFill(t *testing.T) {
	src := sparse{bytes.Repeat([]byte("data"), 100_000), 1 << 39}
	f, err := New()
	require.NoError(t, err)
	require.NoError(t, f.Fill(src, terabyte))
	size, err := f.Size()
	require.NoError(t, err)
	assert.Equal(t, int64(terabyte), size)
	assert.Less(t, f.Blocks(), int64(2000), "holes stay holes")
	p := make([]byte, len(src.data))
	_, err = f.ReadAt(p, src.at)
	require.NoError(t, err)
	assert.Equal(t, src.data, p)

	require.NoError(t, f.Zero(src.at+10, 5))
	require.NoError(t, f.Zero(terabyte-3, 100))
	_, err = f.ReadAt(p[:20], src.at)
	require.NoError(t, err)
	assert.Equal(t, "datadatada\x00\x00\x00\x00\x00adata", string(p[:20]))
	size, err = f.Size()
	require.NoError(t, err)
	assert.Equal(t, int64(terabyte), size)
	_, err = f.WriteAt([]byte("x"), terabyte)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(2))
	n, err := f.ReadAt(p[:5], 0)
	assert.Equal(t, 2, n)
	assert.Equal(t, io.EOF, err)
	require.NoError(t, f.Close())
}
