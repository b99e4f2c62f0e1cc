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
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

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

func reads(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, f := range files {
		if !f.attr.Mode.IsRegular() {
			continue
		}
		size := f.attr.Size
		whole := make([]byte, min(size, maxFile))
		n, err := fsys.ReadAt(ctx, f.attr.Ino, whole, 0)
		require.Equal(t, len(whole), n, "%s: %v", f.path, err)
		if err != nil {
			require.ErrorIs(t, err, io.EOF, f.path)
		}
		for range 4 {
			if size == 0 {
				break
			}
			off := rnd.Int64N(int64(len(whole)))
			p := bytes.Repeat([]byte{0x55}, rnd.IntN(100_000)+1)
			n, err := fsys.ReadAt(ctx, f.attr.Ino, p, off)
			want := min(int64(len(p)), size-off)
			require.Equal(t, int(want), n, "%s at %d: %v", f.path, off, err)
			if n < len(p) {
				require.Equal(t, io.EOF, err, f.path)
			}
			known := min(int64(n), int64(len(whole))-off)
			require.True(t, bytes.Equal(whole[off:off+known], p[:known]), "%s at %d reads differently the second time", f.path, off)
			require.Equal(t, bytes.Repeat([]byte{0x55}, len(p)-n), p[n:], "%s: bytes behind the end were touched", f.path)
		}
		for _, off := range []int64{size, size + 1, size + 1<<40, 1<<63 - 1} {
			n, err = fsys.ReadAt(ctx, f.attr.Ino, make([]byte, 10), off)
			require.Zero(t, n, f.path)
			require.Equal(t, io.EOF, err, "%s at %d", f.path, off)
		}
		_, err = fsys.ReadAt(ctx, f.attr.Ino, make([]byte, 10), -1)
		require.Error(t, err, "%s at -1", f.path)
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

// maps reads mapped ranges from the device and compares them with ReadAt.
func maps(t *testing.T, ctx context.Context, fsys vfs.FS, dev blockio.Device, files []file) {
	m, ok := fsys.(vfs.Mapper)
	if !ok || dev == nil {
		return
	}
	for _, f := range files {
		if !f.attr.Mode.IsRegular() {
			continue
		}
		off := int64(0)
		for off < min(f.attr.Size, maxFile) {
			at, n, err := m.Map(ctx, f.attr.Ino, off)
			require.NoError(t, err, "%s at %d", f.path, off)
			require.Positive(t, n, "%s at %d", f.path, off)
			require.LessOrEqual(t, n, f.attr.Size-off, "%s at %d", f.path, off)
			if at >= 0 {
				k := min(n, maxFile)
				mapped, read := make([]byte, k), make([]byte, k)
				_, err := dev.ReadAt(mapped, at)
				require.NoError(t, err, "%s at %d", f.path, off)
				got, _ := fsys.ReadAt(ctx, f.attr.Ino, read, off)
				require.Equal(t, int(k), got, "%s at %d", f.path, off)
				require.True(t, bytes.Equal(mapped, read), "%s at %d: Map and ReadAt differ", f.path, off)
			}
			off += n
		}
		_, _, err := m.Map(ctx, f.attr.Ino, f.attr.Size)
		require.Equal(t, io.EOF, err, f.path)
	}
}

func holes(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	h, ok := fsys.(vfs.HoleSeeker)
	if !ok {
		return
	}
	for _, f := range files {
		if !f.attr.Mode.IsRegular() {
			continue
		}
		size := f.attr.Size
		_, err := h.SeekData(ctx, f.attr.Ino, size)
		require.ErrorIs(t, err, syscall.ENXIO, f.path)
		_, err = h.SeekHole(ctx, f.attr.Ino, size)
		require.ErrorIs(t, err, syscall.ENXIO, f.path)
		pos := int64(0)
		for range 1000 {
			if pos >= size {
				break
			}
			data, err := h.SeekData(ctx, f.attr.Ino, pos)
			if errors.Is(err, syscall.ENXIO) {
				data = size
			} else {
				require.NoError(t, err, "%s at %d", f.path, pos)
				require.Less(t, data, size, f.path)
			}
			require.GreaterOrEqual(t, data, pos, f.path)
			zero := make([]byte, min(data-pos, maxFile))
			n, _ := fsys.ReadAt(ctx, f.attr.Ino, zero, pos)
			require.Equal(t, len(zero), n, f.path)
			require.Zero(t, len(bytes.Trim(zero, "\x00")), "%s: the hole at %d holds data", f.path, pos)
			if data == size {
				break
			}
			hole, err := h.SeekHole(ctx, f.attr.Ino, data)
			require.NoError(t, err, "%s at %d", f.path, data)
			require.Greater(t, hole, data, f.path)
			require.LessOrEqual(t, hole, size, f.path)
			pos = hole
		}
	}
}

func xattrs(t *testing.T, ctx context.Context, fsys vfs.FS, files []file) {
	x, ok := fsys.(vfs.Xattrer)
	if !ok {
		return
	}
	for _, f := range files {
		attrs, err := x.Xattrs(ctx, f.attr.Ino)
		require.NoError(t, err, f.path)
		require.NotNil(t, attrs, f.path)
		for name := range attrs {
			require.Contains(t, name, ".", f.path)
		}
	}
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
