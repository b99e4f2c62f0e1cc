package fat_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A breaking transaction fails its n-th write of contents, and counts those that
// went over what the last commit had.
type breaking struct {
	blockio.Transaction
	failAt int // 0: never
	writes int
	stale  int
}

var errBroken = errors.New("the disk is broken")

func (f *breaking) WriteData(p []byte, off int64, fresh bool) error {
	if f.writes++; f.writes == f.failAt {
		return errBroken
	}
	if !fresh {
		f.stale++
	}
	return f.Transaction.WriteData(p, off, fresh)
}

func fixed() time.Time { return time.Unix(1_600_000_000, 5) }

// openFailing opens a volume on a transaction that can fail.
func openFailing(t testing.TB, dev blockio.Writable, opt blockio.SessionOptions) (*fat.Writer, *breaking) {
	t.Helper()
	f := &breaking{Transaction: blockio.NewSession(dev, opt)}
	fsys, err := fat.OpenWritable(ctx, f)
	require.NoError(t, err)
	w := fsys.(*fat.Writer)
	w.SetClock(fixed)
	return w, f
}

func mustCreate(t testing.TB, w *fat.Writer, dir vfs.Ino, name string, mode vfs.Mode) vfs.Ino {
	t.Helper()
	attr, err := w.Create(ctx, dir, name, vfs.NewNode{Mode: mode})
	require.NoError(t, err, name)
	return attr.Ino
}

func mustWrite(t testing.TB, w *fat.Writer, ino vfs.Ino, p []byte, off int64) {
	t.Helper()
	n, err := w.WriteAt(ctx, ino, p, off)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
}

// An operation for which there is no space changes not one byte.
func TestNoSpaceChangesNothing(t *testing.T) {
	for _, bits := range []int{12, 16, 32} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			mem := inMemory(t, format(t, 3<<10, "-F", fmt.Sprint(bits), "-s", map[int]string{12: "2", 16: "1", 32: "1"}[bits]))
			w, _ := openFailing(t, mem, blockio.SessionOptions{})
			dir := mustCreate(t, w, w.Root(), "dir", vfs.Dir|0o755)
			file := mustCreate(t, w, w.Root(), "file", vfs.Regular|0o644)
			mustWrite(t, w, file, []byte("contents"), 0)
			cluster := w.Info().BlockSize
			for i := range (cluster - 64) / 32 {
				mustCreate(t, w, dir, fmt.Sprintf("F%d", i), vfs.Regular|0o644)
			}
			big := mustCreate(t, w, w.Root(), "big", vfs.Regular|0o644)
			_, err := w.WriteAt(ctx, big, make([]byte, 4<<20), 0)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.NoError(t, w.Sync(ctx))
			before := imageBytes(t, mem)
			size := int64(5000)
			for name, try := range map[string]func() error{
				"mkdir":   func() error { _, err := w.Create(ctx, w.Root(), "d", vfs.NewNode{Mode: vfs.Dir}); return err },
				"create":  func() error { _, err := w.Create(ctx, dir, "new", vfs.NewNode{Mode: vfs.Regular}); return err },
				"rename":  func() error { return w.Rename(ctx, w.Root(), "file", dir, "new", 0) },
				"longer":  func() error { return w.Rename(ctx, dir, "F1", dir, strings.Repeat("n", 100), 0) },
				"over":    func() error { return w.Rename(ctx, dir, "F1", dir, "F2"+strings.Repeat(" x", 20), 0) },
				"extend":  func() error { _, err := w.Setattr(ctx, file, vfs.SetAttr{Size: &size}); return err },
				"write":   func() error { _, err := w.WriteAt(ctx, file, []byte("x"), 100_000); return err },
				"reserve": func() error { return w.Fallocate(ctx, file, 0, 0, 1<<20) },
			} {
				assert.ErrorIs(t, try(), syscall.ENOSPC, name)
				require.NoError(t, w.Audit(), name)
				require.NoError(t, w.Sync(ctx))
				require.True(t, bytes.Equal(before, imageBytes(t, mem)), "%s changed something", name)
			}
		})
	}
}

