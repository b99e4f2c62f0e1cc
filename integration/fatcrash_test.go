package integration

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/fat/fsck"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/crashtest"
)

// fatCrashes are the volumes whose power is cut.
func fatCrashes() []crashtest.Case {
	var cases []crashtest.Case
	for i, g := range []struct {
		typ     string
		cluster int
		fats    int
		size    int64
	}{
		{"fat12", 512, 2, 1 << 20},
		{"fat12", 2048, 1, 1 << 20},
		{"fat16", 512, 2, 3 << 20},
		{"fat32", 512, 2, 2 << 20},
		{"fat32", 1024, 1, 2 << 20},
	} {
		for _, atomic := range []bool{false, true} {
			seed := uint64(i)
			c := crashtest.Case{
				Driver: &fat.Driver, Check: fsck.Check, Size: g.size, Atomic: atomic,
				Format:     vfs.FormatOptions{Type: g.typ, ClusterSize: g.cluster, FATs: g.fats, Seed: &seed},
				Operations: 400, Shuffles: 100,
				Model: model.Options{
					Limits:   memfs.Options{BlockSize: 4096, MaxSize: 1<<32 - 1, NoXattrs: true, Limits: limits.FAT()},
					FragSize: g.cluster, Sizes: []int64{int64(g.cluster) * 64},
					Bytes: g.size / 3, Names: 60, Every: -1, Full: true,
				},
			}
			if g.typ != "fat32" {
				c.Format.RootEntries = 2048 // or that would be full first
			}
			if i%2 == 1 {
				c.Memory = 32 << 10
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// Whatever a crash leaves of a FAT volume is a commit, as of an FFS.
// RESFLASH_CRASH_SESSIONS says how many random sessions are cut, 100 if it is
// not set.
func TestFATSurvivesCrashes(t *testing.T) {
	sessions := 100
	if s := os.Getenv("RESFLASH_CRASH_SESSIONS"); s != "" {
		var err error
		sessions, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	cases := fatCrashes()
	var mu sync.Mutex
	var total crashtest.Count
	failures := 0
	var wg sync.WaitGroup
	next := make(chan uint64)
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for seed := range next {
				c := cases[seed%uint64(len(cases))]
				count, err := c.Run(context.Background(), seed)
				mu.Lock()
				total.Add(count)
				if err != nil {
					failures++
				}
				mu.Unlock()
				what := fmt.Sprintf("%s, clusters of %d, atomic: %t", c.Format.Type, c.Format.ClusterSize, c.Atomic)
				assert.NoError(t, err, what)
			}
		}()
	}
	for seed := range uint64(sessions) {
		next <- seed
	}
	close(next)
	wg.Wait()
	assert.Greater(t, total.Distinct, 50*sessions, "what is tried is worth trying")
	t.Logf("%d sessions, %d commits: %d cuts and %d power cuts in any order tried, %d different images checked; failures: %d",
		sessions, total.Commits, total.Cuts, total.Shuffles, total.Distinct, failures)
}
