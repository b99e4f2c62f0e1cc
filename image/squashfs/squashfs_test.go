package squashfs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// A node is what the tests compare of a file.
type node struct {
	mode   string
	uid    uint32
	gid    uint32
	nlink  uint32
	size   int64 // of files and links
	mtime  int64
	target string
	dev    vfs.Dev
	sum    [32]byte
	xattrs string
}

// host lists what is below a folder of the host.
func host(t testing.TB, root string) map[string]node {
	t.Helper()
	nodes := map[string]node{}
	require.NoError(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		mode := vfs.Mode(st.Mode)
		n := node{mode: mode.String(), uid: st.Uid, gid: st.Gid, nlink: uint32(st.Nlink), mtime: st.Mtim.Sec, xattrs: hostXattrs(t, path)}
		switch {
		case mode.IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.size, n.sum = st.Size, sha256.Sum256(data)
		case mode.IsSymlink():
			if n.target, err = os.Readlink(path); err != nil {
				return err
			}
			n.size = st.Size
		case mode.IsDevice():
			n.dev = vfs.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
		}
		nodes[rel] = n
		return nil
	}))
	return nodes
}

func hostXattrs(t testing.TB, path string) string {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err == unix.ENOTSUP {
		return ""
	}
	require.NoError(t, err, path)
	attrs := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "system.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		require.NoError(t, err, path)
		attrs[name] = value[:n]
	}
	return xattrString(attrs)
}

func xattrString(attrs map[string][]byte) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		fmt.Fprintf(&b, "%s=%x ", name, sha256.Sum256(attrs[name]))
	}
	return b.String()
}

// volume lists what is in an open file system, in the same form.
func volume(t testing.TB, fsys vfs.FS) map[string]node {
	t.Helper()
	nodes := map[string]node{}
	var visit func(ino vfs.Ino, path string)
	visit = func(ino vfs.Ino, path string) {
		a, err := fsys.Getattr(ctx, ino)
		require.NoError(t, err, path)
		attrs, err := fsys.(vfs.Xattrer).Xattrs(ctx, ino)
		require.NoError(t, err, path)
		n := node{mode: a.Mode.String(), uid: a.UID, gid: a.GID, nlink: a.Nlink, mtime: a.Mtime.Unix(), dev: a.Rdev, xattrs: xattrString(attrs)}
		switch {
		case a.Mode.IsDir():
			for e, err := range fsys.ReadDir(ctx, ino, 0) {
				require.NoError(t, err)
				visit(e.Ino, filepath.Join(path, e.Name))
			}
		case a.Mode.IsRegular():
			n.size, n.sum = a.Size, sha256.Sum256(contents(t, fsys, a))
		case a.Mode.IsSymlink():
			n.size = a.Size
			n.target, err = fsys.Readlink(ctx, ino)
			require.NoError(t, err, path)
		}
		nodes[path] = n
	}
	visit(fsys.Root(), ".")
	return nodes
}

func contents(t testing.TB, fsys vfs.FS, a vfs.Attr) []byte {
	t.Helper()
	p := make([]byte, a.Size)
	n, err := fsys.ReadAt(ctx, a.Ino, p, 0)
	if err != io.EOF {
		require.NoError(t, err)
	}
	require.Equal(t, len(p), n)
	return p
}

func sameNodes(t testing.TB, want, got map[string]node) {
	t.Helper()
	assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
	for path, w := range want {
		if g, ok := got[path]; ok && g != w {
			assert.Equal(t, w, g, path)
		}
	}
}

// A builder makes a folder on the host.
type builder struct {
	t    testing.TB
	root string
	rnd  *rand.Rand
}

func newBuilder(t testing.TB) *builder {
	return &builder{t, t.TempDir(), rand.New(rand.NewPCG(5, 5))}
}

// path returns where name lies on the host, below folders that it makes.
func (b *builder) path(name string) string {
	path := filepath.Join(b.root, name)
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	return path
}

// bytes are half noise, half words, so that blocks of all kinds become smaller,
// but not too much.
func (b *builder) bytes(size int) []byte {
	words := []string{"squashfs ", "block ", "fragment ", "inode ", "directory ", "metadata "}
	var p []byte
	for len(p) < size {
		if b.rnd.IntN(3) == 0 {
			for range 20 {
				p = append(p, byte(b.rnd.Uint32()))
			}
		}
		p = append(p, words[b.rnd.IntN(len(words))]...)
	}
	return p[:size]
}

func (b *builder) write(name string, data []byte) {
	require.NoError(b.t, os.WriteFile(b.path(name), data, 0o644))
}

func (b *builder) file(name string, size int) { b.write(name, b.bytes(size)) }

