package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/ffs/fsck"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testdamage"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// repairTree is what is damaged: files with tails, indirect blocks and holes,
// links, devices, and directories of many chunks.
func repairTree(s ffsShape) testimage.Tree {
	t := testimage.Tree{}
	data := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(i*7 + i>>8 + n)
		}
		return p
	}
	for _, n := range []int{0, 1, s.fsize, s.bsize - 1, s.bsize + s.fsize, 12 * s.bsize, 12*s.bsize + 1, 15*s.bsize + 5} {
		t.File(fmt.Sprintf("sizes/%d", n), 0o644, data(n))
	}
	if s.bsize == 4096 {
		t.File("sizes/double", 0o600, data((12+s.bsize/4/s.version+2)*s.bsize))
	}
	holes := make([]byte, 15*s.bsize+3)
	copy(holes[13*s.bsize:], data(100))
	t.Set("holes/inside", &testimage.Node{Mode: testimage.ModeRegular | 0o644, Data: holes, Holes: true})
	for i := range 60 {
		t.File(fmt.Sprintf("many/%s-%03d", strings.Repeat("n", i), i), 0o644, data(i*20))
	}
	for i := range 8 {
		t.Text(fmt.Sprintf("tree/%d/%d/%d/file", i&1, i&2, i&4), 0o600, fmt.Sprint("file ", i))
	}
	for _, n := range []int{1, 59, 119, 200} {
		t.Symlink(fmt.Sprintf("links/%d", n), strings.Repeat("t", n))
	}
	t.Link("links/hard", "sizes/1")
	t.Device("dev/null", testimage.ModeChar, 0o666, 0, 2, 2)
	t.Set("dev/fifo", &testimage.Node{Mode: testimage.ModeFIFO | 0o600})
	return t
}

// damagesEach is how often each kind of damage is done, over all shapes.
const damagesEach = 300

// Whatever happens to a file system, a repair makes it sound again, in one go;
// the files that were not touched are what they were, and foreign readers find
// them.
func TestFFSRepair(t *testing.T) {
	testtool.Need(t, "fls", "grub-fstest")
	shapes := []ffsShape{
		{1, 4096, 512, 6 << 20}, {2, 4096, 512, 4 << 20}, {2, 8192, 1024, 3 << 20}, {1, 16384, 2048, 4 << 20}, {2, 16384, 2048, 4 << 20},
		{1, 8192, 8192, 4 << 20},
	}
	healthy := make([][]byte, len(shapes))
	for i, s := range shapes {
		healthy[i] = make([]byte, s.size)
		_, err := testimage.WriteFFS(bytesAt(healthy[i]), s.size, testimage.FFSOptions{
			Version: s.version, BlockSize: s.bsize, FragSize: s.fsize, Time: time.Unix(1_700_000_000, 0), Seed: 1}, repairTree(s))
		require.NoError(t, err)
	}
	for _, what := range testdamage.Kinds() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			found, lost := map[string]int{}, 0
			for n := range damagesEach {
				list := repairOne(t, healthy[n%len(shapes)], what, uint64(n), n%50 == 0)
				for _, f := range list {
					found[f.Code]++
					if f.Lost != "" {
						lost++
					}
				}
				if t.Failed() {
					return
				}
			}
			t.Logf("%d damages, %d findings with a loss: %v", damagesEach, lost, found)
		})
	}
}

// repairOne damages a file system and repairs it.
func repairOne(t *testing.T, healthy []byte, what string, seed uint64, judge bool) (list []vfs.Finding) {
	ctx := context.Background()
	data := bytes.Clone(healthy)
	d, err := testdamage.Open(data, seed)
	require.NoError(t, err)
	before, err := d.Snapshot()
	require.NoError(t, err)
	d.Do(what)

	tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{Atomic: true})
	err = fsck.Repair(ctx, tx, vfs.RepairAll, func(f vfs.Finding) { list = append(list, f) })
	require.NoError(t, err, "seed %d: %v", seed, list)
	require.NoError(t, tx.Commit(ctx))
	require.NoError(t, fsck.Check(ctx, blockio.NewMemory(data), func(f vfs.Finding) {
		assert.Fail(t, "found after a repair", "seed %d: %s %v, after %v", seed, f.Code, f, list)
	}))
	for _, f := range list {
		assert.True(t, f.Fixed, "seed %d: %v", seed, f)
	}
	after, err := d.Snapshot()
	require.NoError(t, err, "seed %d: %v", seed, list)
	assert.Empty(t, d.Compare(before, after), "seed %d: %v", seed, list)
	if judge {
		judgeRepaired(t, data)
	}
	return list
}

