package integration

import (
	"fmt"
	"testing"

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
func TestFATSurvivesCrashes(t *testing.T) {
	survive(t, fatCrashes(), 100, func(c crashtest.Case) string {
		return fmt.Sprintf("%s, clusters of %d", c.Format.Type, c.Format.ClusterSize)
	})
}
