package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// victims are small file systems of all kinds, to be damaged. Most have metadata
// that is not compressed, so that the damage gets past the compression.
func victims(t testing.TB) (images [][]byte, names []string) {
	t.Helper()
	b := newBuilder(t)
	b.file("small", 100)
	b.file("blocks", 20_000)
	b.noise("noise", 9000)
	b.sparse("sparse", 1<<20, 100, 5000, 1<<20-100)
	b.link("link", strings.Repeat("t", 100))
	b.file("dir/sub/file", 10)
	require.NoError(t, os.Link(b.path("small"), b.path("dir/hard")))
	for i := range 300 {
		b.file(fmt.Sprintf("many/%d-%s", i, strings.Repeat("n", 40)), 0)
	}
	b.xattr("small", "user.name", "value")
	b.xattr("dir", "user.large", strings.Repeat("v", 300))
	b.xattr("link", "trusted.x", strings.Repeat("v", 300))
	raw := []string{"-noI", "-noX", "-noId", "-b", "4K"}
	for _, k := range []struct {
		name string
		args []string
	}{
		{"raw", append([]string{"-noD", "-noF"}, raw...)},
		{"gzip", append([]string{"-comp", "gzip"}, raw...)},
		{"not-exported", append([]string{"-no-exports", "-always-use-fragments"}, raw...)},
		{"lz4", []string{"-comp", "lz4", "-b", "4K"}},
		{"xz", []string{"-comp", "xz", "-b", "8K"}},
		{"lzma", []string{"-comp", "lzma", "-b", "8K"}},
		{"zstd", []string{"-comp", "zstd", "-b", "8K"}},
	} {
		data, err := os.ReadFile(makeSquash(t, b.root, append(k.args, "-nopad")...))
		require.NoError(t, err)
		images, names = append(images, data), append(names, k.name)
	}
	return images, names
}

// explore asks everything of everything in a file system, within bounds.
func explore(f *FS) (reached int) {
	const maxInodes, maxEntries, maxLookups = 100, 1000, 20
	seen := map[vfs.Ino]bool{}
	todo := []vfs.Ino{f.Root()}
	buf := make([]byte, 16<<10)
	_, _ = f.Statfs(ctx)
	for ; len(todo) > 0 && len(seen) < maxInodes; todo = todo[1:] {
		ino := todo[0]
		if seen[ino] {
			continue
		}
		seen[ino] = true
		a, err := f.Getattr(ctx, ino)
		if err != nil {
			continue
		}
		_, _ = f.Xattrs(ctx, ino)
		_, _ = f.Readlink(ctx, ino)
		n, cookie := 0, uint64(0)
		for e, err := range f.ReadDir(ctx, ino, 0) {
			if err != nil {
				break
			}
			if e.Next <= cookie {
				panic(fmt.Sprintf("cookie %d after %d", e.Next, cookie))
			}
			if cookie = e.Next; n > maxEntries {
				break
			}
			if n++; n < maxLookups {
				_, _ = f.Lookup(ctx, ino, e.Name)
				_, _ = f.Lookup(ctx, ino, e.Name+"?")
				_, _ = f.Lookup(ctx, e.Ino, "..")
			}
			todo = append(todo, e.Ino)
		}
		for range f.ReadDir(ctx, ino, cookie/2) {
			if n++; n > 2*maxEntries {
				break
			}
		}
		for _, off := range []int64{0, a.Size / 2, a.Size - 100, a.Size} {
			if got, err := f.ReadAt(ctx, ino, buf, off); err == nil && got < len(buf) {
				panic("short read without an error")
			}
			_, _, _ = f.Map(ctx, ino, off)
			_, _ = f.SeekData(ctx, ino, off)
			_, _ = f.SeekHole(ctx, ino, off)
		}
	}
	return len(seen)
}

// openAndExplore opens a damaged image. What it refuses must be refused with
// an error of the kinds that the contract has.
func openAndExplore(t testing.TB, image []byte) (reached int) {
	dev := blockio.NewMemory(image)
	if ok, err := Probe(dev); err != nil || !ok {
		return 0
	}
	fsys, err := Open(ctx, dev)
	if err != nil {
		var corrupt *vfs.CorruptError
		var unsupported *vfs.NotSupportedError
		if !errors.As(err, &corrupt) && !errors.As(err, &unsupported) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		return 0
	}
	defer fsys.Close()
	return explore(fsys.(*FS))
}

