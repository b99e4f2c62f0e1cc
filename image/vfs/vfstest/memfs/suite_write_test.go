package memfs_test

import (
	"testing"

	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

func TestWritingSuite(t *testing.T) {
	for name, lim := range map[string]limits.Limits{"all": {}, "FAT": limits.FAT()} {
		t.Run(name, func(t *testing.T) {
			vfstest.RunWritable(t, func(_ *testing.T, size int64) vfstest.Writable {
				opt := memfs.Options{
					BlockSize: 8192, LinkMax: 1000, MaxSize: 1<<50 + 1234, SymlinkMax: 1023,
					Capacity: size, MaxFiles: int(size / 1024), Limits: lim,
				}
				w := vfstest.Writable{
					LinkMax: opt.LinkMax, MaxSize: opt.MaxSize, SymlinkMax: opt.SymlinkMax, Limits: lim,
				}
				if lim.NoLinks {
					w.LinkMax, w.SymlinkMax = 0, 0
				}
				if lim.NoHoles {
					opt.MaxSize = 1<<32 - 1
					w.MaxSize = opt.MaxSize
				}
				w.FS = memfs.NewWith(opt)
				return w
			})
		})
	}
}
