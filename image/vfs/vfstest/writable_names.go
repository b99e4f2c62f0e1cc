package vfstest

import (
	"fmt"
	"strings"
	"syscall"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

func (w *writing) create() {
	base := w.names(w.root)
	for _, typ := range types {
		if !w.Limits.Has(typ) {
			w.fails(syscall.EPERM, "create "+typeName(typ), func() error {
				_, err := w.FS.Create(w.ctx, w.root, typeName(typ), node(typ))
				return err
			})
			continue
		}
		for _, mtime := range []bool{false, true} {
			w.tick()
			links := w.get(w.root).Nlink
			n := node(typ)
			n.Mode |= vfs.SetGID | vfs.Sticky
			n.UID, n.GID = 1<<31+7, 1<<32-2
			name := fmt.Sprint(typeName(typ), mtime)
			if mtime {
				n.Mtime = w.clock.Add(-1e15 + 1)
			}
			attr, err := w.FS.Create(w.ctx, w.root, name, n)
			require.NoError(w, err, name)
			require.Equal(w, attr, w.get(attr.Ino), name)
			found, err := w.FS.Lookup(w.ctx, w.root, name)
			require.NoError(w, err)
			require.Equal(w, attr, found)
			want := w.Limits.Held(vfs.Attr{Mode: n.Mode, UID: n.UID, GID: n.GID})
			assert.Equal(w, want.Mode, attr.Mode, name)
			assert.Equal(w, []uint32{want.UID, want.GID}, []uint32{attr.UID, attr.GID}, name)
			base = append(base, name)
			switch typ {
			case vfs.Dir:
				assert.Equal(w, uint32(2), attr.Nlink)
				assert.Equal(w, links+1, w.get(w.root).Nlink, "a subdirectory is a link")
				assert.Empty(w, w.names(attr.Ino))
				up, err := w.FS.Lookup(w.ctx, attr.Ino, "..")
				require.NoError(w, err)
				assert.Equal(w, w.root, up.Ino)
			default:
				assert.Equal(w, uint32(1), attr.Nlink)
				assert.Equal(w, links, w.get(w.root).Nlink)
			}
			switch typ {
			case vfs.Symlink:
				target, err := w.FS.Readlink(w.ctx, attr.Ino)
				require.NoError(w, err)
				assert.Equal(w, n.Target, target)
				assert.Equal(w, int64(len(n.Target)), attr.Size)
			case vfs.Char, vfs.Block:
				assert.Equal(w, n.Rdev, attr.Rdev, name)
			case vfs.Regular:
				assert.Zero(w, attr.Size)
			}
			if w.clock.IsZero() {
				continue
			}
			w.changedNow(attr, name)
			want.Mtime = w.clock
			if mtime {
				want.Mtime = n.Mtime
			}
			want.Atime = want.Mtime
			want = w.Limits.Held(want)
			assert.True(w, attr.Mtime.Equal(want.Mtime), "%s: %v", name, attr.Mtime)
			assert.True(w, attr.Atime.Equal(want.Atime), "%s: %v", name, attr.Atime)
			w.dirNow(w.root, "directory of "+name)
			w.fails(syscall.EEXIST, "create "+name, func() error {
				_, err := w.FS.Create(w.ctx, w.root, name, node(vfs.Regular))
				return err
			})
		}
	}
	assert.ElementsMatch(w, base, w.names(w.root))

	// Symbolic links of all lengths, for targets are kept in two ways.
	for n := 1; n < 200 && w.Limits.Has(vfs.Symlink); n++ {
		target := strings.Repeat("t", n)
		attr, err := w.FS.Create(w.ctx, w.root, fmt.Sprint("link", n), vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: target})
		require.NoError(w, err, n)
		got, err := w.FS.Readlink(w.ctx, attr.Ino)
		require.NoError(w, err, n)
		require.Equal(w, target, got)
	}
	if w.SymlinkMax > 0 {
		n := vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: strings.Repeat("m", w.SymlinkMax)}
		attr, err := w.FS.Create(w.ctx, w.root, "longest", n)
		require.NoError(w, err)
		got, err := w.FS.Readlink(w.ctx, attr.Ino)
		require.NoError(w, err)
		assert.Equal(w, n.Target, got)
		n.Target += "m"
		w.fails(syscall.ENAMETOOLONG, "a symbolic link that is too long", func() error {
			_, err := w.FS.Create(w.ctx, w.root, "longer", n)
			return err
		})
	}

	// A directory of many files, with names of all lengths.
	dir := w.make(w.root, "many", vfs.Dir).Ino
	var want []string
	for i := range 1500 {
		name := fmt.Sprintf("%04d", i) + strings.Repeat("n", i%250)
		w.make(dir, name, vfs.Regular)
		want = append(want, name)
	}
	assert.Equal(w, want, w.names(dir))
}

