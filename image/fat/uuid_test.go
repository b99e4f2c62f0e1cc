package fat_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// blkid sees the new identifier, fsck.fat a boot sector that is as its copy,
// and nothing else has changed.
func TestSetUUID(t *testing.T) {
	testtool.Need(t, "blkid", "fsck.fat")
	for _, c := range []struct {
		kib  int
		args []string
	}{{1440, []string{"-F", "12"}}, {16 << 10, []string{"-F", "16"}}, {64 << 10, []string{"-F", "32"}}} {
		img := format(t, c.kib, append(c.args, "-i", "12345678")...)
		dev, err := blockio.OpenWritableFile(img)
		require.NoError(t, err)
		w, tx := openFailing(t, dev, blockio.SessionOptions{})
		mustCreate(t, w, w.Root(), "a file", vfs.Regular)
		require.NoError(t, w.SetUUID(ctx, "abcd-ef01"))
		assert.Equal(t, "ABCD-EF01", w.Info().UUID)
		require.NoError(t, tx.Commit(ctx))
		require.NoError(t, dev.Close())
		assert.Equal(t, "ABCD-EF01\n", testtool.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", img))
		assert.NotContains(t, testtool.Run(t, "fsck.fat", "-n", img), "differences")
		fsys, _ := open(t, img)
		assert.Equal(t, "ABCD-EF01", fsys.Info().UUID)
		assert.Empty(t, fsys.Info().StateNote)
	}
}

func TestSetUUIDRefuses(t *testing.T) {
	img := format(t, 1440)
	dev, err := blockio.OpenWritableFile(img)
	require.NoError(t, err)
	defer dev.Close()
	w, tx := openFailing(t, dev, blockio.SessionOptions{})
	for _, id := range []string{"", "ABCD", "ABCD-EF0", "ABC-DEF01", "ABCD-EF0G", "ABCD-EF012", "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"} {
		assert.ErrorContains(t, w.SetUUID(ctx, id), "want XXXX-XXXX", id)
	}
	require.NoError(t, tx.Commit(ctx))

	// Floppies of old have no place for one.
	_, err = dev.WriteAt([]byte{0}, 38)
	require.NoError(t, err)
	w, _ = openFailing(t, dev, blockio.SessionOptions{})
	assert.ErrorContains(t, w.SetUUID(ctx, "ABCD-EF01"), "has no place for one")
}

var _ vfs.UUIDSetter = (*fat.Writer)(nil)
