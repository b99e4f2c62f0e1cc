package populate_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/populate"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// original is a tree with files of every kind.
func original(t *testing.T) (*memfs.FS, *vfs.Tree) {
	t.Helper()
	ctx := context.Background()
	fsys := memfs.New()
	tree := vfs.NewTree(fsys)
	old := time.Unix(1_000_000_000, 5)
	make := func(path string, node vfs.NewNode) vfs.Ino {
		node.UID, node.GID, node.Mtime = 7, 8, old
		a, err := tree.Create(ctx, path, node)
		require.NoError(t, err)
		return a.Ino
	}
	make("/top", vfs.NewNode{Mode: vfs.Dir | 0o2750})
	file := make("/top/file", vfs.NewNode{Mode: vfs.Regular | 0o4711})
	_, err := fsys.WriteAt(ctx, file, []byte("contents"), 0)
	require.NoError(t, err)
	_, err = fsys.Link(ctx, file, must(tree.Resolve(ctx, "/top")).Ino, "other")
	require.NoError(t, err)
	holes := make("/top/holes", vfs.NewNode{Mode: vfs.Regular | 0o600})
	_, err = fsys.WriteAt(ctx, holes, []byte("middle"), 1<<20)
	require.NoError(t, err)
	size := int64(5 << 20)
	_, err = fsys.Setattr(ctx, holes, vfs.SetAttr{Size: &size})
	require.NoError(t, err)
	make("/top/sub", vfs.NewNode{Mode: vfs.Dir | 0o700})
	make("/top/sub/link", vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: "../../nowhere"})
	make("/top/sub/null", vfs.NewNode{Mode: vfs.Char | 0o666, Rdev: vfs.Dev{Major: 2, Minor: 70000}})
	make("/top/sub/fifo", vfs.NewNode{Mode: vfs.FIFO | 0o644})
	schg := vfs.SystemImmutable
	keep := make("/top/sub/keep", vfs.NewNode{Mode: vfs.Regular | 0o400})
	_, err = fsys.Setattr(ctx, keep, vfs.SetAttr{Flags: &schg})
	require.NoError(t, err)
	return fsys, tree
}

func must(a vfs.Attr, err error) vfs.Attr {
	if err != nil {
		panic(err)
	}
	return a
}

// A told is what can be compared of a file.
type told struct {
	mode     vfs.Mode
	uid, gid uint32
	size     int64
	nlink    uint32
	rdev     vfs.Dev
	flags    vfs.Flags
	mtime    int64
	text     string
}

func list(t *testing.T, tree *vfs.Tree, below string) map[string]told {
	t.Helper()
	ctx := context.Background()
	all := map[string]told{}
	require.NoError(t, tree.Walk(ctx, below, func(path string, a vfs.Attr, err error) error {
		require.NoError(t, err)
		one := told{mode: a.Mode, uid: a.UID, gid: a.GID, nlink: a.Nlink, rdev: a.Rdev, flags: a.Flags, mtime: a.Mtime.UnixNano()}
		switch {
		case a.Mode.IsRegular():
			one.size = a.Size
			data := make([]byte, a.Size)
			tree.FS().ReadAt(ctx, a.Ino, data, 0)
			one.text = strings.Trim(string(data), "\x00")
		case a.Mode.IsSymlink():
			one.text, err = tree.FS().Readlink(ctx, a.Ino)
			require.NoError(t, err)
		case a.Mode.IsDir():
			one.nlink = 0
		}
		all[path[len(below):]] = one
		return nil
	}))
	return all
}