// judgeRepaired has foreign readers read what our own reader finds.
func judgeRepaired(t *testing.T, data []byte) {
	t.Helper()
	ctx := context.Background()
	name := filepath.Join(t.TempDir(), "repaired")
	require.NoError(t, os.WriteFile(name, data, 0o600))
	defer os.Remove(name)
	fsys, err := ffs.Open(ctx, blockio.NewMemory(data))
	require.NoError(t, err)
	theirs := map[string]bool{}
	for line := range strings.Lines(testtool.Run(t, "fls", "-f", "ufs", "-r", "-p", "-u", name)) {
		kind, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
		if _, ino, ok2 := strings.Cut(kind, " "); ok && ok2 && !strings.HasPrefix(path, "$") {
			theirs["/"+path+" "+ino] = true
		}
	}
	compared := 0
	folder := t.TempDir()
	tree := vfs.NewTree(fsys)
	require.NoError(t, tree.Walk(ctx, "/", func(path string, a vfs.Attr, err error) error {
		require.NoError(t, err)
		if path == "/" || !plainName(path) || len(path) > 180 {
			return nil
		}
		if !assert.True(t, theirs[fmt.Sprintf("%s %d", path, a.Ino)], "fls does not show %s, inode %d", path, a.Ino) {
			return nil
		}
		if compared++; compared%23 != 0 || !a.Mode.IsRegular() || a.Size == 0 || a.Size > 1<<20 || strings.Contains(path, "#") {
			return nil
		}
		p := make([]byte, a.Size)
		_, _ = fsys.ReadAt(ctx, a.Ino, p, 0)
		host := filepath.Join(folder, "file")
		require.NoError(t, os.WriteFile(host, p, 0o600))
		testtool.Run(t, "grub-fstest", name, "cmp", path, host)
		return nil
	}))
	assert.Positive(t, compared)
}

// A file system of 100 GiB, all of whose inodes have been in use, is checked in
// little memory.
func TestFFSCheckMemory(t *testing.T) {
	const size = 100 << 30
	ctx := context.Background()
	name := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	require.NoError(t, os.Truncate(name, size))
	formatOver(t, name, ffsShape{2, 16384, 2048, size}, vfs.FormatOptions{Time: time.Unix(1e9, 0)})
	file, err := blockio.OpenWritableFile(name)
	require.NoError(t, err)
	defer file.Close()
	// fs_ncg, fs_ipg, fs_fpg, fs_cblkno; cg_initediblk becomes fs_ipg.
	var word [4]byte
	field := func(off int64) int64 {
		_, err := file.ReadAt(word[:], 65536+off)
		require.NoError(t, err)
		return int64(word[0]) | int64(word[1])<<8 | int64(word[2])<<16 | int64(word[3])<<24
	}
	ncg, ipg, fpg, cblkno := field(44), field(184), field(188), field(12)
	for c := range ncg {
		_, err := file.WriteAt([]byte{byte(ipg), byte(ipg >> 8), byte(ipg >> 16), 0}, (c*fpg+cblkno)*2048+120)
		require.NoError(t, err)
	}
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	base, peak := stats.HeapSys-stats.HeapReleased, uint64(0)
	var mu sync.Mutex
	faults := blockio.NewFaults(file)
	faults.OnRead(func(n int, _ []byte, _ int64) error {
		if n%2048 == 0 {
			mu.Lock()
			defer mu.Unlock()
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapSys-stats.HeapReleased)
		}
		return nil
	})
	start := time.Now()
	require.NoError(t, fsck.Check(ctx, faults, func(f vfs.Finding) { t.Errorf("%s %v", f.Code, f) }))
	t.Logf("%d inodes in %v with %d MiB", ncg*ipg, time.Since(start).Round(time.Millisecond), (peak-base)>>20)
	assert.Less(t, peak-base, uint64(128<<20))
}
