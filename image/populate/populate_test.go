package populate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

var (
	ctx    = context.Background()
	asRoot = os.Geteuid() == 0
)

// host makes a tree with one of everything.
func host(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	write := func(name string, data []byte, perm os.FileMode) {
		require.NoError(t, os.MkdirAll(filepath.Dir(at(name)), 0o755))
		require.NoError(t, os.WriteFile(at(name), data, 0o600))
		require.NoError(t, os.Chmod(at(name), perm))
	}
	write("etc/motd", []byte("hello\n"), 0o644)
	write("etc/empty", nil, 0o600)
	write("bin/su", bytes.Repeat([]byte("su"), 5000), 0o555|os.ModeSetuid)
	write("big", bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, (9<<20)/7), 0o640)
	write("b/c/d/e", []byte("deep"), 0o644)
	write("z\xff odd \n name", []byte("odd"), 0o644)
	require.NoError(t, os.Chmod(at("b/c"), 0o1777|os.ModeSticky))
	require.NoError(t, os.Mkdir(at("nothing"), 0o700))
	require.NoError(t, os.Link(at("etc/motd"), at("b/motd")))
	require.NoError(t, os.Symlink("../etc/motd", at("b/link")))
	require.NoError(t, os.Symlink(strings.Repeat("x/", 500), at("b/long")))
	require.NoError(t, os.Symlink("link2", at("b/link2")))
	require.NoError(t, os.Link(at("b/link2"), at("b/link3")))
	require.NoError(t, unix.Mkfifo(at("fifo"), 0o622))
	require.NoError(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))

	sparse := func(name string, size int64, offs ...int64) {
		f, err := os.Create(at(name))
		require.NoError(t, err)
		require.NoError(t, f.Truncate(size))
		for _, off := range offs {
			_, err := f.WriteAt(bytes.Repeat([]byte{9}, 4096), off)
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
	}
	sparse("holes", 20<<20+5, 1<<20, 12<<20)
	sparse("hole", 3<<20)
	sparse("tail", 3<<20, 3<<20-4096)
	if asRoot {
		require.NoError(t, unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(2, 300))))
		require.NoError(t, unix.Mknod(at("disk"), unix.S_IFBLK|0o640, int(unix.Mkdev(4, 3))))
		require.NoError(t, os.Lchown(at("etc/empty"), 12, 34))
	}
	// Times, from the leaves up.
	var all []string
	require.NoError(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		all = append(all, p)
		return err
	}))
	for i := len(all) - 1; i >= 0; i-- {
		ts := unix.NsecToTimespec(1_600_000_000_123456789 + int64(i)*1e9)
		require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, all[i], []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
	return root
}

// compare holds the files below dir of the image against those of the host.
func compare(t *testing.T, fsys vfs.FS, dir string, root string, owner func(uid, gid uint32) (uint32, uint32)) {
	t.Helper()
	tree := vfs.NewTree(fsys)
	count := 0
	inodes := map[uint64]vfs.Ino{}
	require.NoError(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		count++
		rel, err := filepath.Rel(root, p)
		require.NoError(t, err)
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(p, &st))
		a, err := tree.ResolveLink(ctx, filepath.Join(dir, rel))
		require.NoError(t, err, rel)
		assert.Equal(t, vfs.Mode(st.Mode), a.Mode, rel)
		uid, gid := st.Uid, st.Gid
		if owner != nil {
			uid, gid = owner(uid, gid)
		}
		assert.Equal(t, [2]uint32{uid, gid}, [2]uint32{a.UID, a.GID}, rel)
		assert.Equal(t, time.Unix(st.Mtim.Unix()).UTC(), a.Mtime.UTC(), rel)
		assert.Equal(t, a.Mtime.UTC(), a.Atime.UTC(), rel)
		assert.EqualValues(t, st.Nlink, a.Nlink, rel)
		switch a.Mode.Type() {
		case vfs.Regular:
			want, err := os.ReadFile(p)
			require.NoError(t, err)
			got := make([]byte, a.Size)
			if a.Size > 0 {
				_, err = fsys.ReadAt(ctx, a.Ino, got, 0)
				require.NoError(t, err)
			}
			assert.True(t, bytes.Equal(want, got), rel)
			assert.LessOrEqual(t, a.Blocks, st.Blocks, "%s: holes", rel)
		case vfs.Symlink:
			want, err := os.Readlink(p)
			require.NoError(t, err)
			got, err := fsys.Readlink(ctx, a.Ino)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		case vfs.Char, vfs.Block:
			assert.Equal(t, vfs.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}, a.Rdev)
		}
		if st.Nlink > 1 && !a.Mode.IsDir() {
			if first, ok := inodes[st.Ino]; ok {
				assert.Equal(t, first, a.Ino, "%s: names of one file", rel)
			}
			inodes[st.Ino] = a.Ino
		}
		return nil
	}))
	there := 0
	require.NoError(t, tree.Walk(ctx, dir, func(string, vfs.Attr, error) error { there++; return nil }))
	assert.Equal(t, count, there, "nothing else is there")
}

