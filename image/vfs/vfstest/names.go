package vfstest

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

// ioFS runs the standard library's own suite where its rules can hold (it
// opens every file and wants valid UTF-8 paths), and compares links.
func ioFS(t *testing.T, fsys vfs.FS, files []file) {
	tree := vfs.NewTree(fsys)
	small := len(files) < 5000
	for _, f := range files {
		// TestFS reads every file whole, and follows every link.
		small = small && f.attr.Size < 64<<20 && f.attr.Mode&(vfs.Regular|vfs.Dir) != 0
	}
	if small {
		assert.NoError(t, fstest.TestFS(tree, files[0].path[1:]))
	}
	for _, f := range files {
		info, err := tree.Lstat(f.path[1:])
		if strings.ToValidUTF8(f.path, "?") != f.path {
			continue // not a path by the rules of io/fs
		}
		require.NoError(t, err, f.path)
		require.Equal(t, f.attr.Mode.FileMode(), info.Mode(), f.path)
	}
}

func lookups(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	for _, f := range files {
		attr, err := fsys.Lookup(ctx, f.dir, f.name)
		require.NoError(t, err, f.path)
		require.Equal(t, f.attr, attr, f.path)
		if !f.attr.Mode.IsDir() {
			continue
		}
		self, err := fsys.Lookup(ctx, f.attr.Ino, ".")
		require.NoError(t, err, f.path)
		require.Equal(t, f.attr.Ino, self.Ino, "%s/.", f.path)
		up, err := fsys.Lookup(ctx, f.attr.Ino, "..")
		require.NoError(t, err, f.path)
		require.Equal(t, f.dir, up.Ino, "%s/..", f.path)
	}
	up, err := fsys.Lookup(ctx, fsys.Root(), "..")
	require.NoError(t, err)
	require.Equal(t, fsys.Root(), up.Ino, "the root is its own parent")
}

// cookies resumes every directory behind every entry (behind some, where it
// is large).
func cookies(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	dirs := []vfs.Ino{fsys.Root()}
	for _, f := range files {
		if f.attr.Mode.IsDir() {
			dirs = append(dirs, f.attr.Ino)
		}
	}
	for _, dir := range dirs {
		var all []vfs.DirEntry
		for e, err := range fsys.ReadDir(ctx, dir, 0) {
			require.NoError(t, err)
			all = append(all, e)
		}
		step := 1 + len(all)/50
		for i := 0; i < len(all); i += step {
			var rest []vfs.DirEntry
			for e, err := range fsys.ReadDir(ctx, dir, all[i].Next) {
				require.NoError(t, err)
				if rest = append(rest, e); len(rest) == 100 {
					break
				}
			}
			want := all[i+1:]
			want = want[:min(len(want), len(rest), 100)]
			require.Equal(t, min(len(all)-i-1, 100), len(rest), "entries behind %q in directory %d", all[i].Name, dir)
			if len(want) > 0 {
				require.Equal(t, want, rest, "behind %q in directory %d", all[i].Name, dir)
			}
		}
		if len(all) > 0 {
			// A cookie that no listing gave out must not hang or panic.
			for range fsys.ReadDir(ctx, dir, all[len(all)-1].Next+1<<40) {
				break
			}
		}
	}
}

func errnos(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	root := fsys.Root()
	st, err := fsys.Statfs(ctx)
	require.NoError(t, err)
	_, err = fsys.Lookup(ctx, root, "no such file here")
	assert.ErrorIs(t, err, syscall.ENOENT)
	_, err = fsys.Lookup(ctx, root, "")
	assert.ErrorIs(t, err, syscall.ENOENT)
	_, err = fsys.Lookup(ctx, root, strings.Repeat("x", st.NameMax*4+1))
	assert.ErrorIs(t, err, syscall.ENAMETOOLONG)
	_, err = fsys.ReadAt(ctx, root, make([]byte, 10), 0)
	assert.ErrorIs(t, err, syscall.EISDIR)
	_, err = fsys.Readlink(ctx, root)
	assert.ErrorIs(t, err, syscall.EINVAL)
	for _, ino := range []vfs.Ino{0, 1<<32 + 5, 1 << 40, 1<<64 - 1} {
		if ino == root {
			continue
		}
		_, err := fsys.Getattr(ctx, ino)
		assert.True(t, errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ESTALE), "Getattr(%d): %v", ino, err)
		_, err = fsys.ReadAt(ctx, ino, make([]byte, 10), 0)
		assert.Error(t, err, "ReadAt(%d)", ino)
		_, err = fsys.Lookup(ctx, ino, "x")
		assert.Error(t, err, "Lookup(%d)", ino)
		for _, err := range fsys.ReadDir(ctx, ino, 0) {
			assert.Error(t, err, "ReadDir(%d)", ino)
		}
	}
	seen := map[vfs.Mode]bool{}
	for _, f := range files {
		typ := f.attr.Mode.Type()
		if seen[typ] {
			continue
		}
		seen[typ] = true
		if typ != vfs.Dir {
			_, err := fsys.Lookup(ctx, f.attr.Ino, "x")
			assert.ErrorIs(t, err, syscall.ENOTDIR, f.path)
			got := 0
			for _, err := range fsys.ReadDir(ctx, f.attr.Ino, 0) {
				got++
				assert.ErrorIs(t, err, syscall.ENOTDIR, f.path)
			}
			assert.Equal(t, 1, got, "ReadDir of %s says ENOTDIR once", f.path)
		}
		if typ == vfs.Symlink {
			target, err := fsys.Readlink(ctx, f.attr.Ino)
			assert.NoError(t, err, f.path)
			assert.Len(t, target, int(f.attr.Size), f.path)
		} else {
			_, err := fsys.Readlink(ctx, f.attr.Ino)
			assert.ErrorIs(t, err, syscall.EINVAL, f.path)
		}
		if typ != vfs.Regular && typ != vfs.Dir {
			_, err := fsys.ReadAt(ctx, f.attr.Ino, make([]byte, 10), 0)
			assert.ErrorIs(t, err, syscall.EINVAL, f.path)
		}
	}
}
