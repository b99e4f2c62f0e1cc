package diff

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

var ctx = context.Background()

func side(fsys vfs.FS) Side { return Side{vfs.NewTree(fsys), "/"} }

// differences are one line for each.
func differences(t *testing.T, a, b Side, opt Options) (lines []string) {
	t.Helper()
	err := Trees(ctx, a, b, opt, func(c Change) error {
		switch {
		case c.Old == nil:
			lines = append(lines, "+"+c.Path)
		case c.New == nil:
			lines = append(lines, "-"+c.Path)
		default:
			lines = append(lines, fmt.Sprintf("~%s %s", c.Path, strings.Join(c.Differs, " ")))
		}
		return nil
	})
	require.NoError(t, err)
	return lines
}

func TestTrees(t *testing.T) {
	long := []byte(strings.Repeat("x", 3*bufferSize+5))
	other := []byte(string(long[:len(long)-1]) + "y")
	a, b := memfs.New(), memfs.New()
	for _, f := range []*memfs.FS{a, b} {
		f.AddDir("/same")
		f.AddFile("/same/file", long)
		f.AddSymlink("/same/link", "file")
		f.AddSparse("/same/holes", 1<<40, []memfs.Data{{Off: 1 << 39, Bytes: []byte("x")}})
	}
	assert.Empty(t, differences(t, side(a), side(b), Options{Mtime: true}))

	mode := func(m vfs.Mode) func(*vfs.Attr) { return func(a *vfs.Attr) { a.Mode = m } }
	a.AddDir("/gone")
	a.AddDir("/gone/sub")
	a.AddFile("/gone/sub/file", nil)
	b.AddDir("/gone.d") // behind "/gone/sub" in the order of bytes, but not of directories
	b.AddFile("/new", nil)
	a.AddFile("/content", long)
	b.AddFile("/content", other)
	a.AddFile("/size", long)
	b.AddFile("/size", long[1:])
	a.AddFile("/mode", nil, mode(vfs.Regular|0o644))
	b.AddFile("/mode", nil, mode(vfs.Regular|0o4755))
	a.AddFile("/owner", nil)
	b.AddFile("/owner", nil, func(a *vfs.Attr) { a.GID = 5 })
	a.AddSymlink("/target", "a")
	b.AddSymlink("/target", "b")
	a.AddDevice("/dev", vfs.Char, vfs.Dev{Major: 1, Minor: 3})
	b.AddDevice("/dev", vfs.Char, vfs.Dev{Major: 1, Minor: 5})
	a.AddFile("/type", nil)
	b.AddDir("/type")
	b.AddFile("/type/in it", nil)
	a.AddFile("/xattr", nil)
	b.AddFile("/xattr", nil)
	a.AddXattr("/xattr", "user.a", []byte("1"))
	b.AddXattr("/xattr", "user.a", []byte("2"))
	b.AddXattr("/xattr", "user.b", []byte("1"))
	assert.Equal(t, []string{
		"~/content content", "~/dev device", "-/gone", "-/gone/sub", "-/gone/sub/file", "+/gone.d", "~/mode mode", "+/new",
		"~/owner owner", "~/size content size", "~/target target", "~/type type", "+/type/in it", "~/xattr xattrs",
	}, differences(t, side(a), side(b), Options{}))
	assert.Empty(t, differences(t, Side{vfs.NewTree(a), "/same"}, Side{vfs.NewTree(b), "/same"}, Options{}))
	assert.Equal(t, []string{"~ content"}, differences(t, Side{vfs.NewTree(a), "/content"}, Side{vfs.NewTree(b), "/content"}, Options{}))
}

// broken cannot read one file.
type broken struct {
	*memfs.FS
	ino vfs.Ino
}

func (b *broken) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	if ino == b.ino {
		return 0, syscall.EIO
	}
	return b.FS.ReadAt(ctx, ino, p, off)
}

// What cannot be read is told and counts as a difference; what comes behind it
// is compared all the same.
func TestTreesThatCannotBeRead(t *testing.T) {
	a, b := memfs.New(), memfs.New()
	for _, f := range []*memfs.FS{a, b} {
		f.AddFile("/a", []byte("contents"))
		f.AddFile("/b", []byte("contents"))
	}
	a.AddFile("/c", nil)
	bad, err := vfs.NewTree(b).Resolve(ctx, "/a")
	require.NoError(t, err)
	var told []string
	opt := Options{Problem: func(other bool, path string, err error) error {
		told = append(told, fmt.Sprint(other, path, err))
		return nil
	}}
	assert.Equal(t, []string{"~/a content", "-/c"}, differences(t, side(a), side(&broken{b, bad.Ino}), opt))
	assert.Equal(t, []string{"true/a" + syscall.EIO.Error()}, told)
	err = Trees(ctx, side(a), side(&broken{b, bad.Ino}), Options{}, func(Change) error { return nil })
	assert.ErrorIs(t, err, syscall.EIO)
	stopped, stop := context.WithCancel(ctx)
	stop()
	assert.ErrorIs(t, Trees(stopped, side(a), side(b), opt, func(Change) error { return nil }), context.Canceled)
}