func TestCopy(t *testing.T) {
	root := host(t)
	fsys := memfs.New()
	var progress int64
	done, err := Copy(ctx, fsys, root, fsys.Root(), "copy", Options{Progress: func(n int64) { progress += n }})
	require.NoError(t, err)
	compare(t, fsys, "/copy", root, nil)
	assert.Equal(t, progress, done.Bytes)
	names := 0
	require.NoError(t, filepath.WalkDir(root, func(string, fs.DirEntry, error) error { names++; return nil }))
	assert.EqualValues(t, names, done.Files)
	assert.Less(t, done.Bytes, int64(12<<20), "holes are not read")

	// Again over what is there: all is replaced, nothing is left over.
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/empty"), []byte("no more"), 0))
	again, err := Copy(ctx, fsys, root+"/", fsys.Root(), "copy", Options{})
	require.NoError(t, err)
	assert.Equal(t, done.Files, again.Files)
	compare(t, fsys, "/copy", root, nil)

	// A link to the tree is followed if a slash says so.
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(root, link))
	_, err = Copy(ctx, fsys, link+"/", fsys.Root(), "linked", Options{})
	require.NoError(t, err)
	compare(t, fsys, "/linked", root, nil)

	// Into a directory itself.
	into := memfs.New()
	_, err = Copy(ctx, into, root, into.Root(), ".", Options{})
	require.NoError(t, err)
	compare(t, into, "/", root, nil)
}

func TestCopyOneFile(t *testing.T) {
	root := host(t)
	fsys := memfs.New()
	for _, name := range []string{"big", "b/link", "fifo", "nothing"} {
		_, err := Copy(ctx, fsys, filepath.Join(root, name), fsys.Root(), filepath.Base(name), Options{})
		require.NoError(t, err)
	}
	tree := vfs.NewTree(fsys)
	a, err := tree.ResolveLink(ctx, "/link")
	require.NoError(t, err)
	assert.Equal(t, vfs.Symlink, a.Mode.Type(), "a link is copied as a link")
	a, err = tree.ResolveLink(ctx, "/big")
	require.NoError(t, err)
	assert.EqualValues(t, (9<<20)/7*7, a.Size)

	t.Chdir(filepath.Join(root, "b/c"))
	_, err = Copy(ctx, fsys, ".", fsys.Root(), "dot", Options{})
	require.NoError(t, err)
	_, err = tree.ResolveLink(ctx, "/dot/d/e")
	require.NoError(t, err)
	_, err = Copy(ctx, fsys, "..", fsys.Root(), "dotdot", Options{})
	require.NoError(t, err)
	_, err = tree.ResolveLink(ctx, "/dotdot/c/d/e")
	require.NoError(t, err)
}