func TestCopyTreeKeepsEverything(t *testing.T) {
	ctx := context.Background()
	_, from := original(t)
	fsys := memfs.New()
	to := vfs.NewTree(fsys)
	var made []string
	done, err := populate.CopyTree(ctx, fsys, from, "/top", fsys.Root(), "copy", populate.Options{
		Made: func(m populate.Made) { made = append(made, m.From+" "+m.Path) },
	})
	require.NoError(t, err)
	assert.Equal(t, list(t, from, "/top"), list(t, to, "/copy"))
	assert.EqualValues(t, 9, done.Files)
	assert.LessOrEqual(t, done.Bytes, int64(8+4096), "the holes are not copied")
	assert.Equal(t, []string{
		"/top /copy", "/top/file /copy/file", "/top/holes /copy/holes", "/top/other /copy/other", "/top/sub /copy/sub",
		"/top/sub/fifo /copy/sub/fifo", "/top/sub/keep /copy/sub/keep", "/top/sub/link /copy/sub/link", "/top/sub/null /copy/sub/null",
	}, made)

	// Another one over it: the immutable file is in the way.
	_, err = populate.CopyTree(ctx, fsys, from, "/top", fsys.Root(), "copy", populate.Options{})
	assert.ErrorContains(t, err, "/copy/sub/keep")
}

func TestPlainCopyTree(t *testing.T) {
	ctx := context.Background()
	_, from := original(t)
	fsys := memfs.New()
	to := vfs.NewTree(fsys)
	// This file stays what it is, but for its contents.
	require.NoError(t, to.MkdirAll(ctx, "/copy", vfs.NewNode{Mode: 0o711}))
	_, err := to.Create(ctx, "/copy/file", vfs.NewNode{Mode: vfs.Regular | 0o640, UID: 3})
	require.NoError(t, err)
	owner := func(uint32, uint32) (uint32, uint32) { return 0, 1 }
	_, err = populate.CopyTree(ctx, fsys, from, "/top", fsys.Root(), "copy", populate.Options{Plain: true, Owner: owner})
	require.NoError(t, err)
	got := list(t, to, "/copy")
	assert.Equal(t, vfs.Regular|0o640, got["/file"].mode)
	assert.EqualValues(t, 3, got["/file"].uid)
	assert.Equal(t, "contents", got["/file"].text)
	assert.Equal(t, vfs.Dir|0o711, got[""].mode)
	assert.Equal(t, vfs.Dir|0o700, got["/sub"].mode)
	assert.EqualValues(t, 1, got["/sub"].gid)
	assert.Zero(t, got["/sub/keep"].flags)
	assert.Greater(t, got["/sub/null"].mtime, int64(1_700_000_000e9), "of now")
}

// A copy that would eat its own tail is refused before it does harm.
func TestCopyTreeIntoItself(t *testing.T) {
	ctx := context.Background()
	fsys, tree := original(t)
	before := list(t, tree, "/top")
	for _, plain := range []bool{false, true} {
		opt := populate.Options{Plain: plain}
		top, sub := must(tree.Resolve(ctx, "/top")).Ino, must(tree.Resolve(ctx, "/top/sub")).Ino
		_, err := populate.CopyTree(ctx, fsys, tree, "/top", top, ".", opt)
		assert.ErrorContains(t, err, "itself")
		_, err = populate.CopyTree(ctx, fsys, tree, "/top", fsys.Root(), "top", opt)
		assert.ErrorContains(t, err, "same file")
		_, err = populate.CopyTree(ctx, fsys, tree, "/top/file", top, "file", opt)
		assert.ErrorContains(t, err, "same file")
		_, err = populate.CopyTree(ctx, fsys, tree, "/top/file", top, "other", opt)
		assert.ErrorContains(t, err, "same file")
		_, err = populate.CopyTree(ctx, fsys, tree, "/top", top, "new", opt)
		assert.ErrorContains(t, err, "itself")
		after := list(t, tree, "/top")
		delete(before, "/sub") // its times change below
		delete(after, "/sub")
		assert.Equal(t, before, after)
		_, err = populate.CopyTree(ctx, fsys, tree, "/top", sub, "deep", opt)
		assert.ErrorContains(t, err, "itself")
		require.NoError(t, clearFlags(ctx, fsys, tree, "/top/sub/deep"))
		require.NoError(t, tree.RemoveAll(ctx, "/top/sub/deep"))
	}
}

func clearFlags(ctx context.Context, fsys *memfs.FS, tree *vfs.Tree, below string) error {
	none := vfs.Flags(0)
	return tree.Walk(ctx, below, func(_ string, a vfs.Attr, err error) error {
		if err == nil && a.Flags != 0 {
			_, err = fsys.Setattr(ctx, a.Ino, vfs.SetAttr{Flags: &none})
		}
		return err
	})
}
