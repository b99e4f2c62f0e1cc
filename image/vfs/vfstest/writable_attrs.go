package vfstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
)

func (w *writing) attributes() {
	for _, typ := range w.types() {
		attr := w.make(w.root, typeName(typ), typ)
		ino := attr.Ino
		if typ == vfs.Regular {
			w.put(ino, []byte("contents"), 0)
			attr = w.get(ino)
		}
		w.tick()
		assert.Equal(w, attr, w.set(ino, vfs.SetAttr{}), "nothing set")
		for _, c := range []struct {
			set  vfs.SetAttr
			want func(*vfs.Attr)
		}{
			{vfs.SetAttr{Mode: ptr[vfs.Mode](0o7531)}, func(a *vfs.Attr) { a.Mode = typ | 0o7531 }},
			// Type bits, and those that are no mode at all, count for nothing.
			{vfs.SetAttr{Mode: ptr(vfs.FIFO | 0o20)}, func(a *vfs.Attr) { a.Mode = typ | 0o20 }},
			{vfs.SetAttr{UID: ptr[uint32](1 << 31)}, func(a *vfs.Attr) { a.UID = 1 << 31 }},
			{vfs.SetAttr{GID: ptr[uint32](65536)}, func(a *vfs.Attr) { a.GID = 65536 }},
			{vfs.SetAttr{Mode: ptr[vfs.Mode](0o6755)}, func(a *vfs.Attr) { a.Mode = typ | 0o6755 }},
			{vfs.SetAttr{UID: ptr[uint32](5), GID: ptr[uint32](6)}, func(a *vfs.Attr) { a.UID, a.GID = 5, 6 }},
			{vfs.SetAttr{Atime: ptr(time.Unix(1e9, 1))}, func(a *vfs.Attr) { a.Atime = time.Unix(1e9, 1) }},
			{vfs.SetAttr{Mtime: ptr(time.Unix(1e9+5, 999_999_999))}, func(a *vfs.Attr) { a.Mtime = time.Unix(1e9+5, 999_999_999) }},
			{vfs.SetAttr{Atime: ptr(time.Unix(0, 0)), Mtime: ptr(time.Unix(-5, 7))}, func(a *vfs.Attr) { a.Atime, a.Mtime = time.Unix(0, 0), time.Unix(-5, 7) }},
			{vfs.SetAttr{Mode: ptr[vfs.Mode](0o444)}, func(a *vfs.Attr) { a.Mode = typ | 0o444 }},
			{vfs.SetAttr{Mode: ptr[vfs.Mode](0o644)}, func(a *vfs.Attr) { a.Mode = typ | 0o644 }},
			{vfs.SetAttr{UID: new(uint32), GID: new(uint32)}, func(a *vfs.Attr) { a.UID, a.GID = 0, 0 }},
			{vfs.SetAttr{Flags: ptr(vfs.UserNoDump)}, func(a *vfs.Attr) { a.Flags = vfs.UserNoDump }},
			{vfs.SetAttr{Flags: new(vfs.Flags)}, func(a *vfs.Attr) { a.Flags = 0 }},
		} {
			w.tick()
			if err := w.Limits.Refused(typ, c.set); err != nil {
				w.fails(err, fmt.Sprintf("%s: %+v", typeName(typ), c.set), func() error {
					_, err := w.FS.Setattr(w.ctx, ino, c.set)
					return err
				})
				continue
			}
			want := w.get(ino)
			if w.Limits.Apply != nil {
				w.Limits.Apply(&want, c.set)
			} else {
				c.want(&want)
			}
			got := w.set(ino, c.set)
			w.changedNow(got, fmt.Sprintf("%s: %+v sets the ctime", typeName(typ), c.set))
			want.Ctime = got.Ctime
			sameTimes(&want, got)
			assert.Equal(w, want, got, typeName(typ))
		}
	}
	w.fails(syscall.ENOENT, "Setattr of what is not there", func() error {
		_, err := w.FS.Setattr(w.ctx, 1<<50, vfs.SetAttr{Mode: ptr[vfs.Mode](0)})
		return err
	})
	// A set that cannot be made as a whole is not made at all.
	for name, want := range map[string]error{"dir": syscall.EISDIR, "fifo": syscall.EINVAL} {
		if name == "fifo" && !w.Limits.Has(vfs.FIFO) {
			continue
		}
		attr, err := w.FS.Lookup(w.ctx, w.root, name)
		require.NoError(w, err)
		w.fails(want, "mode and size of "+name, func() error {
			_, err := w.FS.Setattr(w.ctx, attr.Ino, vfs.SetAttr{Mode: ptr[vfs.Mode](0), Size: new(int64)})
			return err
		})
	}
}

