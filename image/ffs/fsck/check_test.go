package fsck

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testimage"
)

func TestHealthy(t *testing.T) {
	for _, k := range kinds {
		for name, tree := range map[string]testimage.Tree{"empty": {}, "sample": sampleTree(k)} {
			t.Run(fmt.Sprintf("%v-%s", k, name), func(t *testing.T) {
				img := newImage(t, k, tree)
				assert.Empty(t, tell(img.check()))
				before := string(img.data)
				for _, mode := range []vfs.RepairMode{vfs.RepairNone, vfs.RepairPreen, vfs.RepairAll} {
					assert.Empty(t, tell(img.repair(mode)))
				}
				assert.True(t, before == string(img.data), "a repair without findings changes nothing")
			})
		}
	}
}

func TestHealthyMakefs(t *testing.T) {
	for _, version := range []int{1, 2} {
		for _, order := range []string{"le", "be"} {
			for _, sizes := range []string{"bsize=16384,fsize=2048", "bsize=4096,fsize=512", "bsize=8192,fsize=8192", "bsize=65536,fsize=8192"} {
				t.Run(fmt.Sprint(version, order, sizes), func(t *testing.T) {
					img := makefs(t, "-B", order, "-s", "12m", "-o", fmt.Sprintf("version=%d,%s,density=4096", version, sizes))
					found := img.check()
					if version == 1 && sizes == "bsize=65536,fsize=8192" {
						// Without cluster summaries it looks like OpenBSD's,
						// which counts the cylinders of the last group otherwise.
						assert.Equal(t, []string{codeGroupHeader}, codes(found))
						img.repair(vfs.RepairPreen)
						found = img.check()
					}
					assert.Empty(t, tell(found))
				})
			}
		}
	}
}

func TestHealthyFormatted(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			img := &image{t: t, data: make([]byte, k.size)}
			for i := range img.data {
				img.data[i] = 0xAA // what was there before
			}
			tx := blockio.NewSession(blockio.NewMemory(img.data), blockio.SessionOptions{})
			seed := uint64(1)
			require.NoError(t, ffs.Format(tx, vfs.FormatOptions{
				Type: fmt.Sprintf("ffs%d", k.version), BlockSize: k.bsize, FragSize: k.fsize, Time: time.Unix(1e9, 0), Seed: &seed,
			}))
			require.NoError(t, tx.Commit(ctx))
			assert.Empty(t, tell(img.check()))
		})
	}
}
