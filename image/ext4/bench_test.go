package ext4

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

// benchImage has a directory of 10,000 names, without a hash tree as mke2fs
// makes it, a thousand small files, and a large file.
func benchImage(b *testing.B) (fs *FS, dir vfs.Ino, names []string, large vfs.Ino) {
	b.Helper()
	tb := treeBuilder{b, b.TempDir()}
	tb.mkdir("dir")
	for i := range 10000 {
		names = append(names, fmt.Sprintf("file-number-%06d", i))
		tb.file("dir/"+names[i], nil)
	}
	tb.file("large", pattern(64<<20, 1))
	img := mkfs(b, 256<<20, tb.dir, "-t", "ext4", "-N", "20000")
	fs = openImage(b, img)
	a, err := fs.Lookup(ctx, fs.Root(), "dir")
	require.NoError(b, err)
	l, err := fs.Lookup(ctx, fs.Root(), "large")
	require.NoError(b, err)
	return fs, a.Ino, names, l.Ino
}

func Benchmark(b *testing.B) {
	fs, dir, names, large := benchImage(b)
	b.Run("Lookup", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			if _, err := fs.Lookup(ctx, dir, names[i*7919%len(names)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("LookupMissing", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = fs.Lookup(ctx, dir, "missing")
		}
	})
	b.Run("Getattr", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := fs.Getattr(ctx, large); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ReadDir10000", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			n := 0
			for _, err := range fs.ReadDir(ctx, dir, 0) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			require.Equal(b, len(names), n)
		}
	})
	b.Run("Walk10000", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			for e, err := range fs.ReadDir(ctx, dir, 0) {
				if err != nil {
					b.Fatal(err)
				}
				if _, err := fs.Getattr(ctx, e.Ino); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("ReadAt%dK", size>>10), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := range b.N {
				if _, err := fs.ReadAt(ctx, large, p, int64(i*size)%(64<<20)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