// A write of contents that fails leaves what was written before it.
func TestFailedWriteIsUndone(t *testing.T) {
	for fail := 1; fail <= 8; fail++ {
		mem := inMemory(t, format(t, 2<<10, "-F", "12", "-s", "1"))
		w, f := openFailing(t, mem, blockio.SessionOptions{})
		// Space in pieces, so that there is a write for each.
		var gaps []string
		for i := range 40 {
			name := fmt.Sprint("gap", i)
			mustWrite(t, w, mustCreate(t, w, w.Root(), name, vfs.Regular|0o644), make([]byte, 3000), 0)
			gaps = append(gaps, name)
		}
		rest := mustCreate(t, w, w.Root(), "rest", vfs.Regular|0o644)
		_, err := w.WriteAt(ctx, rest, make([]byte, 2<<20), 0)
		require.ErrorIs(t, err, syscall.ENOSPC)
		for i := 0; i < len(gaps); i += 2 {
			require.NoError(t, w.Unlink(ctx, w.Root(), gaps[i]))
		}
		require.NoError(t, w.Sync(ctx))

		file := mustCreate(t, w, w.Root(), "file", vfs.Regular|0o644)
		p := bytes.Repeat([]byte("0123456789"), 2000)
		f.writes, f.failAt = 0, fail
		n, err := w.WriteAt(ctx, file, p, 0)
		require.ErrorIs(t, err, errBroken)
		require.NoError(t, w.Audit())
		attr, err := w.Getattr(ctx, file)
		require.NoError(t, err)
		require.Equal(t, int64(n), attr.Size)
		got := make([]byte, n)
		_, err = w.ReadAt(ctx, file, got, 0)
		require.NoError(t, err)
		require.Equal(t, p[:n], got)
		// What is filled with zeros is there as a whole or not at all.
		f.writes, f.failAt = 0, 1+fail%2
		size := int64(len(p) + 5000)
		_, err = w.Setattr(ctx, file, vfs.SetAttr{Size: &size})
		require.ErrorIs(t, err, errBroken)
		same, err := w.Getattr(ctx, file)
		require.NoError(t, err)
		require.Equal(t, attr, same)
		f.failAt = 0
		require.NoError(t, w.Audit())
		mustWrite(t, w, file, p, 0)
		require.NoError(t, w.Sync(ctx))
		require.NoError(t, fsckDevice(t, mem))
	}
}

// Space of the last commit is not written to before the next, unless it is said
// to be not fresh.
func TestFreedSpaceWaits(t *testing.T) {
	for _, atomic := range []bool{false, true} {
		mem := inMemory(t, format(t, 1<<10, "-F", "12", "-s", "1"))
		w, f := openFailing(t, mem, blockio.SessionOptions{Atomic: atomic})
		old := mustCreate(t, w, w.Root(), "old", vfs.Regular|0o644)
		mustWrite(t, w, old, bytes.Repeat([]byte("o"), 600_000), 0)
		require.NoError(t, f.Commit(ctx))
		assert.Zero(t, f.stale)
		require.NoError(t, w.Unlink(ctx, w.Root(), "old"))
		young := mustCreate(t, w, w.Root(), "young", vfs.Regular|0o644)
		mustWrite(t, w, young, bytes.Repeat([]byte("y"), 300_000), 0)
		assert.Zero(t, f.stale, "there was other space")
		mustWrite(t, w, young, bytes.Repeat([]byte("z"), 600_000), 300_000)
		assert.Equal(t, atomic, f.stale > 0)
		require.NoError(t, f.Commit(ctx))
		require.NoError(t, w.Audit())
		require.NoError(t, fsckDevice(t, mem))
	}
}

