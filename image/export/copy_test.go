package export_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// copyAll copies all of fsys into dir and returns the problems.
func copyAll(t *testing.T, fsys vfs.FS, dir string, opt export.CopyOptions) []string {
	t.Helper()
	var problems []string
	opt.Problem = func(p string, err error) error {
		problems = append(problems, p+": "+err.Error())
		return nil
	}
	_, err := export.Copy(context.Background(), tree(fsys), "/", dir, ".", opt)
	require.NoError(t, err)
	return problems
}

func TestCopyIsWhatIsInTheImage(t *testing.T) {
	needRoot(t)
	fsys, dir := sample(), t.TempDir()
	fsys.AddSocket("/dev/log", func(a *vfs.Attr) { a.Mode = 0o666 })
	assert.Empty(t, copyAll(t, fsys, dir, export.CopyOptions{Owners: true, AllXattrs: true}))
	sameFiles(t, fsys, dir)
	assertXattrs(t, dir)
	// Again, over what is there now.
	assert.Empty(t, copyAll(t, fsys, dir, export.CopyOptions{Owners: true, AllXattrs: true}))
	sameFiles(t, fsys, dir)
}

func TestCopyOfOneFile(t *testing.T) {
	dir := t.TempDir()
	done, err := export.Copy(context.Background(), tree(sample()), "/etc/fstab", dir, "other", export.CopyOptions{})
	require.NoError(t, err)
	assert.Equal(t, int64(1), done.Files)
	got, err := os.ReadFile(filepath.Join(dir, "other"))
	require.NoError(t, err)
	assert.Equal(t, "/dev/sd0a / ffs rw 1 1\n", string(got))
}

func TestCopyIntoNothing(t *testing.T) {
	_, err := export.Copy(context.Background(), tree(sample()), "/etc", filepath.Join(t.TempDir(), "none"), "x", export.CopyOptions{})
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// The set-id bits of somebody else's program must not become ours.
func TestSetIDBitsGoWithTheirOwner(t *testing.T) {
	fsys, dir := memfs.New(), t.TempDir()
	fsys.AddFile("/su", nil, func(a *vfs.Attr) { a.Mode, a.UID = 0o6755, 12345 })
	assert.Empty(t, copyAll(t, fsys, dir, export.CopyOptions{}))
	st, err := os.Stat(filepath.Join(dir, "su"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o755), st.Mode())
}

// A symbolic link of the host where a file or directory is to go is a way out.
func TestLinksOfTheHostAreNotFollowed(t *testing.T) {
	fsys, dir, outside := memfs.New(), t.TempDir(), t.TempDir()
	fsys.AddFile("/file", []byte("new"))
	fsys.AddDir("/dir")
	fsys.AddFile("/dir/inner", []byte("new"))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("old"), 0o600))
	require.NoError(t, os.Symlink(filepath.Join(outside, "victim"), filepath.Join(dir, "file")))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "dir")))
	assert.Equal(t, []string{
		"/dir: exists on the host and is no directory",
		"/file: there is a symbolic link of that name on the host; not replaced, not followed",
	}, copyAll(t, fsys, dir, export.CopyOptions{}))
	assertOnly(t, outside, "victim")
	got, err := os.ReadFile(filepath.Join(outside, "victim"))
	require.NoError(t, err)
	assert.Equal(t, "old", string(got))
}

// A directory of an image may have anything as a name, and a name twice: a
// link first, and a directory whose files would go through it.
func TestHostileNamesStayInside(t *testing.T) {
	fsys, outside := memfs.New(), t.TempDir()
	dir := filepath.Join(outside, "copy")
	require.NoError(t, os.Mkdir(dir, 0o700))
	fsys.AddSymlink("/link", outside)
	fsys.AddDir("/dir")
	fsys.AddFile("/dir/escaped", []byte("out"))
	fsys.AddFile("/file", []byte("out"))
	root := attr(t, fsys, "/").Ino
	link, sub, file := attr(t, fsys, "/link").Ino, attr(t, fsys, "/dir").Ino, attr(t, fsys, "/file").Ino
	// Sorted by name, a stable order puts the link first.
	hostile := &fault{FS: fsys, entries: map[vfs.Ino][]vfs.DirEntry{root: {
		{Name: "x", Ino: link, Type: vfs.Symlink, Next: 1},
		{Name: "x", Ino: sub, Type: vfs.Dir, Next: 2},
		{Name: "x", Ino: file, Type: vfs.Regular, Next: 3},
		{Name: "..", Ino: file, Type: vfs.Regular, Next: 4},
		{Name: "../escaped", Ino: file, Type: vfs.Regular, Next: 5},
		{Name: "x/escaped", Ino: file, Type: vfs.Regular, Next: 6},
		{Name: "", Ino: file, Type: vfs.Regular, Next: 7},
		{Name: "nul\x00", Ino: file, Type: vfs.Regular, Next: 8},
		{Name: "good", Ino: file, Type: vfs.Regular, Next: 9},
	}}}
	problems := copyAll(t, hostile, dir, export.CopyOptions{})
	assert.NotEmpty(t, problems)
	assertOnly(t, outside, "copy")
	got, err := os.ReadFile(filepath.Join(dir, "good"))
	require.NoError(t, err)
	assert.Equal(t, "out", string(got))
}

