package iso9660_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
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
	"github.com/resflash/resflash/image/iso9660"
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
	size   int64 // of files and links
	mtime  string
	target string
	dev    vfs.Dev
	sum    [32]byte
}

func mtime(at time.Time) string { return at.UTC().Format(time.DateTime) }

// host lists what is below a folder of the host.
func host(t testing.TB, root string) map[string]node {
	t.Helper()
	nodes := map[string]node{}
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == root {
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
		n := node{mode: mode.String(), uid: st.Uid, gid: st.Gid, mtime: mtime(time.Unix(st.Mtim.Sec, 0))}
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

// volume lists what is on an open volume, in the same form.
func volume(t testing.TB, fsys vfs.FS) map[string]node {
	t.Helper()
	nodes := map[string]node{}
	var visit func(dir vfs.Ino, prefix string)
	visit = func(dir vfs.Ino, prefix string) {
		for e, err := range fsys.ReadDir(ctx, dir, 0) {
			require.NoError(t, err)
			path := prefix + e.Name
			a, err := fsys.Getattr(ctx, e.Ino)
			require.NoError(t, err, path)
			n := node{mode: a.Mode.String(), uid: a.UID, gid: a.GID, mtime: mtime(a.Mtime), dev: a.Rdev}
			switch {
			case a.Mode.IsDir():
				visit(e.Ino, path+"/")
			case a.Mode.IsRegular():
				n.size, n.sum = a.Size, sha256.Sum256(contents(t, fsys, a))
			case a.Mode.IsSymlink():
				n.size = a.Size
				n.target, err = fsys.Readlink(ctx, e.Ino)
				require.NoError(t, err, path)
			}
			nodes[path] = n
		}
	}
	visit(fsys.Root(), "")
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

func sameNodes(t testing.TB, want, got map[string]node, msg string) {
	t.Helper()
	assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)), msg)
	for path, w := range want {
		if g, ok := got[path]; ok && g != w {
			assert.Equal(t, w, g, "%s: %s", msg, path)
		}
	}
}

// A builder makes a folder on the host.
type builder struct {
	t    testing.TB
	root string
	rnd  *rand.Rand
	at   time.Time
}

func newBuilder(t testing.TB) *builder {
	return &builder{t, t.TempDir(), rand.New(rand.NewPCG(5, 5)), time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)}
}

// path returns where name lies on the host, below folders that it makes.
func (b *builder) path(name string) string {
	path := filepath.Join(b.root, name)
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	return path
}

func (b *builder) file(name string, size int, mode os.FileMode) {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(b.rnd.Uint32())
	}
	path := b.path(name)
	require.NoError(b.t, os.WriteFile(path, p, 0o600))
	require.NoError(b.t, os.Chmod(path, mode))
}

func (b *builder) link(name, target string) {
	require.NoError(b.t, os.Symlink(target, b.path(name)))
}

func (b *builder) node(name string, mode uint32, major, minor uint32) {
	require.NoError(b.t, unix.Mknod(b.path(name), mode, int(unix.Mkdev(major, minor))))
}

// finish gives everything an owner and a time of its own.
func (b *builder) finish() string {
	id := 100
	require.NoError(b.t, filepath.WalkDir(b.root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if id++; os.Getuid() == 0 {
			st, err := os.Lstat(path)
			require.NoError(b.t, err)
			require.NoError(b.t, os.Lchown(path, id, 7*id))
			if st.Mode()&fs.ModeSymlink == 0 { // chown took the set-id bits
				require.NoError(b.t, os.Chmod(path, st.Mode()))
			}
		}
		b.at = b.at.Add(26*time.Hour + 61*time.Second)
		ts := unix.NsecToTimespec(b.at.UnixNano())
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	}))
	return b.root
}

