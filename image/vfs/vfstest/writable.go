package vfstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
)

// A Writable is an empty file system, or one with nothing but lost+found in
// it, for [RunWritable] to write to.
type Writable struct {
	FS vfs.WritableFS
	// Reopen opens the file system again as it is on the medium, with FS still
	// open or closed: what was not committed is not there. nil: no medium.
	Reopen func() (vfs.FS, error)
	// Check has the checker look at the medium; the error is what it finds.
	// nil: no checker.
	Check func() error

	LinkMax    uint32 // of the format; 0: too many to try
	MaxSize    int64  // of a file; 0: not known
	SymlinkMax int    // 0: not known
	NameMax    int    // letters in a name; 0: what Statfs says
	// Limits are what the format cannot hold.
	Limits limits.Limits
}

// RunWritable checks that a driver keeps the rules of [vfs.WritableFS]. make
// makes a file system of at least size bytes, and little more, that nobody
// else writes to.
func RunWritable(t *testing.T, make func(t *testing.T, size int64) Writable) {
	t.Helper()
	for _, part := range []struct {
		name string
		size int64
		run  func(*writing)
	}{
		{"Create", 16 << 20, (*writing).create},
		{"BadNames", 8 << 20, (*writing).badNames},
		{"Link", 16 << 20, (*writing).link},
		{"LinkMax", 16 << 20, (*writing).linkMax},
		{"Unlink", 8 << 20, (*writing).unlink},
		{"Rmdir", 8 << 20, (*writing).rmdir},
		{"Rename", 16 << 20, (*writing).rename},
		{"RenameTrees", 16 << 20, (*writing).renameTrees},
		{"Spelling", 8 << 20, (*writing).spelling},
		{"Listing", 16 << 20, (*writing).listing},
		{"Write", 32 << 20, (*writing).write},
		{"HostFiles", 32 << 20, (*writing).hostFiles},
		{"Sizes", 32 << 20, (*writing).sizes},
		{"Fallocate", 32 << 20, (*writing).fallocate},
		{"Attributes", 8 << 20, (*writing).attributes},
		{"Times", 8 << 20, (*writing).times},
		{"Flags", 8 << 20, (*writing).flags},
		{"Xattrs", 8 << 20, (*writing).xattrs},
		{"Pins", 8 << 20, (*writing).pins},
		{"Commit", 16 << 20, (*writing).commit},
		{"Full", 4 << 20, (*writing).full},
		{"FullOfFiles", 2 << 20, (*writing).fullOfFiles},
		{"Readers", 32 << 20, (*writing).readers},
		{"Writers", 32 << 20, (*writing).writers},
	} {
		t.Run(part.name, func(t *testing.T) {
			v := make(t, part.size)
			w := &writing{T: t, ctx: context.Background(), Writable: v, root: v.FS.Root()}
			if c, ok := v.FS.(vfs.Clocked); ok {
				w.clock = time.Unix(1_200_000_000, 123_456_789)
				c.SetClock(func() time.Time { return w.clock })
			}
			part.run(w)
			if t.Failed() {
				return
			}
			// Whatever was done, it can be committed and is all right then.
			require.NoError(t, v.FS.Sync(w.ctx))
			w.checked()
		})
	}
}

// writing is one part of the suite.
type writing struct {
	*testing.T
	Writable
	ctx   context.Context
	root  vfs.Ino
	clock time.Time // zero if the driver has its own
}

// types are all types of files.
var types = []vfs.Mode{vfs.Regular, vfs.Dir, vfs.Symlink, vfs.FIFO, vfs.Socket, vfs.Char, vfs.Block}

// typeName is what a test calls a type.
func typeName(m vfs.Mode) string {
	return map[vfs.Mode]string{
		vfs.Regular: "file", vfs.Dir: "dir", vfs.Symlink: "symlink", vfs.FIFO: "fifo",
		vfs.Socket: "socket", vfs.Char: "char", vfs.Block: "block",
	}[m.Type()]
}

