package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

// pins keeps files that have no name any more.
func (w *writing) pins() {
	before, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	file := w.make(w.root, "file", vfs.Regular).Ino
	w.put(file, pattern(100_000, 1), 0)
	w.FS.Pin(file)
	w.FS.Pin(file)
	w.tick()
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "file"))
	attr := w.get(file)
	assert.Zero(w, attr.Nlink)
	w.changedNow(attr, "the last name goes")
	assert.Equal(w, pattern(100_000, 1), w.contents(file))
	w.put(file, pattern(200_000, 2), 50_000)
	w.set(file, vfs.SetAttr{Mode: ptr[vfs.Mode](0o777), Size: ptr[int64](220_000)})
	assert.Equal(w, pattern(200_000, 2)[:170_000], w.contents(file)[50_000:])

	dir := w.make(w.root, "dir", vfs.Dir).Ino
	w.FS.Pin(dir)
	require.NoError(w, w.FS.Rmdir(w.ctx, w.root, "dir"))
	assert.Zero(w, w.get(dir).Nlink)
	assert.Empty(w, w.names(dir))
	_, err = w.FS.Lookup(w.ctx, dir, "x")
	assert.ErrorIs(w, err, syscall.ENOENT)
	w.set(dir, vfs.SetAttr{Mode: ptr[vfs.Mode](0o700)})

	// Replaced, and never named again.
	typ, other := vfs.Symlink, vfs.FIFO
	if !w.Limits.Has(typ) {
		typ, other = vfs.Regular, vfs.Regular
	}
	link := w.make(w.root, "link", typ).Ino
	w.FS.Pin(link)
	w.make(w.root, "other", other)
	require.NoError(w, w.FS.Rename(w.ctx, w.root, "other", w.root, "link", 0))
	if typ == vfs.Symlink {
		target, err := w.FS.Readlink(w.ctx, link)
		require.NoError(w, err)
		assert.Equal(w, "some/where", target)
	}
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "link"))

	// No new file gets the number of one that is pinned.
	held := map[vfs.Ino]bool{file: true, dir: true, link: true}
	types := w.types()
	for i := range 200 {
		attr := w.make(w.root, fmt.Sprint(i), types[i%len(types)])
		require.False(w, held[attr.Ino], "inode number %d is used again", attr.Ino)
	}
	// Commits do not harm them, nor does the medium know them.
	require.NoError(w, w.FS.Sync(w.ctx))
	w.checked()
	assert.Equal(w, pattern(200_000, 2)[:170_000], w.contents(file)[50_000:])
	assert.Equal(w, int64(220_000), w.get(file).Size)
	for i := range 200 {
		name := fmt.Sprint(i)
		if types[i%len(types)] == vfs.Dir {
			require.NoError(w, w.FS.Rmdir(w.ctx, w.root, name))
		} else {
			require.NoError(w, w.FS.Unlink(w.ctx, w.root, name))
		}
	}
	require.NoError(w, w.FS.Unpin(w.ctx, file))
	w.get(file)
	for _, ino := range []vfs.Ino{file, dir, link} {
		gen := w.get(ino).Gen
		require.NoError(w, w.FS.Unpin(w.ctx, ino))
		if attr, err := w.FS.Getattr(w.ctx, ino); err == nil {
			assert.NotEqual(w, gen, attr.Gen)
		} else {
			assert.ErrorIs(w, err, syscall.ENOENT)
		}
	}
	// A pin on a file with a name does nothing when it goes.
	stay := w.make(w.root, "stay", vfs.Regular).Ino
	w.FS.Pin(stay)
	require.NoError(w, w.FS.Unpin(w.ctx, stay))
	w.get(stay)
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "stay"))
	require.NoError(w, w.FS.Sync(w.ctx))
	after, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	assert.Equal(w, before.FilesFree, after.FilesFree)
}

// commit looks at the medium.
func (w *writing) commit() {
	if w.Reopen == nil {
		w.Skip("nothing to open again")
	}
	a := w.make(w.root, "a", vfs.Dir).Ino
	for i, typ := range w.types() {
		w.tick()
		attr := w.make(a, typeName(typ), typ)
		if typ == vfs.Regular {
			w.put(attr.Ino, pattern(400_000, byte(i)), 12345)
		}
		mode := vfs.Mode(0o4000 | 1<<i)
		if w.Limits.Refused(typ, vfs.SetAttr{Mode: &mode}) != nil {
			mode = 0o444
		}
		w.set(attr.Ino, vfs.SetAttr{Mode: &mode, Atime: ptr(time.Unix(1e9, int64(i)))})
	}
	file, err := w.FS.Lookup(w.ctx, a, "file")
	require.NoError(w, err)
	if w.Limits.NoLinks {
		w.make(w.root, "hard", vfs.Regular)
	} else {
		_, err = w.FS.Link(w.ctx, file.Ino, w.root, "hard")
		require.NoError(w, err)
	}
	open := w.make(w.root, "open", vfs.Regular).Ino
	w.put(open, pattern(50_000, 9), 0)
	w.FS.Pin(open)
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "open"))
	require.NoError(w, w.FS.Sync(w.ctx))
	w.checked()
	committed := Dump(w, w.FS)
	same := func(what string) {
		w.Helper()
		other, err := w.Reopen()
		require.NoError(w, err, what)
		defer other.Close()
		assert.Equal(w, committed, Dump(w, other), what)
	}
	same("after the commit")
	// What comes later is not on the medium before the next commit.
	for i := range 50 {
		w.put(w.make(a, fmt.Sprint("new", i), vfs.Regular).Ino, pattern(30_000, 3), 0)
	}
	if w.Limits.Has(vfs.Symlink) {
		require.NoError(w, w.FS.Unlink(w.ctx, a, "symlink"))
	}
	require.NoError(w, w.FS.Rmdir(w.ctx, a, "dir"))
	require.NoError(w, w.FS.Rename(w.ctx, w.root, "hard", a, "hard", 0))
	same("after changes that were not committed")
	w.checked()
	require.NoError(w, w.FS.Unpin(w.ctx, open))
	require.NoError(w, w.FS.Sync(w.ctx))
	committed = Dump(w, w.FS)
	same("after the next commit")
	w.checked()
}

