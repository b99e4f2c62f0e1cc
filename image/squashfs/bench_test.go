package squashfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
)

// BenchmarkSequential reads a file from front to end, in the requests of a
// mount. $RESFLASH_BENCH_FILE replaces the file.
func BenchmarkSequential(b *testing.B) {
	bl := newBuilder(b)
	if name := os.Getenv("RESFLASH_BENCH_FILE"); name != "" {
		data, err := os.ReadFile(name)
		require.NoError(b, err)
		bl.write("file", data)
	} else {
		bl.file("file", 32<<20)
	}
	for _, comp := range []string{"gzip", "xz", "lzma", "lz4", "zstd"} {
		img := filepath.Join(b.TempDir(), comp)
		require.NoError(b, os.Rename(makeSquash(b, bl.root, "-comp", comp), img))
		b.Run(comp, func(b *testing.B) {
			dev, err := blockio.OpenFile(img)
			require.NoError(b, err)
			defer dev.Close()
			p := make([]byte, 128<<10)
			for b.Loop() {
				fsys, err := Open(ctx, dev)
				require.NoError(b, err)
				a, err := fsys.Lookup(ctx, fsys.Root(), "file")
				require.NoError(b, err)
				b.SetBytes(a.Size)
				for off := int64(0); off < a.Size; off += int64(len(p)) {
					if n, err := fsys.ReadAt(ctx, a.Ino, p, off); n < len(p) && off+int64(n) < a.Size {
						b.Fatal(err)
					}
				}
				require.NoError(b, fsys.Close())
			}
		})
	}
}