// sameTimes makes the times of want those of got where they are the same
// moment, whatever they look like.
func sameTimes(want *vfs.Attr, got vfs.Attr) {
	for _, t := range []struct {
		want *time.Time
		got  time.Time
	}{{&want.Atime, got.Atime}, {&want.Mtime, got.Mtime}, {&want.Ctime, got.Ctime}, {&want.Btime, got.Btime}} {
		if t.want.Equal(t.got) {
			*t.want = t.got
		}
	}
}

// times checks which times an operation sets: a file's, and its directory's.
func (w *writing) times() {
	if w.clock.IsZero() {
		w.Skip("the driver is not vfs.Clocked")
	}
	dir := w.make(w.root, "dir", vfs.Dir).Ino
	other := w.make(w.root, "other", vfs.Dir).Ino
	file := w.make(dir, "file", vfs.Regular).Ino
	w.put(file, []byte("contents"), 0)
	for _, c := range []struct {
		what                   string
		mtime, ctime, dirMtime bool
		do                     func() error
	}{
		{"read", false, false, false, func() error {
			_, err := w.FS.ReadAt(w.ctx, file, make([]byte, 5), 0)
			for range w.FS.ReadDir(w.ctx, dir, 0) {
				break
			}
			return err
		}},
		{"lookup", false, false, false, func() error {
			_, err := w.FS.Lookup(w.ctx, dir, "file")
			return err
		}},
		{"write", true, true, false, func() error {
			_, err := w.FS.WriteAt(w.ctx, file, []byte("new"), 0)
			return err
		}},
		{"append", true, true, false, func() error {
			_, err := w.FS.WriteAt(w.ctx, file, []byte("more"), 50_000)
			return err
		}},
		{"write nothing", false, false, false, func() error {
			_, err := w.FS.WriteAt(w.ctx, file, nil, 3)
			return err
		}},
		{"truncate", true, true, false, func() error {
			_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Size: ptr[int64](5)})
			return err
		}},
		{"truncate to the same size", true, true, false, func() error {
			_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Size: ptr[int64](5)})
			return err
		}},
		{"extend", true, true, false, func() error {
			_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Size: ptr[int64](100_000)})
			return err
		}},
		{"chmod", false, true, false, func() error {
			_, err := w.FS.Setattr(w.ctx, file, vfs.SetAttr{Mode: ptr[vfs.Mode](0o600)})
			return err
		}},
		{"link", false, true, true, func() error {
			if w.Limits.NoLinks {
				return w.FS.Rename(w.ctx, dir, "file", dir, "link", 0)
			}
			_, err := w.FS.Link(w.ctx, file, dir, "link")
			return err
		}},
		{"unlink of another name", false, true, true, func() error {
			if w.Limits.NoLinks {
				return w.FS.Rename(w.ctx, dir, "link", dir, "file", 0)
			}
			return w.FS.Unlink(w.ctx, dir, "link")
		}},
		{"rename", false, true, true, func() error { return w.FS.Rename(w.ctx, dir, "file", dir, "new", 0) }},
		{"rename elsewhere", false, true, true, func() error { return w.FS.Rename(w.ctx, dir, "new", other, "new", 0) }},
		{"rename back", false, true, true, func() error { return w.FS.Rename(w.ctx, other, "new", dir, "file", 0) }},
		{"mkdir", false, false, true, func() error {
			_, err := w.FS.Create(w.ctx, dir, "sub", node(vfs.Dir))
			return err
		}},
		{"rmdir", false, false, true, func() error { return w.FS.Rmdir(w.ctx, dir, "sub") }},
		{"something that fails", false, false, false, func() error {
			if _, err := w.FS.Create(w.ctx, dir, "file", node(vfs.Dir)); err == nil {
				return fmt.Errorf("no error")
			}
			return nil
		}},
	} {
		w.tick()
		f, d := w.get(file), w.get(dir)
		require.NoError(w, c.do(), c.what)
		for _, x := range []struct {
			what        string
			set         bool
			before, now time.Time
		}{
			{"mtime", c.mtime, f.Mtime, w.get(file).Mtime}, {"ctime", c.ctime && (c.mtime || !w.Limits.NoCtime), f.Ctime, w.get(file).Ctime},
			{"atime", false, f.Atime, w.get(file).Atime}, {"btime", false, f.Btime, w.get(file).Btime},
			{"mtime of the directory", c.dirMtime, d.Mtime, w.get(dir).Mtime},
			{"ctime of the directory", c.dirMtime, d.Ctime, w.get(dir).Ctime},
			{"atime of the directory", false, d.Atime, w.get(dir).Atime},
		} {
			want := x.before
			if x.set {
				want = w.held(w.clock)
			}
			assert.True(w, x.now.Equal(want), "%s of a file by %s: %v, want %v", x.what, c.what, x.now, want)
		}
	}
}

