package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

func text(s string) io.Reader { return strings.NewReader(s) }

func TestWriteFile(t *testing.T) {
	tree := vfs.NewTree(sample())
	mtime := time.Unix(1e9, 5)
	attr, err := tree.WriteFile(ctx, "/etc/new", text("one"), vfs.NewNode{
		Mode: 0o640, UID: 3, GID: 4, Mtime: mtime, Flags: vfs.SystemImmutable,
	})
	require.NoError(t, err)
	assert.Equal(t, vfs.Regular|0o640, attr.Mode)
	assert.Equal(t, int64(3), attr.Size)
	assert.Equal(t, vfs.SystemImmutable, attr.Flags)
	assert.True(t, attr.Mtime.Equal(mtime))
	_, err = tree.WriteFile(ctx, "/etc/new", text("two"), vfs.NewNode{})
	assert.ErrorIs(t, err, syscall.EPERM)
	require.NoError(t, tree.Chflags(ctx, "/etc/new", 0))

	// What is there keeps its attributes and is shortened.
	attr, err = tree.WriteFile(ctx, "/etc/new", text("2"), vfs.NewNode{Mode: 0o777, UID: 9})
	require.NoError(t, err)
	assert.Equal(t, vfs.Regular|0o640, attr.Mode)
	assert.Equal(t, uint32(3), attr.UID)
	got, err := tree.ReadFile("etc/new")
	require.NoError(t, err)
	assert.Equal(t, "2", string(got))

	large := bytes.Repeat([]byte("0123456789abcdef"), 3<<16+1)
	_, err = tree.WriteFile(ctx, "large", bytes.NewReader(large), vfs.NewNode{Mode: 0o600})
	require.NoError(t, err)
	got, err = tree.ReadFile("large")
	require.NoError(t, err)
	assert.True(t, bytes.Equal(large, got))
}

func TestWriteFileFollowsLinksInsideTheVolume(t *testing.T) {
	tree := vfs.NewTree(sample())
	for path, real := range map[string]string{
		"/escape":         "etc/fstab",
		"/abs":            "etc/fstab",
		"/lib/os-release": "usr/lib/os-release",
		"/etc/os-release": "usr/lib/os-release",
		"/dangling":       "nowhere",
	} {
		_, err := tree.WriteFile(ctx, path, text(path), vfs.NewNode{Mode: 0o644})
		require.NoError(t, err, path)
		got, err := tree.ReadFile(real)
		require.NoError(t, err, path)
		assert.Equal(t, path, string(got))
	}
	for path, want := range map[string]error{
		"/loop": syscall.ELOOP, "/etc": syscall.EISDIR, "/": syscall.EISDIR, "/etc/x/": syscall.EISDIR,
		"/etc/fstab/": syscall.ENOTDIR, "/etc/fstab/x": syscall.ENOTDIR, "/no/x": syscall.ENOENT,
		"/dirlink/": syscall.EISDIR, "/" + strings.Repeat("x", 300): syscall.ENAMETOOLONG,
	} {
		_, err := tree.WriteFile(ctx, path, text("x"), vfs.NewNode{})
		assert.ErrorIs(t, err, want, path)
		var pe *fs.PathError
		if assert.ErrorAs(t, err, &pe, path) {
			assert.Equal(t, path, pe.Path)
		}
	}
}

func TestWriteFileThatFailsLeavesNoNewFile(t *testing.T) {
	tree := vfs.NewTree(sample())
	bad := errors.New("bad input")
	_, err := tree.WriteFile(ctx, "/etc/new", io.MultiReader(text("abc"), iotest.ErrReader(bad)), vfs.NewNode{})
	assert.ErrorIs(t, err, bad)
	_, err = tree.Lstat("etc/new")
	assert.ErrorIs(t, err, fs.ErrNotExist)

	full := vfs.NewTree(memfs.NewWith(memfs.Options{Capacity: 1 << 20}))
	_, err = full.WriteFile(ctx, "new", bytes.NewReader(make([]byte, 3<<20)), vfs.NewNode{})
	assert.ErrorIs(t, err, syscall.ENOSPC)
	_, err = full.WriteFile(ctx, "new", bytes.NewReader(make([]byte, 1<<20)), vfs.NewNode{})
	assert.NoError(t, err)
}

func TestWriter(t *testing.T) {
	tree := vfs.NewTree(sample())
	attr, err := tree.Create(ctx, "/f", vfs.NewNode{Mode: vfs.Regular})
	require.NoError(t, err)
	w := tree.Writer(ctx, attr)
	fmt.Fprint(w, "hello ")
	fmt.Fprint(w, "world")
	_, err = w.WriteAt([]byte("H"), 0)
	require.NoError(t, err)
	got, err := tree.ReadFile("f")
	require.NoError(t, err)
	assert.Equal(t, "Hello world", string(got))
}

