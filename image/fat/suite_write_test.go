package fat_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
)

func TestWritingSuite(t *testing.T) {
	for _, form := range []struct{ bits, sectors, tables int }{{12, 32, 2}, {12, 64, 1}, {16, 2, 2}, {32, 8, 2}, {32, 1, 1}} {
		t.Run(fmt.Sprintf("fat%d-%d-%d", form.bits, form.sectors, form.tables), func(t *testing.T) {
			t.Parallel()
			vfstest.RunWritable(t, func(t *testing.T, size int64) vfstest.Writable {
				sectors := form.sectors
				for form.bits == 12 && size/int64(512*sectors) > 4000 {
					sectors *= 2
				}
				args := []string{"-F", fmt.Sprint(form.bits), "-s", fmt.Sprint(sectors), "-f", fmt.Sprint(form.tables)}
				if form.bits != 32 {
					args = append(args, "-r", "16384")
				}
				if form.bits == 16 {
					size = max(size, 8<<20)
				}
				dev := inMemory(t, format(t, int(size>>10), args...))
				w := openWriter(t, dev, blockio.SessionOptions{})
				t.Cleanup(func() { assert.NoError(t, w.Close()) })
				return vfstest.Writable{
					FS:      w,
					Reopen:  func() (vfs.FS, error) { return fat.Open(ctx, dev) },
					Check:   func() error { return fsckDevice(t, dev) },
					MaxSize: 1<<32 - 1, NameMax: 255, Limits: limits.FAT(),
				}
			})
		})
	}
}
