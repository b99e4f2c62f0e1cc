package fsck

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testdamage"
)

// Whatever happens to a file system, after a repair it is sound, and the files
// that were not touched are what they were.
func TestRepairRandomDamage(t *testing.T) {
	const each = 4
	for _, k := range []kind{kinds[1], kinds[2]} {
		healthy := newImage(t, k, sampleTree(k))
		for _, what := range testdamage.Kinds() {
			t.Run(fmt.Sprintf("%v/%s", k, what), func(t *testing.T) {
				for seed := range uint64(each) {
					randomDamage(t, healthy, what, seed)
				}
			})
		}
	}
}

func randomDamage(t *testing.T, healthy *image, what string, seed uint64) {
	img := healthy.clone()
	img.t = t
	d, err := testdamage.Open(img.data, seed)
	require.NoError(t, err)
	before, err := d.Snapshot()
	require.NoError(t, err)
	d.Do(what)
	found, err := img.tryRepair(vfs.RepairAll)
	require.NoError(t, err, "seed %d: %s", seed, tell(found))
	require.Empty(t, tell(img.check()), "seed %d: %s", seed, tell(found))
	after, err := d.Snapshot()
	require.NoError(t, err, "seed %d: %s", seed, tell(found))
	assert.Empty(t, d.Compare(before, after), "seed %d: %s", seed, tell(found))
}