// full runs out of space.
func (w *writing) full() {
	before, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	part := w.make(w.root, "part", vfs.Regular).Ino
	w.put(part, pattern(1000, 1), 0)
	st, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	if st.Avail*uint64(st.BlockSize) > 1<<30 {
		w.Skip("no end of space")
	}
	// Written until no more goes: what was written is there.
	big := w.make(w.root, "big", vfs.Regular).Ino
	chunk := pattern(300_000, 2)
	var size int64
	for {
		n, err := w.FS.WriteAt(w.ctx, big, chunk, size)
		size += int64(n)
		require.Equal(w, size, w.get(big).Size)
		if err != nil {
			require.ErrorIs(w, err, syscall.ENOSPC)
			require.Less(w, n, len(chunk))
			break
		}
		require.Equal(w, len(chunk), n)
	}
	for at := int64(0); at < size; at += int64(len(chunk)) {
		p := make([]byte, min(size-at, int64(len(chunk))))
		n, err := w.FS.ReadAt(w.ctx, big, p, at)
		require.Equal(w, len(p), n, "%v", err)
		require.True(w, bytes.Equal(chunk[:n], p))
	}
	// The last piece, in small files.
	for i := 0; ; i++ {
		require.Less(w, i, 100_000)
		attr, err := w.FS.Create(w.ctx, dir, fmt.Sprint("small", i), node(vfs.Regular))
		if err == nil {
			_, err = w.FS.WriteAt(w.ctx, attr.Ino, []byte("x"), 0)
		}
		if err != nil {
			require.ErrorIs(w, err, syscall.ENOSPC)
			break
		}
	}
	require.NoError(w, w.FS.Sync(w.ctx))
	w.checked()
	// Now whatever fails does so without a trace.
	same := w.unchanged()
	failed := map[string]bool{}
	try := func(what string, undo func() error, err error) {
		if err == nil {
			require.NoError(w, undo(), what) // there was room for that
			return
		}
		require.ErrorIs(w, err, syscall.ENOSPC, what)
		failed[what] = true
	}
	for i := range 300 {
		name := fmt.Sprintf("%0250d", i)
		_, err := w.FS.Create(w.ctx, dir, name, node(vfs.Dir))
		try("mkdir", func() error { return w.FS.Rmdir(w.ctx, dir, name) }, err)
		long := vfs.NewNode{Mode: vfs.Symlink, Target: string(bytes.Repeat([]byte("t"), 900))}
		if !w.Limits.Has(vfs.Symlink) {
			long = node(vfs.Regular)
		}
		_, err = w.FS.Create(w.ctx, dir, name, long)
		try("symlink", func() error { return w.FS.Unlink(w.ctx, dir, name) }, err)
		n, err := w.FS.WriteAt(w.ctx, part, pattern(100, 1), int64(100_000*(i+1)))
		require.Zero(w, n)
		try("write far out", func() error { return errors.New("there should be no room") }, err)
		if f, ok := w.FS.(vfs.Fallocater); ok && i == 0 {
			err = f.Fallocate(w.ctx, part, 0, 0, 4<<20)
			try("fallocate", func() error { return errors.New("there should be no room") }, err)
		}
	}
	assert.True(w, failed["write far out"])
	if !w.clock.IsZero() { // what was done and undone sets times: to now, which they are
		same("operations that found no space")
	}
	// And all of it can be had back.
	tree := vfs.NewTree(w.FS)
	for _, name := range []string{"/dir", "/big", "/part"} {
		require.NoError(w, tree.RemoveAll(w.ctx, name))
	}
	require.NoError(w, w.FS.Sync(w.ctx))
	st, err = w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	assert.Equal(w, before, st)
}

