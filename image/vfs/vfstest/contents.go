package vfstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

func reads(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, f := range files {
		if !f.attr.Mode.IsRegular() {
			continue
		}
		size := f.attr.Size
		whole := make([]byte, min(size, maxFile))
		n, err := fsys.ReadAt(ctx, f.attr.Ino, whole, 0)
		require.Equal(t, len(whole), n, "%s: %v", f.path, err)
		if err != nil {
			require.ErrorIs(t, err, io.EOF, f.path)
		}
		for range 4 {
			if size == 0 {
				break
			}
			off := rnd.Int64N(int64(len(whole)))
			p := bytes.Repeat([]byte{0x55}, rnd.IntN(100_000)+1)
			n, err := fsys.ReadAt(ctx, f.attr.Ino, p, off)
			want := min(int64(len(p)), size-off)
			require.Equal(t, int(want), n, "%s at %d: %v", f.path, off, err)
			if n < len(p) {
				require.Equal(t, io.EOF, err, f.path)
			}
			known := min(int64(n), int64(len(whole))-off)
			require.True(t, bytes.Equal(whole[off:off+known], p[:known]), "%s at %d reads differently the second time", f.path, off)
			require.Equal(t, bytes.Repeat([]byte{0x55}, len(p)-n), p[n:], "%s: bytes behind the end were touched", f.path)
		}
		for _, off := range []int64{size, size + 1, size + 1<<40, 1<<63 - 1} {
			n, err = fsys.ReadAt(ctx, f.attr.Ino, make([]byte, 10), off)
			require.Zero(t, n, f.path)
			require.Equal(t, io.EOF, err, "%s at %d", f.path, off)
		}
		_, err = fsys.ReadAt(ctx, f.attr.Ino, make([]byte, 10), -1)
		require.Error(t, err, "%s at -1", f.path)
	}
}

// maps reads mapped ranges from the device and compares them with ReadAt.
func maps(t *testing.T, ctx context.Context, fsys vfs.FS, dev blockio.Device, files []file) {
	m, ok := fsys.(vfs.Mapper)
	if !ok || dev == nil {
		return
	}
	for _, f := range files {
		if !f.attr.Mode.IsRegular() {
			continue
		}
		off := int64(0)
		for off < min(f.attr.Size, maxFile) {
			at, n, err := m.Map(ctx, f.attr.Ino, off)
			require.NoError(t, err, "%s at %d", f.path, off)
			require.Positive(t, n, "%s at %d", f.path, off)
			require.LessOrEqual(t, n, f.attr.Size-off, "%s at %d", f.path, off)
			if at >= 0 {
				k := min(n, maxFile)
				mapped, read := make([]byte, k), make([]byte, k)
				_, err := dev.ReadAt(mapped, at)
				require.NoError(t, err, "%s at %d", f.path, off)
				got, _ := fsys.ReadAt(ctx, f.attr.Ino, read, off)
				require.Equal(t, int(k), got, "%s at %d", f.path, off)
				require.True(t, bytes.Equal(mapped, read), "%s at %d: Map and ReadAt differ", f.path, off)
			}
			off += n
		}
		_, _, err := m.Map(ctx, f.attr.Ino, f.attr.Size)
		require.Equal(t, io.EOF, err, f.path)
	}
}

func holes(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	h, ok := fsys.(vfs.HoleSeeker)
	if !ok {
		return
	}
	for _, f := range files {
		if !f.attr.Mode.IsRegular() {
			continue
		}
		size := f.attr.Size
		_, err := h.SeekData(ctx, f.attr.Ino, size)
		require.ErrorIs(t, err, syscall.ENXIO, f.path)
		_, err = h.SeekHole(ctx, f.attr.Ino, size)
		require.ErrorIs(t, err, syscall.ENXIO, f.path)
		pos := int64(0)
		for range 1000 {
			if pos >= size {
				break
			}
			data, err := h.SeekData(ctx, f.attr.Ino, pos)
			if errors.Is(err, syscall.ENXIO) {
				data = size
			} else {
				require.NoError(t, err, "%s at %d", f.path, pos)
				require.Less(t, data, size, f.path)
			}
			require.GreaterOrEqual(t, data, pos, f.path)
			zero := make([]byte, min(data-pos, maxFile))
			n, _ := fsys.ReadAt(ctx, f.attr.Ino, zero, pos)
			require.Equal(t, len(zero), n, f.path)
			require.Zero(t, len(bytes.Trim(zero, "\x00")), "%s: the hole at %d holds data", f.path, pos)
			if data == size {
				break
			}
			hole, err := h.SeekHole(ctx, f.attr.Ino, data)
			require.NoError(t, err, "%s at %d", f.path, data)
			require.Greater(t, hole, data, f.path)
			require.LessOrEqual(t, hole, size, f.path)
			pos = hole
		}
	}
}

func xattrs(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	x, ok := fsys.(vfs.Xattrer)
	if !ok {
		return
	}
	for _, f := range files {
		attrs, err := x.Xattrs(ctx, f.attr.Ino)
		require.NoError(t, err, f.path)
		require.NotNil(t, attrs, f.path)
		for name := range attrs {
			require.Contains(t, name, ".", f.path)
		}
	}
}
