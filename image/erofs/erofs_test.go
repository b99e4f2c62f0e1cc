package erofs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// words are bytes that become smaller by compression.
func words(size int) []byte {
	var p []byte
	for i := 0; len(p) < size; i++ {
		p = fmt.Appendf(p, "block %d, inode %d; ", i*i, i)
	}
	return p[:size]
}

// folder makes one with everything that erofs has a word for.
func folder(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	path := func(name string) string {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		return path
	}
	for _, n := range []int{0, 1, 100, 4000, 4095, 4096, 4097, 8192, 8200, 65536, 200_000} {
		require.NoError(t, os.WriteFile(path(fmt.Sprintf("sizes/%d", n)), words(n), 0o644))
	}
	require.NoError(t, os.WriteFile(path("small"), words(100), 0o600))
	require.NoError(t, os.Chmod(path("small"), 0o755|os.ModeSetuid))
	require.NoError(t, os.Link(path("small"), path("dir/hard")))
	require.NoError(t, os.WriteFile(path("dir/sub/file"), words(10), 0o644))
	require.NoError(t, os.Symlink(strings.Repeat("t", 100), path("link")))
	require.NoError(t, os.Symlink(strings.Repeat("u", 4000), path("long link")))
	require.NoError(t, unix.Mknod(path("fifo"), unix.S_IFIFO|0o600, 0))
	if os.Getuid() == 0 {
		require.NoError(t, unix.Mknod(path("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(300, 70_000))))
	}
	f, err := os.Create(path("sparse"))
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1<<20))
	for _, off := range []int64{100, 500_000, 1<<20 - 200} {
		_, err := f.WriteAt(words(100), off)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	for i := range 300 {
		require.NoError(t, os.WriteFile(path(fmt.Sprintf("many/%d-%s", i, strings.Repeat("n", 40))), nil, 0o644))
	}
	for _, x := range []struct{ name, attr, value string }{
		{"sizes/100", "user.name", "value"},
		{"dir", "user.large", strings.Repeat("v", 300)},
		{"dir/sub", "user.large", strings.Repeat("v", 300)},
		{"sparse", "user.large", strings.Repeat("v", 300)},
	} {
		if err := unix.Lsetxattr(path(x.name), x.attr, []byte(x.value), 0); err != unix.ENOTSUP {
			require.NoError(t, err)
		}
	}
	return root
}

// makeImage makes a file system of a folder.
func makeImage(t testing.TB, folder string, args ...string) []byte {
	t.Helper()
	testtool.Need(t, "mkfs.erofs")
	// With chunks it wants the image where its own temporary files are.
	dir, err := os.MkdirTemp("/tmp", "erofs")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	img := filepath.Join(dir, "x.erofs")
	testtool.Run(t, "mkfs.erofs", append(append([]string{"--quiet"}, args...), img, folder)...)
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	return data
}

func open(t testing.TB, image []byte) (*FS, blockio.Device) {
	t.Helper()
	dev := blockio.NewMemory(image)
	ok, err := Probe(dev)
	require.NoError(t, err)
	require.True(t, ok, "the file system is recognised")
	fsys, err := Open(ctx, dev)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, fsys.Close()) })
	return fsys.(*FS), dev
}

// at returns the attributes of the file at a path.
func at(t testing.TB, fsys vfs.FS, path string) vfs.Attr {
	t.Helper()
	a, err := vfs.NewTree(fsys).ResolveLink(ctx, path)
	require.NoError(t, err)
	return a
}

// forms are ways to make a file system that is not compressed.
var forms = []struct {
	name string
	args []string
}{
	{"inline", []string{"-x1"}},
	{"plain", []string{"-Enoinline_data"}},
	{"chunks", []string{"--chunksize=4096", "-Eforce-inode-blockmap"}},
	{"indexes", []string{"--chunksize=65536", "-Eforce-chunk-indexes"}},
	{"compact", []string{"-Eforce-inode-compact", "-T1000000000"}},
}

