package ffs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// checkIndex holds the index of a directory against one built anew.
func checkIndex(t testing.TB, w *Writer, dir vfs.Ino) {
	t.Helper()
	in := w.inodeOf(t, dir)
	ix := w.index.built(in.num)
	if ix == nil {
		return
	}
	fresh, err := buildIndex(ctx, w.FS, in)
	require.NoError(t, err)
	live := func(ix *dirIndex) []uint64 {
		var list []uint64
		for hash, off := range ix.All() {
			list = append(list, uint64(hash)<<32|uint64(off))
		}
		slices.Sort(list)
		return list
	}
	require.Equal(t, live(fresh), live(ix), "names and offsets")
	require.Equal(t, fresh.Len(), ix.Len())
	require.Equal(t, fresh.free, ix.free, "room in the chunks")
	for n, at := range ix.hint {
		for c := range ix.free[:min(int(at), len(ix.free))] {
			require.Less(t, int(ix.free[c]), n, "chunk %d has room for %d units, and is in front of hint %d", c, n, at)
		}
	}
}

// Names of all lengths come and go at random in directories that grow into
// their index and out of it; every name is found, and no other.
func TestDirectoryOfManyNames(t *testing.T) {
	for _, typ := range []string{"ffs1", "ffs2"} {
		w, mem := newWriter(t, 16<<20, vfs.FormatOptions{Type: typ, BlockSize: 4096, FragSize: 512})
		dir := w.mustCreate(t, w.Root(), "dir", vfs.Dir|0o755)
		file := w.mustCreate(t, w.Root(), "file", vfs.Regular|0o644)
		rnd := rand.New(rand.NewPCG(3, 4))
		names := map[string]bool{}
		var list []string
		high := int64(0)
		for round := range 6000 {
			adding := round%2000 < 1200
			if len(list) == 0 || rnd.IntN(10) < 3 == !adding {
				name := fmt.Sprintf("%d-%s", round, strings.Repeat("n", min(rnd.IntN(30)*rnd.IntN(9), 240)))
				_, err := w.Link(ctx, file, dir, name)
				require.NoError(t, err)
				names[name] = true
				list = append(list, name)
			} else {
				i := rnd.IntN(len(list))
				require.NoError(t, w.Unlink(ctx, dir, list[i]))
				delete(names, list[i])
				list[i] = list[len(list)-1]
				list = list[:len(list)-1]
			}
			high = max(high, w.inodeOf(t, dir).size)
			if round%500 == 0 {
				checkIndex(t, w, dir)
			}
		}
		assert.Greater(t, high, int64(2*indexFrom))
		checkIndex(t, w, dir)
		seen := map[string]bool{}
		for e, err := range w.ReadDir(ctx, dir, 0) {
			require.NoError(t, err)
			seen[e.Name] = true
		}
		assert.Equal(t, names, seen)
		for name := range names {
			_, err := w.Lookup(ctx, dir, name)
			require.NoError(t, err, name)
		}
		audit2(t, w, mem)
		// What is empty at the end goes with the next name.
		for name := range names {
			require.NoError(t, w.Unlink(ctx, dir, name))
		}
		_, err := w.Link(ctx, file, dir, "last")
		require.NoError(t, err)
		assert.Equal(t, int64(ondisk.DirChunk), w.inodeOf(t, dir).size)
		checkIndex(t, w, dir)
		audit2(t, w, mem)
	}
}

// A chunk whose entries leave room only all together is compacted, and a
// listing that stopped in it goes on where it was.
func TestCompaction(t *testing.T) {
	w, mem := newWriter(t, 4<<20, vfs.FormatOptions{})
	file := w.mustCreate(t, w.Root(), "f", vfs.Regular|0o644)
	dir := w.mustCreate(t, w.Root(), "dir", vfs.Dir|0o755)
	name := func(i int) string { return fmt.Sprintf("%02d-%s", i, strings.Repeat("x", 32)) } // 44 bytes each
	for i := range 11 {
		_, err := w.Link(ctx, file, dir, name(i))
		require.NoError(t, err)
	}
	require.Equal(t, int64(ondisk.DirChunk), w.inodeOf(t, dir).size)
	for _, i := range []int{2, 4, 7} {
		require.NoError(t, w.Unlink(ctx, dir, name(i)))
	}
	var before []vfs.DirEntry
	for e, err := range w.ReadDir(ctx, dir, 0) {
		require.NoError(t, err)
		before = append(before, e)
	}
	require.Len(t, before, 8)
	long := strings.Repeat("l", 100)
	_, err := w.Link(ctx, file, dir, long)
	require.NoError(t, err)
	assert.Equal(t, int64(ondisk.DirChunk), w.inodeOf(t, dir).size, "no chunk was added")
	assert.Equal(t, 1, w.moves.n)
	for i, stopped := range before {
		var rest []string
		for e, err := range w.ReadDir(ctx, dir, stopped.Next) {
			require.NoError(t, err)
			if e.Name != long {
				rest = append(rest, e.Name)
			}
		}
		var want []string
		for _, e := range before[i+1:] {
			want = append(want, e.Name)
		}
		assert.Equal(t, want, rest, "behind %s", stopped.Name)
	}
	audit2(t, w, mem)
}

// Names keep the types, and ".." its directory, wherever directories go.
func TestRenameDirectories(t *testing.T) {
	w, mem := newWriter(t, 4<<20, vfs.FormatOptions{Type: "ffs1"})
	a := w.mustCreate(t, w.Root(), "a", vfs.Dir|0o755)
	b := w.mustCreate(t, a, "b", vfs.Dir|0o755)
	c := w.mustCreate(t, w.Root(), "c", vfs.Regular|0o644)
	require.NoError(t, w.Rename(ctx, a, "b", w.Root(), "b", 0))
	up, err := w.Lookup(ctx, b, "..")
	require.NoError(t, err)
	assert.Equal(t, w.Root(), up.Ino)
	audit2(t, w, mem)
	require.NoError(t, w.Rename(ctx, w.Root(), "c", a, "in-a", 0))
	require.NoError(t, w.Rename(ctx, w.Root(), "b", a, "in-a", vfs.RenameExchange))
	got, err := w.Lookup(ctx, w.Root(), "b")
	require.NoError(t, err)
	assert.Equal(t, c, got.Ino)
	up, err = w.Lookup(ctx, b, "..")
	require.NoError(t, err)
	assert.Equal(t, a, up.Ino)
	audit2(t, w, mem)
}
