package fsck

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testext"
	"github.com/resflash/resflash/integration/testtool"
)

// fuzzImages are the smallest file systems that have everything.
func fuzzImages(t testing.TB) (images [][]byte) {
	t.Helper()
	tree := t.TempDir()
	for _, d := range []string{"a/b/c", "d"} {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, d), 0o755))
	}
	for name, n := range map[string]int{"a/one": 1, "a/some": 3000, "d/indirect": 20_000} {
		require.NoError(t, os.WriteFile(filepath.Join(tree, name), bytes.Repeat([]byte{7}, n), 0o644))
	}
	for i := range 40 {
		require.NoError(t, os.WriteFile(filepath.Join(tree, "d", strings.Repeat("n", i+20)), nil, 0o644))
	}
	require.NoError(t, os.Symlink("target", filepath.Join(tree, "short")))
	require.NoError(t, os.Symlink(strings.Repeat("t", 100), filepath.Join(tree, "long")))
	require.NoError(t, os.Link(filepath.Join(tree, "a/one"), filepath.Join(tree, "hard")))
	for _, args := range []string{"-b 1024 -O ^has_journal,^resize_inode -N 96", "-b 1024 -O ^has_journal,^metadata_csum,^extent,^64bit -N 96",
		"-b 1024 -O ^has_journal,inline_data,^metadata_csum,^uninit_bg -I 256 -N 96"} {
		m := testext.Mix{Args: append(strings.Fields(args), "-t", "ext4"), Size: 600 << 10}
		data, err := os.ReadFile(m.Make(t, tree))
		require.NoError(t, err)
		images = append(images, data)
	}
	return images
}

// FuzzCheckRepair writes the bytes of the input into a small file system: 3 of
// an offset, one of a length, and so many. Whatever that makes, checking ends,
// and a repair ends in a sound file system or an error.
func FuzzCheckRepair(f *testing.F) {
	images := fuzzImages(f)
	at := func(off int64, b ...byte) []byte {
		return append([]byte{byte(off >> 16), byte(off >> 8), byte(off), byte(len(b))}, b...)
	}
	for i := range byte(3) {
		f.Add(i, at(1024+0x38, 0))
		f.Add(i, at(1024+0x20, 1, 2))
		f.Add(i, at(2048, 9, 9))
		for off := int64(4096); off < 60_000; off += 1999 {
			f.Add(i, at(off, byte(off), 0x47, 0x12))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, input []byte) {
		data := bytes.Clone(images[int(which)%len(images)])
		for len(input) > 4 {
			off := (int(input[0])<<16 | int(input[1])<<8 | int(input[2])) % len(data)
			size := min(int(input[3]), len(input)-4)
			copy(data[off:], input[4:4+size])
			input = input[4+size:]
		}
		checkAndRepair(t, data)
	})
}

// checkAndRepair asks that both end, soon and clearly.
func checkAndRepair(t *testing.T, data []byte) {
	t.Helper()
	start := time.Now()
	err := Check(ctx, blockio.NewMemory(data), func(vfs.Finding) {})
	var list []vfs.Finding
	tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{Atomic: true})
	if rerr := Repair(ctx, tx, vfs.RepairAll, func(f vfs.Finding) { list = append(list, f) }); rerr != nil {
		var corrupt *vfs.CorruptError
		var no *vfs.NotSupportedError
		if !errors.As(rerr, &corrupt) && !errors.As(rerr, &no) && !errors.Is(rerr, errNoSpace) {
			t.Fatalf("unclear error: %v, after\n%s", rerr, tell(list))
		}
		if strings.Contains(rerr.Error(), "rounds") {
			t.Fatalf("%v, after\n%s", rerr, tell(list))
		}
		return
	}
	require.NoError(t, err, "what can be repaired can be checked")
	require.NoError(t, tx.Commit(ctx))
	require.Empty(t, tell(check(t, data)), "after\n%s", tell(list))
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

// Random bytes anywhere in the metadata.
func TestRandomFlips(t *testing.T) {
	testtool.Sequential(t)
	images := fuzzImages(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		data := bytes.Clone(images[rng.IntN(len(images))])
		for range 1 + rng.IntN(30) {
			data[1024+rng.IntN(60<<10)] ^= 1 << rng.IntN(8)
		}
		checkAndRepair(t, data)
		if t.Failed() {
			return
		}
	}
}
