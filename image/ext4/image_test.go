package ext4

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// fileDevice is an image file as a device.
type fileDevice struct {
	*os.File
	size int64
}

func (d fileDevice) Size() int64     { return d.size }
func (d fileDevice) SectorSize() int { return blockio.DefaultSectorSize }

func openDevice(t testing.TB, name string) blockio.Device {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	require.NoError(t, err)
	return fileDevice{f, st.Size()}
}

func openImage(t testing.TB, name string) *FS {
	t.Helper()
	fs, err := Driver.Open(ctx, openDevice(t, name))
	require.NoError(t, err)
	return fs.(*FS)
}

// newImage returns an image file of size bytes that are all 0xAA, so that
// what the file system never wrote is seen when it is read as data.
func newImage(t testing.TB, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	require.NoError(t, err)
	stale := bytes.Repeat([]byte{0xAA}, 1<<20)
	for off := int64(0); off < size; off += int64(len(stale)) {
		_, err := f.Write(stale[:min(int64(len(stale)), size-off)])
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	return name
}

// mkfs makes a file system with the contents of the folder tree in a new
// image; args are more arguments for mke2fs.
func mkfs(t testing.TB, size int64, tree string, args ...string) string {
	t.Helper()
	testtool.Need(t, "mke2fs")
	name := newImage(t, size)
	all := []string{"-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"}
	if tree != "" {
		all = append(all, "-d", tree)
	}
	all = append(all, args...)
	testtool.Run(t, "mke2fs", append(all, name)...)
	return name
}

// debugfs runs commands on an image, writing to it.
func debugfs(t testing.TB, image string, commands ...string) string {
	t.Helper()
	testtool.Need(t, "debugfs")
	script := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600))
	return testtool.Run(t, "debugfs", "-w", "-f", script, image)
}

// needRoot skips the test for ordinary users, giving the reason. It is not a
// matter of missing tools, so it is never an error.
func needRoot(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root: %s", why)
	}
}

