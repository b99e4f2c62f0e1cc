package ffs

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

func (w *Writer) mustCreate(t testing.TB, dir vfs.Ino, name string, mode vfs.Mode) vfs.Ino {
	t.Helper()
	a, err := w.Create(ctx, dir, name, vfs.NewNode{Mode: mode})
	require.NoError(t, err, name)
	return a.Ino
}

func (w *Writer) mustWrite(t testing.TB, ino vfs.Ino, p []byte, off int64) {
	t.Helper()
	n, err := w.WriteAt(ctx, ino, p, off)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
}

func (w *Writer) mustRead(t testing.TB, ino vfs.Ino) []byte {
	t.Helper()
	a, err := w.Getattr(ctx, ino)
	require.NoError(t, err)
	p := make([]byte, a.Size)
	if n, err := w.ReadAt(ctx, ino, p, 0); err != io.EOF {
		require.NoError(t, err)
		require.Equal(t, len(p), n)
	}
	return p
}

// A file without a name reads as before, however much is written and committed
// meanwhile, and is not on the medium; its space and its number come back when
// it is unpinned, and not before.
func TestOrphan(t *testing.T) {
	w, mem := newWriter(t, 4<<20, vfs.FormatOptions{BlockSize: 4096, FragSize: 512})
	want := contents(1, 300_000) // with indirect blocks
	ino := w.mustCreate(t, w.Root(), "file", vfs.Regular|0o600)
	w.mustWrite(t, ino, want, 0)
	require.NoError(t, w.Sync(ctx))
	before, err := w.Statfs(ctx)
	require.NoError(t, err)

	w.Pin(ino)
	require.NoError(t, w.Unlink(ctx, w.Root(), "file"))
	a, err := w.Getattr(ctx, ino)
	require.NoError(t, err)
	assert.Zero(t, a.Nlink)
	assert.Equal(t, int64(len(want)), a.Size)
	st, err := w.Statfs(ctx)
	require.NoError(t, err)
	assert.Equal(t, before.Free, st.Free, "still in use")
	assert.Greater(t, w.total.FreeBlocks*8+w.total.FreeFrags, int64(before.Free)+580, "free on the medium")
	audit2(t, w, mem)

	// Fill everything, with commits in between: the file is not overwritten.
	var full error
	for i := 0; full == nil; i++ {
		other := w.mustCreate(t, w.Root(), fmt.Sprint(i), vfs.Regular|0o600)
		require.NotEqual(t, ino, other)
		_, full = w.WriteAt(ctx, other, contents(int64(i+2), 100_000), 0)
		if i%4 == 0 {
			require.NoError(t, w.Sync(ctx))
		}
	}
	require.ErrorIs(t, full, syscall.ENOSPC)
	audit2(t, w, mem)
	assert.Equal(t, want, w.mustRead(t, ino))
	// Writing to it moves it away, and lets the space go.
	w.mustWrite(t, ino, []byte("changed"), 1000)
	copy(want[1000:], "changed")
	assert.Equal(t, want, w.mustRead(t, ino))
	more := w.mustCreate(t, w.Root(), "more", vfs.Regular|0o600)
	w.mustWrite(t, more, contents(99, 250_000), 0)
	assert.Equal(t, want, w.mustRead(t, ino))
	size := int64(5000)
	_, err = w.Setattr(ctx, ino, vfs.SetAttr{Size: &size})
	require.NoError(t, err)
	assert.Equal(t, want[:5000], w.mustRead(t, ino))
	_, err = w.Link(ctx, ino, w.Root(), "again")
	assert.Equal(t, syscall.ENOENT, err)

	require.NoError(t, w.Unpin(ctx, ino))
	_, err = w.Getattr(ctx, ino)
	assert.Equal(t, syscall.ENOENT, err)
	assert.Equal(t, syscall.EINVAL, w.Unpin(ctx, ino))
	assert.Empty(t, w.orphans)
	for _, gr := range w.groups {
		if gr != nil {
			assert.Nil(t, gr.held)
		}
	}
	audit2(t, w, mem)
}

// Every type can lose its name while it is pinned.
func TestOrphansOfAllTypes(t *testing.T) {
	for _, typ := range []string{"ffs1", "ffs2"} {
		w, mem := newWriter(t, 4<<20, vfs.FormatOptions{Type: typ})
		long := strings.Repeat("long/", 100)
		for i, target := range []string{"short", long} {
			a, err := w.Create(ctx, w.Root(), "link", vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: target})
			require.NoError(t, err)
			w.Pin(a.Ino)
			require.NoError(t, w.Unlink(ctx, w.Root(), "link"))
			got, err := w.Readlink(ctx, a.Ino)
			require.NoError(t, err, i)
			assert.Equal(t, target, got)
			require.NoError(t, w.Unpin(ctx, a.Ino))
		}
		dir := w.mustCreate(t, w.Root(), "dir", vfs.Dir|0o755)
		w.Pin(dir)
		require.NoError(t, w.Rmdir(ctx, w.Root(), "dir"))
		_, err := w.Create(ctx, dir, "x", vfs.NewNode{Mode: vfs.Regular})
		assert.Equal(t, syscall.ENOENT, err)
		for range w.ReadDir(ctx, dir, 0) {
			t.Error("a removed directory is empty")
		}
		_, err = w.Lookup(ctx, dir, "x")
		assert.Equal(t, syscall.ENOENT, err)
		again := w.mustCreate(t, w.Root(), "dir", vfs.Dir|0o755)
		assert.NotEqual(t, dir, again)
		audit2(t, w, mem)
		require.NoError(t, w.Unpin(ctx, dir))
		audit2(t, w, mem)
	}
}

// audit2 commits, and audits the medium.
func audit2(t testing.TB, w *Writer, dev interface {
	ReadAt(p []byte, off int64) (int, error)
	Size() int64
	SectorSize() int
}) {
	t.Helper()
	require.NoError(t, w.Sync(ctx))
	audit(t, dev)
}
