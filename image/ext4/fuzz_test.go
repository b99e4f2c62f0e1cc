package ext4

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// victims are small file systems of all kinds, to be damaged. Most are without
// checksums, so that the damage gets past them.
func victims(t testing.TB) (images [][]byte, names []string) {
	t.Helper()
	testtool.Need(t, "mke2fs", "e2fsck", "debugfs")
	b := treeBuilder{t, t.TempDir()}
	b.mkdir("dir/sub")
	b.file("inline", []byte("short"))
	b.file("block", pattern(3000, 1))
	pieces := make(map[int64][]byte)
	for i := range int64(40) {
		pieces[i*3072] = pattern(1024, int(i))
	}
	b.sparse("pieces", 3<<20, pieces)
	b.sparse("far", 200<<20, map[int64][]byte{150 << 20: []byte("far")})
	for i := range 60 {
		b.file(fmt.Sprintf("dir/%d-%s", i, strings.Repeat("n", 40)), nil)
	}
	require.NoError(t, os.Symlink("target", b.path("fast")))
	require.NoError(t, os.Symlink(strings.Repeat("t", 100), b.path("slow")))
	require.NoError(t, os.Link(b.path("block"), b.path("dir/sub/hard")))
	require.NoError(t, syscall.Mkfifo(b.path("fifo"), 0o600))

	for _, k := range []struct {
		name   string
		blocks string
		args   []string
		after  func(img string)
	}{
		{"ext2", "512", []string{"-t", "ext2"}, nil},
		{"ext4", "512", []string{"-t", "ext4", "-O", "^has_journal,^metadata_csum"}, nil},
		{"ext4-csum", "512", []string{"-t", "ext4", "-O", "^has_journal"}, nil},
		{"inline", "512", []string{"-t", "ext4", "-O", "^has_journal,^metadata_csum,inline_data"}, nil},
		{"bigalloc", "1024", []string{"-t", "ext4", "-O", "^has_journal,^metadata_csum,bigalloc", "-C", "4096"}, nil},
		{"htree", "512", []string{"-t", "ext4", "-O", "^has_journal,^metadata_csum,large_dir"}, func(img string) {
			// e2fsck -D makes the hash trees that mke2fs does not make. It
			// reports having changed something by its exit code.
			_ = exec.Command("e2fsck", "-fyD", img).Run()
		}},
		{"xattrs", "512", []string{"-t", "ext4", "-O", "^has_journal,^metadata_csum,ea_inode"}, func(img string) {
			value := filepath.Join(t.TempDir(), "value")
			require.NoError(t, os.WriteFile(value, pattern(5000, 3), 0o600))
			debugfs(t, img, "ea_set block user.small x", "ea_set block user.a "+strings.Repeat("y", 200),
				"ea_set -f "+value+" block user.big")
		}},
		{"meta-bg", "2048", []string{"-t", "ext4", "-O", "^has_journal,^metadata_csum,meta_bg,^resize_inode", "-g", "256"}, nil},
		{"journal", "3000", []string{"-t", "ext4", "-O", "^metadata_csum"}, func(img string) {
			data := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.WriteFile(data, make([]byte, 3*1024), 0o600))
			debugfs(t, img, "jo", "jw -b 2900,2901,2902 "+data, "jw -r 2901", "jc")
		}},
	} {
		img := filepath.Join(t.TempDir(), "victim")
		args := []string{"-q", "-F", "-b", "1024", "-N", "128", "-d", b.dir}
		args = append(args, k.args...)
		testtool.Run(t, "mke2fs", append(args, img, k.blocks)...)
		if k.after != nil {
			k.after(img)
		}
		data, err := os.ReadFile(img)
		require.NoError(t, err)
		images, names = append(images, data), append(names, k.name)
	}
	return images, names
}

// metadata are the offsets of bytes in an image that are worth changing: those
// of blocks that hold something, and of those the ones near something.
func metadata(image []byte) (offs []int) {
	const line = 64
	for at := 0; at+line <= len(image); at += line {
		if !bytes.Equal(image[at:at+line], make([]byte, line)) {
			for i := range line {
				offs = append(offs, at+i)
			}
		}
	}
	return offs
}

// explore asks everything of everything in a file system, within bounds.
func explore(fs *FS) (reached int) {
	const maxInodes, maxEntries, maxLookups = 200, 1000, 50
	seen := map[vfs.Ino]bool{}
	todo := []vfs.Ino{fs.Root()}
	buf := make([]byte, 64<<10)
	_, _ = fs.Statfs(ctx)
	for ; len(todo) > 0 && len(seen) < maxInodes; todo = todo[1:] {
		ino := todo[0]
		if seen[ino] {
			continue
		}
		seen[ino] = true
		a, err := fs.Getattr(ctx, ino)
		if err != nil {
			continue
		}
		_, _ = fs.Xattrs(ctx, ino)
		_, _ = fs.Readlink(ctx, ino)
		n, cookie := 0, uint64(0)
		for e, err := range fs.ReadDir(ctx, ino, 0) {
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
				_, _ = fs.Lookup(ctx, ino, e.Name)
				_, _ = fs.Lookup(ctx, ino, e.Name+"?")
			}
			todo = append(todo, e.Ino)
		}
		for range fs.ReadDir(ctx, ino, cookie/2) {
			if n++; n > 2*maxEntries {
				break
			}
		}
		for _, off := range []int64{0, a.Size / 2, a.Size - 100, a.Size} {
			if got, err := fs.ReadAt(ctx, ino, buf, off); err == nil && got < len(buf) {
				panic("short read without an error")
			}
			_, _, _ = fs.Map(ctx, ino, off)
			_, _ = fs.SeekData(ctx, ino, off)
			_, _ = fs.SeekHole(ctx, ino, off)
		}
	}
	return len(seen)
}

