package fsck

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// Volumes of mkfs.fat and mtools have no findings, and a repair changes nothing.
func TestHealthy(t *testing.T) {
	testtool.Sequential(t)
	for _, k := range append([]kind{
		{"floppy", 1440, ""}, {"floppy720", 720, ""}, {"floppy360", 360, ""}, {"one FAT", 1440, "-f 1"},
		{"4k clusters", 8192, "-s 8"}, {"FAT16", 16384, "-F 16"}, {"labelled", 1440, "-n LABEL"},
		{"FAT32 labelled", 36 << 10, "-F 32 -s 1 -n LABEL"}, {"4k sectors", 32 << 10, "-S 4096"}, {"2k sectors", 16 << 10, "-S 2048 -F 12"},
	}, kinds...) {
		t.Run(fmt.Sprintf("%s-%d", k, k.kib), func(t *testing.T) {
			img := newImage(t, k)
			out, bad := img.fsckfat()
			require.False(t, bad, out)
			list, err := img.check()
			require.NoError(t, err)
			assert.Empty(t, tell(list))
			before := string(img.data)
			for _, mode := range []vfs.RepairMode{vfs.RepairNone, vfs.RepairPreen, vfs.RepairAll} {
				list, err := img.repair(mode)
				require.NoError(t, err)
				assert.Empty(t, tell(list))
			}
			assert.True(t, before == string(img.data), "a repair without findings changes nothing")
		})
	}
}