func (w *writing) badNames() {
	file := w.make(w.root, "file", vfs.Regular).Ino
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	gone := w.make(w.root, "gone", vfs.Dir).Ino
	w.FS.Pin(gone)
	require.NoError(w, w.FS.Rmdir(w.ctx, w.root, "gone"))
	longest := strings.Repeat("l", w.nameMax())
	for _, c := range []struct {
		dir  vfs.Ino
		name string
		want error
	}{
		{w.root, "", syscall.EINVAL}, {w.root, "a/b", syscall.EINVAL}, {w.root, "/", syscall.EINVAL},
		{w.root, "a\x00", syscall.EINVAL}, {w.root, longest + "x", syscall.ENAMETOOLONG},
		{w.root, ".", syscall.EEXIST}, {w.root, "..", syscall.EEXIST}, {w.root, "dir", syscall.EEXIST},
		{file, "x", syscall.ENOTDIR}, {gone, "x", syscall.ENOENT}, {1 << 50, "x", syscall.ENOENT},
	} {
		for _, typ := range types {
			w.fails(c.want, fmt.Sprintf("create %s %q", typeName(typ), c.name), func() error {
				_, err := w.FS.Create(w.ctx, c.dir, c.name, node(typ))
				return err
			})
		}
		w.fails(c.want, fmt.Sprintf("link %q", c.name), func() error {
			_, err := w.FS.Link(w.ctx, file, c.dir, c.name)
			return err
		})
		if c.want == syscall.EEXIST {
			continue // renaming replaces
		}
		w.fails(c.want, fmt.Sprintf("rename to %q", c.name), func() error {
			return w.FS.Rename(w.ctx, w.root, "dir", c.dir, c.name, 0)
		})
	}
	require.NoError(w, w.FS.Unpin(w.ctx, gone))
	for _, mode := range []vfs.Mode{0o644, 0o130000, 0o170000, 0o110000} {
		w.fails(syscall.EINVAL, fmt.Sprintf("mode %o", mode), func() error {
			_, err := w.FS.Create(w.ctx, w.root, "x", vfs.NewNode{Mode: mode})
			return err
		})
	}
	noTarget := error(syscall.ENOENT)
	if !w.Limits.Has(vfs.Symlink) {
		noTarget = syscall.EPERM
	}
	w.fails(noTarget, "empty symbolic link", func() error {
		_, err := w.FS.Create(w.ctx, w.root, "x", vfs.NewNode{Mode: vfs.Symlink})
		return err
	})
	w.make(w.root, longest, vfs.Regular)
	require.NoError(w, w.FS.Rename(w.ctx, w.root, longest, dir, longest, 0))
	assert.Equal(w, []string{longest}, w.names(dir))
}