// openAndExplore opens a damaged image. What it refuses must be refused with
// an error of the kinds that the contract has.
func openAndExplore(t testing.TB, image []byte) (reached int) {
	dev := blockio.NewMemory(image)
	if ok, err := Driver.Probe(dev); err != nil || !ok {
		return 0
	}
	fs, err := Driver.Open(ctx, dev)
	if err != nil {
		var corrupt *vfs.CorruptError
		var unsupported *vfs.NotSupportedError
		if !errors.As(err, &corrupt) && !errors.As(err, &unsupported) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		return 0
	}
	return explore(fs.(*FS))
}

// Random damage to metadata never makes the driver panic or hang.
func TestRandomDamageIsSurvived(t *testing.T) {
	images, names := victims(t)
	for i, image := range images {
		t.Run(names[i], func(t *testing.T) {
			offs := metadata(image)
			require.NotEmpty(t, offs)
			require.Greater(t, openAndExplore(t, bytes.Clone(image)), 5, "the test needs an image that opens")
			rounds := 300
			if testing.Short() {
				rounds = 50
			}
			opened, slowest := 0, time.Duration(0)
			for seed := range rounds {
				rng := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
				damaged := bytes.Clone(image)
				for range 1 + rng.IntN(12) {
					at := offs[rng.IntN(len(offs))]
					switch rng.IntN(4) {
					case 0:
						damaged[at] ^= 1 << rng.IntN(8)
					case 1:
						damaged[at] = byte(rng.Uint32())
					case 2: // a whole word of something extreme
						at = min(at&^3, len(damaged)-4)
						v := []uint32{0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xF30A, uint32(len(image) / 1024)}
						binary.LittleEndian.PutUint32(damaged[at:], v[rng.IntN(len(v))])
					case 3: // a line from elsewhere
						copy(damaged[at&^63:][:64], damaged[offs[rng.IntN(len(offs))]&^63:][:64])
					}
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

// FuzzOpen changes bytes of images made by mke2fs. A patch is three bytes of
// position among the bytes that matter, and one of value.
func FuzzOpen(f *testing.F) {
	images, _ := victims(f)
	offs := make([][]int, len(images))
	for i := range images {
		offs[i] = metadata(images[i])
		f.Add(uint8(i), uint32(0), []byte{})
		f.Add(uint8(i), uint32(0), pattern(40, i))
	}
	f.Fuzz(func(t *testing.T, which uint8, cut uint32, patches []byte) {
		i := int(which) % len(images)
		image := bytes.Clone(images[i])
		for ; len(patches) >= 4 && len(patches) < 4<<10; patches = patches[4:] {
			at := int(patches[0]) | int(patches[1])<<8 | int(patches[2])<<16
			image[offs[i][at%len(offs[i])]] = patches[3]
		}
		if cut > 0 && int(cut) < len(image) {
			image = image[:cut]
		}
		openAndExplore(t, image)
	})
}

// FuzzFastCommit replays arbitrary records of fast commits.
func FuzzFastCommit(f *testing.F) {
	images, names := victims(f)
	var image []byte
	for i, name := range names {
		if name == "ext4" {
			image = images[i]
		}
	}
	record := func(tag uint16, value ...byte) []byte {
		r := binary.LittleEndian.AppendUint16(nil, tag)
		return append(binary.LittleEndian.AppendUint16(r, uint16(len(value))), value...)
	}
	word := func(v ...uint32) (b []byte) {
		for _, v := range v {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return b
	}
	raw := make([]byte, 160)
	binary.LittleEndian.PutUint16(raw, 0o100644)
	raw[0x1A], raw[0x22] = 1, 8 // links, extents
	f.Add(record(ondisk.FCInode, append(word(20), raw...)...))
	f.Add(record(ondisk.FCCreate, append(word(2, 20), "new"...)...))
	f.Add(record(ondisk.FCUnlink, append(word(2, 12), "block"...)...))
	f.Add(record(ondisk.FCAddRange, word(14, 0, 10, 100)...))
	f.Add(record(ondisk.FCDelRange, word(14, 3, 7)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		fs, err := load(blockio.NewMemory(image))
		require.NoError(t, err)
		re := &fastRecords{commits: 1}
		for {
			r, ok := ondisk.DecodeFCRecord(data)
			if !ok {
				break
			}
			if data = data[len(r.Raw):]; r.Known() {
				re.records = append(re.records, r)
			}
		}
		if err := fs.applyFastCommits(context.Background(), re); err != nil {
			if !isCorrupt(err) && !isNotSupported(err) {
				t.Fatal(err)
			}
			return
		}
		explore(fs)
	})
}