// rockTree makes a folder with everything that Rock Ridge has a word for.
func rockTree(t testing.TB, longLinks bool) string {
	b := newBuilder(t)
	b.file("README.TXT", 100, 0o644)
	b.file("empty", 0, 0o600)
	b.file("setuid", 10, 0o755|os.ModeSetuid)
	b.file("setgid", 10, 0o711|os.ModeSetgid)
	b.file("three blocks", 3*2048, 0o444)
	b.file("big.bin", 3_000_001, 0o640)
	b.file(strings.Repeat("n", 255), 255, 0o644)
	b.file(strings.Repeat("ü", 127)+"x", 1, 0o644)
	for n := 100; n < 255; n += 7 {
		b.file("names/"+strings.Repeat("a", n), n, 0o644)
	}
	b.file("names/semi;1", 1, 0o644)
	b.file("names/UPPER.lower.;1", 1, 0o644)
	b.file("names/trailing.", 1, 0o644)
	b.file("names/bad \xff utf-8", 1, 0o644)
	b.file("names/\U0001f600 日本語", 1, 0o644)
	b.file("1/2/3/4/5/6/7/8/9/10/11/12/deep", 5, 0o644)
	b.file("1/2/3/4/5/6/7/other/10/11/deep", 6, 0o644)
	b.link("links/short", "a")
	b.link("links/up", "../../README.TXT")
	b.link("links/here", "./.././x")
	b.link("links/absolute", "/usr/lib/x")
	b.link("links/root", "/")
	b.link("links/dangling", strings.Repeat("d", 255))
	if longLinks {
		b.link("links/long", strings.Repeat("component/", 100)+"end")
		b.link("links/longer", strings.Repeat(strings.Repeat("x", 250)+"/", 3)+"end")
		b.link(strings.Repeat("l", 255), strings.Repeat("y/", 300)+"end")
	}
	b.node("nodes/fifo", unix.S_IFIFO|0o644, 0, 0)
	if os.Getuid() == 0 {
		b.node("nodes/null", unix.S_IFCHR|0o666, 1, 3)
		b.node("nodes/sda", unix.S_IFBLK|0o660, 8, 0)
		b.node("nodes/nvme", unix.S_IFBLK|0o660, 259, 300)
		b.node("nodes/minor only", unix.S_IFCHR|0o600, 0, 7)
	}
	require.NoError(t, os.Mkdir(b.path("empty dir"), 0o700))
	require.NoError(t, os.Mkdir(b.path("sticky"), 0o755))
	require.NoError(t, os.Chmod(b.path("sticky"), 0o777|os.ModeSticky))
	require.NoError(t, os.Link(b.path("README.TXT"), b.path("names/hard link")))
	for i := range 150 {
		b.file(fmt.Sprintf("many/a file with a name of some length, number %d", i), i%10, 0o644)
	}
	return b.finish()
}

func open(t testing.TB, img string) (vfs.FS, blockio.Device) {
	t.Helper()
	dev, err := blockio.OpenFile(img)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	ok, err := iso9660.Probe(dev)
	require.NoError(t, err)
	require.True(t, ok, "the volume is recognised")
	fsys, err := iso9660.Open(ctx, dev)
	require.NoError(t, err)
	return fsys, dev
}

// makers are the programs that write volumes, with Rock Ridge.
var makers = []struct {
	name  string
	short bool // without long symbolic links, on which genisoimage never ends
	args  []string
}{
	{"xorriso", false, []string{"xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", "Test_Label"}},
	{"xorriso, deep directories relocated", false, []string{"xorriso", "-compliance", "deep_paths_off", "-as", "mkisofs", "-quiet", "-R"}},
	{"xorriso, hard links", false, []string{"xorriso", "-as", "mkisofs", "-quiet", "-R", "--hardlinks", "-iso-level", "3"}},
	{"genisoimage", true, []string{"genisoimage", "-quiet", "-R", "-V", "Test_Label"}},
	{"genisoimage, relaxed names", true, []string{"genisoimage", "-quiet", "-R", "-iso-level", "3", "-U"}},
}

// make makes a volume of a folder.
func makeISO(t testing.TB, folder string, args ...string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "x.iso")
	args = append(slices.Clone(args), "-o", img, folder)
	testtool.Run(t, args[0], args[1:]...)
	return img
}

// Volumes with Rock Ridge hold exactly what was put on them, and read as other
// programs read them.
func TestRockRidge(t *testing.T) {
	testtool.Need(t, "xorriso", "genisoimage", "bsdtar", "isoinfo", "blkid")
	long, short := rockTree(t, true), rockTree(t, false)
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			folder := long
			if m.short {
				folder = short
			}
			want := host(t, folder)
			img := makeISO(t, folder, m.args...)
			before := testtool.Run(t, "sha256sum", img)
			fsys, dev := open(t, img)
			info := fsys.Info()
			assert.Equal(t, "ISO 9660", info.Type)
			assert.Contains(t, info.Features, "Rock Ridge")
			assert.Equal(t, blkid(t, img, "LABEL"), info.Label)
			assert.Equal(t, blkid(t, img, "UUID"), info.UUID)
			got := volume(t, fsys)
			// genisoimage does not hide where it moves deep directories to.
			if moved, ok := got["rr_moved"]; ok && m.short {
				want["rr_moved"] = moved
			}
			sameNodes(t, want, got, "what was put on the volume")
			vfstest.Run(t, fsys, dev)

			out := t.TempDir()
			testtool.Run(t, "xorriso", "-osirrox", "on:auto_chmod_on", "-indev", img, "-extract", "/", out)
			// It extracts neither devices nor the owners and times of links.
			extracted, some := host(t, out), maps.Clone(got)
			for path, n := range some {
				switch x := extracted[path]; {
				case n.mode[0] == 'b' || n.mode[0] == 'c':
					delete(some, path)
				case n.mode[0] == 'l':
					n.uid, n.gid, n.mtime = x.uid, x.gid, x.mtime
					some[path] = n
				}
			}
			sameNodes(t, extracted, some, "what xorriso extracts")
			// isoinfo shows a relocated directory in both places.
			if !strings.Contains(m.name, "relocated") && m.name[0] == 'x' {
				out := testtool.Run(t, "isoinfo", "-R", "-f", "-i", img)
				listed := strings.Split(strings.TrimSpace(out), "\n")
				for i, path := range listed {
					listed[i] = strings.TrimPrefix(path, "/")
				}
				slices.Sort(listed)
				assert.Equal(t, slices.Sorted(maps.Keys(got)), listed, "what isoinfo lists")
			}
			assert.Equal(t, before, testtool.Run(t, "sha256sum", img), "reading changes nothing")
		})
	}
}

