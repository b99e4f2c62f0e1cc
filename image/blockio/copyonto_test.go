package blockio_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
)

// What lay on a disk before is not seen through the holes of the image that is
// written to it, and what lies behind the image stays.
func TestCopyOntoOldData(t *testing.T) {
	dir := t.TempDir()
	const size = 4 << 20
	want := make([]byte, size)
	copy(want[100:], "first")
	copy(want[3<<20+7:], "last")
	image, disk := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	f, err := os.Create(image)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	for _, at := range []int64{100, 3<<20 + 7} {
		_, err = f.WriteAt(want[at:at+5], at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	require.NoError(t, os.WriteFile(disk, bytes.Repeat([]byte("old"), 2<<20), 0o600))

	src, err := blockio.OpenFile(image)
	require.NoError(t, err)
	defer src.Close()
	dst, err := os.OpenFile(disk, os.O_RDWR, 0)
	require.NoError(t, err)
	defer dst.Close()
	last := int64(0)
	require.NoError(t, blockio.CopyOnto(t.Context(), src, dst, func(done, total int64) {
		assert.Greater(t, done, last)
		assert.EqualValues(t, size, total)
		last = done
	}))
	assert.EqualValues(t, size, last)
	got, err := os.ReadFile(disk)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got[:size]))
	assert.Len(t, got, 6<<20)
	assert.True(t, bytes.Equal(bytes.Repeat([]byte("old"), 2<<20)[size:], got[size:]))
}
