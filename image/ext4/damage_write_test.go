package ext4

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// Whatever is wrong with a file system, writing to it ends, without a panic.
func TestDamageNeverPanicsTheWriter(t *testing.T) {
	testtool.Sequential(t)
	for _, f := range []form{
		{"extents", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal,uninit_bg,ea_inode"}},
		{"indirect", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal,^extent,^64bit,^flex_bg,^uninit_bg"}},
		{"bigalloc", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,bigalloc,^has_journal", "-C", "4096"}},
		{"inline", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,inline_data,^has_journal"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			b := treeBuilder{t, t.TempDir()}
			b.mkdir("dir/sub")
			for i := range 40 {
				b.file(fmt.Sprintf("dir/sub/file-%d", i), pattern(i*300, i))
			}
			b.file("big", pattern(700_000, 1))
			name := mkfs(t, 4<<20, b.dir, f.args...)
			// A few extents more, and a tree of them.
			w := onFile(t, name)
			big := lookup(t, w, "/big")
			for off := int64(0); off < 700_000; off += 5000 {
				require.NoError(t, w.Fallocate(ctx, big, vfs.AllocPunchHole|vfs.AllocKeepSize, off, 1500))
			}
			require.NoError(t, w.Sync(ctx))
			good, err := os.ReadFile(name)
			require.NoError(t, err)
			places := metadataPlaces(t, w, good)
			rnd := rand.New(rand.NewPCG(7, 7))
			opened := 0
			for round := range 200 {
				bad := bytes.Clone(good)
				for range 1 + rnd.IntN(6) {
					at := places[rnd.IntN(len(places))] + rnd.IntN(1024)
					if rnd.IntN(2) == 0 {
						bad[at] ^= 1 << rnd.IntN(8)
					} else {
						bad[at] = byte(rnd.Uint32())
					}
				}
				ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
				start := time.Now()
				if workOn(ctx, bad, uint64(round)) {
					opened++
				}
				require.Less(t, time.Since(start), 15*time.Second, "round %d", round)
				cancel()
			}
			require.Greater(t, opened, 50, "the test needs file systems that can be opened")
		})
	}
}

// metadataPlaces are the offsets of blocks of an image that are not contents.
func metadataPlaces(t *testing.T, w *Writer, img []byte) (places []int) {
	t.Helper()
	data := map[uint64]bool{}
	for _, name := range []string{"/big", "/dir/sub/file-39", "/dir/sub/file-20"} {
		var in inode
		require.NoError(t, w.readInode(lookup(t, w, name), &in))
		m := w.mapper(&in)
		for lbn := uint64(0); int64(lbn)*w.blockSize < in.size; lbn++ {
			r, err := m.at(lbn)
			require.NoError(t, err)
			data[r.start] = true
		}
	}
	zero := make([]byte, 1024)
	stale := bytes.Repeat([]byte{0xAA}, 1024)
	for at := 1024; at < len(img); at += 1024 {
		b := img[at : at+1024]
		if !data[uint64(at/1024)] && !bytes.Equal(b, zero) && !bytes.Equal(b, stale) {
			places = append(places, at)
		}
	}
	return places
}

// workOn does a bit of everything on an image, whatever comes of it. It is false
// if that cannot even be opened.
func workOn(ctx context.Context, img []byte, seed uint64) bool {
	w, err := openWriter(ctx, blockio.NewSession(blockio.NewMemory(img), blockio.SessionOptions{}))
	if err != nil {
		return false
	}
	defer w.Close()
	w.SetSeed(seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	dirs := []vfs.Ino{w.Root()}
	var files []vfs.Ino
	var names []string
	for _, path := range []string{"/dir", "/dir/sub", "/big"} {
		if a, err := vfs.NewTree(w).Resolve(ctx, path); err == nil {
			if a.Mode.IsDir() {
				dirs = append(dirs, a.Ino)
			} else {
				files = append(files, a.Ino)
			}
		}
	}
	for _, dir := range dirs {
		for e, err := range w.ReadDir(ctx, dir, 0) {
			if err != nil {
				break
			}
			files, names = append(files, e.Ino), append(names, e.Name)
		}
	}
	if len(files) == 0 {
		files, names = []vfs.Ino{12}, []string{"x"}
	}
	for i := range 40 {
		dir, file, name := dirs[rnd.IntN(len(dirs))], files[rnd.IntN(len(files))], "x"
		if len(names) > 0 {
			name = names[rnd.IntN(len(names))]
		}
		off := int64(rnd.IntN(900_000))
		switch rnd.IntN(10) {
		case 0:
			_, _ = w.Create(ctx, dir, fmt.Sprintf("new-%d", i), vfs.NewNode{Mode: vfs.Regular | 0o644})
		case 1:
			_, _ = w.Create(ctx, dir, fmt.Sprintf("new-%d", i), vfs.NewNode{Mode: vfs.Dir | 0o755})
		case 2:
			_ = w.Unlink(ctx, dir, name)
		case 3:
			_ = w.Rmdir(ctx, dir, name)
		case 4:
			_ = w.Rename(ctx, dir, name, dirs[0], fmt.Sprintf("moved-%d", i), 0)
		case 5:
			_, _ = w.Setattr(ctx, file, vfs.SetAttr{Size: &off})
		case 6:
			_ = w.Fallocate(ctx, file, vfs.AllocPunchHole|vfs.AllocKeepSize, off, 10_000)
		case 7:
			_ = w.SetXattr(ctx, file, "user.x", pattern(rnd.IntN(900), i), false, false)
		case 8:
			_ = w.Fallocate(ctx, file, 0, off, 30_000)
		default:
			_, _ = w.WriteAt(ctx, file, pattern(20_000, i), off)
		}
	}
	_ = w.Sync(ctx)
	return true
}