func (w *writing) link() {
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	for _, typ := range w.types() {
		name := typeName(typ) + "1"
		file := w.make(w.root, name, typ)
		w.tick()
		if typ == vfs.Dir {
			w.fails(syscall.EPERM, "link a directory", func() error {
				_, err := w.FS.Link(w.ctx, file.Ino, w.root, "hard")
				return err
			})
			continue
		}
		if w.Limits.NoLinks {
			w.fails(syscall.EPERM, "link "+name, func() error {
				_, err := w.FS.Link(w.ctx, file.Ino, dir, name)
				return err
			})
			continue
		}
		attr, err := w.FS.Link(w.ctx, file.Ino, dir, name)
		require.NoError(w, err, name)
		require.Equal(w, w.get(file.Ino), attr)
		assert.Equal(w, uint32(2), attr.Nlink, name)
		assert.Equal(w, file.Mtime, attr.Mtime, "linking is no change of contents")
		w.changedNow(attr, name)
		w.dirNow(dir, name)
		found, err := w.FS.Lookup(w.ctx, dir, name)
		require.NoError(w, err)
		assert.Equal(w, file.Ino, found.Ino)
		w.fails(syscall.EEXIST, "link over "+name, func() error {
			_, err := w.FS.Link(w.ctx, file.Ino, w.root, name)
			return err
		})
		// Either name can go first.
		require.NoError(w, w.FS.Unlink(w.ctx, w.root, name))
		assert.Equal(w, uint32(1), w.get(file.Ino).Nlink)
	}
	w.fails(syscall.ENOENT, "link what is not there", func() error {
		_, err := w.FS.Link(w.ctx, 1<<40, w.root, "x")
		return err
	})
	file := w.make(w.root, "file", vfs.Regular).Ino
	w.FS.Pin(file)
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "file"))
	w.fails(syscall.ENOENT, "link what has no name left", func() error {
		_, err := w.FS.Link(w.ctx, file, w.root, "again")
		return err
	})
	require.NoError(w, w.FS.Unpin(w.ctx, file))
}

func (w *writing) linkMax() {
	if w.LinkMax == 0 {
		w.Skip("the format has no limit that could be reached")
	}
	file := w.make(w.root, "file", vfs.Regular).Ino
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	for i := uint32(1); i < w.LinkMax; i++ {
		_, err := w.FS.Link(w.ctx, file, dir, fmt.Sprint(i))
		require.NoError(w, err, i)
	}
	assert.Equal(w, w.LinkMax, w.get(file).Nlink)
	before := w.get(w.root)
	_, err := w.FS.Link(w.ctx, file, w.root, "one more")
	assert.ErrorIs(w, err, syscall.EMLINK)
	assert.Equal(w, before, w.get(w.root))
	require.NoError(w, w.FS.Unlink(w.ctx, dir, "7"))
	_, err = w.FS.Link(w.ctx, file, w.root, "one more")
	assert.NoError(w, err)
	require.NoError(w, vfs.NewTree(w.FS).RemoveAll(w.ctx, "/dir"))
	assert.Equal(w, uint32(2), w.get(file).Nlink)
}

func (w *writing) unlink() {
	free, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	for _, typ := range w.types() {
		file := w.make(w.root, "x", typ)
		if typ == vfs.Dir {
			w.fails(syscall.EISDIR, "unlink a directory", func() error { return w.FS.Unlink(w.ctx, w.root, "x") })
			require.NoError(w, w.FS.Rmdir(w.ctx, w.root, "x"))
			continue
		}
		if typ == vfs.Regular {
			w.put(file.Ino, pattern(300_000, 1), 100_000)
		}
		w.tick()
		require.NoError(w, w.FS.Unlink(w.ctx, w.root, "x"), typeName(typ))
		_, err := w.FS.Getattr(w.ctx, file.Ino)
		assert.ErrorIs(w, err, syscall.ENOENT, typeName(typ))
		w.dirNow(w.root, typeName(typ))
		w.fails(syscall.ENOENT, "unlink again", func() error { return w.FS.Unlink(w.ctx, w.root, "x") })
	}
	st, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	assert.Equal(w, free, st, "everything is free again")
	file := w.make(w.root, "file", vfs.Regular).Ino
	for _, c := range []struct {
		dir  vfs.Ino
		name string
		want error
	}{
		{w.root, "none", syscall.ENOENT}, {w.root, ".", syscall.EISDIR}, {w.root, "..", syscall.EISDIR},
		{file, "x", syscall.ENOTDIR}, {1 << 50, "x", syscall.ENOENT}, {w.root, strings.Repeat("x", 5000), syscall.ENAMETOOLONG},
	} {
		w.fails(c.want, "unlink "+c.name, func() error { return w.FS.Unlink(w.ctx, c.dir, c.name) })
	}
}