// Inode numbers stay what they are while files move, and are not given to
// others meanwhile.
func TestInodeNumbers(t *testing.T) {
	mem := inMemory(t, format(t, 4<<10, "-F", "12", "-r", "2048"))
	w := openWriter(t, mem, blockio.SessionOptions{})
	rnd := rand.New(rand.NewPCG(1, 1))
	dirs := []vfs.Ino{w.Root(), mustCreate(t, w, w.Root(), "a", vfs.Dir), mustCreate(t, w, w.Root(), "b", vfs.Dir)}
	type place struct {
		dir  vfs.Ino
		name string
	}
	files := map[vfs.Ino]place{}
	pinned := map[vfs.Ino]bool{}
	pick := func() vfs.Ino {
		for ino := range files {
			return ino
		}
		return 0
	}
	for i := range 4000 {
		to := place{dirs[rnd.IntN(3)], fmt.Sprint("F", i)}
		switch ino := pick(); {
		case len(files) < 50:
			attr, err := w.Create(ctx, to.dir, to.name, vfs.NewNode{Mode: vfs.Regular | 0o644})
			require.NoError(t, err)
			require.NotContains(t, files, attr.Ino)
			require.False(t, pinned[attr.Ino])
			mustWrite(t, w, attr.Ino, []byte(to.name), 0)
			files[attr.Ino] = to
		case i%5 == 0:
			if i%10 == 0 {
				w.Pin(ino)
				pinned[ino] = true
			}
			require.NoError(t, w.Unlink(ctx, files[ino].dir, files[ino].name))
			delete(files, ino)
		case i%5 == 1 && len(pinned) > 10:
			for ino := range pinned {
				require.NoError(t, w.Unpin(ctx, ino))
				delete(pinned, ino)
				break
			}
		case i%5 == 2:
			other := pick()
			if other != ino {
				require.NoError(t, w.Rename(ctx, files[ino].dir, files[ino].name, files[other].dir, files[other].name, vfs.RenameExchange))
				files[ino], files[other] = files[other], files[ino]
			}
		default:
			require.NoError(t, w.Rename(ctx, files[ino].dir, files[ino].name, to.dir, to.name, 0))
			files[ino] = to
		}
		if i%100 != 0 {
			continue
		}
		for ino, p := range files {
			attr, err := w.Lookup(ctx, p.dir, p.name)
			require.NoError(t, err)
			require.Equal(t, ino, attr.Ino)
			got, err := w.Getattr(ctx, ino)
			require.NoError(t, err)
			require.Equal(t, attr, got)
		}
		require.NoError(t, w.Audit())
	}
}

// A directory of 65536 slots is full, however much space there is.
func TestLargestDirectory(t *testing.T) {
	mem := inMemory(t, format(t, 40<<10, "-F", "32", "-s", "1"))
	w := openWriter(t, mem, blockio.SessionOptions{})
	dir := mustCreate(t, w, w.Root(), "dir", vfs.Dir)
	n := 0
	for {
		_, err := w.Create(ctx, dir, fmt.Sprintf("F%d", n), vfs.NewNode{Mode: vfs.Regular | 0o644})
		if err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
		n++
	}
	assert.Equal(t, 65536-2, n)
	require.ErrorIs(t, w.Rename(ctx, dir, "F5", dir, "a long name", 0), syscall.ENOSPC)
	require.NoError(t, w.Rename(ctx, dir, "F5", dir, "G5", 0))
	require.NoError(t, w.Audit())
	require.NoError(t, w.Sync(ctx))
	// fsck.fat compares every name with every other.
	fsys, err := fat.Open(ctx, mem)
	require.NoError(t, err)
	list, err := vfs.NewTree(fsys).ReadDir("dir")
	require.NoError(t, err)
	assert.Len(t, list, n)
}

// 100,000 files in a tree take as much time for each as a few do.
func TestManyNewFiles(t *testing.T) {
	testtool.Sequential(t)
	mem := inMemory(t, format(t, 100<<10, "-F", "32", "-s", "1"))
	w := openWriter(t, mem, blockio.SessionOptions{})
	for d := range 100 {
		dir := mustCreate(t, w, w.Root(), fmt.Sprint("directory ", d), vfs.Dir)
		for i := range 1000 {
			mustCreate(t, w, dir, fmt.Sprintf("a file with a long name, number %d.text", i), vfs.Regular|0o644)
		}
		require.NoError(t, w.Sync(ctx))
	}
	require.NoError(t, w.Audit())
	require.NoError(t, fsckDevice(t, mem))
	tree := vfs.NewTree(w)
	for d := range 100 {
		require.NoError(t, tree.RemoveAll(ctx, fmt.Sprint("/directory ", d)))
	}
	require.NoError(t, w.Sync(ctx))
	require.NoError(t, w.Audit())
	require.NoError(t, fsckDevice(t, mem))
}
