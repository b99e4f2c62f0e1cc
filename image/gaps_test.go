package image_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// gaps lists the gaps of an image in KiB, with a star for those that are spare.
// Gaps and partitions have the disk between them.
func gaps(t *testing.T, name string) (list []string) {
	d, err := image.Open(ctx, name)
	require.NoError(t, err)
	defer d.Close()
	covered := map[int64]int{} // KiB, how often
	for _, p := range d.Partitions() {
		for at := p.Start; at < p.Start+p.Size; at += 1024 {
			covered[at]++
		}
	}
	for _, g := range d.Gaps() {
		star := ""
		if g.Spare {
			star = "*"
		}
		list = append(list, fmt.Sprintf("%d+%d%s", g.Off/1024, g.Len/1024, star))
		for at := g.Off; at < g.Off+g.Len; at += 1024 {
			assert.Zero(t, covered[at], "byte %d is in a partition", at)
			covered[at]++
		}
	}
	for at := int64(0); at < d.Size(); at += 1024 {
		require.Equal(t, 1, covered[at], "byte %d", at)
	}
	return list
}

func TestGaps(t *testing.T) {
	for what, c := range map[string]struct {
		name string
		want []string
	}{
		"GPT":     {testtool.Partitioned(t, 8*mib, "label: gpt", "start=2048, size=2048", "start=6144, size=2048"), []string{"0+1024", "2048+1024*", "4096+4076*", "8172+20"}},
		"MBR":     {testtool.Partitioned(t, 8*mib, "start=2048, size=2048", "start=6144, size=2048"), []string{"0+1024", "2048+1024*", "4096+4076*", "8172+20"}},
		"logical": {testtool.Partitioned(t, 8*mib, "start=2048, size=8192, type=5", "start=4096, size=2048", "start=8192, size=2048"), []string{"0+2048", "3072+1024", "5120+3052*", "8172+20"}},
	} {
		assert.Equal(t, c.want, gaps(t, c.name), what)
	}
	name := filepath.Join(t.TempDir(), "resflash.img")
	require.NoError(t, testimage.Resflash(name, testimage.Options{SizeMB: 96}))
	// The label of OpenBSD lies in front of its first partition.
	assert.Equal(t, []string{"0+32", "3104+992"}, gaps(t, name))
}