func TestCopyOptions(t *testing.T) {
	root := host(t)
	fsys := memfs.New()
	owner := func(_, gid uint32) (uint32, uint32) { return 0, gid + 1 }
	_, err := Copy(ctx, fsys, root, fsys.Root(), "copy", Options{Owner: owner})
	require.NoError(t, err)
	compare(t, fsys, "/copy", root, owner)

	epoch := time.Unix(1_600_000_003, 0)
	_, err = Copy(ctx, fsys, root, fsys.Root(), "old", Options{MaxTime: epoch})
	require.NoError(t, err)
	early := 0
	require.NoError(t, vfs.NewTree(fsys).Walk(ctx, "/old", func(p string, a vfs.Attr, err error) error {
		assert.False(t, a.Mtime.After(epoch), p)
		if a.Mtime.Before(epoch) {
			early++
		}
		return err
	}))
	assert.Positive(t, early, "only later times change")

	// What exists stays, and is told.
	var told []string
	done, err := Copy(ctx, fsys, root, fsys.Root(), "copy", Options{NoClobber: true, Path: "/", Problem: func(path string, err error) error {
		assert.ErrorIs(t, err, syscall.EEXIST)
		rel := strings.TrimPrefix(path, root+"/")
		assert.Contains(t, err.Error(), "/copy/"+rel)
		told = append(told, rel)
		return nil
	}})
	require.NoError(t, err)
	assert.Contains(t, told, "etc/motd")
	assert.Contains(t, told, "b/link")
	assert.Zero(t, done.Bytes)
}

// The order is that of the names, files first.
func TestCopyIsRepeatable(t *testing.T) {
	root := host(t)
	list := func() (names []string) {
		fsys := memfs.New()
		_, err := Copy(ctx, fsys, root, fsys.Root(), ".", Options{})
		require.NoError(t, err)
		inos := map[vfs.Ino]bool{}
		require.NoError(t, vfs.NewTree(fsys).Walk(ctx, "/", func(p string, a vfs.Attr, err error) error {
			if !inos[a.Ino] {
				inos[a.Ino] = true
				names = append(names, fmt.Sprint(a.Ino, " ", p))
			}
			return err
		}))
		return names
	}
	first := list()
	for range 3 {
		assert.Equal(t, first, list())
	}
}

func TestCopyConflicts(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "file"), []byte("x"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(root, "dir"), 0o755))
	fsys := memfs.New()
	fsys.AddDir("/file")
	fsys.AddFile("/dir", []byte("y"))
	var told []error
	done, err := Copy(ctx, fsys, root, fsys.Root(), ".", Options{Problem: func(_ string, err error) error {
		told = append(told, err)
		return nil
	}})
	require.NoError(t, err)
	require.Len(t, told, 2)
	assert.ErrorIs(t, told[0], syscall.EISDIR)
	assert.ErrorIs(t, told[1], syscall.ENOTDIR)
	assert.EqualValues(t, 1, done.Files)

	_, err = Copy(ctx, fsys, root, fsys.Root(), ".", Options{})
	assert.EqualError(t, err, "copy "+root+"/file /file: there is a directory of that name in the image: is a directory")
	_, err = Copy(ctx, fsys, filepath.Join(root, "file"), fsys.Root(), ".", Options{})
	assert.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = Copy(ctx, fsys, filepath.Join(root, "none"), fsys.Root(), "none", Options{})
	assert.ErrorIs(t, err, syscall.ENOENT)
	assert.ErrorContains(t, err, root+"/none")
	_, err = Copy(ctx, fsys, filepath.Join(root, "none/none"), fsys.Root(), "none", Options{})
	assert.ErrorIs(t, err, syscall.ENOENT)
}

// failing breaks one kind of call.
type failing struct {
	*memfs.FS
	write, create, link, setattr error
	after                        int
}

func (f *failing) due(err error) error {
	if err == nil {
		return nil
	}
	if f.after--; f.after >= 0 {
		return nil
	}
	return err
}

