package memfs_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// populate adds one of everything.
func populate(fs *memfs.FS) {
	fs.AddDir("/etc")
	fs.AddFile("/etc/motd", []byte("hello\n"), func(a *vfs.Attr) { a.Mode, a.UID = 0o600, 7 })
	fs.AddLink("/etc/motd", "/etc/issue")
	fs.AddFile("/empty", nil)
	fs.AddSparse("/holes", 1<<20, []memfs.Data{
		{Off: 4096, Bytes: bytes.Repeat([]byte("a"), 5000)},
		{Off: 9096, Bytes: bytes.Repeat([]byte("b"), 100)},
		{Off: 1<<20 - 10, Bytes: bytes.Repeat([]byte("c"), 10)},
	})
	fs.AddSymlink("/link", "etc/motd")
	fs.AddDevice("/console", vfs.Char, vfs.Dev{Major: 5, Minor: 1})
	fs.AddFIFO("/fifo")
	fs.AddSocket("/socket")
	fs.AddFile("/"+strings.Repeat("n", 255), []byte("long name"))
	fs.AddXattr("/etc/motd", "user.a", []byte("1"))
}

func TestSuite(t *testing.T) {
	t.Run("Memory", func(t *testing.T) {
		fs := memfs.New()
		populate(fs)
		vfstest.Run(t, fs, nil)
	})
	t.Run("Device", func(t *testing.T) {
		dev := blockio.NewMemory(make([]byte, 1<<20))
		fs := memfs.NewOn(dev)
		populate(fs)
		vfstest.Run(t, fs, dev)
	})
}

func TestBuild(t *testing.T) {
	ctx := context.Background()
	fs := memfs.New()
	populate(fs)
	attr, err := fs.Lookup(ctx, fs.Root(), "etc")
	require.NoError(t, err)
	motd, err := fs.Lookup(ctx, attr.Ino, "issue")
	require.NoError(t, err)
	assert.Equal(t, vfs.Regular|0o600, motd.Mode)
	assert.Equal(t, uint32(2), motd.Nlink)
	assert.Equal(t, uint32(7), motd.UID)
	root, err := fs.Getattr(ctx, fs.Root())
	require.NoError(t, err)
	assert.Equal(t, uint32(3), root.Nlink)
	all, err := fs.Xattrs(ctx, motd.Ino)
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{"user.a": []byte("1")}, all)

	holes, err := fs.Lookup(ctx, fs.Root(), "holes")
	require.NoError(t, err)
	for _, c := range []struct{ at, data, hole int64 }{
		{0, 4096, 0}, {4096, 4096, 9196}, {9100, 9100, 9196}, {9196, 1<<20 - 10, 9196}, {1<<20 - 1, 1<<20 - 1, 1 << 20},
	} {
		data, err := fs.SeekData(ctx, holes.Ino, c.at)
		require.NoError(t, err)
		assert.Equal(t, c.data, data, "data from %d", c.at)
		hole, err := fs.SeekHole(ctx, holes.Ino, c.at)
		require.NoError(t, err)
		assert.Equal(t, c.hole, hole, "hole from %d", c.at)
	}
	_, err = fs.SeekData(ctx, holes.Ino, 1<<20)
	assert.Equal(t, syscall.ENXIO, err)

	got := make([]byte, 6000)
	n, err := fs.ReadAt(ctx, holes.Ino, got, 4000)
	require.NoError(t, err)
	want := append(make([]byte, 96), bytes.Repeat([]byte("a"), 5000)...)
	want = append(want, bytes.Repeat([]byte("b"), 100)...)
	want = append(want, make([]byte, 804)...)
	assert.Equal(t, want, got[:n])
	_, err = fs.ReadAt(ctx, holes.Ino, got, 1<<20)
	assert.Equal(t, io.EOF, err)
}

func TestMistakesPanic(t *testing.T) {
	fs := memfs.New()
	populate(fs)
	assert.Panics(t, func() { fs.AddDir("/etc") })
	assert.Panics(t, func() { fs.AddDir("/no/such") })
	assert.Panics(t, func() { fs.AddDir("/empty/below") })
	assert.Panics(t, func() { fs.AddLink("/etc", "/hard") })
	assert.Panics(t, func() { fs.AddSparse("/s", 10, []memfs.Data{{Off: 8, Bytes: []byte("abc")}}) })
}