// flags checks that immutable and append-only files are.
func (w *writing) flags() {
	try := w.make(w.root, "try", vfs.Regular).Ino
	if _, err := w.FS.Setattr(w.ctx, try, vfs.SetAttr{Flags: ptr(vfs.SystemImmutable)}); err != nil {
		require.ErrorIs(w, err, syscall.EOPNOTSUPP)
		w.Skip("the format has no flags")
	}
	w.set(try, vfs.SetAttr{Flags: new(vfs.Flags)})
	for i, flag := range []vfs.Flags{vfs.UserImmutable, vfs.SystemImmutable, vfs.UserAppend, vfs.SystemAppend} {
		if _, err := w.FS.Setattr(w.ctx, try, vfs.SetAttr{Flags: &flag}); errors.Is(err, syscall.EOPNOTSUPP) {
			continue // the format has the other one only
		}
		w.set(try, vfs.SetAttr{Flags: new(vfs.Flags)})
		w.flag(fmt.Sprint("top", i), flag)
	}
}

func (w *writing) flag(top string, flag vfs.Flags) {
	appendOnly := flag&(vfs.UserAppend|vfs.SystemAppend) != 0
	dir := w.make(w.root, top, vfs.Dir).Ino
	file := w.make(dir, "file", vfs.Regular).Ino
	w.make(dir, "free", vfs.Regular)
	w.put(file, []byte("contents"), 0)
	w.make(dir, "empty", vfs.Dir)
	empty, err := w.FS.Lookup(w.ctx, dir, "empty")
	require.NoError(w, err)
	w.set(file, vfs.SetAttr{Flags: &flag})
	w.set(empty.Ino, vfs.SetAttr{Flags: &flag})
	what := fmt.Sprintf("with flags %#x: ", flag)
	eperm := func(name string, do func() error) {
		w.Helper()
		w.fails(syscall.EPERM, what+name, do)
	}
	ctx, fsys := w.ctx, w.FS
	setattr := func(set vfs.SetAttr) func() error {
		return func() error {
			_, err := fsys.Setattr(ctx, file, set)
			return err
		}
	}
	eperm("write", func() error {
		_, err := fsys.WriteAt(ctx, file, []byte("x"), 3)
		return err
	})
	eperm("truncate", setattr(vfs.SetAttr{Size: ptr[int64](3)}))
	eperm("extend", setattr(vfs.SetAttr{Size: ptr[int64](300)}))
	eperm("chmod", setattr(vfs.SetAttr{Mode: ptr[vfs.Mode](0)}))
	eperm("chown", setattr(vfs.SetAttr{UID: ptr[uint32](1)}))
	eperm("utimes", setattr(vfs.SetAttr{Mtime: ptr(time.Unix(1, 1))}))
	eperm("another flag and a mode", setattr(vfs.SetAttr{Flags: ptr(vfs.SystemImmutable | vfs.SystemAppend), Mode: ptr[vfs.Mode](0)}))
	eperm("unlink", func() error { return fsys.Unlink(ctx, dir, "file") })
	eperm("rmdir", func() error { return fsys.Rmdir(ctx, dir, "empty") })
	eperm("link", func() error {
		_, err := fsys.Link(ctx, file, dir, "link")
		return err
	})
	eperm("rename", func() error { return fsys.Rename(ctx, dir, "file", dir, "new", 0) })
	eperm("rename over it", func() error { return fsys.Rename(ctx, dir, "free", dir, "file", 0) })
	eperm("exchange", func() error { return fsys.Rename(ctx, dir, "free", dir, "file", vfs.RenameExchange) })
	if f, ok := fsys.(vfs.Fallocater); ok {
		eperm("fallocate", func() error { return f.Fallocate(ctx, file, 0, 0, 100) })
		eperm("punch", func() error { return f.Fallocate(ctx, file, vfs.AllocPunchHole|vfs.AllocKeepSize, 0, 100) })
	}
	if appendOnly {
		w.put(file, []byte(" and more"), 8)
		assert.Equal(w, "contents and more", string(w.contents(file)))
	} else {
		eperm("append", func() error {
			_, err := fsys.WriteAt(ctx, file, []byte("x"), 8)
			return err
		})
	}
	// Taken away together with a change, or added with one.
	w.set(file, vfs.SetAttr{Flags: ptr(vfs.UserNoDump), Mode: ptr[vfs.Mode](0o600)})
	w.set(file, vfs.SetAttr{Flags: &flag, Mode: ptr[vfs.Mode](0o644)})
	w.set(file, vfs.SetAttr{Flags: new(vfs.Flags)})
	w.set(empty.Ino, vfs.SetAttr{Flags: new(vfs.Flags)})

	// Now the directory.
	w.set(dir, vfs.SetAttr{Flags: &flag})
	create := func() error {
		_, err := fsys.Create(ctx, dir, "another", node(vfs.Regular))
		return err
	}
	if appendOnly {
		require.NoError(w, create(), what)
		_, err := fsys.Link(ctx, file, dir, "one more")
		require.NoError(w, err, what)
	} else {
		eperm("create in", create)
		eperm("link in", func() error {
			_, err := fsys.Link(ctx, file, dir, "one more")
			return err
		})
		w.make(w.root, "mover", vfs.Regular)
		eperm("rename into", func() error { return fsys.Rename(ctx, w.root, "mover", dir, "mover", 0) })
		require.NoError(w, fsys.Unlink(ctx, w.root, "mover"))
	}
	eperm("unlink in", func() error { return fsys.Unlink(ctx, dir, "file") })
	eperm("rmdir in", func() error { return fsys.Rmdir(ctx, dir, "empty") })
	eperm("rename in", func() error { return fsys.Rename(ctx, dir, "file", dir, "new", 0) })
	eperm("rename out of", func() error { return fsys.Rename(ctx, dir, "file", w.root, "new", 0) })
	eperm("rename of", func() error { return fsys.Rename(ctx, w.root, top, w.root, "new", 0) })
	w.put(file, []byte("files in it are another matter"), 0)
	w.set(dir, vfs.SetAttr{Flags: new(vfs.Flags)})
	require.NoError(w, fsys.Unlink(ctx, dir, "file"))

	// A file can be born with flags.
	n := node(vfs.Regular)
	n.Flags = flag
	born, err := fsys.Create(ctx, dir, "born", n)
	require.NoError(w, err)
	assert.Equal(w, flag, born.Flags)
	eperm("unlink of what was born so", func() error { return fsys.Unlink(ctx, dir, "born") })
}