func (f *failing) WriteAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	if err := f.due(f.write); err != nil {
		n, _ := f.FS.WriteAt(ctx, ino, p[:len(p)/2], off)
		return n, err
	}
	return f.FS.WriteAt(ctx, ino, p, off)
}

func (f *failing) Create(ctx context.Context, dir vfs.Ino, name string, node vfs.NewNode) (vfs.Attr, error) {
	if err := f.due(f.create); err != nil {
		return vfs.Attr{}, err
	}
	if _, err := f.Lookup(ctx, dir, name); err != nil && len(node.Contents) > 0 {
		if err := f.due(f.write); err != nil {
			return vfs.Attr{}, err
		}
	}
	return f.FS.Create(ctx, dir, name, node)
}

func (f *failing) Link(ctx context.Context, ino, dir vfs.Ino, name string) (vfs.Attr, error) {
	if err := f.due(f.link); err != nil {
		return vfs.Attr{}, err
	}
	return f.FS.Link(ctx, ino, dir, name)
}

func (f *failing) Setattr(ctx context.Context, ino vfs.Ino, set vfs.SetAttr) (vfs.Attr, error) {
	if err := f.due(f.setattr); err != nil {
		return vfs.Attr{}, err
	}
	return f.FS.Setattr(ctx, ino, set)
}

// An image that is full ends the copy, whatever the caller thinks of problems,
// and no file is left that is not complete.
func TestCopyToFullImage(t *testing.T) {
	t.Run("small files", func(t *testing.T) { copyToFullImage(t, 9000, 1) })
	t.Run("large files", func(t *testing.T) { copyToFullImage(t, bufferSize+1, 2) })
}

// copyToFullImage copies five files of so many bytes, each of which takes so
// many writes.
func copyToFullImage(t *testing.T, size, writes int) {
	root := t.TempDir()
	for i := range 5 {
		require.NoError(t, os.WriteFile(filepath.Join(root, fmt.Sprint("f", i)), bytes.Repeat([]byte{1}, size), 0o644))
	}
	for after := range 5 * writes {
		f := &failing{FS: memfs.New(), write: syscall.ENOSPC, after: after}
		f.AddFile("/f3", []byte("old"))
		_, err := Copy(ctx, f, root, f.Root(), ".", Options{Path: "/", Problem: func(string, error) error {
			t.Error("asked")
			return nil
		}})
		require.ErrorIs(t, err, syscall.ENOSPC)
		complete := after / writes
		assert.ErrorContains(t, err, fmt.Sprintf("copy %s/f%d /f%d: ", root, complete, complete))
		names := 0
		for e, err := range f.ReadDir(ctx, f.Root(), 0) {
			require.NoError(t, err)
			names++
			a, err := f.Getattr(ctx, e.Ino)
			require.NoError(t, err)
			if e.Name == "f3" && complete <= 3 {
				assert.EqualValues(t, 3, a.Size, "the old file is as it was")
			} else {
				assert.EqualValues(t, size, a.Size)
			}
		}
		want := complete
		if complete <= 3 {
			want++
		}
		assert.Equal(t, want, names)
	}
}

// Other failures are the caller's to judge.
func TestCopyGoesOn(t *testing.T) {
	root := host(t)
	for _, f := range []*failing{{write: syscall.EFBIG}, {create: syscall.EFBIG, after: 3}, {setattr: syscall.EPERM, after: 2}} {
		f.FS = memfs.New()
		told := 0
		done, err := Copy(ctx, f, root, f.Root(), ".", Options{Problem: func(string, error) error { told++; return nil }})
		require.NoError(t, err)
		assert.Positive(t, told)
		assert.Positive(t, done.Files)
		stop := errors.New("stop")
		f.FS = memfs.New()
		_, err = Copy(ctx, f, root, f.Root(), ".", Options{Problem: func(string, error) error { return stop }})
		assert.Equal(t, stop, errors.Unwrap(err))
	}
	// A file that cannot have another name is copied again.
	f := &failing{FS: memfs.New(), link: syscall.EMLINK}
	_, err := Copy(ctx, f, root, f.Root(), ".", Options{})
	require.NoError(t, err)
	a, err := vfs.NewTree(f).ResolveLink(ctx, "/b/motd")
	require.NoError(t, err)
	assert.EqualValues(t, 1, a.Nlink)
	assert.EqualValues(t, 6, a.Size)
}