// mount mounts an image with the kernel's driver.
func mount(t testing.TB, image, options string) (dir string, unmount func()) {
	t.Helper()
	needRoot(t, "mounts an image with the kernel")
	testtool.Need(t, "mount", "umount")
	dir = t.TempDir()
	if options != "" {
		options = "," + options
	}
	testtool.Run(t, "mount", "-t", "ext4", "-o", "loop"+options, image, dir)
	done := false
	unmount = func() {
		if !done {
			done = true
			testtool.Run(t, "umount", dir)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

func copyFile(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	testtool.Run(t, "cp", "--sparse=always", from, to)
	return to
}

// pattern is n bytes that differ from place to place.
func pattern(n int, seed int) []byte {
	p := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

type treeBuilder struct {
	t   testing.TB
	dir string
}

func (b treeBuilder) path(name string) string { return filepath.Join(b.dir, name) }

func (b treeBuilder) mkdir(name string) {
	b.t.Helper()
	require.NoError(b.t, os.MkdirAll(b.path(name), 0o755))
}

func (b treeBuilder) file(name string, data []byte) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(b.path(name), data, 0o644))
}

// sparse makes a file of size bytes with pieces of data at offsets.
func (b treeBuilder) sparse(name string, size int64, pieces map[int64][]byte) {
	b.t.Helper()
	f, err := os.Create(b.path(name))
	require.NoError(b.t, err)
	for off, data := range pieces {
		_, err := f.WriteAt(data, off)
		require.NoError(b.t, err)
	}
	require.NoError(b.t, f.Truncate(size))
	require.NoError(b.t, f.Close())
}

// buildTree makes a folder with one of everything. What only root may make is
// left out for others.
//
// mke2fs loses a hole at the end of a file that it would store inline; tails
// says whether to make some.
func buildTree(t testing.TB, tails bool) string {
	t.Helper()
	b := treeBuilder{t, t.TempDir()}
	for _, d := range []string{"empty", "many", "deep/er/and/deeper", "mode"} {
		b.mkdir(d)
	}
	for _, n := range []int{0, 1, 59, 60, 61, 100, 150, 1023, 1024, 1025, 4095, 4096, 4097, 65536, 300000} {
		b.file(fmt.Sprintf("size-%d", n), pattern(n, n))
	}
	for i := range 300 {
		b.file(fmt.Sprintf("many/file-%03d-with-a-name-that-takes-room", i), []byte(fmt.Sprint(i)))
	}
	for _, n := range []int{247, 248, 255} {
		b.file(strings.Repeat("n", n), []byte(fmt.Sprint(n)))
	}
	b.file("nàme with ünicode \u2713 \xff\xfe", []byte("bytes"))

	// Holes at the start, in the middle and at the end, and a file in so many
	// pieces that its extents do not fit the inode.
	b.sparse("hole-head", 50000, map[int64][]byte{45000: pattern(5000, 1)})
	b.sparse("hole-middle", 300000, map[int64][]byte{0: pattern(10, 2), 290000: pattern(10000, 3)})
	b.sparse("hole-only", 123456, nil)
	pieces := make(map[int64][]byte)
	for i := range int64(1500) {
		pieces[i*8192] = pattern(4096, int(i))
	}
	b.sparse("many-extents", 1500*8192-4096, pieces)
	if tails {
		b.sparse("hole-tail", 200000, map[int64][]byte{0: pattern(4096, 4)})
		b.sparse("hole-long-tail", 500000, map[int64][]byte{8192: pattern(4096, 4), 65536: pattern(1, 5)})
	}
	b.sparse("sparse-5g", 5<<30, map[int64][]byte{0: []byte("start"), 3 << 30: pattern(70000, 5), 5<<30 - 3: []byte("end")})

	for _, n := range []int{1, 58, 59, 60, 61, 255, 1000} {
		require.NoError(t, os.Symlink(strings.Repeat("x", n), b.path(fmt.Sprintf("link-%d", n))))
	}
	for i := range 5 {
		require.NoError(t, os.Link(b.path("size-100"), b.path(fmt.Sprintf("many/hard-%d", i))))
	}
	require.NoError(t, syscall.Mkfifo(b.path("fifo"), 0o640))
	for i, m := range []os.FileMode{0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o7000} {
		name := fmt.Sprintf("mode/%d", i)
		b.file(name, nil)
		require.NoError(t, syscall.Chmod(b.path(name), uint32(m)))
	}
	if unix.Setxattr(b.path("size-1"), "user.comment", []byte("hello"), 0) == nil {
		require.NoError(t, unix.Setxattr(b.path("size-1"), "user.empty", nil, 0))
		require.NoError(t, unix.Setxattr(b.path("size-4096"), "user.big", pattern(900, 9), 0))
		require.NoError(t, unix.Setxattr(b.path("size-4096"), "user.small", []byte("s"), 0))
		require.NoError(t, unix.Setxattr(b.path("many"), "user.dir", []byte("d"), 0))
	}
	if os.Geteuid() == 0 {
		for name, dev := range map[string]uint64{
			"null": unix.Mkdev(1, 3), "old-max": unix.Mkdev(255, 255), "minor-256": unix.Mkdev(8, 256),
			"major-300": unix.Mkdev(300, 7), "both-big": unix.Mkdev(4095, 1048575),
		} {
			require.NoError(t, unix.Mknod(b.path("char-"+name), unix.S_IFCHR|0o600, int(dev)))
			require.NoError(t, unix.Mknod(b.path("block-"+name), unix.S_IFBLK|0o660, int(dev)))
		}
		require.NoError(t, os.Chown(b.path("size-60"), 1000, 100))
		require.NoError(t, os.Lchown(b.path("link-60"), 100000, 4000000000))
		require.NoError(t, os.Chown(b.path("deep"), 65536, 65535))
		setACL(t, b.path("size-1024"), "u:1000:rwx,g:70000:r--")
		setACL(t, b.path("deep"), "d:u:5:r-x,u:99:---")
		testtool.Need(t, "setcap")
		testtool.Run(t, "setcap", "cap_net_raw,cap_chown=ep", b.path("size-4097"))
		require.NoError(t, unix.Lsetxattr(b.path("link-61"), "trusted.link", []byte("t"), 0))
		require.NoError(t, unix.Lsetxattr(b.path("link-59"), "trusted.link", []byte("fast link"), 0))
		require.NoError(t, unix.Lsetxattr(b.path("link-58"), "trusted.big", pattern(600, 8), 0))
	}
	// Times last: making things changes them.
	for i, sec := range []int64{0, 1, 1 << 31, 1<<32 - 1, 1<<31 - 1, 1_700_000_000} {
		at := time.Unix(sec, 123456789)
		require.NoError(t, os.Chtimes(b.path(fmt.Sprintf("mode/%d", i)), at, at))
	}
	require.NoError(t, os.Chtimes(b.path("empty"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	return b.dir
}

func setACL(t testing.TB, name, acl string) {
	t.Helper()
	testtool.Need(t, "setfacl")
	testtool.Run(t, "setfacl", "-m", acl, name)
}

// judge says how far a comparison goes.
type judge struct {
	nanoseconds bool // times to the nanosecond, and those before 1970 and behind 2038
	skipXattr   func(name string) bool
	skipTimes   func(a vfs.Attr) bool
}

// compareTree compares everything below the folder host with everything below
// the root of fs.
func compareTree(t testing.TB, fs vfs.FS, host string, j judge) {
	t.Helper()
	seen := make(map[uint64]vfs.Ino) // hard links
	n := compareDir(t, fs, fs.Root(), host, "", j, seen)
	require.NotZero(t, n)
}

func compareDir(t testing.TB, fs vfs.FS, ino vfs.Ino, host, path string, j judge, seen map[uint64]vfs.Ino) (n int) {
	t.Helper()
	want := map[string]os.DirEntry{}
	list, err := os.ReadDir(filepath.Join(host, path))
	require.NoError(t, err)
	for _, e := range list {
		want[e.Name()] = e
	}
	got := map[string]vfs.DirEntry{}
	for e, err := range fs.ReadDir(ctx, ino, 0) {
		require.NoError(t, err, "directory %q", path)
		if _, dup := got[e.Name]; dup {
			t.Fatalf("%q twice in %q", e.Name, path)
		}
		got[e.Name] = e
	}
	if path == "" {
		delete(got, "lost+found")
		delete(want, "lost+found")
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Fatalf("%q should not be in %q", name, path)
		}
	}
	for name, e := range got {
		delete(want, name)
		full := filepath.Join(path, name)
		a, err := fs.Lookup(ctx, ino, name)
		require.NoError(t, err, full)
		require.Equal(t, e.Ino, a.Ino, full)
		if e.Type != 0 {
			require.Equal(t, e.Type, a.Mode.Type(), full)
		}
		compareFile(t, fs, a, filepath.Join(host, full), j, seen)
		n++
		if a.Mode.IsDir() {
			n += compareDir(t, fs, a.Ino, host, full, j, seen)
		}
	}
	require.Empty(t, want, "missing in %q", path)
	return n
}

func compareFile(t testing.TB, fs vfs.FS, a vfs.Attr, host string, j judge, seen map[uint64]vfs.Ino) {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(host, &st))
	require.Equal(t, vfs.Mode(st.Mode).String(), a.Mode.String(), host)
	if os.Geteuid() == 0 {
		require.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{a.UID, a.GID}, host)
	}
	if a.Mode.IsRegular() || a.Mode.IsSymlink() {
		require.Equal(t, st.Size, a.Size, host)
	}
	if !a.Mode.IsDir() {
		require.Equal(t, uint32(st.Nlink), a.Nlink, host)
		if st.Nlink > 1 {
			if first, ok := seen[st.Ino]; ok {
				require.Equal(t, first, a.Ino, "hard link %s", host)
			}
			seen[st.Ino] = a.Ino
		}
	}
	if a.Mode.IsDevice() {
		require.Equal(t, vfs.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}, a.Rdev, host)
	}
	if j.skipTimes != nil && j.skipTimes(a) {
	} else if j.nanoseconds {
		require.Equal(t, time.Unix(st.Mtim.Unix()).UTC(), a.Mtime, "mtime of %s", host)
		require.Equal(t, time.Unix(st.Ctim.Unix()).UTC(), a.Ctime, "ctime of %s", host)
	} else {
		require.Equal(t, uint32(st.Mtim.Sec), uint32(a.Mtime.Unix()), "mtime of %s", host)
	}
	switch a.Mode.Type() {
	case vfs.Symlink:
		want, err := os.Readlink(host)
		require.NoError(t, err)
		got, err := fs.Readlink(ctx, a.Ino)
		require.NoError(t, err, host)
		require.Equal(t, want, got, host)
	case vfs.Regular:
		compareContents(t, fs, a, host)
	}
	if x, ok := fs.(vfs.Xattrer); ok {
		got, err := x.Xattrs(ctx, a.Ino)
		require.NoError(t, err, host)
		want := hostXattrs(t, host)
		for name := range want {
			if j.skipXattr != nil && j.skipXattr(name) {
				delete(want, name)
				delete(got, name)
			}
		}
		require.Equal(t, want, got, "attributes of %s", host)
	}
}

// compareContents reads a file in pieces of an odd size, and compares the
// pieces that either side has data in; what both say is a hole is compared at
// its ends.
func compareContents(t testing.TB, fs vfs.FS, a vfs.Attr, host string) {
	t.Helper()
	f, err := os.Open(host)
	require.NoError(t, err)
	defer f.Close()
	want, got := make([]byte, 70001), make([]byte, 70001)
	junk := bytes.Repeat([]byte{0x55}, len(got))
	for off := int64(0); off < a.Size; {
		if off > 16<<20 {
			// Far into a sparse file: go where one of them has data.
			h, herr := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
			g, gerr := fs.(vfs.HoleSeeker).SeekData(ctx, a.Ino, off)
			if herr != nil && gerr != nil {
				break
			}
			if herr != nil {
				h = a.Size
			}
			if gerr != nil {
				g = a.Size
			}
			off = min(h, g)
		}
		n := min(int64(len(want)), a.Size-off)
		_, err := f.ReadAt(want[:n], off)
		require.NoError(t, err)
		copy(got, junk)
		m, err := fs.ReadAt(ctx, a.Ino, got[:n], off)
		require.NoError(t, err, host)
		require.Equal(t, int(n), m)
		if !bytes.Equal(want[:n], got[:n]) {
			i := 0
			for want[i] == got[i] {
				i++
			}
			t.Fatalf("%s differs at byte %d: %#x, want %#x", host, off+int64(i), got[i], want[i])
		}
		off += n
	}
}

func hostXattrs(t testing.TB, name string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, list)
	require.NoError(t, err, name)
	for _, attr := range strings.Split(string(list[:n]), "\x00") {
		if attr == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(name, attr, value)
		require.NoError(t, err, "%s of %s", attr, name)
		out[attr] = value[:n]
	}
	return out
}
