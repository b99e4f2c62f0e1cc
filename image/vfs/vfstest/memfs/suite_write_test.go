package memfs_test

import (
	"testing"

	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

func TestWritingSuite(t *testing.T) {
	vfstest.RunWritable(t, func(_ *testing.T, size int64) vfstest.Writable {
		opt := memfs.Options{
			BlockSize: 8192, LinkMax: 1000, MaxSize: 1<<50 + 1234, SymlinkMax: 1023,
			Capacity: size, MaxFiles: int(size / 1024),
		}
		return vfstest.Writable{
			FS: memfs.NewWith(opt), LinkMax: opt.LinkMax, MaxSize: opt.MaxSize, SymlinkMax: opt.SymlinkMax,
		}
	})
}
