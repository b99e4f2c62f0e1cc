package mbr

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/integration/testtool"
)

// sfdisk reads the new signature and the same partitions.
func TestSetID(t *testing.T) {
	img := testtool.Partitioned(t, 64<<20, "label: dos", "label-id: 0x12345678", "start=2048, size=4096, type=83", "start=8192, size=20000, type=5", "start=9000, size=1000, type=83")
	before, err := os.ReadFile(img)
	require.NoError(t, err)
	f, err := blockio.OpenWritableFile(img)
	require.NoError(t, err)
	tab, err := Read(f)
	require.NoError(t, err)
	require.NoError(t, SetID(f, tab, "0xCAFE0001"))
	require.NoError(t, f.Close())
	id, _ := testtool.Partitions(t, img)
	assert.Equal(t, "0xcafe0001", id)
	again, err := os.ReadFile(img)
	require.NoError(t, err)
	copy(before[440:444], "\x01\x00\xfe\xca")
	assert.Equal(t, before, again)
	read, err := Read(blockio.NewMemory(again))
	require.NoError(t, err)
	assert.Equal(t, tab, read)
	assert.Equal(t, "cafe0001-05", read.Entries[2].UUID)

	dev := blockio.NewMemory(again)
	for _, id := range []string{"", "cafe0001", "0x0", "0x00000000", "0xcafe000g", "0xcafe00012"} {
		assert.ErrorContains(t, SetID(dev, tab, id), "is no disk signature")
	}
	copy(again[440:444], "\x00\x00\x00\x00")
	assert.ErrorContains(t, SetID(blockio.NewMemory(again), tab, "0xcafe0002"), "has no signature yet")
}