// fullOfFiles runs out of inodes, or of space for names.
func (w *writing) fullOfFiles() {
	before, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	if before.FilesFree > 100_000 || before.Files == 0 {
		w.Skip("no end of files")
	}
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	empty := node(vfs.FIFO)
	if !w.Limits.Has(vfs.FIFO) {
		empty = node(vfs.Regular)
	}
	for i := uint64(0); ; i++ {
		require.LessOrEqual(w, i, before.FilesFree)
		if _, err := w.FS.Create(w.ctx, dir, fmt.Sprint(i), empty); err != nil {
			require.ErrorIs(w, err, syscall.ENOSPC)
			break
		}
	}
	for _, typ := range w.types() {
		w.fails(syscall.ENOSPC, "create "+typeName(typ), func() error {
			_, err := w.FS.Create(w.ctx, w.root, "new", node(typ))
			return err
		})
	}
	require.NoError(w, w.FS.Sync(w.ctx))
	w.checked()
	require.NoError(w, vfs.NewTree(w.FS).RemoveAll(w.ctx, "/dir"))
	st, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	assert.Equal(w, before.FilesFree, st.FilesFree)
}

// readers has everything read while it is written. What is read must be
// something that was there.
func (w *writing) readers() {
	const files, size = 6, 150_000
	var inos [files]vfs.Ino
	for i := range inos {
		inos[i] = w.make(w.root, fmt.Sprint(i), vfs.Regular).Ino
		w.put(inos[i], bytes.Repeat([]byte{1}, size), 0)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for g := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(g), 4))
			p := make([]byte, 3000)
			for {
				select {
				case <-done:
					return
				default:
				}
				n, err := w.FS.ReadAt(w.ctx, inos[rnd.IntN(files)], p, rnd.Int64N(size))
				if err == io.EOF {
					err = nil
				}
				for _, b := range p[:n] {
					if b > 20 {
						err = fmt.Errorf("read a byte %#x, which was never written", b)
					}
				}
				seen := 0
				for e, listErr := range w.FS.ReadDir(w.ctx, w.root, 0) {
					if listErr != nil {
						err = listErr
						break
					}
					if len(e.Name) == 1 {
						seen++
					}
				}
				if err == nil && seen != files {
					err = fmt.Errorf("%d of %d names were listed", seen, files)
				}
				if _, serr := w.FS.Statfs(w.ctx); err == nil {
					err = serr
				}
				if err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	rnd := rand.New(rand.NewPCG(1, 5))
	for i := range 600 {
		ino := inos[rnd.IntN(files)]
		switch i % 6 {
		case 0:
			w.set(ino, vfs.SetAttr{Size: ptr(rnd.Int64N(size))})
		case 1:
			w.make(w.root, fmt.Sprint("other", i), vfs.Regular)
		case 2:
			require.NoError(w, w.FS.Unlink(w.ctx, w.root, fmt.Sprint("other", i-1)))
		case 3:
			if i%30 == 3 {
				require.NoError(w, w.FS.Sync(w.ctx))
			}
		default:
			off := rnd.Int64N(size)
			w.put(ino, bytes.Repeat([]byte{byte(1 + i%20)}, rnd.IntN(int(size-off))), off)
		}
	}
	close(done)
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(w, err)
	}
}

// writers change different files at the same time.
func (w *writing) writers() {
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs <- func() error {
				name := fmt.Sprint("dir", g)
				dir, err := w.FS.Create(w.ctx, w.root, name, node(vfs.Dir))
				if err != nil {
					return err
				}
				for i := range 60 {
					f, err := w.FS.Create(w.ctx, dir.Ino, fmt.Sprint(i), node(vfs.Regular))
					if err != nil {
						return err
					}
					if _, err = w.FS.WriteAt(w.ctx, f.Ino, pattern(1000*i, byte(g)), 0); err != nil {
						return err
					}
					if i%3 == 2 {
						if err := w.FS.Unlink(w.ctx, dir.Ino, fmt.Sprint(i-1)); err != nil {
							return err
						}
					}
					if i%20 == 5 {
						if err := w.FS.Sync(w.ctx); err != nil {
							return err
						}
					}
					if err := w.FS.Rename(w.ctx, dir.Ino, fmt.Sprint(i), dir.Ino, fmt.Sprint("n", i), 0); i%3 == 0 && err != nil {
						return err
					} else if i%3 != 0 && err == nil {
						if err := w.FS.Rename(w.ctx, dir.Ino, fmt.Sprint("n", i), dir.Ino, fmt.Sprint(i), 0); err != nil {
							return err
						}
					}
				}
				return nil
			}()
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(w, err)
	}
	tree := vfs.NewTree(w.FS)
	for g := range 4 {
		list, err := tree.ReadDir(fmt.Sprint("dir", g))
		require.NoError(w, err)
		assert.Len(w, list, 40)
		for i := range 60 {
			name := fmt.Sprint("dir", g, "/", i)
			if i%3 == 0 {
				name = fmt.Sprint("dir", g, "/n", i)
			} else if i%3 == 1 {
				continue
			}
			got, err := tree.ReadFile(name)
			require.NoError(w, err)
			require.True(w, bytes.Equal(pattern(1000*i, byte(g)), got), name)
		}
	}
}