// node is a new file of a type.
func node(typ vfs.Mode) vfs.NewNode {
	n := vfs.NewNode{Mode: typ | 0o640, UID: 12, GID: 34}
	switch typ {
	case vfs.Symlink:
		n.Target = "some/where"
	case vfs.Char, vfs.Block:
		n.Rdev = vfs.Dev{Major: 4, Minor: 5}
	}
	return n
}

// tick lets time pass: more than the coarsest clock of a format takes.
func (w *writing) tick() { w.clock = w.clock.Add(2*time.Second + 1001*time.Nanosecond) }

// types are the types of files that the format has.
func (w *writing) types() []vfs.Mode {
	return slices.DeleteFunc(slices.Clone(types), func(m vfs.Mode) bool { return !w.Limits.Has(m) })
}

// nameMax is how many letters a name may have.
func (w *writing) nameMax() int {
	if w.NameMax > 0 {
		return w.NameMax
	}
	st, err := w.FS.Statfs(w.ctx)
	require.NoError(w, err)
	return st.NameMax
}

// isNow checks that a time is the present one, as the format holds it.
func (w *writing) isNow(got time.Time, what string) {
	w.Helper()
	if !w.clock.IsZero() {
		want := w.held(w.clock)
		assert.True(w, got.Equal(want), "%s: %v, want %v", what, got, want)
	}
}

// held is what becomes of a modification time.
func (w *writing) held(t time.Time) time.Time {
	return w.Limits.Held(vfs.Attr{Mode: vfs.Regular | 0o644, Mtime: t}).Mtime
}

// changedNow checks the change time of a file whose attributes or names
// changed. In a format without one, it is the modification time.
func (w *writing) changedNow(a vfs.Attr, what string) {
	w.Helper()
	if w.Limits.NoCtime {
		assert.True(w, a.Ctime.Equal(a.Mtime), "%s: no change time", what)
		return
	}
	w.isNow(a.Ctime, what)
}

// dirNow checks the times of a directory in which something changed.
func (w *writing) dirNow(dir vfs.Ino, what string) {
	w.Helper()
	if a := w.get(dir); !w.bare(dir) {
		w.isNow(a.Mtime, what)
		w.isNow(a.Ctime, what)
	}
}

// bare says whether a directory has no times.
func (w *writing) bare(dir vfs.Ino) bool { return dir == w.root && w.Limits.BareRoot }

// make makes a file.
func (w *writing) make(dir vfs.Ino, name string, typ vfs.Mode) vfs.Attr {
	w.Helper()
	attr, err := w.FS.Create(w.ctx, dir, name, node(typ))
	require.NoError(w, err, name)
	return attr
}

func (w *writing) get(ino vfs.Ino) vfs.Attr {
	w.Helper()
	attr, err := w.FS.Getattr(w.ctx, ino)
	require.NoError(w, err)
	return attr
}

func (w *writing) set(ino vfs.Ino, set vfs.SetAttr) vfs.Attr {
	w.Helper()
	attr, err := w.FS.Setattr(w.ctx, ino, set)
	require.NoError(w, err)
	require.Equal(w, w.get(ino), attr, "Setattr returns what Getattr does")
	return attr
}

func (w *writing) put(ino vfs.Ino, p []byte, off int64) {
	w.Helper()
	n, err := w.FS.WriteAt(w.ctx, ino, p, off)
	require.NoError(w, err)
	require.Equal(w, len(p), n)
}

// contents reads a file whole.
func (w *writing) contents(ino vfs.Ino) []byte {
	w.Helper()
	p := make([]byte, w.get(ino).Size)
	n, err := w.FS.ReadAt(w.ctx, ino, p, 0)
	require.Equal(w, len(p), n, "%v", err)
	return p
}

func (w *writing) names(dir vfs.Ino) []string {
	w.Helper()
	var list []string
	for e, err := range w.FS.ReadDir(w.ctx, dir, 0) {
		require.NoError(w, err)
		list = append(list, e.Name)
	}
	sort.Strings(list)
	return list
}

