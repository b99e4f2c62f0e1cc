package ext4

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

func benchWriter(b *testing.B, size int64) *Writer {
	b.Helper()
	dev := blockio.NewSparse(size)
	s := blockio.NewSession(dev, blockio.SessionOptions{})
	require.NoError(b, Format(s, vfs.FormatOptions{Type: "ext4"}))
	require.NoError(b, s.Commit(ctx))
	w, err := openWriter(ctx, blockio.NewSession(dev, blockio.SessionOptions{}))
	require.NoError(b, err)
	return w
}

// A tree of small files, and then all of them removed.
func BenchmarkSmallFiles(b *testing.B) {
	const dirs, files = 200, 100
	p := pattern(5000, 1)
	b.ReportAllocs()
	for b.Loop() {
		w := benchWriter(b, 512<<20)
		for d := range dirs {
			dir, err := w.Create(ctx, w.Root(), fmt.Sprintf("dir%d", d), vfs.NewNode{Mode: vfs.Dir | 0o755})
			require.NoError(b, err)
			for f := range files {
				a, err := w.Create(ctx, dir.Ino, fmt.Sprintf("some-file-%d.go", f), vfs.NewNode{Mode: vfs.Regular | 0o644})
				if err == nil {
					_, err = w.WriteAt(ctx, a.Ino, p[:500+(d*f)%4500], 0)
				}
				require.NoError(b, err)
			}
		}
		require.NoError(b, w.Sync(ctx))
		for d := range dirs {
			name := fmt.Sprintf("dir%d", d)
			dir, err := w.Lookup(ctx, w.Root(), name)
			require.NoError(b, err)
			for f := range files {
				require.NoError(b, w.Unlink(ctx, dir.Ino, fmt.Sprintf("some-file-%d.go", f)))
			}
			require.NoError(b, w.Rmdir(ctx, w.Root(), name))
		}
		require.NoError(b, w.Sync(ctx))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/(dirs*files), "µs/file")
}

// One directory of 100,000 names.
func BenchmarkManyNames(b *testing.B) {
	const names = 100_000
	for b.Loop() {
		w := benchWriter(b, 2<<30)
		for i := range names {
			_, err := w.Create(ctx, w.Root(), fmt.Sprintf("a-name-%d", i), vfs.NewNode{Mode: vfs.Regular | 0o644})
			require.NoError(b, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/names, "µs/file")
}

// A large file, in writes of 1 MiB.
func BenchmarkLargeFile(b *testing.B) {
	const size = 256 << 20
	p := pattern(1<<20, 1)
	b.SetBytes(size)
	for b.Loop() {
		w := benchWriter(b, 512<<20)
		a, err := w.Create(ctx, w.Root(), "large", vfs.NewNode{Mode: vfs.Regular | 0o644})
		require.NoError(b, err)
		for off := int64(0); off < size; off += int64(len(p)) {
			_, err := w.WriteAt(ctx, a.Ino, p, off)
			require.NoError(b, err)
		}
		require.NoError(b, w.Sync(ctx))
	}
}

// Blocks of 4 KiB all over a large sparse file, and over one whose space was
// reserved, with a commit after so many of them.
func BenchmarkScatteredWrites(b *testing.B) {
	const blocks, writes = 1 << 18, 100_000
	p := pattern(4096, 1)
	for _, reserved := range []bool{false, true} {
		for _, each := range []int{writes, 1000, 10} {
			b.Run(fmt.Sprintf("reserved=%t/commit=%d", reserved, each), func(b *testing.B) {
				for b.Loop() {
					w := benchWriter(b, 2<<30)
					a, err := w.Create(ctx, w.Root(), "sparse", vfs.NewNode{Mode: vfs.Regular | 0o644})
					require.NoError(b, err)
					if reserved {
						require.NoError(b, w.Fallocate(ctx, a.Ino, 0, 0, blocks*4096))
					}
					rnd := rand.New(rand.NewPCG(1, 2))
					for i := range writes {
						_, err := w.WriteAt(ctx, a.Ino, p, rnd.Int64N(blocks)*4096)
						require.NoError(b, err)
						if (i+1)%each == 0 {
							require.NoError(b, w.Sync(ctx))
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/writes, "µs/write")
			})
		}
	}
}
