package ext4

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A hundred thousand names come and go in random order, with an index on the
// medium or without, in seconds.
func TestHundredThousandNames(t *testing.T) {
	testtool.Sequential(t)
	for _, f := range []form{
		{"htree", []string{"-b", "4096"}},
		{"htree-deep", []string{"-b", "1024", "-O", "large_dir"}},
		{"linear", []string{"-b", "4096", "-O", "^dir_index"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			image := mkfs(t, 64<<20, "", append([]string{"-t", "ext4", "-N", "1000"}, f.args...)...)
			w := onFile(t, image)
			dir := w.must(t, w.Root(), "dir", vfs.Dir|0o755)
			const n = 100_000
			name := func(i int) string { return fmt.Sprintf("a file number %d", i) }
			rnd := rand.New(rand.NewPCG(1, 9))
			start := time.Now()
			var files []vfs.Ino
			for i, k := range rnd.Perm(n) {
				if i%50_000 == 0 {
					files = append(files, w.must(t, w.Root(), fmt.Sprint("file", i), vfs.Regular|0o644))
				}
				_, err := w.Link(ctx, files[len(files)-1], dir, name(k))
				require.NoError(t, err)
			}
			require.NoError(t, w.Sync(ctx))
			added := time.Since(start)
			fsck(t, image)
			assert.Len(t, namesIn(t, w, dir), n)
			start = time.Now()
			for i, k := range rnd.Perm(n) {
				require.NoError(t, w.Unlink(ctx, dir, name(k)))
				if i == n/2 {
					require.NoError(t, w.Sync(ctx))
					fsck(t, image)
				}
			}
			t.Logf("added in %v, removed in %v", added, time.Since(start))
			require.NoError(t, w.Rmdir(ctx, w.Root(), "dir"))
			require.NoError(t, w.Sync(ctx))
			fsck(t, image)
		})
	}
}