// blkid asks what it calls the volume.
func blkid(t testing.TB, img, tag string) string {
	t.Helper()
	for field := range strings.Lines(testtool.Run(t, "blkid", "-p", "-o", "udev", img)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(field), "ID_FS_"+tag+"="); ok {
			return value
		}
	}
	return ""
}

// libarchive, which reads devices and owners as well, extracts the same.
func TestBsdtar(t *testing.T) {
	testtool.Need(t, "xorriso", "bsdtar")
	// It loses the "/" where a long link goes on in another entry.
	folder := rockTree(t, false)
	img := makeISO(t, folder, makers[0].args...)
	out := t.TempDir()
	testtool.Run(t, "env", "LC_ALL=C.UTF-8", "bsdtar", "-x", "-p", "-f", img, "-C", out)
	fsys, _ := open(t, img)
	want, got := host(t, out), volume(t, fsys)
	sameNodes(t, want, got, "what bsdtar extracts")
}

// Without Rock Ridge the names are those of Joliet …
func TestJoliet(t *testing.T) {
	testtool.Need(t, "genisoimage", "isoinfo")
	b := newBuilder(t)
	b.file("A file with Mixed Case.txt", 5, 0o644)
	b.file("Grüße aus Köln", 3000, 0o755)
	b.file("日本語/ファイル", 10, 0o644)
	b.file("dir/no-extension", 0, 0o644)
	b.file("trailing.", 1, 0o644)
	b.file(strings.Repeat("ü", 100), 10, 0o644)
	folder := b.finish()
	img := makeISO(t, folder, "genisoimage", "-quiet", "-J", "-joliet-long", "-input-charset", "utf-8", "-V", "Joliet label")
	fsys, dev := open(t, img)
	assert.Equal(t, []string{"Joliet level 3"}, fsys.Info().Features)
	assert.Equal(t, "Joliet label", fsys.Info().Label)
	want := host(t, folder)
	for path, n := range want { // Joliet knows neither owners nor modes
		n.uid, n.gid, n.mode = 0, 0, "-r--r--r--"
		if n.sum == [32]byte{} {
			n.mode = "dr-xr-xr-x"
		}
		want[path] = n
	}
	sameNodes(t, want, volume(t, fsys), "what was put on the volume")
	vfstest.Run(t, fsys, dev)
}

// … or else the short ones, in lower case.
func TestPlain(t *testing.T) {
	testtool.Need(t, "genisoimage", "isoinfo")
	b := newBuilder(t)
	b.file("README.TXT", 5, 0o644)
	b.file("noext", 3000, 0o755)
	b.file("dir/SUB/file.c", 10, 0o644)
	folder := b.finish()
	for _, level := range []string{"1", "3", "4"} {
		img := makeISO(t, folder, "genisoimage", "-quiet", "-iso-level", level)
		fsys, dev := open(t, img)
		if level == "4" {
			assert.Equal(t, []string{"enhanced volume descriptor"}, fsys.Info().Features)
		} else {
			assert.Empty(t, fsys.Info().Features)
		}
		assert.Equal(t, []string{"dir", "dir/sub", "dir/sub/file.c", "noext", "readme.txt"},
			slices.Sorted(maps.Keys(volume(t, fsys))))
		vfstest.Run(t, fsys, dev)
	}
}

// A directory of thousands of names is found by name and in order.
func TestManyFiles(t *testing.T) {
	testtool.Need(t, "xorriso")
	b := newBuilder(t)
	for i := range 5000 {
		b.file(fmt.Sprintf("d/file number %05d with a name that fills the directory", i), 0, 0o644)
	}
	img := makeISO(t, b.root, "xorriso", "-as", "mkisofs", "-quiet", "-R")
	fsys, _ := open(t, img)
	d, err := fsys.Lookup(ctx, fsys.Root(), "d")
	require.NoError(t, err)
	for i := range 5000 {
		_, err := fsys.Lookup(ctx, d.Ino, fmt.Sprintf("file number %05d with a name that fills the directory", i))
		require.NoError(t, err)
	}
	n := 0
	for _, err := range fsys.ReadDir(ctx, d.Ino, 0) {
		require.NoError(t, err)
		n++
	}
	assert.Equal(t, 5000, n)
}

// What else is on a volume is told, by Info.
func TestFeatures(t *testing.T) {
	testtool.Need(t, "xorriso")
	b := newBuilder(t)
	b.file("boot.img", 2048, 0o644)
	img := makeISO(t, b.root, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-b", "boot.img", "-no-emul-boot", "-V", "A_Long_Volume_Identifier")
	fsys, _ := open(t, img)
	info := fsys.Info()
	assert.Equal(t, []string{"Rock Ridge", "Joliet level 3", "El Torito"}, info.Features)
	assert.Equal(t, blkid(t, img, "UUID"), info.UUID)
	assert.Equal(t, "A_Long_Volume_Identifier", info.Label)
	assert.Equal(t, vfs.StateUnknown, info.State)
}