// noise makes a file that no compression makes smaller.
func (b *builder) noise(name string, size int) {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(b.rnd.Uint32())
	}
	b.write(name, p)
}

// sparse makes a file of size bytes with data at the offsets.
func (b *builder) sparse(name string, size int64, length int, offs ...int64) {
	f, err := os.Create(b.path(name))
	require.NoError(b.t, err)
	require.NoError(b.t, f.Truncate(size))
	for _, off := range offs {
		_, err := f.WriteAt(b.bytes(length), off)
		require.NoError(b.t, err)
	}
	require.NoError(b.t, f.Close())
}

func (b *builder) link(name, target string) { require.NoError(b.t, os.Symlink(target, b.path(name))) }

func (b *builder) node(name string, mode uint32, major, minor uint32) {
	require.NoError(b.t, unix.Mknod(b.path(name), mode, int(unix.Mkdev(major, minor))))
}

func (b *builder) xattr(name, attr, value string) {
	err := unix.Lsetxattr(b.path(name), attr, []byte(value), 0)
	if err == unix.ENOTSUP {
		return
	}
	require.NoError(b.t, err)
}

// finish gives everything a time of its own, and as root an owner.
func (b *builder) finish() string {
	at, id := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), 100
	var paths []string
	require.NoError(b.t, filepath.WalkDir(b.root, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	for _, path := range paths {
		if id++; os.Getuid() == 0 {
			st, err := os.Lstat(path)
			require.NoError(b.t, err)
			require.NoError(b.t, os.Lchown(path, id%150, 7*(id%40)))
			if st.Mode()&os.ModeSymlink == 0 { // chown took the set-id bits
				require.NoError(b.t, os.Chmod(path, st.Mode()))
			}
		}
		at = at.Add(26*time.Hour + 61*time.Second)
		ts := unix.NsecToTimespec(at.UnixNano())
		require.NoError(b.t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return b.root
}

// fullTree makes a folder with everything that squashfs has a word for.
func fullTree(t testing.TB) string {
	b := newBuilder(t)
	for _, n := range []int{0, 1, 100, 4095, 4096, 4097, 8192, 65536, 131071, 131072, 131073, 300_000, 1<<20 - 1, 1 << 20, 1_200_001} {
		b.file(fmt.Sprintf("sizes/%d", n), n)
	}
	b.noise("noise/small", 1000)
	b.noise("noise/large", 300_001)
	b.write("zeros", make([]byte, 300_000))
	b.sparse("holes/start", 2<<20, 5000, 2<<20-5000)
	b.sparse("holes/middle", 5<<20+3, 200_000, 0, 3<<20)
	b.sparse("holes/end", 2<<20+17, 4096, 0)
	b.sparse("holes/only", 3<<20, 0)
	for i := range 700 {
		b.file(fmt.Sprintf("many/a file with a name of some length, number %d", i), i%10)
	}
	b.file("names/"+strings.Repeat("n", 255), 10)
	b.file("names/\xff\xfe not utf-8", 10)
	b.file("names/new\nline", 10)
	b.file("1/2/3/4/5/6/7/8/9/10/deep", 5)
	for _, n := range []int{1, 59, 255, 1000, 4095} {
		b.link(fmt.Sprintf("links/%d", n), strings.Repeat("0123456/89", 410)[:n])
	}
	b.file("hard/first", 200_000)
	for i := range 5 {
		require.NoError(t, os.Link(b.path("hard/first"), b.path(fmt.Sprintf("hard/link %d", i))))
	}
	b.node("nodes/fifo", unix.S_IFIFO|0o644, 0, 0)
	b.node("nodes/socket", unix.S_IFSOCK|0o600, 0, 0)
	if os.Getuid() == 0 {
		b.node("nodes/null", unix.S_IFCHR|0o666, 1, 3)
		b.node("nodes/sda", unix.S_IFBLK|0o660, 8, 0)
		b.node("nodes/large", unix.S_IFBLK|0o660, 259, 70_000)
		b.node("nodes/largest", unix.S_IFCHR|0o660, 4095, 1<<20-1)
	}
	require.NoError(t, os.Mkdir(b.path("empty"), 0o700))
	require.NoError(t, os.Mkdir(b.path("sticky"), 0o755))
	require.NoError(t, os.Chmod(b.path("sticky"), 0o777|os.ModeSticky))
	b.file("setuid", 10)
	require.NoError(t, os.Chmod(b.path("setuid"), 0o755|os.ModeSetuid|os.ModeSetgid))
	for i := range 10 { // values that repeat are stored once
		name := fmt.Sprintf("xattrs/%d", i)
		b.file(name, 10)
		b.xattr(name, "user.same", strings.Repeat("value ", 100))
		b.xattr(name, "user.own", fmt.Sprint(i))
		b.xattr(name, "user.empty", "")
	}
	b.xattr("empty", "user.directory", "x")
	if os.Getuid() == 0 {
		b.xattr("links/59", "trusted.link", "of a link")
		b.xattr("nodes/fifo", "trusted.fifo", "y")
		b.xattr("nodes/sda", "trusted.device", "z")
		b.xattr("setuid", "security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	}
	return b.finish()
}

// makeSquash makes a file system of a folder.
func makeSquash(t testing.TB, folder string, args ...string) string {
	t.Helper()
	testtool.Need(t, "mksquashfs")
	img := filepath.Join(t.TempDir(), "x.squashfs")
	testtool.Run(t, "mksquashfs", append([]string{folder, img, "-quiet", "-no-progress", "-noappend"}, args...)...)
	return img
}

func open(t testing.TB, img string) (vfs.FS, blockio.Device) {
	t.Helper()
	dev, err := blockio.OpenFile(img)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	ok, err := Probe(dev)
	require.NoError(t, err)
	require.True(t, ok, "the file system is recognised")
	fsys, err := Open(ctx, dev)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, fsys.Close()) })
	return fsys, dev
}

// forms are ways to make a file system.
var forms = []struct{ name, args string }{
	{"gzip", ""},
	{"xz", "-comp xz -Xbcj x86,arm"},
	{"lzma", "-comp lzma"},
	{"lz4", "-comp lz4 -Xhc -b 64K"},
	{"zstd", "-comp zstd -b 1M"},
	{"4K", "-b 4K -always-use-fragments"},
	{"raw", "-noI -noD -noF -noX"},
	{"raw inodes", "-noI -comp xz -b 16K -no-fragments"},
	{"raw data", "-noD -no-duplicates"},
	{"raw fragments", "-noF -b 256K"},
	{"not exported", "-no-exports -b 32K"},
	{"not sparse", "-no-sparse -comp lz4"},
	{"gzip options", "-Xcompression-level 1 -Xwindow-size 9"},
}

// Every file system holds exactly what was put there, whatever its form.
func TestForms(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "mksquashfs")
	folder := fullTree(t)
	want := host(t, folder)
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			img := makeSquash(t, folder, strings.Fields(form.args)...)
			fsys, dev := open(t, img)
			sameNodes(t, want, volume(t, fsys))
			vfstest.Run(t, fsys, dev)
		})
	}
}

