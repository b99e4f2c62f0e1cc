package ffs

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/fsck"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
)

// checkClean has the checker look at dev: every finding is an error.
func checkClean(dev blockio.Device) error {
	var all []error
	err := fsck.Check(context.Background(), dev, func(f vfs.Finding) { all = append(all, errors.New(f.String())) })
	return errors.Join(append(all, err)...)
}

func TestWritingSuite(t *testing.T) {
	for _, form := range []struct {
		typ          string
		bsize, fsize int
	}{{"ffs1", 4096, 512}, {"ffs1", 16384, 2048}, {"ffs2", 8192, 8192}, {"ffs2", 16384, 2048}, {"ffs2", 65536, 8192}} {
		t.Run(fmt.Sprintf("%s-%d-%d", form.typ, form.bsize, form.fsize), func(t *testing.T) {
			t.Parallel()
			vfstest.RunWritable(t, func(t *testing.T, size int64) vfstest.Writable {
				none := 0
				dev := blockio.NewSparse(size)
				s := blockio.NewSession(dev, blockio.SessionOptions{})
				require.NoError(t, Format(s, vfs.FormatOptions{
					Type: form.typ, BlockSize: form.bsize, FragSize: form.fsize, BytesPerInode: 4096, ReservePct: &none,
				}))
				require.NoError(t, s.Commit(ctx))
				require.NoError(t, checkClean(dev))
				fsys, err := OpenWritable(ctx, blockio.NewSession(dev, blockio.SessionOptions{}))
				require.NoError(t, err)
				t.Cleanup(func() { assert.NoError(t, fsys.Close()) })
				return vfstest.Writable{
					FS:         fsys,
					Reopen:     func() (vfs.FS, error) { return Open(ctx, dev) },
					Check:      func() error { return checkClean(dev) },
					LinkMax:    maxLinks,
					MaxSize:    fsys.(*Writer).super.maxFile,
					SymlinkMax: maxSymlink,
				}
			})
		})
	}
}
