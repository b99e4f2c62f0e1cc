package fsck

import (
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testext"
	"github.com/resflash/resflash/integration/testtool"
)

// A file system of 1 TiB is checked in little memory: a bit per block and four
// per inode.
func TestMemory(t *testing.T) {
	testtool.Sequential(t)
	m := testext.Mix{Size: 1 << 40, Args: []string{"-t", "ext4", "-N", "67108864",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"}}
	file, err := blockio.OpenWritableFile(m.Make(t, ""))
	require.NoError(t, err)
	defer file.Close()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	base, peak := stats.HeapSys-stats.HeapReleased, uint64(0)
	var mu sync.Mutex
	faults := blockio.NewFaults(file)
	faults.OnRead(func(n int, _ []byte, _ int64) error {
		if n%1024 == 0 {
			mu.Lock()
			defer mu.Unlock()
			runtime.ReadMemStats(&stats)
			peak = max(peak, stats.HeapSys-stats.HeapReleased)
		}
		return nil
	})
	require.NoError(t, Check(ctx, faults, func(f vfs.Finding) { t.Errorf("%s %v", f.Code, f) }))
	t.Logf("%d MiB", (peak-base)>>20)
	assert.Less(t, peak-base, uint64(80<<20))
}