func TestForms(t *testing.T) {
	root := folder(t)
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			fsys, dev := open(t, makeImage(t, root, form.args...))
			vfstest.Run(t, fsys, dev)
			for _, name := range []string{"sizes/0", "sizes/1", "sizes/4000", "sizes/4097", "sizes/8192", "sizes/200000", "sparse", "dir/hard"} {
				want, err := os.ReadFile(filepath.Join(root, name))
				require.NoError(t, err)
				got, err := vfs.NewTree(fsys).ReadFile(name)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(want, got), name)
			}
			small := at(t, fsys, "/small")
			assert.Equal(t, vfs.Regular|vfs.SetUID|0o755, small.Mode)
			assert.EqualValues(t, 2, small.Nlink)
			assert.Equal(t, small.Ino, at(t, fsys, "/dir/hard").Ino)
			if os.Getuid() == 0 {
				assert.Equal(t, vfs.Dev{Major: 300, Minor: 70_000}, at(t, fsys, "/device").Rdev)
			}
			if form.name == "compact" {
				assert.Equal(t, time.Unix(1_000_000_000, 0).UTC(), small.Mtime)
			}
		})
	}
}

// Where chunks are holes, and where they lie, is known. The mkfs.erofs at hand
// stores zeros, so the holes are made here.
func TestHolesAndMap(t *testing.T) {
	root := folder(t)
	want, err := os.ReadFile(filepath.Join(root, "sparse"))
	require.NoError(t, err)
	for _, args := range [][]string{{"-Eforce-inode-blockmap"}, {"-Eforce-chunk-indexes"}} {
		image := makeImage(t, root, append(args, "--chunksize=4096")...)
		fsys, _ := open(t, image)
		ino := at(t, fsys, "/sparse").Ino
		var in inode
		require.NoError(t, fsys.readInode(ino, &in))
		unit := ondisk.ChunkFormat(in.Where).EntrySize()
		table := (in.tail + unit - 1) &^ (unit - 1)
		for i := range int64(1 << 20 / 4096) {
			if len(bytes.Trim(want[i*4096:][:4096], "\x00")) == 0 {
				copy(image[table+i*unit+unit-4:], "\xff\xff\xff\xff")
			}
		}
		fsys, dev := open(t, image)
		vfstest.Run(t, fsys, dev)
		got, err := vfs.NewTree(fsys).ReadFile("sparse")
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got))
		pos := []int64{}
		for off := int64(0); off < 1<<20; {
			data, err := fsys.SeekData(ctx, ino, off)
			require.NoError(t, err)
			hole, err := fsys.SeekHole(ctx, ino, data)
			require.NoError(t, err)
			pos, off = append(pos, data, hole), hole
		}
		assert.Equal(t, []int64{0, 4096, 499_712, 503_808, 1<<20 - 4096, 1 << 20}, pos)
		devOff, n, err := fsys.Map(ctx, ino, 4096+5)
		require.NoError(t, err)
		assert.EqualValues(t, -1, devOff)
		assert.EqualValues(t, 499_712-4096-5, n)
		devOff, n, err = fsys.Map(ctx, at(t, fsys, "/sizes/200000").Ino, 100)
		require.NoError(t, err)
		assert.Positive(t, devOff)
		assert.EqualValues(t, 200_000-100, n, "chunks that follow each other are one piece")
	}
}

