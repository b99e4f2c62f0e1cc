package fusefs

import (
	"context"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// A signal that comes before anything is copied does not make it look as if the
// file ended there.
func TestInterruptedCopyIsNotTheEndOfTheFile(t *testing.T) {
	fsys := memfs.New()
	r, err := newRaw([]Volume{{FS: fsys}}, Options{Logf: t.Logf})
	require.NoError(t, err)
	attr, err := fsys.Create(t.Context(), fsys.Root(), "file", vfs.NewNode{Mode: vfs.Regular | 0o644})
	require.NoError(t, err)
	_, err = fsys.WriteAt(t.Context(), attr.Ino, make([]byte, 5000), 0)
	require.NoError(t, err)
	var entry fuse.EntryOut
	require.Equal(t, fuse.OK, r.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "file", &entry))
	interrupted := make(chan struct{})
	close(interrupted)
	in := fuse.CopyFileRangeIn{NodeIdOut: entry.NodeId, OffIn: 0, OffOut: 9000, Len: 3691}
	in.NodeId = entry.NodeId
	n, status := r.CopyFileRange(interrupted, &in)
	assert.Equal(t, fuse.OK, status)
	assert.EqualValues(t, 3691, n)
}

// Nor is a read cut short by one: what a program has read up to then would be
// all that it gets.
func TestInterruptedReadIsWhole(t *testing.T) {
	fsys := heeding{memfs.New()}
	fsys.AddFile("/file", make([]byte, 5000))
	r, err := newRaw([]Volume{{FS: fsys}}, Options{Logf: t.Logf})
	require.NoError(t, err)
	var entry fuse.EntryOut
	require.Equal(t, fuse.OK, r.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "file", &entry))
	interrupted := make(chan struct{})
	close(interrupted)
	in := fuse.ReadIn{Size: 4096}
	in.NodeId = entry.NodeId
	result, status := r.Read(interrupted, &in, make([]byte, 4096))
	require.Equal(t, fuse.OK, status)
	assert.Equal(t, 4096, result.Size())
}

// heeding is a file system that ends a read if its context has ended.
type heeding struct{ *memfs.FS }

func (h heeding) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return h.FS.ReadAt(ctx, ino, p, off)
}
