package ffs

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// newWriter formats size bytes and opens them for changing.
func newWriter(t testing.TB, size int64, opt vfs.FormatOptions) (*Writer, *blockio.Memory) {
	t.Helper()
	mem := blockio.NewMemory(make([]byte, size))
	seed := uint64(1)
	opt.Seed = &seed
	s := blockio.NewSession(mem, blockio.SessionOptions{})
	require.NoError(t, Format(s, opt))
	require.NoError(t, s.Commit(ctx))
	return openWriter(t, mem, blockio.SessionOptions{}), mem
}

func openWriter(t testing.TB, mem *blockio.Memory, opt blockio.SessionOptions) *Writer {
	t.Helper()
	fsys, err := OpenWritable(ctx, blockio.NewSession(mem, opt))
	require.NoError(t, err)
	w := fsys.(*Writer)
	w.SetSeed(1)
	return w
}

// A small tree is made and half of it removed again; every count is right.
func TestTreeComesAndGoes(t *testing.T) {
	for _, typ := range []string{"ffs1", "ffs2"} {
		w, mem := newWriter(t, 8<<20, vfs.FormatOptions{Type: typ})
		for i := range 20 {
			d, err := w.Create(ctx, w.Root(), fmt.Sprintf("d%d", i), vfs.NewNode{Mode: vfs.Dir | 0o755})
			require.NoError(t, err)
			for j := range 10 {
				f, err := w.Create(ctx, d.Ino, fmt.Sprintf("file%d", j), vfs.NewNode{Mode: vfs.Regular | 0o644})
				require.NoError(t, err)
				p := contents(int64(i*j), int64(i*j*170))
				n, err := w.WriteAt(ctx, f.Ino, p, 0)
				require.NoError(t, err)
				require.Equal(t, len(p), n)
			}
		}
		require.NoError(t, w.Sync(ctx))
		audit(t, mem)
		for i := range 10 {
			d, err := w.Lookup(ctx, w.Root(), fmt.Sprintf("d%d", i))
			require.NoError(t, err)
			for j := range 10 {
				require.NoError(t, w.Unlink(ctx, d.Ino, fmt.Sprintf("file%d", j)))
			}
			require.NoError(t, w.Rmdir(ctx, w.Root(), fmt.Sprintf("d%d", i)))
		}
		require.NoError(t, w.Sync(ctx))
		audit(t, mem)
	}
}
