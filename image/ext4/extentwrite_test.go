package ext4

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A tree of extents grows to several levels, is thinned out, and shrinks again.
// After each commit it is as small as e2fsck wants it.
func TestExtentTreeGrowsAndShrinks(t *testing.T) {
	for _, f := range []form{
		{"1k", []string{"-t", "ext4", "-b", "1024"}},
		{"bigalloc", []string{"-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "4096"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			name := mkfs(t, 64<<20, "", f.args...)
			w := onFile(t, name)
			a, err := w.Create(ctx, w.Root(), "file", vfs.NewNode{Mode: vfs.Regular | 0o644})
			require.NoError(t, err)
			rnd := rand.New(rand.NewPCG(3, 4))
			const blocks = 20000
			depth := func() uint16 {
				var in inode
				require.NoError(t, w.readInode(a.Ino, &in))
				return ondisk.DecodeExtentHeader(in.Block[:]).Depth
			}
			order := rnd.Perm(blocks / 2)
			for _, i := range order {
				_, err := w.WriteAt(ctx, a.Ino, []byte{1}, int64(i)*2048)
				require.NoError(t, err)
			}
			require.NoError(t, w.Sync(ctx))
			require.NoError(t, e2fsck(name))
			require.GreaterOrEqual(t, depth(), uint16(2))
			for i, k := range rnd.Perm(blocks / 2) {
				require.NoError(t, w.Fallocate(ctx, a.Ino, vfs.AllocPunchHole|vfs.AllocKeepSize, int64(k)*2048, 2048))
				if i%2000 == 1999 || i > blocks/2-20 {
					require.NoError(t, w.Sync(ctx))
					require.NoError(t, e2fsck(name), "after %d holes", i+1)
				}
			}
			require.Zero(t, depth())
			b, err := w.Getattr(ctx, a.Ino)
			require.NoError(t, err)
			require.Zero(t, b.Blocks)
		})
	}
}
