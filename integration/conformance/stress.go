package conformance

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Stress has workers do random operations with the same few names in dir, all at
// once, for some time. Whatever happens to the name of a file, who has it open
// must find in it what they wrote. At the end nothing is left.
func Stress(t *testing.T, dir string, seed uint64, workers int, length time.Duration) {
	t.Helper()
	for _, d := range []string{"/a", "/b"} {
		require.NoError(t, os.Mkdir(dir+d, 0o755))
	}
	deadline := time.Now().Add(length)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			w := stressWorker{rand.New(rand.NewPCG(seed, uint64(worker))), dir, int64(worker) * 10_000}
			for time.Now().Before(deadline) && assert.NoError(t, w.step()) {
			}
		})
	}
	wg.Wait()
	for _, d := range []string{"/a", "/b"} {
		require.NoError(t, os.RemoveAll(dir+d))
	}
}

type stressWorker struct {
	*rand.Rand
	dir string
	off int64 // where in a file this worker writes, and nobody else
}

func (w *stressWorker) path() string {
	return fmt.Sprintf("%s/%c/%d", w.dir, "ab"[w.IntN(2)], w.IntN(6))
}

// step does something that may fail, since the others are at it too.
func (w *stressWorker) step() error {
	a, b := w.path(), w.path()
	switch w.IntN(9) {
	case 0, 1, 2:
		return w.file(a)
	case 3:
		_ = os.Remove(a)
	case 4:
		_ = os.Rename(a, b)
	case 5:
		_ = os.Link(a, b)
	case 6:
		_ = unix.Lstat(a, new(unix.Stat_t))
		_, _ = os.ReadDir(filepath.Dir(a))
	case 7:
		_ = os.Mkdir(a, 0o755)
	case 8:
		_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	}
	return nil
}

// file opens a file, writes, takes the name away, and reads.
func (w *stressWorker) file(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil // it may be a directory, or going
	}
	defer f.Close()
	mark := make([]byte, 1+w.IntN(9000))
	for i := range mark {
		mark[i] = byte(w.Uint32())
	}
	if _, err := f.WriteAt(mark, w.off); err != nil {
		return err
	}
	if w.IntN(2) == 0 {
		_ = os.Remove(path)
	}
	if w.IntN(8) == 0 {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	got := make([]byte, len(mark))
	if _, err := f.ReadAt(got, w.off); err != nil {
		return err
	}
	if string(got) != string(mark) {
		return fmt.Errorf("%s: what was written at byte %d is not what is read", path, w.off)
	}
	return nil
}