func TestPackages(t *testing.T) {
	status := "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\nDescription: x\n Package: no\n\n" +
		"Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.35\n\nPackage: half\nStatus: deinstall ok config-files\nVersion: 1\n"
	for name, c := range map[string]struct {
		make    func(f *memfs.FS)
		manager string
		want    map[string]string
	}{
		"none": {func(*memfs.FS) {}, "", map[string]string{}},
		"dpkg": {func(f *memfs.FS) {
			f.AddDir("/var")
			f.AddDir("/var/lib")
			f.AddDir("/var/lib/dpkg")
			f.AddFile("/var/lib/dpkg/status", []byte(status))
		}, "dpkg", map[string]string{"libc6": "2.36", "libc6:i386": "2.35"}},
		"apk": {func(f *memfs.FS) {
			for _, d := range strings.Fields("/lib /lib/apk /lib/apk/db") {
				f.AddDir(d)
			}
			f.AddFile("/lib/apk/db/installed", []byte("C:Q1\nP:musl\nV:1.2.5-r0\nF:lib\nR:x\n\nP:busybox\nV:1.36\n\n"))
		}, "apk", map[string]string{"musl": "1.2.5-r0", "busybox": "1.36"}},
		"OpenBSD": {func(f *memfs.FS) {
			for _, d := range strings.Fields("/var /var/db /var/db/pkg /var/db/pkg/py3-cups-2.0.1p1v0 /var/db/pkg/vim-9.1-no_x11 /var/db/pkg/not-1.0") {
				f.AddDir(d)
			}
			f.AddFile("/var/db/pkg/py3-cups-2.0.1p1v0/+CONTENTS", nil)
			f.AddFile("/var/db/pkg/vim-9.1-no_x11/+CONTENTS", nil)
		}, "pkg_add", map[string]string{"py3-cups": "2.0.1p1v0", "vim": "9.1-no_x11"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := memfs.New()
			c.make(f)
			p, err := ReadPackages(ctx, vfs.NewTree(f))
			require.NoError(t, err)
			assert.Equal(t, c.manager, p.Manager)
			assert.Equal(t, c.want, p.Versions)
		})
	}
	f := memfs.New()
	for _, d := range strings.Fields("/var /var/lib /var/lib/rpm") {
		f.AddDir(d)
	}
	f.AddFile("/var/lib/rpm/Packages", nil)
	_, err := ReadPackages(ctx, vfs.NewTree(f))
	assert.EqualError(t, err, "not supported: the packages of rpm (/var/lib/rpm/Packages)")

	// A directory in place of the database, and a line without an end.
	f = memfs.New()
	for _, d := range strings.Fields("/var /var/lib /var/lib/dpkg /var/lib/dpkg/status") {
		f.AddDir(d)
	}
	_, err = ReadPackages(ctx, vfs.NewTree(f))
	assert.ErrorContains(t, err, "not a regular file")
	f = memfs.New()
	for _, d := range strings.Fields("/var /var/lib /var/lib/dpkg") {
		f.AddDir(d)
	}
	f.AddSparse("/var/lib/dpkg/status", 1<<40, nil)
	_, err = ReadPackages(ctx, vfs.NewTree(f))
	assert.ErrorContains(t, err, "too long")

	old := &Packages{Versions: map[string]string{"a": "1", "b": "1", "c": "1"}}
	now := &Packages{Versions: map[string]string{"b": "1", "c": "2", "d": "1"}}
	assert.Equal(t, []PackageChange{{"a", "1", ""}, {"c", "1", "2"}, {"d", "", "1"}}, DiffPackages(old, now))
}

func TestBlocks(t *testing.T) {
	const tib = 1 << 40
	a, b := blockio.NewSparse(tib), blockio.NewSparse(tib+100)
	for _, d := range []*blockio.Sparse{a, b} {
		_, err := d.WriteAt([]byte("the same"), 1<<30)
		require.NoError(t, err)
	}
	c, err := Blocks(ctx, a, b)
	require.NoError(t, err)
	assert.Equal(t, BlockCount{Size: BlockSize, Total: tib/BlockSize + 1, Different: 1, Bytes: 100}, c, "one is longer")
	_, err = b.WriteAt(make([]byte, 3*BlockSize), 1<<35)
	require.NoError(t, err)
	_, err = b.WriteAt([]byte(strings.Repeat("x", BlockSize+2)), 1<<36-1)
	require.NoError(t, err)
	c, err = Blocks(ctx, a, b)
	require.NoError(t, err)
	assert.Equal(t, int64(4), c.Different, "and three blocks hold something else")
	c, err = Blocks(ctx, b, a)
	require.NoError(t, err)
	assert.Equal(t, BlockCount{Size: BlockSize, Total: tib / BlockSize, Different: 3, Bytes: 3 * BlockSize}, c)
}
