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
	"github.com/resflash/resflash/image/internal/testtool"
	"github.com/resflash/resflash/image/iso9660"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
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
func rockTree(t testing.TB) string {
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
	b.link("links/long", strings.Repeat("component/", 100)+"end")
	b.link("links/longer", strings.Repeat(strings.Repeat("x", 250)+"/", 3)+"end")
	b.link(strings.Repeat("l", 255), strings.Repeat("y/", 300)+"end")
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
	for i := range 500 {
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
	name string
	args []string
}{
	{"xorriso", []string{"xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", "Test_Label"}},
	{"xorriso, deep directories relocated", []string{"xorriso", "-compliance", "deep_paths_off", "-as", "mkisofs", "-quiet", "-R"}},
	{"xorriso, hard links", []string{"xorriso", "-as", "mkisofs", "-quiet", "-R", "--hardlinks", "-iso-level", "3"}},
}

// Volumes with Rock Ridge hold exactly what was put on them.
func TestRockRidge(t *testing.T) {
	testtool.Need(t, "xorriso")
	folder := rockTree(t)
	want := host(t, folder)
	for _, m := range makers {
		t.Run(m.name, func(t *testing.T) {
			img := filepath.Join(t.TempDir(), "x.iso")
			args := append(slices.Clone(m.args[1:]), "-o", img, folder)
			testtool.Run(t, m.args[0], args...)
			fsys, dev := open(t, img)
			assert.Equal(t, "ISO 9660", fsys.Info().Type)
			assert.Contains(t, fsys.Info().Features, "Rock Ridge")
			got := volume(t, fsys)
			sameNodes(t, want, got, "what was put on the volume")
			vfstest.Run(t, fsys, dev)
		})
	}
}