// Hard links are one file, with or without an export table.
func TestHardLinks(t *testing.T) {
	b := newBuilder(t)
	b.file("first", 10)
	require.NoError(t, os.Link(b.path("first"), b.path("second")))
	for _, args := range [][]string{nil, {"-no-exports"}} {
		fsys, _ := open(t, makeSquash(t, b.root, args...))
		first, err := fsys.Lookup(ctx, fsys.Root(), "first")
		require.NoError(t, err)
		second, err := fsys.Lookup(ctx, fsys.Root(), "second")
		require.NoError(t, err)
		assert.Equal(t, first, second)
		assert.EqualValues(t, 2, first.Nlink)
	}
}

// A large directory is found by name through its index, in order, and from
// every place in it.
func TestManyFiles(t *testing.T) {
	const n = 25_000
	b := newBuilder(t)
	name := func(i int) string { return fmt.Sprintf("%05d-%s", i, strings.Repeat("x", i%40)) }
	require.NoError(t, os.Mkdir(b.path("d"), 0o755))
	for i := range n {
		require.NoError(t, os.WriteFile(filepath.Join(b.root, "d", name(i)), nil, 0o644))
	}
	for _, args := range [][]string{nil, {"-no-exports", "-noI"}} {
		fsys, _ := open(t, makeSquash(t, b.root, args...))
		d, err := fsys.Lookup(ctx, fsys.Root(), "d")
		require.NoError(t, err)
		var all []vfs.DirEntry
		for e, err := range fsys.ReadDir(ctx, d.Ino, 0) {
			require.NoError(t, err)
			all = append(all, e)
		}
		require.Len(t, all, n)
		for i := range 2000 {
			i = i * 7919 % n
			a, err := fsys.Lookup(ctx, d.Ino, name(i))
			require.NoError(t, err, name(i))
			require.Equal(t, all[i].Ino, a.Ino)
			require.Equal(t, name(i), all[i].Name)
			_, err = fsys.Lookup(ctx, d.Ino, name(i)+"y")
			require.Equal(t, syscall.ENOENT, err)
		}
		for i := 0; i+1 < n; i += 997 {
			for e, err := range fsys.ReadDir(ctx, d.Ino, all[i].Next) {
				require.NoError(t, err)
				require.Equal(t, all[i+1], e)
				break
			}
		}
	}
}