func TestMakeAndMove(t *testing.T) {
	m := sample()
	tree := vfs.NewTree(m)
	require.NoError(t, tree.Mkdir(ctx, "/a/", 0o700))
	require.NoError(t, tree.MkdirAll(ctx, "/dirlink/b//c/../d/", vfs.NewNode{Mode: 0o711, UID: 5}))
	attr, err := tree.Resolve(ctx, "/usr/lib/b/d")
	require.NoError(t, err)
	assert.Equal(t, vfs.Dir|0o711, attr.Mode)
	assert.Equal(t, uint32(5), attr.UID)
	require.NoError(t, tree.MkdirAll(ctx, "/", vfs.NewNode{}))
	assert.ErrorIs(t, tree.MkdirAll(ctx, "/etc/fstab/x", vfs.NewNode{}), syscall.ENOTDIR)
	require.NoError(t, tree.Symlink(ctx, "../x", "/a/link"))
	require.NoError(t, tree.Link(ctx, "/a/link", "/a/again"))
	target, err := tree.ReadLink("a/again")
	require.NoError(t, err)
	assert.Equal(t, "../x", target)
	_, err = tree.Create(ctx, "/a/null", vfs.NewNode{Mode: vfs.Char | 0o666, Rdev: vfs.Dev{Major: 2, Minor: 2}})
	require.NoError(t, err)
	require.NoError(t, tree.Rename(ctx, "/a/null", "/lib/null", 0))
	require.NoError(t, tree.Rename(ctx, "/a/", "/usr/a/", 0))
	_, err = tree.Lstat("usr/a/link")
	assert.NoError(t, err)
	require.NoError(t, tree.Remove(ctx, "/usr/a/link"))
	assert.ErrorIs(t, tree.Remove(ctx, "/usr/a"), syscall.ENOTEMPTY)
	require.NoError(t, tree.Remove(ctx, "/usr/a/again"))
	require.NoError(t, tree.Remove(ctx, "/usr/a/"))
	assert.ErrorIs(t, tree.Remove(ctx, "/usr/a"), syscall.ENOENT)
}

func TestMakeErrors(t *testing.T) {
	tree := vfs.NewTree(sample())
	for path, want := range map[string]error{
		"/": syscall.EEXIST, "": syscall.EEXIST, ".": syscall.EEXIST, "/etc/..": syscall.EEXIST, "/etc": syscall.EEXIST,
		"/loop": syscall.EEXIST, "/dangling": syscall.EEXIST, "/no/x": syscall.ENOENT, "/etc/fstab/x": syscall.ENOTDIR,
		"/loop/x": syscall.ELOOP, "/etc/a\x00b": syscall.EINVAL,
	} {
		assert.ErrorIs(t, tree.Mkdir(ctx, path, 0o755), want, "%q", path)
		err := tree.Link(ctx, "/etc/fstab", path)
		assert.ErrorIs(t, err, want, "%q", path)
		var le *os.LinkError
		assert.ErrorAs(t, err, &le)
	}
	for _, path := range []string{"/", "/etc/.."} {
		assert.Error(t, tree.Remove(ctx, path), path)
		assert.Error(t, tree.RemoveAll(ctx, path), path)
		assert.ErrorIs(t, tree.Rename(ctx, path, "/new", 0), syscall.EINVAL, path)
	}
	assert.ErrorIs(t, tree.Link(ctx, "/etc", "/hard"), syscall.EPERM)
	assert.ErrorIs(t, tree.Rename(ctx, "/etc", "/etc/below", 0), syscall.EINVAL)
	assert.ErrorIs(t, tree.Rename(ctx, "/etc/fstab", "/new/", 0), syscall.ENOTDIR)
	assert.ErrorIs(t, tree.Rename(ctx, "/abs", "/etc", vfs.RenameNoReplace), syscall.EEXIST)
	assert.ErrorIs(t, tree.Remove(ctx, "/etc/fstab/"), syscall.ENOTDIR)
}

