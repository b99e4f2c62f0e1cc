package ext4

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// treeOf returns the counts of a file's extent tree, as they are on the device.
func treeOf(t *testing.T, w *Writer, num vfs.Ino) (c extentCounts, depth int, nodes [][]byte) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.begin(ctx)
	in, err := o.load(num)
	require.NoError(t, err)
	nodes = append(nodes, bytes.Clone(in.Block[:]))
	require.NoError(t, o.eachNode(in, func(n *extentNode) error {
		c.add(n.ExtentHeader, 1)
		nodes = append(nodes, bytes.Clone(n.b))
		return nil
	}))
	return c, int(ondisk.DecodeExtentHeader(in.Block[:]).Depth), nodes
}

// Blocks of a reserved file are written here and there, and some taken away: the
// counts that are kept are those of the tree, which every commit leaves as small
// as e2fsck wants it.
func TestExtentTreesArePacked(t *testing.T) {
	for _, f := range []form{
		{"1k", []string{"-t", "ext4", "-b", "1024"}},
		{"4k", []string{"-t", "ext4", "-b", "4096", "-O", "^metadata_csum"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			name := mkfs(t, 160<<20, "", f.args...)
			w := onFile(t, name)
			bs := w.blockSize
			a, err := w.Create(ctx, w.Root(), "file", vfs.NewNode{Mode: vfs.Regular | 0o644})
			require.NoError(t, err)
			const blocks = 20000
			require.NoError(t, w.Fallocate(ctx, a.Ino, 0, 0, blocks*bs))
			rnd := rand.New(rand.NewPCG(1, uint64(bs)))
			want := make([]byte, blocks*bs)
			loose, steps := 0, 8000
			if testing.Short() {
				steps = 3000
			}
			for i := range steps {
				off := rnd.Int64N(blocks) * bs
				if i%5 == 4 {
					n := (1 + rnd.Int64N(4)) * bs
					require.NoError(t, w.Fallocate(ctx, a.Ino, vfs.AllocPunchHole|vfs.AllocKeepSize, off, n))
					clear(want[off:min(off+n, int64(len(want)))])
				} else {
					p := []byte{byte(i), byte(i >> 8), 1}
					_, err := w.WriteAt(ctx, a.Ino, p, off)
					require.NoError(t, err)
					copy(want[off:], p)
				}
				if i%10 != 9 && i < steps-100 {
					continue
				}
				if c, depth, _ := treeOf(t, w, a.Ino); c.loose(depth, int64(w.op.blockMaxExtents())) {
					loose++
				}
				require.NoError(t, w.Sync(ctx))
				c, depth, _ := treeOf(t, w, a.Ino)
				require.False(t, c.loose(depth, int64(w.op.blockMaxExtents())))
				if known, ok := w.trees[uint32(a.Ino)]; ok {
					require.True(t, known.counted)
					require.False(t, known.changed)
					require.Equal(t, c, known.extentCounts)
				} else {
					require.Zero(t, depth)
				}
				if i%1000 == 999 {
					require.NoError(t, e2fsck(name))
				}
			}
			require.Greater(t, loose, 10, "the test is to have something to pack")
			require.NoError(t, e2fsck(name))
			got := make([]byte, len(want))
			_, err = w.ReadAt(ctx, a.Ino, got, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got))
		})
	}
}

// A tree that cannot be packed stays as it is, to the last byte, and so do the
// bitmaps; the commit succeeds.
func TestFailedPackingIsUndone(t *testing.T) {
	name := mkfs(t, 64<<20, "", "-t", "ext4", "-b", "1024")
	w := onFile(t, name)
	a, err := w.Create(ctx, w.Root(), "file", vfs.NewNode{Mode: vfs.Regular | 0o644})
	require.NoError(t, err)
	for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(2000) {
		_, err := w.WriteAt(ctx, a.Ino, []byte{1}, int64(i)*2048)
		require.NoError(t, err)
	}
	c, depth, before := treeOf(t, w, a.Ino)
	require.True(t, c.loose(depth, int64(w.op.blockMaxExtents())))
	// The last leaf is not in use, says the bitmap: it cannot be freed.
	w.mu.Lock()
	o := w.begin(ctx)
	in, err := o.load(a.Ino)
	require.NoError(t, err)
	path, err := o.extentPath(in, fileBlocks-1)
	require.NoError(t, err)
	leaf := blockRun{start: path.leaf().addr, n: 1}
	require.NoError(t, o.freeRun(leaf))
	w.mu.Unlock()

	free := w.total
	require.NoError(t, w.Sync(ctx))
	_, _, after := treeOf(t, w, a.Ino)
	require.Equal(t, before, after)
	require.Equal(t, free, w.total)
	require.Error(t, e2fsck(name))
}