func (w *writing) xattrs() {
	x, ok := w.FS.(vfs.XattrWriter)
	if !ok {
		w.Skip("not a vfs.XattrWriter")
	}
	file := w.make(w.root, "file", vfs.Regular).Ino
	if err := x.SetXattr(w.ctx, file, "user.a", []byte("1"), false, false); err != nil {
		require.ErrorIs(w, err, syscall.ENOTSUP)
		w.Skip("the format has no extended attributes")
	}
	w.tick()
	all := func(ino vfs.Ino) map[string][]byte {
		all, err := x.Xattrs(w.ctx, ino)
		require.NoError(w, err)
		return all
	}
	for _, ino := range []vfs.Ino{file, w.make(w.root, "dir", vfs.Dir).Ino} {
		require.NoError(w, x.SetXattr(w.ctx, ino, "user.a", []byte("1"), false, false))
		require.NoError(w, x.SetXattr(w.ctx, ino, "user.a", []byte("22"), false, true))
		require.NoError(w, x.SetXattr(w.ctx, ino, "user.empty", nil, true, false))
		assert.Equal(w, map[string][]byte{"user.a": []byte("22"), "user.empty": {}}, all(ino))
		if !w.clock.IsZero() {
			assert.True(w, w.get(ino).Ctime.Equal(w.clock))
		}
		w.fails(syscall.EEXIST, "create what is there", func() error {
			return x.SetXattr(w.ctx, ino, "user.a", []byte("3"), true, false)
		})
		w.fails(syscall.ENODATA, "replace what is not there", func() error {
			return x.SetXattr(w.ctx, ino, "user.b", []byte("3"), false, true)
		})
		w.fails(syscall.ENODATA, "remove what is not there", func() error { return x.RemoveXattr(w.ctx, ino, "user.b") })
		w.fails(syscall.ENOTSUP, "no such namespace", func() error {
			return x.SetXattr(w.ctx, ino, "nothing.b", nil, false, false)
		})
		require.NoError(w, x.SetXattr(w.ctx, ino, "user.large", []byte(strings.Repeat("v", 900)), false, false))
		require.NoError(w, x.RemoveXattr(w.ctx, ino, "user.a"))
		assert.Equal(w, map[string][]byte{"user.large": []byte(strings.Repeat("v", 900)), "user.empty": {}}, all(ino))
	}
	require.NoError(w, w.FS.Unlink(w.ctx, w.root, "file"))
	err := x.SetXattr(context.Background(), file, "user.a", nil, false, false)
	assert.ErrorIs(w, err, syscall.ENOENT)
}