// In a long list of blocks, every block is found without going through the list
// from its start, and holes are where they were.
func TestLargeFile(t *testing.T) {
	const size = 300<<20 + 12345
	offs := []int64{0, 1<<22 - 5000, 100<<20 + 1, 200 << 20, 300<<20 + 1000}
	b := newBuilder(t)
	b.sparse("large", size, 10_000, offs...)
	b.sparse("other", 20<<20, 10_000, 10<<20)
	fsys, _ := open(t, makeSquash(t, b.root, "-b", "4K", "-comp", "lz4"))
	a, err := fsys.Lookup(ctx, fsys.Root(), "large")
	require.NoError(t, err)
	assert.EqualValues(t, size, a.Size)
	src, err := os.Open(b.path("large"))
	require.NoError(t, err)
	defer src.Close()
	for _, off := range append(offs, 150<<20, size-100, 3, 299<<20, 1<<22-1) {
		want, got := make([]byte, 20_000), make([]byte, 20_000)
		n, _ := src.ReadAt(want, off)
		k, _ := fsys.ReadAt(ctx, a.Ino, got, off)
		require.Equal(t, n, k)
		require.Equal(t, want, got, "at %d", off)
	}
	assert.NotEmpty(t, fsys.(*FS).spots.files)
	h := fsys.(vfs.HoleSeeker)
	data, err := h.SeekData(ctx, a.Ino, 101<<20)
	require.NoError(t, err)
	assert.EqualValues(t, 200<<20, data)
	hole, err := h.SeekHole(ctx, a.Ino, 200<<20+1)
	require.NoError(t, err)
	assert.EqualValues(t, 200<<20+12<<10, hole)
}

// Devices that a builder without root asks for, and the owners that it gives.
func TestPseudoFiles(t *testing.T) {
	b := newBuilder(t)
	b.file("file", 10)
	fsys, _ := open(t, makeSquash(t, b.root, "-p", "null c 666 0 0 1 3", "-p", "disk b 640 0 6 259 70000", "-p", "file m 4755 1000 100"))
	for name, want := range map[string]node{
		"null": {mode: "crw-rw-rw-", dev: vfs.Dev{Major: 1, Minor: 3}},
		"disk": {mode: "brw-r-----", gid: 6, dev: vfs.Dev{Major: 259, Minor: 70000}},
		"file": {mode: "-rwsr-xr-x", uid: 1000, gid: 100},
	} {
		a, err := fsys.Lookup(ctx, fsys.Root(), name)
		require.NoError(t, err)
		assert.Equal(t, want, node{mode: a.Mode.String(), uid: a.UID, gid: a.GID, dev: a.Rdev}, name)
	}
}

// What is told of a file system as a whole.
func TestInfo(t *testing.T) {
	b := newBuilder(t)
	b.file("file", 10)
	fsys, _ := open(t, makeSquash(t, b.root, "-comp", "xz", "-b", "64K", "-noF"))
	info := fsys.Info()
	assert.Equal(t, "squashfs", info.Type)
	assert.Equal(t, 65536, info.BlockSize)
	assert.Equal(t, []string{"xz", "uncompressed fragments", "duplicates removed", "exportable"}, info.Features)
	st, err := fsys.Statfs(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 2, st.Files)
	assert.Equal(t, 256, st.NameMax)
}

// A reader from front to end, in requests of any size, gets what is there, and
// leaves nothing running.
func TestSequentialRead(t *testing.T) {
	b := newBuilder(t)
	b.file("file", 5_000_003)
	want, err := os.ReadFile(b.path("file"))
	require.NoError(t, err)
	for _, size := range []string{"4K", "128K"} {
		img := makeSquash(t, b.root, "-b", size)
		for _, request := range []int{1000, 4096, 65536, 131072, 1_000_000, 6_000_000} {
			fsys, _ := open(t, img)
			a, err := fsys.Lookup(ctx, fsys.Root(), "file")
			require.NoError(t, err)
			got, err := io.ReadAll(io.NewSectionReader(readerAt{fsys, a.Ino}, 0, a.Size))
			require.NoError(t, err)
			require.True(t, slices.Equal(want, got), "blocks of %s", size)
			got = got[:0]
			for off := int64(0); off < a.Size; off += int64(request) {
				p := make([]byte, request)
				n, _ := fsys.ReadAt(ctx, a.Ino, p, off)
				got = append(got, p[:n]...)
			}
			require.True(t, slices.Equal(want, got), "blocks of %s, requests of %d", size, request)
		}
	}
}

type readerAt struct {
	fsys vfs.FS
	ino  vfs.Ino
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r.fsys.ReadAt(ctx, r.ino, p, off) }