func TestSetattrByPath(t *testing.T) {
	tree := vfs.NewTree(sample())
	at := time.Unix(12345, 678)
	require.NoError(t, tree.Chmod(ctx, "/abs", 0o4711))
	require.NoError(t, tree.Chown(ctx, "/abs", 1, 2))
	require.NoError(t, tree.Lchown(ctx, "/abs", 3, 4))
	require.NoError(t, tree.Truncate(ctx, "/abs", 3))
	require.NoError(t, tree.Chtimes(ctx, "/abs", time.Time{}, at))
	require.NoError(t, tree.SetattrLink(ctx, "/abs", vfs.SetAttr{Atime: &at}))
	file, err := tree.Resolve(ctx, "/etc/fstab")
	require.NoError(t, err)
	assert.Equal(t, vfs.Regular|0o4711, file.Mode)
	assert.Equal(t, []uint32{1, 2}, []uint32{file.UID, file.GID})
	assert.Equal(t, int64(3), file.Size)
	assert.True(t, file.Mtime.Equal(at))
	assert.False(t, file.Atime.Equal(at))
	link, err := tree.ResolveLink(ctx, "/abs")
	require.NoError(t, err)
	assert.Equal(t, []uint32{3, 4}, []uint32{link.UID, link.GID})
	assert.True(t, link.Atime.Equal(at))
	assert.ErrorIs(t, tree.Chmod(ctx, "/dangling", 0), syscall.ENOENT)
	assert.ErrorIs(t, tree.Truncate(ctx, "/etc", 0), syscall.EISDIR)
}

func TestRemoveAll(t *testing.T) {
	m := sample()
	m.AddDir("/top")
	for i := range 1300 {
		m.AddFile(fmt.Sprintf("/top/%04d", i), nil)
	}
	m.AddSymlink("/top/out", "/etc")
	path := "/top"
	for range 50 {
		path += "/deep"
		m.AddDir(path)
		m.AddFile(path+"/file", []byte("x"))
	}
	tree := vfs.NewTree(m)
	require.NoError(t, tree.RemoveAll(ctx, "/top"))
	require.NoError(t, tree.RemoveAll(ctx, "/top"), "not there is fine")
	require.NoError(t, tree.RemoveAll(ctx, "/no/such"))
	_, err := tree.Lstat("etc/fstab")
	assert.NoError(t, err, "links are not followed")
	require.NoError(t, tree.RemoveAll(ctx, "/dirlink"))
	_, err = tree.Lstat("usr/lib/os-release")
	assert.NoError(t, err)

	require.NoError(t, tree.Chflags(ctx, "/usr/lib/os-release", vfs.SystemImmutable))
	err = tree.RemoveAll(ctx, "/usr/")
	assert.ErrorIs(t, err, syscall.EPERM)
	var pe *fs.PathError
	require.ErrorAs(t, err, &pe)
	assert.Equal(t, "/usr/lib/os-release", pe.Path)
	over, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, tree.RemoveAll(over, "/etc"), context.Canceled)
}

// growing adds a file to a directory whenever one is removed from it, a few
// times.
type growing struct {
	*memfs.FS
	left int
}

func (g *growing) Unlink(ctx context.Context, dir vfs.Ino, name string) error {
	if g.left--; g.left >= 0 {
		if _, err := g.Create(ctx, dir, fmt.Sprint("more", g.left), vfs.NewNode{Mode: vfs.Regular}); err != nil {
			return err
		}
	}
	return g.FS.Unlink(ctx, dir, name)
}

func TestRemoveAllOfADirectoryThatChanges(t *testing.T) {
	m := sample()
	tree := vfs.NewTree(&growing{m, 20})
	require.NoError(t, tree.RemoveAll(ctx, "/etc"))
	_, err := tree.Lstat("etc")
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRemoveAllOfACycle(t *testing.T) {
	m := memfs.New()
	m.AddDir("/etc")
	assert.ErrorIs(t, vfs.NewTree(cyclic{m}).RemoveAll(ctx, "/etc"), syscall.EIO)
}

// readOnly hides that a file system can be written to.
type readOnly struct{ vfs.FS }

func TestReadOnlyTree(t *testing.T) {
	tree := vfs.NewTree(readOnly{sample()})
	_, err := tree.WriteFile(ctx, "/x", text("x"), vfs.NewNode{})
	assert.ErrorIs(t, err, syscall.EROFS)
	_, err = tree.Create(ctx, "/x", vfs.NewNode{Mode: vfs.FIFO})
	assert.ErrorIs(t, err, syscall.EROFS)
	for _, err := range []error{
		tree.Mkdir(ctx, "/x", 0), tree.MkdirAll(ctx, "/x", vfs.NewNode{}), tree.Symlink(ctx, "a", "/x"),
		tree.Link(ctx, "/abs", "/x"), tree.Rename(ctx, "/abs", "/x", 0), tree.Remove(ctx, "/abs"),
		tree.RemoveAll(ctx, "/abs"), tree.Chmod(ctx, "/abs", 0), tree.Truncate(ctx, "/abs", 0),
	} {
		assert.ErrorIs(t, err, syscall.EROFS)
	}
	attr, err := tree.Resolve(ctx, "/abs")
	require.NoError(t, err)
	_, err = tree.Writer(ctx, attr).Write([]byte("x"))
	assert.ErrorIs(t, err, syscall.EROFS)
}