func (w *writing) rmdir() {
	links := w.get(w.root).Nlink
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	sub := w.make(dir, "sub", vfs.Dir).Ino
	file := w.make(w.root, "file", vfs.Regular).Ino
	if w.Limits.Has(vfs.Symlink) {
		w.make(w.root, "link", vfs.Symlink)
		w.fails(syscall.ENOTDIR, "rmdir of a link", func() error { return w.FS.Rmdir(w.ctx, w.root, "link") })
	}
	for _, c := range []struct {
		dir  vfs.Ino
		name string
		want error
	}{
		{w.root, "none", syscall.ENOENT}, {w.root, ".", syscall.EINVAL}, {dir, "..", syscall.ENOTEMPTY},
		{w.root, "dir", syscall.ENOTEMPTY}, {w.root, "file", syscall.ENOTDIR},
		{file, "x", syscall.ENOTDIR}, {1 << 50, "x", syscall.ENOENT},
	} {
		w.fails(c.want, "rmdir "+c.name, func() error { return w.FS.Rmdir(w.ctx, c.dir, c.name) })
	}
	w.tick()
	require.NoError(w, w.FS.Rmdir(w.ctx, dir, "sub"))
	_, err := w.FS.Getattr(w.ctx, sub)
	assert.ErrorIs(w, err, syscall.ENOENT)
	assert.Equal(w, uint32(2), w.get(dir).Nlink)
	w.dirNow(dir, "rmdir in it")
	// A directory that has been large is empty as well.
	for i := range 400 {
		w.make(dir, fmt.Sprint("f", i), vfs.Regular)
	}
	for i := range 400 {
		require.NoError(w, w.FS.Unlink(w.ctx, dir, fmt.Sprint("f", i)))
	}
	require.NoError(w, w.FS.Rmdir(w.ctx, w.root, "dir"))
	assert.Equal(w, links, w.get(w.root).Nlink)
}

// listing changes a directory while it is listed.
func (w *writing) listing() {
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	// Names of two lengths, so that what is added may go where something was.
	for i := range 400 {
		w.make(dir, fmt.Sprintf("stay%03d", i), vfs.Regular)
		w.make(dir, fmt.Sprintf("go%03d", i)+strings.Repeat("o", i%40), vfs.Regular)
	}
	for step := 1; step < 50; step += 7 {
		seen := map[string]int{}
		cookie, n := uint64(0), 0
		for more := true; more; {
			more = false
			for e, err := range w.FS.ReadDir(w.ctx, dir, cookie) {
				require.NoError(w, err)
				seen[e.Name]++
				cookie, more = e.Next, true
				if n++; n%step == 0 {
					break
				}
			}
			// One goes, one comes, which is not listed yet or never will be;
			// not for ever, since the end might never be reached.
			if n > 800 {
				continue
			}
			name := fmt.Sprintf("go%03d", n%400) + strings.Repeat("o", n%400%40)
			if err := w.FS.Unlink(w.ctx, dir, name); err == nil {
				w.make(dir, fmt.Sprintf("go%03d", n%400)+"x", vfs.Regular)
			} else {
				require.ErrorIs(w, err, syscall.ENOENT)
				require.NoError(w, w.FS.Rename(w.ctx, dir, fmt.Sprintf("go%03d", n%400)+"x", dir, name, 0))
			}
		}
		for i := range 400 {
			name := fmt.Sprintf("stay%03d", i)
			require.Equal(w, 1, seen[name], "%s, in steps of %d", name, step)
		}
	}
}
