package ffs

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// inodeOf reads an inode as it is now.
func (w *Writer) inodeOf(t testing.TB, ino vfs.Ino) *inode {
	t.Helper()
	in := new(inode)
	require.NoError(t, w.read(ino, in))
	return in
}

// The end of a small file grows in place while there is room, moves when there
// is none, and becomes a whole block when the file grows past it.
func TestTailGrows(t *testing.T) {
	for _, typ := range []string{"ffs1", "ffs2"} {
		w, mem := newWriter(t, 4<<20, vfs.FormatOptions{Type: typ, BlockSize: 8192, FragSize: 1024})
		a := w.mustCreate(t, w.Root(), "a", vfs.Regular|0o644)
		b := w.mustCreate(t, w.Root(), "b", vfs.Regular|0o644)
		w.mustWrite(t, a, contents(1, 1000), 0)
		at := w.inodeOf(t, a).Direct[0]
		w.mustWrite(t, a, contents(1, 2500)[1000:], 1000)
		in := w.inodeOf(t, a)
		assert.Equal(t, at, in.Direct[0], "three fragments, in place")
		assert.Equal(t, uint64(6), in.Blocks)

		w.mustWrite(t, b, contents(2, 500), 0) // right behind it
		require.Equal(t, at+3, w.inodeOf(t, b).Direct[0])
		w.mustWrite(t, a, contents(1, 5000)[2500:], 2500)
		in = w.inodeOf(t, a)
		assert.NotEqual(t, at, in.Direct[0], "moved")
		assert.Equal(t, uint64(10), in.Blocks)
		audit2(t, w, mem)

		w.mustWrite(t, a, contents(1, 9000)[5000:], 5000)
		in = w.inodeOf(t, a)
		assert.Zero(t, in.Direct[0]%8, "a whole block")
		assert.Equal(t, uint64(16+2), in.Blocks)
		assert.Equal(t, contents(1, 9000), w.mustRead(t, a))
		assert.Equal(t, contents(2, 500), w.mustRead(t, b))

		// The rest of the block in front of a hole reads as zeros.
		w.mustWrite(t, b, []byte("far"), 100_000)
		want := make([]byte, 100_003)
		copy(want, contents(2, 500))
		copy(want[100_000:], "far")
		assert.Equal(t, want, w.mustRead(t, b))
		audit2(t, w, mem)
	}
}

// What lay behind the end of a file is zeros when the file gets longer, even
// if another system has left something else there.
func TestNothingBehindTheEndShows(t *testing.T) {
	dir := makeTree(t, 8192, 1024)
	for _, version := range []int{1, 2} {
		img := makeImage(t, layout{version, false, 8192, 1024}, 16<<20, dir, "") // poisoned
		w := openWriter(t, img.dev, blockio.SessionOptions{})
		sizes, err := w.Lookup(ctx, w.Root(), "sizes")
		require.NoError(t, err)
		for i, size := range sizes2(8192, 1024) {
			a, err := w.Lookup(ctx, sizes.Ino, fmt.Sprint(size))
			require.NoError(t, err)
			want := contents(size, size)
			grown := size + 3000
			if i%2 == 0 {
				_, err = w.Setattr(ctx, a.Ino, vfs.SetAttr{Size: &grown})
				require.NoError(t, err)
			} else {
				w.mustWrite(t, a.Ino, []byte{1}, grown-1)
			}
			want = append(want, make([]byte, 3000)...)
			want[grown-1] = byte(i % 2)
			assert.True(t, bytes.Equal(want, w.mustRead(t, a.Ino)), "%d bytes", size)
		}
		audit2(t, w, img.dev)
	}
}

// sizes2 is sizes without duplicates.
func sizes2(bs, fs int64) []int64 {
	seen := map[int64]bool{}
	var list []int64
	for _, size := range sizes(bs, fs) {
		if !seen[size] {
			seen[size] = true
			list = append(list, size)
		}
	}
	return list
}

