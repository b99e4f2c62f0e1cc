package memfs_test

import (
	"bytes"
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

func read(t *testing.T, fs *memfs.FS, ino vfs.Ino) []byte {
	t.Helper()
	attr, err := fs.Getattr(context.Background(), ino)
	require.NoError(t, err)
	p := make([]byte, attr.Size)
	_, err = fs.ReadAt(context.Background(), ino, p, 0)
	require.NoError(t, err)
	return p
}

func TestSnapshotsAreFrozen(t *testing.T) {
	ctx := context.Background()
	fs := memfs.New()
	populate(fs)
	root := fs.Root()
	f, err := fs.Create(ctx, root, "f", vfs.NewNode{Mode: vfs.Regular | 0o644})
	require.NoError(t, err)
	_, err = fs.WriteAt(ctx, f.Ino, bytes.Repeat([]byte("old"), 5000), 0)
	require.NoError(t, err)
	gone, err := fs.Create(ctx, root, "gone", vfs.NewNode{Mode: vfs.Regular})
	require.NoError(t, err)
	fs.Pin(gone.Ino)
	require.NoError(t, fs.Unlink(ctx, root, "gone"))

	was := fs.Snapshot()
	_, err = was.Getattr(ctx, gone.Ino)
	assert.ErrorIs(t, err, syscall.ENOENT, "a file without a name is not in a commit")
	_, err = fs.WriteAt(ctx, f.Ino, []byte("new"), 4000)
	require.NoError(t, err)
	_, err = fs.Setattr(ctx, f.Ino, vfs.SetAttr{Size: ptr[int64](9000)})
	require.NoError(t, err)
	require.NoError(t, fs.Rename(ctx, root, "f", root, "g", 0))
	require.NoError(t, fs.SetXattr(ctx, f.Ino, "user.x", []byte("y"), false, false))
	require.NoError(t, fs.Unpin(ctx, gone.Ino))

	old, err := was.Lookup(ctx, root, "f")
	require.NoError(t, err)
	assert.Equal(t, f.Mtime.Location(), old.Mtime.Location())
	assert.Equal(t, int64(15000), old.Size)
	assert.Equal(t, bytes.Repeat([]byte("old"), 5000), read(t, was, f.Ino))
	_, err = was.Lookup(ctx, root, "g")
	assert.ErrorIs(t, err, syscall.ENOENT)
	all, err := was.Xattrs(ctx, f.Ino)
	require.NoError(t, err)
	assert.Empty(t, all)

	// Nor does what is done to the snapshot reach the file system.
	now := read(t, fs, f.Ino)
	_, err = was.WriteAt(ctx, f.Ino, []byte("else"), 0)
	require.NoError(t, err)
	require.NoError(t, was.Unlink(ctx, root, "f"))
	assert.Equal(t, now, read(t, fs, f.Ino))
}

func TestHolesAreExact(t *testing.T) {
	ctx := context.Background()
	fs := memfs.NewWith(memfs.Options{BlockSize: 8192})
	f, err := fs.Create(ctx, fs.Root(), "f", vfs.NewNode{Mode: vfs.Regular})
	require.NoError(t, err)
	_, err = fs.WriteAt(ctx, f.Ino, []byte("x"), 100_000)
	require.NoError(t, err)
	_, err = fs.WriteAt(ctx, f.Ino, make([]byte, 8192*2), 8192*2)
	require.NoError(t, err)
	layout := func() string {
		attr, err := fs.Getattr(ctx, f.Ino)
		require.NoError(t, err)
		s := ""
		for at := int64(0); at < attr.Size; {
			data, err := fs.SeekData(ctx, f.Ino, at)
			if err != nil {
				assert.ErrorIs(t, err, syscall.ENXIO)
				break
			}
			hole, err := fs.SeekHole(ctx, f.Ino, data)
			require.NoError(t, err)
			s += fmt.Sprintf("%d-%d ", data, hole)
			at = hole
		}
		return s + fmt.Sprint(attr.Blocks)
	}
	assert.Equal(t, "16384-32768 98304-100001 48", layout())
	require.NoError(t, fs.Fallocate(ctx, f.Ino, vfs.AllocPunchHole|vfs.AllocKeepSize, 20000, 90_000))
	assert.Equal(t, "16384-24576 16", layout())
	require.NoError(t, fs.Fallocate(ctx, f.Ino, 0, 90_000, 20_000))
	assert.Equal(t, "16384-24576 81920-110000 80", layout())
	_, err = fs.Setattr(ctx, f.Ino, vfs.SetAttr{Size: ptr[int64](85_000)})
	require.NoError(t, err)
	assert.Equal(t, "16384-24576 81920-85000 32", layout())
	_, err = fs.Setattr(ctx, f.Ino, vfs.SetAttr{Size: ptr[int64](200_000)})
	require.NoError(t, err)
	assert.Equal(t, "16384-24576 81920-90112 32", layout())
}

func TestBuiltFilesCanBeWritten(t *testing.T) {
	ctx := context.Background()
	dev := blockio.NewMemory(make([]byte, 1<<20))
	for _, fs := range []*memfs.FS{memfs.New(), memfs.NewOn(dev)} {
		given := bytes.Repeat([]byte("a"), 10_000)
		f := fs.AddSparse("/f", 30_000, []memfs.Data{{Off: 5000, Bytes: given}})
		_, err := fs.WriteAt(ctx, f, []byte("bb"), 9000)
		require.NoError(t, err)
		want := append(make([]byte, 5000), bytes.Repeat([]byte("a"), 10_000)...)
		want = append(want, make([]byte, 15_000)...)
		copy(want[9000:], "bb")
		assert.Equal(t, want, read(t, fs, f))
		assert.Equal(t, bytes.Repeat([]byte("a"), 10_000), given, "what was given is not written to")
	}
}

func TestCookiesOutliveTheirEntries(t *testing.T) {
	ctx := context.Background()
	fs := memfs.New()
	for i := range 300 {
		fs.AddFile(fmt.Sprintf("/%03d", i), nil)
	}
	var seen []string
	for e, err := range fs.ReadDir(ctx, fs.Root(), 0) {
		require.NoError(t, err)
		seen = append(seen, e.Name)
		require.NoError(t, fs.Unlink(ctx, fs.Root(), e.Name))
		if len(seen) < 10 {
			fs.AddFile("/new"+e.Name, nil)
		}
	}
	assert.Len(t, seen, 309)
	for range fs.ReadDir(ctx, fs.Root(), 0) {
		assert.Fail(t, "nothing should be left")
	}
}

func TestCapacity(t *testing.T) {
	ctx := context.Background()
	fs := memfs.NewWith(memfs.Options{Capacity: 10 * 4096, MaxFiles: 3})
	f, err := fs.Create(ctx, fs.Root(), "f", vfs.NewNode{Mode: vfs.Regular})
	require.NoError(t, err)
	n, err := fs.WriteAt(ctx, f.Ino, make([]byte, 50_000), 5000)
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, 11*4096-5000, n)
	st, err := fs.Statfs(ctx)
	require.NoError(t, err)
	assert.Zero(t, st.Free)
	require.NoError(t, fs.Unlink(ctx, fs.Root(), "f"))
	st, err = fs.Statfs(ctx)
	require.NoError(t, err)
	assert.Equal(t, uint64(10), st.Free)
	for i := range 3 {
		_, err = fs.Create(ctx, fs.Root(), fmt.Sprint(i), vfs.NewNode{Mode: vfs.FIFO})
	}
	assert.ErrorIs(t, err, syscall.ENOSPC)
}

func ptr[T any](v T) *T { return &v }
