package ffs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

// bigDir is an image with a directory of many links to one file.
func bigDir(t testing.TB, names int) (*image, vfs.Ino) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "big"), 0o755))
	for i := range names {
		target := filepath.Join(dir, "big", bigName(i/1000*1000))
		if i%1000 == 0 { // FFS counts links in 16 bits
			require.NoError(t, os.WriteFile(target, []byte("x"), 0o644))
		} else {
			require.NoError(t, os.Link(target, filepath.Join(dir, "big", bigName(i))))
		}
	}
	img := makeImage(t, layout{2, false, 16384, 2048}, 16<<20, dir, "")
	return img, vfs.Ino(img.inode("/big").num)
}

func bigName(i int) string { return fmt.Sprintf("a-name-of-usual-length-%06d", i) }

// Every name of a large directory is found by the index, and no other; and
// listing it allocates the names and nothing more.
func TestLargeDirectory(t *testing.T) {
	const names = 20_000
	img, dir := bigDir(t, names)
	f := img.open()
	for i := range names {
		_, err := f.Lookup(ctx, dir, bigName(i))
		require.NoError(t, err)
	}
	_, err := f.Lookup(ctx, dir, bigName(names))
	assert.Equal(t, syscall.ENOENT, err)
	self, err := f.Lookup(ctx, dir, ".")
	require.NoError(t, err)
	assert.Equal(t, dir, self.Ino)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	count, length := 0, 0
	for e, err := range f.ReadDir(ctx, dir, 0) {
		require.NoError(t, err)
		count++
		length += len(e.Name)
	}
	runtime.ReadMemStats(&after)
	assert.Equal(t, names, count)
	assert.LessOrEqual(t, after.Mallocs-before.Mallocs, uint64(names+1000))
	assert.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(2*length+8<<20), "names, and the pages of the cache")

	allocs := testing.AllocsPerRun(100, func() { _, _ = f.Lookup(ctx, dir, bigName(7)) })
	assert.LessOrEqual(t, allocs, 12.0)
}

// Directories that come and go push each other's indexes out.
func TestIndexesAreBounded(t *testing.T) {
	img, dir := bigDir(t, 2000)
	f := img.open()
	var in inode
	require.NoError(t, f.read(dir, &in))
	for n := range uint64(2 * indexMax) {
		in.num = 1000 + n // the same contents under many numbers
		require.NotNil(t, f.index.get(ctx, f, &in))
	}
	assert.LessOrEqual(t, len(f.index.slots), indexMax)
	total := 0
	for _, s := range f.index.slots {
		total += s.used
	}
	assert.LessOrEqual(t, total, indexTotal)
}

func BenchmarkReadDir(b *testing.B) {
	img, dir := bigDir(b, 20_000)
	f := img.open()
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range f.ReadDir(ctx, dir, 0) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	img, dir := bigDir(b, 20_000)
	for _, size := range []int{10, 20_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := img.open()
			parent := dir
			if size == 10 {
				parent = f.Root()
			}
			name := map[int]string{10: "big", 20_000: bigName(12345)}[size]
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Lookup(ctx, parent, name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWalk is find(1) with stat(2) of every name.
func BenchmarkWalk(b *testing.B) {
	dir := makeTree(b, 16384, 2048)
	img := makeImage(b, layout{2, false, 16384, 2048}, 16<<20, dir, devices)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		err := vfs.NewTree(img.open()).Walk(ctx, "/", func(_ string, _ vfs.Attr, err error) error {
			n++
			return err
		})
		if err != nil || n < 1000 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "file"), contents(1, 32<<20), 0o644))
	img := makeImage(b, layout{2, false, 16384, 2048}, 48<<20, dir, "")
	f := img.open()
	ino := vfs.Ino(img.inode("/file").num)
	for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := f.ReadAt(ctx, ino, p, off); err != nil {
					b.Fatal(err)
				}
				if off += int64(size); off >= 32<<20 {
					off = 0
				}
			}
		})
	}
}