// Random damage never makes the driver panic or hang.
func TestRandomDamageIsSurvived(t *testing.T) {
	images, names := victims(t)
	for i, image := range images {
		t.Run(names[i], func(t *testing.T) {
			require.Greater(t, openAndExplore(t, bytes.Clone(image)), 5, "the test needs an image that opens")
			rounds := 200
			if i > 2 || testing.Short() { // compressed all over
				rounds = 40
			}
			opened, slowest := 0, time.Duration(0)
			for seed := range rounds {
				rng := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
				damaged := bytes.Clone(image)
				for range 1 + rng.IntN(8) {
					damage(rng, damaged)
				}
				start := time.Now()
				done := make(chan int, 1)
				go func() { done <- openAndExplore(t, damaged) }()
				select {
				case n := <-done:
					if n > 0 {
						opened++
					}
				case <-time.After(time.Minute):
					t.Fatalf("image %s with seed %d takes for ever", names[i], seed)
				}
				slowest = max(slowest, time.Since(start))
			}
			require.NotZero(t, opened, "no damage got past Open")
			t.Logf("%d of %d opened, the slowest took %v", opened, rounds, slowest)
		})
	}
}

// damage changes something, more often in the tables than in the data.
func damage(rng *rand.Rand, image []byte) {
	at := rng.IntN(len(image))
	if tables := binary.LittleEndian.Uint64(image[64:]); tables < uint64(len(image)) && rng.IntN(4) > 0 {
		at = int(tables) + rng.IntN(len(image)-int(tables))
	} else if rng.IntN(4) == 0 {
		at = rng.IntN(96)
	}
	switch rng.IntN(4) {
	case 0:
		image[at] ^= 1 << rng.IntN(8)
	case 1:
		image[at] = byte(rng.Uint32())
	case 2: // a whole word of something extreme
		at = min(at, len(image)-4)
		v := []uint32{0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 24, uint32(len(image))}
		binary.LittleEndian.PutUint32(image[at:], v[rng.IntN(len(v))])
	case 3: // bytes from elsewhere
		copy(image[at:], image[rng.IntN(len(image)):][:min(16, len(image)-at)])
	}
}

// FuzzOpen changes bytes of images made by mksquashfs. A patch is three bytes
// of position and one of value; positions count from the tables on, and wrap.
func FuzzOpen(f *testing.F) {
	images, _ := victims(f)
	for i := range images {
		f.Add(uint8(i), uint32(0), []byte{})
		f.Add(uint8(i), uint32(0), bytes.Repeat([]byte{byte(i), 1, 0, 255}, 3))
	}
	f.Fuzz(func(t *testing.T, which uint8, cut uint32, patches []byte) {
		image := bytes.Clone(images[int(which)%len(images)])
		tables := int(binary.LittleEndian.Uint64(image[64:]))
		for ; len(patches) >= 4 && len(patches) < 4<<10; patches = patches[4:] {
			at := tables + int(patches[0]) + int(patches[1])<<8 + int(patches[2])<<16
			image[at%len(image)] = patches[3]
		}
		if cut > 0 && int(cut) < len(image) {
			image = image[:cut]
		}
		openAndExplore(t, image)
	})
}

// FuzzCodecs decompresses arbitrary bytes.
func FuzzCodecs(f *testing.F) {
	images, _ := victims(f)
	for _, image := range images {
		f.Add(uint8(image[compressionOff]), image[96:min(len(image), 3000)])
	}
	f.Fuzz(func(t *testing.T, which uint8, src []byte) {
		compression := 1 + which%6
		codec, err := newCodec(ondisk.Compression(compression))
		if err != nil {
			return
		}
		dst := make([]byte, 8192)
		n, err := codec.decode(dst[:len(dst)-1:len(dst)-1], src)
		if err == nil && (n < 0 || n >= len(dst)) {
			t.Fatalf("%d bytes", n)
		}
		if dst[len(dst)-1] != 0 {
			t.Fatal("wrote behind the end")
		}
	})
}