// Files reach as far as the pointers do, up to the limit of the kernels, and
// give everything back.
func TestIndirectBlocks(t *testing.T) {
	for _, c := range []struct {
		typ          string
		bsize, fsize int
	}{{"ffs1", 4096, 512}, {"ffs2", 4096, 4096}, {"ffs2", 8192, 1024}} {
		dev := blockio.NewSparse(64 << 20)
		s := blockio.NewSession(dev, blockio.SessionOptions{})
		require.NoError(t, Format(s, vfs.FormatOptions{Type: c.typ, BlockSize: c.bsize, FragSize: c.fsize}))
		require.NoError(t, s.Commit(ctx))
		fsys, err := OpenWritable(ctx, s)
		require.NoError(t, err)
		w := fsys.(*Writer)
		free := w.total

		bs, n := int64(c.bsize), w.geo.nindir
		ino := w.mustCreate(t, w.Root(), "file", vfs.Regular|0o644)
		var at []int64
		for _, lbn := range []int64{0, 11, 12, 12 + n, 12 + n + n*n} {
			at = append(at, lbn*bs-5, lbn*bs+100)
		}
		at = append(at, w.super.maxFile-20)
		for i, off := range at {
			if off >= 0 {
				w.mustWrite(t, ino, contents(int64(i), 20), off)
			}
		}
		for i, off := range at {
			p := make([]byte, 20)
			if off >= 0 {
				_, err := w.ReadAt(ctx, ino, p, off)
				require.NoError(t, err)
				assert.Equal(t, contents(int64(i), 20), p, "at %d", off)
			}
		}
		in := w.inodeOf(t, ino)
		for level, addr := range in.Indirect {
			assert.NotZero(t, addr, "level %d", level+1)
		}
		audit2(t, w, dev)
		_, err = w.WriteAt(ctx, ino, []byte("more"), w.super.maxFile-3)
		assert.Error(t, err)
		// Cut it, level by level.
		for i := len(at) - 2; i >= 0; i-- {
			if at[i] >= 0 {
				size := at[i]
				_, err := w.Setattr(ctx, ino, vfs.SetAttr{Size: &size})
				require.NoError(t, err)
				audit2(t, w, dev)
			}
		}
		require.NoError(t, w.Unlink(ctx, w.Root(), "file"))
		audit2(t, w, dev)
		free.Dirs = w.total.Dirs
		assert.Equal(t, free, w.total)
	}
}

// A file that is written in one go lies in one piece, beside its directory;
// directories at the top lie apart; a large file leaves room for others.
func TestPlacement(t *testing.T) {
	dev := blockio.NewSparse(512 << 20)
	s := blockio.NewSession(dev, blockio.SessionOptions{})
	require.NoError(t, Format(s, vfs.FormatOptions{Type: "ffs2", BlockSize: 4096, FragSize: 512}))
	require.NoError(t, s.Commit(ctx))
	fsys, err := OpenWritable(ctx, s)
	require.NoError(t, err)
	w := fsys.(*Writer)
	groupOf := func(ino vfs.Ino) uint64 { return uint64(ino) / w.geo.inodesPerGroup }
	require.Greater(t, w.geo.groups, uint64(16))

	groups := map[uint64]int{}
	for i := range 16 {
		dir := w.mustCreate(t, w.Root(), fmt.Sprint("dir", i), vfs.Dir|0o755)
		groups[groupOf(dir)]++
		sub := w.mustCreate(t, dir, "sub", vfs.Dir|0o755)
		assert.Equal(t, groupOf(dir), groupOf(sub), "a directory is beside its parent")
		for j := range 5 {
			f := w.mustCreate(t, dir, fmt.Sprint("file", j), vfs.Regular|0o644)
			assert.Equal(t, groupOf(dir), groupOf(f), "a file is beside its directory")
			w.mustWrite(t, f, contents(int64(j), 12*4096), 0)
			in := w.inodeOf(t, f)
			assert.Equal(t, groupOf(dir), uint64(in.Direct[0]/w.geo.fragsPerGroup))
			_, run, err := w.run(in, 0, mapWork)
			require.NoError(t, err)
			assert.Equal(t, int64(12), run, "in one piece")
		}
	}
	assert.Len(t, groups, 16, "directories at the top are spread")

	large := w.mustCreate(t, w.Root(), "large", vfs.Regular|0o644)
	w.mustWrite(t, large, make([]byte, 16<<20), 0)
	in := w.inodeOf(t, large)
	blocks := map[int64]int64{}
	for lbn := int64(0); lbn < 16<<20/4096; {
		addr, n, err := w.run(in, lbn, mapWork)
		require.NoError(t, err)
		blocks[addr/w.geo.fragsPerGroup] += n
		lbn += n
	}
	assert.Greater(t, len(blocks), 6)
	for gr, n := range blocks {
		assert.LessOrEqual(t, n, 2*w.super.maxBPG+ondisk.NDirect, "group %d", gr)
	}
	audit2(t, w, dev)
}