// A compressed file says by what it is compressed. All else can be read.
func TestCompressed(t *testing.T) {
	root := folder(t)
	for _, c := range []struct{ name, args, want string }{
		{"lz4", "-zlz4", "lz4"},
		{"lz4hc, big clusters", "-zlz4hc -C65536", "lz4"},
		{"legacy", "-zlz4 -Elegacy-compress", "lz4"},
		{"ztailpacking", "-zlz4hc -Eztailpacking", "lz4, ztailpacking"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys, _ := open(t, makeImage(t, root, strings.Fields(c.args)...))
			plain, packed := 0, 0
			buf := make([]byte, 1<<20)
			require.NoError(t, vfs.NewTree(fsys).Walk(ctx, "/", func(path string, a vfs.Attr, err error) error {
				require.NoError(t, err)
				_, err = fsys.Xattrs(ctx, a.Ino)
				require.NoError(t, err)
				if a.Mode.IsSymlink() {
					_, err := fsys.Readlink(ctx, a.Ino)
					require.NoError(t, err)
				}
				if !a.Mode.IsRegular() || a.Size == 0 {
					return nil
				}
				n, err := fsys.ReadAt(ctx, a.Ino, buf, 0)
				var unsupported *vfs.NotSupportedError
				if err == io.EOF {
					want, err := os.ReadFile(filepath.Join(root, path))
					require.NoError(t, err)
					require.True(t, bytes.Equal(want, buf[:n]), path)
					plain++
				} else if assert.ErrorAs(t, err, &unsupported, path) {
					assert.Equal(t, fmt.Sprintf("erofs inode %d: contents compressed with %s", a.Ino, c.want), unsupported.What)
					assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
					devOff, mapped, err := fsys.Map(ctx, a.Ino, 0)
					require.NoError(t, err)
					assert.EqualValues(t, -1, devOff)
					assert.Equal(t, a.Size, mapped)
					packed++
				}
				return nil
			}))
			assert.Positive(t, plain)
			assert.Positive(t, packed)
		})
	}
}

// Names are found in every block of a large directory, and those that are not
// there are not.
func TestManyFiles(t *testing.T) {
	const n = 20_000
	root := t.TempDir()
	name := func(i int) string { return fmt.Sprintf("%05d-%s", i, strings.Repeat("x", i%40)) }
	for i := range n {
		require.NoError(t, os.WriteFile(filepath.Join(root, name(i)), nil, 0o644))
	}
	fsys, _ := open(t, makeImage(t, root))
	for i := range n {
		_, err := fsys.Lookup(ctx, fsys.Root(), name(i))
		require.NoError(t, err)
		_, err = fsys.Lookup(ctx, fsys.Root(), name(i)+"y")
		require.Equal(t, syscall.ENOENT, err)
	}
	for _, name := range []string{"!", "~", "0", "\xff", "1"} {
		_, err := fsys.Lookup(ctx, fsys.Root(), name)
		require.Equal(t, syscall.ENOENT, err, name)
	}
}

// What is told of a file system as a whole.
func TestInfo(t *testing.T) {
	fsys, _ := open(t, makeImage(t, folder(t), "--chunksize=4096", "-U", "01234567-89ab-cdef-0123-456789abcdef"))
	info := fsys.Info()
	assert.Equal(t, "erofs", info.Type)
	assert.Equal(t, 4096, info.BlockSize)
	assert.Equal(t, "01234567-89ab-cdef-0123-456789abcdef", info.UUID)
	assert.Equal(t, []string{"sb_csum", "mtime", "chunked_file"}, info.Features)
	st, err := fsys.Statfs(ctx)
	require.NoError(t, err)
	assert.Equal(t, ondisk.MaxName, st.NameMax)
	assert.Equal(t, uint64(fsys.size)/4096, st.Blocks)
}

// What lies on another device is refused; the rest is not.
func TestFurtherDevices(t *testing.T) {
	root := folder(t)
	dir, err := os.MkdirTemp("/tmp", "erofs") // as in makeImage
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	blob := filepath.Join(dir, "blob")
	require.NoError(t, os.WriteFile(blob, nil, 0o644))
	fsys, _ := open(t, makeImage(t, root, "--chunksize=4096", "--blobdev="+blob))
	a := at(t, fsys, "/sizes/200000")
	_, err = fsys.ReadAt(ctx, a.Ino, make([]byte, 100), 0)
	var unsupported *vfs.NotSupportedError
	require.ErrorAs(t, err, &unsupported)
	assert.Contains(t, unsupported.What, "contents on a device besides the image (1)")
	assert.Contains(t, fsys.Info().Features, "device_table")
}

// Inode numbers that nobody gave out are not there.
func TestInodesThatAreNotThere(t *testing.T) {
	fsys, _ := open(t, makeImage(t, folder(t)))
	for _, ino := range []vfs.Ino{0, 1, 35, vfs.Ino(fsys.size / 32), firstIno, 1 << 58, 1<<64 - 1} {
		_, err := fsys.Getattr(ctx, ino)
		assert.Equal(t, syscall.ENOENT, err, "inode %d", ino)
	}
}
