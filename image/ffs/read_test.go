package ffs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
)

var ctx = context.Background()

// Everything that makefs wrote is there and is what it was made from, in every
// variant of the format, and nothing else is.
func TestReadWhatMakefsWrote(t *testing.T) {
	for bsize := int64(4096); bsize <= 65536; bsize *= 2 {
		for fsize := bsize / 8; fsize <= bsize; fsize *= 2 {
			t.Run(fmt.Sprintf("%d-%d", bsize, fsize), func(t *testing.T) {
				t.Parallel()
				dir := makeTree(t, bsize, fsize)
				for _, l := range layouts(bsize, fsize) {
					t.Run(l.String(), func(t *testing.T) { readsBack(t, l, dir) })
				}
			})
		}
	}
}

func readsBack(t *testing.T, l layout, dir string) {
	size := map[int64]int64{4096: 40 << 20, 8192: 16 << 20, 16384: 16 << 20, 32768: 24 << 20, 65536: 40 << 20}[l.bsize]
	img := makeImage(t, l, size, dir, devices)
	f := img.open()

	info := f.Info()
	assert.Equal(t, vfs.Clean, info.State, info.StateNote)
	assert.Equal(t, int(l.bsize), info.BlockSize)
	assert.Equal(t, int(l.fsize), info.FragSize)
	assert.Equal(t, l.big, info.BigEndian)
	assert.Equal(t, []string{"", "FFS1", "FFS2"}[l.version], info.Type)

	compareWithSource(t, f, dir)
	compareDevices(t, f)
}

func compareWithSource(t *testing.T, f *FS, dir string) {
	tree := vfs.NewTree(f)
	seen := map[string]bool{}
	err := tree.Walk(ctx, "/", func(path string, attr vfs.Attr, err error) error {
		require.NoError(t, err, path)
		if path == "/dev" {
			return fs.SkipDir
		}
		seen[path] = true
		var st syscall.Stat_t
		require.NoError(t, syscall.Lstat(filepath.Join(dir, path), &st), "%q", path)
		require.Equal(t, st.Mode, uint32(attr.Mode), "mode of %q", path)
		require.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{attr.UID, attr.GID}, "owner of %q", path)
		// makefs takes whole seconds or nanoseconds, depending on its build.
		require.Equal(t, st.Mtim.Sec, attr.Mtime.Unix(), "mtime of %q", path)
		require.Contains(t, []int64{0, st.Mtim.Nsec}, int64(attr.Mtime.Nanosecond()), "mtime of %q", path)
		if !attr.Mode.IsDir() { // the source has other sizes of directories; /dev is one more
			require.Equal(t, uint64(st.Nlink), uint64(attr.Nlink), "links to %q", path)
			require.Equal(t, st.Size, attr.Size, "size of %q", path)
		}
		switch {
		case attr.Mode.IsRegular():
			want, err := os.ReadFile(filepath.Join(dir, path))
			if os.IsPermission(err) {
				break // mode 0, and the tests do not run as root
			}
			require.NoError(t, err)
			got := bytes.Repeat([]byte{0x55}, len(want)+1)
			n, _ := f.ReadAt(ctx, attr.Ino, got, 0)
			require.Equal(t, len(want), n, "%q", path)
			require.True(t, bytes.Equal(want, got[:n]), "contents of %q", path)
		case attr.Mode.IsSymlink():
			want, err := os.Readlink(filepath.Join(dir, path))
			require.NoError(t, err)
			got, err := f.Readlink(ctx, attr.Ino)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		assert.True(t, seen[filepath.Join("/", rel)], "%q is missing", rel)
		return err
	}))
	many, err := tree.Resolve(ctx, "/many")
	require.NoError(t, err)
	_, err = f.Lookup(ctx, many.Ino, "file-00700-of-many")
	assert.ErrorIs(t, err, syscall.ENOENT, "in an indexed directory")
}

func compareDevices(t *testing.T, f *FS) {
	type short struct {
		mode, uid, gid uint32
		rdev           vfs.Dev
		mtime          int64
	}
	tree := vfs.NewTree(f)
	for path, want := range map[string]short{
		"/dev":       {0o040711, 3, 4, vfs.Dev{}, 1_000_000_000},
		"/dev/null":  {0o020666, 7, 8, vfs.Dev{Major: 2, Minor: 2}, 1_000_000_001},
		"/dev/disk":  {0o060640, 100_000, 200_000, vfs.Dev{Major: 14, Minor: 255}, 1},
		"/dev/setid": {0o106711, 65534, 65535, vfs.Dev{}, 1_500_000_000},
		"/dev/pipe":  {0o011600, 1, 1, vfs.Dev{}, 1_500_000_000},
		"/dev/link":  {0o120777, 0, 0, vfs.Dev{}, 1_500_000_000},
	} {
		a, err := tree.ResolveLink(ctx, path)
		require.NoError(t, err)
		assert.Equal(t, want, short{uint32(a.Mode), a.UID, a.GID, a.Rdev, a.Mtime.Unix()}, path)
		assert.Equal(t, time.UTC, a.Mtime.Location())
	}
	target, err := tree.ResolveLink(ctx, "/dev/link")
	require.NoError(t, err)
	got, err := f.Readlink(ctx, target.Ino)
	require.NoError(t, err)
	assert.Equal(t, "../sizes/1", got)
}

// The suite of the contract, on the usual variants and an unusual one.
func TestContract(t *testing.T) {
	for _, l := range []layout{{1, false, 16384, 2048}, {2, false, 16384, 2048}, {1, true, 4096, 512}, {2, true, 65536, 65536}} {
		t.Run(l.String(), func(t *testing.T) {
			dir := makeTree(t, l.bsize, l.fsize)
			img := makeImage(t, l, 48<<20, dir, devices)
			vfstest.Run(t, img.open(), img.dev)
		})
	}
	t.Run("regular files only", func(t *testing.T) { // for testing/fstest
		l := layout{2, false, 8192, 1024}
		dir := t.TempDir()
		for _, name := range []string{"a", "b/c", "b/d/e"} {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), contents(1, 30000), 0o644))
		}
		img := makeImage(t, l, 4<<20, dir, "")
		vfstest.Run(t, img.open(), img.dev)
	})
}