// assertOnly checks what is in a directory of the host.
func assertOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	assert.Equal(t, want, names)
}

func TestFileThatFailsLeavesNothing(t *testing.T) {
	fsys, dir := memfs.New(), t.TempDir()
	fsys.AddFile("/bad", bytes.Repeat([]byte("b"), 3<<20))
	fsys.AddFile("/good", []byte("good"))
	fsys.AddLink("/bad", "/link-to-bad")
	broken := &fault{FS: fsys, failAt: map[vfs.Ino]int64{attr(t, fsys, "/bad").Ino: 1 << 20}}
	assert.Equal(t, []string{
		"/bad: block at byte 1048576: cannot be right",
		"/link-to-bad: block at byte 1048576: cannot be right",
	}, copyAll(t, broken, dir, export.CopyOptions{}))
	assertOnly(t, dir, "good")
}

func TestInterruptedCopyLeavesNoPartOfAFile(t *testing.T) {
	fsys, dir := memfs.New(), t.TempDir()
	fsys.AddFile("/a", []byte("whole"))
	fsys.AddFile("/b", bytes.Repeat([]byte("b"), 8<<20))
	ctx, cancel := context.WithCancel(context.Background())
	opt := export.CopyOptions{}
	opt.Progress = func(n int64) {
		if n == 1<<20 {
			cancel()
		}
	}
	_, err := export.Copy(ctx, tree(fsys), "/", dir, ".", opt)
	assert.ErrorIs(t, err, context.Canceled)
	assertOnly(t, dir, "a")
}

func TestNoClobber(t *testing.T) {
	fsys, dir := memfs.New(), t.TempDir()
	fsys.AddFile("/a", []byte("new"))
	fsys.AddFile("/b", []byte("new"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), []byte("old"), 0o600))
	problems := copyAll(t, fsys, dir, export.CopyOptions{NoClobber: true})
	assert.Equal(t, []string{"/a: " + syscall.EEXIST.Error()}, problems)
	got, err := os.ReadFile(filepath.Join(dir, "a"))
	require.NoError(t, err)
	assert.Equal(t, "old", string(got))
	assertOnly(t, dir, "a", "b")
}

func TestDirectoryInTheWayOfAFile(t *testing.T) {
	fsys, dir := memfs.New(), t.TempDir()
	fsys.AddFile("/a", []byte("new"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	assert.Equal(t, []string{"/a: " + syscall.EISDIR.Error()}, copyAll(t, fsys, dir, export.CopyOptions{}))
}

// A read-only directory gets its mode after its contents.
func TestDirectoriesWithoutWritePermission(t *testing.T) {
	fsys, dir := memfs.New(), t.TempDir()
	fsys.AddDir("/locked", func(a *vfs.Attr) { a.Mode = 0o500 })
	fsys.AddFile("/locked/file", []byte("x"))
	assert.Empty(t, copyAll(t, fsys, dir, export.CopyOptions{}))
	st, err := os.Stat(filepath.Join(dir, "locked"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o500), st.Mode().Perm())
	assert.True(t, memfs.Epoch.Equal(st.ModTime()))
	require.NoError(t, os.Chmod(filepath.Join(dir, "locked"), 0o700))
}

// Directories that contain themselves, or have two parents, would never end.
func TestCyclesEnd(t *testing.T) {
	fsys := memfs.New()
	fsys.AddDir("/a")
	fsys.AddDir("/a/b")
	a, b := attr(t, fsys, "/a").Ino, attr(t, fsys, "/a/b").Ino
	cyclic := &fault{FS: fsys, entries: map[vfs.Ino][]vfs.DirEntry{
		a: {{Name: "b", Ino: b, Type: vfs.Dir, Next: 1}, {Name: "c", Ino: b, Type: vfs.Dir, Next: 2}},
		b: {{Name: "up", Ino: a, Type: vfs.Dir, Next: 1}},
	}}
	problems := copyAll(t, cyclic, t.TempDir(), export.CopyOptions{})
	require.Len(t, problems, 2)
	assert.True(t, strings.HasPrefix(problems[0], "/a/b/up: "), problems[0])
	assert.Contains(t, problems[0], "contains itself")
	assert.True(t, strings.HasPrefix(problems[1], "/a/c: "), problems[1])
	assert.Contains(t, problems[1], "two parents")
}