// unchanged returns a function that says whether the tree is as it is now.
func (w *writing) unchanged() func(what string, args ...any) {
	w.Helper()
	before := Dump(w, w.FS)
	return func(what string, args ...any) {
		w.Helper()
		assert.Equal(w, before, Dump(w, w.FS), "changed by: "+what, args)
	}
}

// fails checks that an operation had the error want, and changed nothing.
func (w *writing) fails(want error, what string, op func() error) {
	w.Helper()
	same := w.unchanged()
	assert.ErrorIs(w, op(), want, what)
	same(what)
}

// checked has the medium checked.
func (w *writing) checked() {
	w.Helper()
	if w.Check != nil {
		require.NoError(w, w.Check(), "the checker")
	}
}

// pattern is n bytes that tell where in a file they belong.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>16)*31 + byte(i>>8)*7 + byte(i) ^ seed
	}
	return p
}

// Dump lists everything in a file system, one line for each file. Two that are
// alike have the same list, but for inode numbers, the sizes of directories and
// how much space is taken.
func Dump(t testing.TB, fsys vfs.FS) []string {
	t.Helper()
	ctx := context.Background()
	var out []string
	first := map[vfs.Ino]string{}
	var visit func(path string, ino vfs.Ino, depth int)
	visit = func(path string, ino vfs.Ino, depth int) {
		require.Less(t, depth, 300, "directories nest without end")
		a, err := fsys.Getattr(ctx, ino)
		require.NoError(t, err, path)
		line := fmt.Sprintf("%s %v links=%d %d:%d dev=%v flags=%x %v", path, a.Mode, a.Nlink, a.UID, a.GID, a.Rdev, a.Flags,
			[]string{stamp(a.Atime), stamp(a.Mtime), stamp(a.Ctime), stamp(a.Btime)})
		if other, ok := first[ino]; ok {
			out = append(out, line+" is "+other)
			return
		}
		first[ino] = path
		if x, ok := fsys.(vfs.Xattrer); ok {
			all, err := x.Xattrs(ctx, ino)
			require.NoError(t, err, path)
			for _, name := range sorted(all) {
				line += fmt.Sprintf(" %s=%q", name, all[name])
			}
		}
		switch a.Mode.Type() {
		case vfs.Symlink:
			target, err := fsys.Readlink(ctx, ino)
			require.NoError(t, err, path)
			line += " -> " + target
		case vfs.Regular:
			line += fmt.Sprintf(" size=%d %x", a.Size, digest(t, fsys, a))
		}
		out = append(out, line)
		if !a.Mode.IsDir() {
			return
		}
		below := map[string]vfs.Ino{}
		for e, err := range fsys.ReadDir(ctx, ino, 0) {
			require.NoError(t, err, path)
			below[e.Name] = e.Ino
		}
		for _, name := range sorted(below) {
			visit(strings.TrimSuffix(path, "/")+"/"+name, below[name], depth+1)
		}
	}
	visit("/", fsys.Root(), 0)
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}

func sorted[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for name := range m {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}

// digest sums up the contents of a file; of a very large one, only the data.
func digest(t testing.TB, fsys vfs.FS, a vfs.Attr) []byte {
	t.Helper()
	ctx := context.Background()
	sum := sha256.New()
	buf := make([]byte, 64<<10)
	h, seeks := fsys.(vfs.HoleSeeker)
	for off := int64(0); off < a.Size; {
		if seeks {
			next, err := h.SeekData(ctx, a.Ino, off)
			if err != nil {
				break
			}
			off = next
		}
		n := min(int64(len(buf))-off%int64(len(buf)), a.Size-off)
		k, err := fsys.ReadAt(ctx, a.Ino, buf[:n], off)
		require.Equal(t, int(n), k, "inode %d at byte %d: %v", a.Ino, off, err)
		// Zeros and holes are the same.
		data := bytes.TrimLeft(buf[:n], "\x00")
		if len(data) > 0 {
			fmt.Fprint(sum, off+n-int64(len(data)), ":")
			sum.Write(bytes.TrimRight(data, "\x00"))
		}
		off += n
	}
	return sum.Sum(nil)[:8]
}

func ptr[T any](v T) *T { return &v }
