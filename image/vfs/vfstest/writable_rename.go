package vfstest

import (
	"fmt"
	"syscall"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

// renameWant is what rename(2) says when a file of type from is renamed to a
// name that one of type to bears (0: none; full: it is a directory with
// something in it).
func renameWant(from, to vfs.Mode, full bool, flags vfs.RenameFlags) error {
	switch {
	case flags == vfs.RenameNoReplace && to != 0:
		return syscall.EEXIST
	case flags == vfs.RenameExchange && to == 0:
		return syscall.ENOENT
	case flags == vfs.RenameExchange || to == 0:
		return nil
	case from == vfs.Dir && to != vfs.Dir:
		return syscall.ENOTDIR
	case from != vfs.Dir && to == vfs.Dir:
		return syscall.EISDIR
	case full:
		return syscall.ENOTEMPTY
	}
	return nil
}

// rename tries all pairs of types, within one directory and between two.
func (w *writing) rename() {
	for _, flags := range []vfs.RenameFlags{0, vfs.RenameNoReplace, vfs.RenameExchange} {
		for _, from := range w.types() {
			for _, to := range append([]vfs.Mode{0}, w.types()...) {
				for _, same := range []bool{true, false} {
					w.renameOne(from, to, false, same, flags)
					if to == vfs.Dir {
						w.renameOne(from, to, true, same, flags)
					}
				}
			}
		}
	}
	file := w.make(w.root, "file", vfs.Regular)
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	for _, c := range []struct {
		dir  vfs.Ino
		name string
		to   vfs.Ino
		new  string
		want error
	}{
		{w.root, "none", w.root, "x", syscall.ENOENT}, {w.root, "file", file.Ino, "x", syscall.ENOTDIR},
		{file.Ino, "x", w.root, "x", syscall.ENOTDIR}, {1 << 50, "x", w.root, "x", syscall.ENOENT},
		{w.root, "file", 1 << 50, "x", syscall.ENOENT},
		{w.root, ".", w.root, "x", syscall.EINVAL}, {dir, "..", w.root, "x", syscall.EINVAL},
		{w.root, "dir", dir, "..", syscall.EINVAL}, {w.root, "dir", dir, ".", syscall.EINVAL},
	} {
		for _, flags := range []vfs.RenameFlags{0, vfs.RenameNoReplace, vfs.RenameExchange} {
			w.fails(c.want, fmt.Sprintf("rename %s to %s, flags %d", c.name, c.new, flags), func() error {
				return w.FS.Rename(w.ctx, c.dir, c.name, c.to, c.new, flags)
			})
		}
	}
	for _, flags := range []vfs.RenameFlags{3, 4, 1 << 31} {
		w.fails(syscall.EINVAL, "bad flags", func() error {
			return w.FS.Rename(w.ctx, w.root, "file", w.root, "x", flags)
		})
	}

	// Two names of one file, and one name, stay as they are.
	otherDir, other := w.root, "file"
	if !w.Limits.NoLinks {
		otherDir, other = dir, "other"
		_, err := w.FS.Link(w.ctx, file.Ino, otherDir, other)
		require.NoError(w, err)
	}
	for _, flags := range []vfs.RenameFlags{0, vfs.RenameExchange} {
		w.tick()
		same := w.unchanged()
		require.NoError(w, w.FS.Rename(w.ctx, w.root, "file", otherDir, other, flags))
		require.NoError(w, w.FS.Rename(w.ctx, w.root, "file", w.root, "file", flags))
		require.NoError(w, w.FS.Rename(w.ctx, w.root, "dir", w.root, "dir", flags))
		same("rename of a name to one of the same file")
	}
	w.fails(syscall.EEXIST, "to itself, without replacing", func() error {
		return w.FS.Rename(w.ctx, w.root, "file", w.root, "file", vfs.RenameNoReplace)
	})
}

func (w *writing) renameOne(from, to vfs.Mode, full, same bool, flags vfs.RenameFlags) {
	w.Helper()
	what := fmt.Sprintf("%s over %s (full: %v, one directory: %v, flags %d)", typeName(from), typeName(to), full, same, flags)
	a := w.make(w.root, "a", vfs.Dir).Ino
	b := a
	if !same {
		b = w.make(w.root, "b", vfs.Dir).Ino
	}
	src := w.make(a, "src", from)
	var dst vfs.Attr
	if to != 0 {
		dst = w.make(b, "dst", to)
	}
	if full {
		w.make(dst.Ino, "below", vfs.Regular)
	}
	if from == vfs.Dir {
		w.make(src.Ino, "inside", vfs.Dir)
		src = w.get(src.Ino)
	}
	w.tick()
	before := w.unchanged()
	err := w.FS.Rename(w.ctx, a, "src", b, "dst", flags)
	if want := renameWant(from, to, full, flags); want != nil {
		assert.ErrorIs(w, err, want, what)
		before(what)
	} else if assert.NoError(w, err, what) {
		w.renamed(what, a, b, src, dst, flags == vfs.RenameExchange)
	}
	tree := vfs.NewTree(w.FS)
	require.NoError(w, tree.RemoveAll(w.ctx, "/a"))
	require.NoError(w, tree.RemoveAll(w.ctx, "/b"))
	_, err = w.FS.Getattr(w.ctx, src.Ino)
	require.ErrorIs(w, err, syscall.ENOENT, what)
}

// renamed checks what a rename of src in a to dst in b has left.
func (w *writing) renamed(what string, a, b vfs.Ino, src, dst vfs.Attr, exchange bool) {
	w.Helper()
	moved, err := w.FS.Lookup(w.ctx, b, "dst")
	require.NoError(w, err, what)
	assert.Equal(w, src.Ino, moved.Ino, what)
	assert.Equal(w, src.Nlink, moved.Nlink, what)
	assert.Equal(w, src.Mtime, moved.Mtime, what)
	old, err := w.FS.Lookup(w.ctx, a, "src")
	if exchange {
		require.NoError(w, err, what)
		assert.Equal(w, dst.Ino, old.Ino, what)
	} else {
		assert.ErrorIs(w, err, syscall.ENOENT, what)
		if dst.Ino != 0 {
			_, err = w.FS.Getattr(w.ctx, dst.Ino)
			assert.ErrorIs(w, err, syscall.ENOENT, what)
		}
	}
	for _, dir := range []vfs.Ino{a, b} {
		links := uint32(2)
		for e, err := range w.FS.ReadDir(w.ctx, dir, 0) {
			require.NoError(w, err)
			sub := w.get(e.Ino)
			if e.Type != 0 {
				assert.Equal(w, sub.Mode.Type(), e.Type, what)
			}
			if !sub.Mode.IsDir() {
				continue
			}
			links++
			up, err := w.FS.Lookup(w.ctx, e.Ino, "..")
			require.NoError(w, err, what)
			assert.Equal(w, dir, up.Ino, what)
		}
		assert.Equal(w, links, w.get(dir).Nlink, what)
		w.dirNow(dir, what)
	}
	w.changedNow(moved, what)
}

// spelling gives files names that differ only in case, or that the format has
// not.
func (w *writing) spelling() {
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	file := w.make(dir, "Some Name.text", vfs.Regular).Ino
	if w.Limits.Fold == nil {
		w.make(dir, "SOME NAME.TEXT", vfs.Dir)
		require.NoError(w, w.FS.Rename(w.ctx, dir, "Some Name.text", dir, "some name.text", 0))
		assert.Equal(w, []string{"SOME NAME.TEXT", "some name.text"}, w.names(dir))
	} else {
		w.fails(syscall.EEXIST, "a name in capitals", func() error {
			_, err := w.FS.Create(w.ctx, dir, "SOME NAME.TEXT", node(vfs.Dir))
			return err
		})
		for _, flags := range []vfs.RenameFlags{0, vfs.RenameNoReplace} {
			for _, name := range []string{"some name.text", "SOME NAME.TEXT", "sOME nAME.tEXT"} {
				w.tick()
				require.NoError(w, w.FS.Rename(w.ctx, dir, "Some Name.Text", dir, name, flags))
				assert.Equal(w, []string{name}, w.names(dir))
				w.dirNow(dir, "another spelling")
			}
		}
		// What is replaced loses its spelling too.
		other := w.make(w.root, "Other", vfs.Regular).Ino
		require.NoError(w, w.FS.Rename(w.ctx, w.root, "oTHER", dir, "Some Name.Text", 0))
		assert.Equal(w, []string{"Some Name.Text"}, w.names(dir))
		_, err := w.FS.Getattr(w.ctx, file)
		assert.ErrorIs(w, err, syscall.ENOENT)
		file = other
		found, err := w.FS.Lookup(w.ctx, dir, "some name.TEXT")
		require.NoError(w, err)
		assert.Equal(w, file, found.Ino)
	}
	if w.Limits.CheckName == nil {
		return
	}
	for _, name := range []string{"a:b", "a*", "what?", "\"quoted\"", "<", ">", "a|b", "back\\slash", "tab\t", "dot.", "space ", "\x01"} {
		if w.Limits.CheckName(name) == nil {
			continue
		}
		for _, typ := range types {
			w.fails(syscall.EINVAL, fmt.Sprintf("create %q", name), func() error {
				_, err := w.FS.Create(w.ctx, dir, name, node(typ))
				return err
			})
		}
		w.fails(syscall.EINVAL, fmt.Sprintf("rename to %q", name), func() error {
			return w.FS.Rename(w.ctx, w.root, "dir", w.root, name, 0)
		})
	}
}

// renameTrees moves directories with something below them.
func (w *writing) renameTrees() {
	a := w.make(w.root, "a", vfs.Dir).Ino
	b := w.make(a, "b", vfs.Dir).Ino
	c := w.make(b, "c", vfs.Dir).Ino
	x := w.make(w.root, "x", vfs.Dir).Ino
	w.make(c, "file", vfs.Regular)
	for _, flags := range []vfs.RenameFlags{0, vfs.RenameNoReplace} {
		for _, into := range []vfs.Ino{a, b, c} {
			w.fails(syscall.EINVAL, "below itself", func() error {
				return w.FS.Rename(w.ctx, w.root, "a", into, "new", flags)
			})
		}
	}
	w.fails(syscall.EINVAL, "exchange with what is below", func() error {
		return w.FS.Rename(w.ctx, w.root, "a", b, "c", vfs.RenameExchange)
	})
	w.fails(syscall.EINVAL, "exchange with what is above", func() error {
		return w.FS.Rename(w.ctx, b, "c", w.root, "a", vfs.RenameExchange)
	})
	w.fails(syscall.ENOTEMPTY, "over what is above", func() error {
		return w.FS.Rename(w.ctx, b, "c", w.root, "a", 0)
	})
	links := w.get(w.root).Nlink
	require.NoError(w, w.FS.Rename(w.ctx, a, "b", x, "b", 0))
	assert.Equal(w, uint32(2), w.get(a).Nlink)
	assert.Equal(w, uint32(3), w.get(x).Nlink)
	require.NoError(w, w.FS.Rename(w.ctx, w.root, "a", c, "a", 0))
	assert.Equal(w, links-1, w.get(w.root).Nlink)
	real, _, err := vfs.NewTree(w.FS).RealPath(w.ctx, "/x/b/c/a/../../c/file")
	require.NoError(w, err)
	assert.Equal(w, "/x/b/c/file", real)
	for ino, parent := range map[vfs.Ino]vfs.Ino{a: c, b: x, c: b, x: w.root} {
		up, err := w.FS.Lookup(w.ctx, ino, "..")
		require.NoError(w, err)
		assert.Equal(w, parent, up.Ino)
	}
	// A directory and a file change places.
	w.make(w.root, "f", vfs.Regular)
	require.NoError(w, w.FS.Rename(w.ctx, w.root, "f", x, "b", vfs.RenameExchange))
	assert.Equal(w, uint32(2), w.get(x).Nlink)
	assert.Equal(w, links, w.get(w.root).Nlink)
	up, err := w.FS.Lookup(w.ctx, b, "..")
	require.NoError(w, err)
	assert.Equal(w, w.root, up.Ino)
}
