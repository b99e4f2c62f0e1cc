package blockio_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
)

func TestIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 1500} {
		b := make([]byte, n)
		assert.True(t, blockio.IsZero(b), n)
		for _, at := range []int{0, n / 2, n - 1} {
			if n > 0 {
				b[at] = 1
				assert.False(t, blockio.IsZero(b), "%d of %d", at, n)
				b[at] = 0
			}
		}
	}
}

func TestNextData(t *testing.T) {
	d := blockio.NewSparse(1 << 30)
	assert.EqualValues(t, 1<<30, blockio.NextData(d, 5), "nothing was ever written")
	_, err := d.WriteAt([]byte("x"), 1<<20)
	require.NoError(t, err)
	next := blockio.NextData(d, 0)
	assert.Greater(t, next, int64(0))
	assert.LessOrEqual(t, next, int64(1<<20))
	assert.EqualValues(t, 1<<20, blockio.NextData(d, 1<<20))
	assert.EqualValues(t, 1<<31, blockio.NextData(d, 1<<31), "behind the end")
	assert.EqualValues(t, 7, blockio.NextData(nil, 7), "nobody knows of holes")
}
