// Package vfstest is the suite that every file-system driver must pass: the
// rules of the vfs.FS contract, checked on any file system that holds a tree
// of files.
//
// [Run] knows nothing of what the tree should hold: that is for the driver's
// own tests and for the foreign judges. It checks that the driver agrees with
// itself by every way of asking, and answers questions that have no good
// answer as POSIX does.
package vfstest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// maxFile bounds what the suite reads of one file.
const maxFile = 8 << 20

// A file is one found by the suite's own walk.
type file struct {
	path string
	attr vfs.Attr
	dir  vfs.Ino
	name string
}

// Run checks fsys, which must not be empty. dev is the device that it was
// opened on, to compare what Map says with what ReadAt reads; nil if there is
// none.
func Run(t *testing.T, fsys vfs.FS, dev blockio.Device) {
	t.Helper()
	ctx := context.Background()
	files := collect(t, ctx, fsys)
	require.NotEmpty(t, files, "the suite needs a file system with files in it")

	t.Run("Info", func(t *testing.T) {
		info := fsys.Info()
		assert.NotEmpty(t, info.Type)
		assert.Positive(t, info.BlockSize)
		st, err := fsys.Statfs(ctx)
		require.NoError(t, err)
		assert.Positive(t, st.BlockSize)
		assert.Positive(t, st.NameMax)
		assert.LessOrEqual(t, st.Free, st.Blocks)
		assert.LessOrEqual(t, st.Avail, st.Free)
		assert.LessOrEqual(t, st.FilesFree, st.Files)
	})
	t.Run("IOFS", func(t *testing.T) { ioFS(t, fsys, files) })
	t.Run("Lookup", func(t *testing.T) { lookups(t, ctx, fsys, files) })
	t.Run("Cookies", func(t *testing.T) { cookies(t, ctx, fsys, files) })
	t.Run("ReadAt", func(t *testing.T) { reads(t, ctx, fsys, files) })
	t.Run("Errno", func(t *testing.T) { errnos(t, ctx, fsys, files) })
	t.Run("Map", func(t *testing.T) { maps(t, ctx, fsys, dev, files) })
	t.Run("Holes", func(t *testing.T) { holes(t, ctx, fsys, files) })
	t.Run("Xattrs", func(t *testing.T) { xattrs(t, ctx, fsys, files) })
	t.Run("Concurrent", func(t *testing.T) { concurrent(t, ctx, fsys, files) })
	t.Run("Cancelled", func(t *testing.T) { cancelled(t, fsys, files) })
}

// collect walks by inode numbers alone.
func collect(t *testing.T, ctx context.Context, fsys vfs.FS) []file {
	t.Helper()
	root, err := fsys.Getattr(ctx, fsys.Root())
	require.NoError(t, err)
	require.True(t, root.Mode.IsDir(), "the root is a directory")
	require.Equal(t, fsys.Root(), root.Ino)
	var files []file
	var visit func(path string, dir vfs.Ino, depth int)
	visit = func(path string, dir vfs.Ino, depth int) {
		require.Less(t, depth, 1000, "directories nest without end at %s", path)
		seen := map[string]bool{}
		for e, err := range fsys.ReadDir(ctx, dir, 0) {
			require.NoError(t, err, path)
			child := path + "/" + e.Name
			require.False(t, seen[e.Name], "%s is listed twice", child)
			seen[e.Name] = true
			require.NotContains(t, []string{"", ".", ".."}, e.Name)
			require.False(t, strings.ContainsAny(e.Name, "/\x00"), "%q", child)
			require.NotZero(t, e.Next, child)
			attr, err := fsys.Getattr(ctx, e.Ino)
			require.NoError(t, err, child)
			require.Equal(t, e.Ino, attr.Ino, child)
			if e.Type != 0 {
				require.Equal(t, attr.Mode.Type(), e.Type, child)
			}
			require.GreaterOrEqual(t, attr.Size, int64(0), child)
			files = append(files, file{child, attr, dir, e.Name})
			if attr.Mode.IsDir() {
				visit(child, e.Ino, depth+1)
			}
		}
	}
	visit("", fsys.Root(), 0)
	return files
}

// concurrent asks everything from several goroutines, for the race detector.
func concurrent(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(g), 3))
			p := make([]byte, 10_000)
			for range 300 {
				f := files[rnd.IntN(len(files))]
				attr, err := fsys.Lookup(ctx, f.dir, f.name)
				if err == nil && attr.Ino != f.attr.Ino {
					err = fmt.Errorf("inode %d instead of %d", attr.Ino, f.attr.Ino)
				}
				switch {
				case err != nil:
				case attr.Mode.IsRegular():
					if _, err = fsys.ReadAt(ctx, attr.Ino, p, rnd.Int64N(attr.Size+1)); err == io.EOF {
						err = nil
					}
				case attr.Mode.IsDir():
					for _, err = range fsys.ReadDir(ctx, attr.Ino, 0) {
						break
					}
				}
				if err != nil {
					errs <- fmt.Errorf("%s: %w", f.path, err)
					return
				}
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

// cancelled asks with a context that is over: an answer or its error will do,
// waiting will not.
func cancelled(t *testing.T, fsys vfs.FS, files []file) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, f := range files[:min(len(files), 20)] {
		_, _ = fsys.ReadAt(ctx, f.attr.Ino, make([]byte, 1000), 0)
		_, _ = fsys.Getattr(ctx, f.attr.Ino)
		for range fsys.ReadDir(ctx, f.attr.Ino, 0) {
			break
		}
	}
}