func TestCopyIsCancelled(t *testing.T) {
	root := host(t)
	cancelled, cancel := context.WithCancel(ctx)
	fsys := memfs.New()
	_, err := Copy(cancelled, fsys, root, fsys.Root(), ".", Options{Progress: func(int64) { cancel() },
		Problem: func(string, error) error { t.Error("asked"); return nil }})
	assert.ErrorIs(t, err, context.Canceled)
	_, err = Copy(cancelled, fsys, root, fsys.Root(), ".", Options{})
	assert.ErrorIs(t, err, context.Canceled)
	assert.NoError(t, vfs.NewTree(fsys).Walk(ctx, "/", func(p string, a vfs.Attr, err error) error {
		if a.Mode.IsRegular() {
			st, err := os.Stat(filepath.Join(root, p))
			require.NoError(t, err)
			assert.Equal(t, st.Size(), a.Size, p)
		}
		return err
	}))
}

func TestCopyXattrs(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(name, []byte("x"), 0o644))
	for path, value := range map[string]string{name: "on file", root: "on dir"} {
		if err := unix.Setxattr(path, "user.comment", []byte(value), 0); err != nil {
			t.Skipf("no extended attributes here: %v", err)
		}
	}
	fsys := memfs.New()
	done, err := Copy(ctx, fsys, root, fsys.Root(), "copy", Options{})
	require.NoError(t, err)
	assert.Zero(t, done.Xattrs)
	tree := vfs.NewTree(fsys)
	for path, want := range map[string]string{"/copy": "on dir", "/copy/file": "on file"} {
		a, err := tree.ResolveLink(ctx, path)
		require.NoError(t, err)
		got, err := fsys.Xattrs(ctx, a.Ino)
		require.NoError(t, err)
		assert.Equal(t, want, string(got["user.comment"]))
	}
	// A file system without any counts them.
	done, err = Copy(ctx, struct{ vfs.WritableFS }{fsys}, root, fsys.Root(), "again", Options{})
	require.NoError(t, err)
	assert.EqualValues(t, 2, done.Xattrs)
}

// A file whose flags forbid writing in the image is written before it has them.
func TestCopyFlags(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(name, []byte("x"), 0o644))
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	set := func(attrs int) error { return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, attrs) }
	if err := set(0x10 | 0x40); err != nil {
		t.Skipf("no file flags here: %v", err)
	}
	defer func() { require.NoError(t, set(0)) }()
	fsys := memfs.New()
	_, err = Copy(ctx, fsys, root, fsys.Root(), "copy", Options{Flags: true})
	require.NoError(t, err)
	a, err := vfs.NewTree(fsys).ResolveLink(ctx, "/copy/file")
	require.NoError(t, err)
	assert.Equal(t, vfs.SystemImmutable|vfs.UserNoDump, a.Flags)
	assert.EqualValues(t, 1, a.Size)
}

// A host file that shrinks is not taken for a shorter one.
func TestCopyShrinkingFile(t *testing.T) {
	root := t.TempDir()
	name := filepath.Join(root, "log")
	require.NoError(t, os.WriteFile(name, bytes.Repeat([]byte{1}, 6<<20), 0o644))
	fsys := memfs.New()
	_, err := Copy(ctx, fsys, root, fsys.Root(), ".", Options{Progress: func(int64) { assert.NoError(t, os.Truncate(name, 1)) }})
	assert.ErrorContains(t, err, "became shorter")
	_, err = vfs.NewTree(fsys).ResolveLink(ctx, "/log")
	assert.ErrorIs(t, err, syscall.ENOENT)
}
