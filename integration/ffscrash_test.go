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

	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/ffs/fsck"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/image/vfs/vfstest/model"
	"github.com/resflash/resflash/integration/crashtest"
)

// ffsCrashes are the file systems whose power is cut.
func ffsCrashes() []crashtest.Case {
	var cases []crashtest.Case
	for i, g := range []struct {
		typ         string
		block, frag int
		size        int64
	}{
		{"ffs2", 4096, 512, 1 << 20},
		{"ffs1", 4096, 512, 1 << 20},
		{"ffs2", 8192, 1024, 2 << 20},
		{"ffs1", 8192, 2048, 2 << 20},
		{"ffs2", 16384, 2048, 4 << 20},
	} {
		for _, atomic := range []bool{false, true} {
			block, pointer := int64(g.block), int64(8)
			if g.typ == "ffs1" {
				pointer = 4
			}
			per := block / pointer
			seed := uint64(i)
			c := crashtest.Case{
				Driver: &ffs.Driver, Check: fsck.Check, Size: g.size, Atomic: atomic,
				Format:     vfs.FormatOptions{Type: g.typ, BlockSize: g.block, FragSize: g.frag, BytesPerInode: 4096, Seed: &seed},
				Operations: 400, Shuffles: 100,
				Model: model.Options{
					Limits: memfs.Options{
						BlockSize: g.block, LinkMax: 32767, MaxSize: min(block*(12+per+per*per+per*per*per), 1<<31*min(4096, block)) - 1,
						SymlinkMax: 1023, NoXattrs: true,
					},
					FragSize: g.frag, Sizes: []int64{12 * block, (12 + per) * block},
					Bytes: g.size / 3, Names: 60, Every: -1, Full: true,
				},
			}
			if i%2 == 1 {
				c.Memory = 32 << 10
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// Whatever a crash leaves of an FFS is a commit: nothing to repair, nothing
// lost that a sync had made sure of. RESFLASH_CRASH_SESSIONS says how many
// random sessions are cut, 200 if it is not set.
func TestFFSSurvivesCrashes(t *testing.T) {
	sessions := 200
	if s := os.Getenv("RESFLASH_CRASH_SESSIONS"); s != "" {
		var err error
		sessions, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	cases := ffsCrashes()
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
				what := fmt.Sprintf("%s, blocks of %d, atomic: %t", c.Format.Type, c.Format.BlockSize, c.Atomic)
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
