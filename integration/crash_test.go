package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/crashtest"
	"github.com/resflash/resflash/integration/testtool"
)

// survive cuts the power of random sessions on the cases, one after the other:
// so many, or RESFLASH_CRASH_SESSIONS.
func survive(t *testing.T, cases []crashtest.Case, sessions int, what func(c crashtest.Case) string) {
	if s := os.Getenv("RESFLASH_CRASH_SESSIONS"); s != "" {
		var err error
		sessions, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
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
				assert.NoError(t, err, "%s, atomic: %t", what(c), c.Atomic)
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

// crashesOf are the sessions on file systems that somebody else has made: each
// with transactions that overwrite in place, and with those that do not.
func crashesOf(t *testing.T, volumes []*modelVolume) (cases []crashtest.Case, names []string) {
	t.Helper()
	for i, v := range volumes {
		dev := blockio.NewSparse(v.size)
		require.NoError(t, v.format(t.Context(), dev, 0))
		image, err := blockio.ReadFull(dev, 0, int(v.size))
		require.NoError(t, err)
		for _, atomic := range []bool{false, true} {
			opt := v.options(0)
			opt.Seed, opt.Bytes, opt.Names, opt.Every, opt.Full = 0, v.size/3, 60, -1, true
			c := crashtest.Case{
				Driver: v.driver, Check: bothCheck(t, v), Image: image, Atomic: atomic,
				Operations: 300, Shuffles: 100, Model: opt,
			}
			if i%2 == 1 {
				c.Memory = 32 << 10
			}
			cases, names = append(cases, c), append(names, v.name)
		}
	}
	return cases, names
}

// bothCheck returns a check by our checker, if there is one, and for one image
// of many by that of somebody else.
func bothCheck(t *testing.T, v *modelVolume) func(ctx context.Context, dev blockio.Device, report func(vfs.Finding)) error {
	const sample = 25
	dir := t.TempDir()
	var count atomic.Int64
	return func(ctx context.Context, dev blockio.Device, report func(vfs.Finding)) error {
		if v.driver.Check != nil {
			if err := v.driver.Check(ctx, dev, report); err != nil {
				return err
			}
		}
		n := count.Add(1)
		if n%sample != 0 {
			return nil
		}
		data, err := blockio.ReadFull(dev, 0, int(dev.Size()))
		if err != nil {
			return err
		}
		name := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return err
		}
		defer os.Remove(name)
		return v.foreign(ctx, name)
	}
}

// surviveAll has the volumes survive crashes.
func surviveAll(t *testing.T, volumes []*modelVolume, sessions int) {
	cases, names := crashesOf(t, volumes)
	survive(t, cases, sessions, func(c crashtest.Case) string {
		for i := range cases {
			if &cases[i].Image[0] == &c.Image[0] {
				return names[i]
			}
		}
		return "?"
	})
}

// What TestFFSSurvivesCrashes is, for ext2, ext3 and ext4.
func TestExtSurvivesCrashes(t *testing.T) {
	testtool.Need(t, "mke2fs", "e2fsck")
	dir := t.TempDir()
	var volumes []*modelVolume
	for _, m := range extModels(0) {
		m.size, m.full = 2048*m.block+1<<20, true
		if m.block == 4096 {
			m.args, m.block, m.cluster = strings.ReplaceAll(m.args, "-b 4096", "-b 1024"), 1024, 1024
			m.size = 3 << 20
		}
		volumes = append(volumes, m.volume(dir))
	}
	surviveAll(t, volumes, 36)
}
