package vfs_test

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

var ctx = context.Background()

func sample() *memfs.FS {
	m := memfs.New()
	m.AddDir("/etc")
	m.AddFile("/etc/fstab", []byte("root line\n"))
	m.AddDir("/usr")
	m.AddDir("/usr/lib")
	m.AddFile("/usr/lib/os-release", []byte("ID=test\n"))
	m.AddSymlink("/etc/os-release", "../usr/lib/os-release")
	m.AddSymlink("/abs", "/etc/fstab")
	m.AddSymlink("/lib", "usr/lib")
	m.AddSymlink("/escape", "../../../../etc/fstab")
	m.AddSymlink("/loop", "loop2")
	m.AddSymlink("/loop2", "/loop")
	m.AddSymlink("/dangling", "nowhere")
	m.AddSymlink("/dirlink", "/usr/lib/")
	return m
}

func TestResolveStaysInsideTheVolume(t *testing.T) {
	tree := vfs.NewTree(sample())
	for path, want := range map[string]string{
		"/":                            "/",
		"":                             "/",
		".":                            "/",
		"/..":                          "/",
		"/../../etc/fstab":             "/etc/fstab",
		"etc/fstab":                    "/etc/fstab",
		"//etc//./fstab":               "/etc/fstab",
		"/etc/os-release":              "/usr/lib/os-release",
		"/abs":                         "/etc/fstab",
		"/escape":                      "/etc/fstab",
		"/lib/os-release":              "/usr/lib/os-release",
		"/lib/../lib/os-release":       "/usr/lib/os-release",
		"/dirlink/os-release":          "/usr/lib/os-release",
		"/lib/":                        "/usr/lib",
		"/etc/../lib/../../etc/abs/..": "",
	} {
		got, _, err := tree.RealPath(ctx, path)
		if want == "" {
			assert.ErrorIs(t, err, fs.ErrNotExist, path)
			continue
		}
		if assert.NoError(t, err, path) {
			assert.Equal(t, want, got, path)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	tree := vfs.NewTree(sample())
	for path, want := range map[string]error{
		"/missing":                      syscall.ENOENT,
		"/dangling":                     syscall.ENOENT,
		"/loop":                         syscall.ELOOP,
		"/etc/fstab/x":                  syscall.ENOTDIR,
		"/etc/fstab/":                   syscall.ENOTDIR,
		"/abs/":                         syscall.ENOTDIR,
		"/" + strings.Repeat("x", 5000): syscall.ENAMETOOLONG,
	} {
		_, err := tree.Resolve(ctx, path)
		assert.ErrorIs(t, err, want, path)
		var pe *fs.PathError
		assert.ErrorAs(t, err, &pe, path)
	}
	attr, err := tree.ResolveLink(ctx, "/dangling")
	require.NoError(t, err)
	assert.True(t, attr.Mode.IsSymlink())
}

func TestTreeIsAnIOFS(t *testing.T) {
	m := memfs.New()
	m.AddDir("/a")
	m.AddFile("/a/b", []byte("contents"))
	m.AddFile("/empty", nil)
	require.NoError(t, fstest.TestFS(vfs.NewTree(m), "a/b", "empty"))
	_, err := vfs.NewTree(sample()).ReadFile("../etc/fstab")
	assert.ErrorIs(t, err, fs.ErrInvalid)
}

func TestReadFileOfASparseGiant(t *testing.T) {
	m := memfs.New()
	m.AddSparse("/giant", 1<<50, nil)
	_, err := vfs.NewTree(m).ReadFile("giant")
	assert.ErrorIs(t, err, syscall.EFBIG)
}

func TestWalk(t *testing.T) {
	tree := vfs.NewTree(sample())
	var seen []string
	require.NoError(t, tree.Walk(ctx, "/", func(path string, _ vfs.Attr, err error) error {
		seen = append(seen, path)
		if path == "/usr" {
			return fs.SkipDir
		}
		return err
	}))
	assert.Equal(t, []string{"/", "/abs", "/dangling", "/dirlink", "/escape", "/etc", "/etc/fstab",
		"/etc/os-release", "/lib", "/loop", "/loop2", "/usr"}, seen)
	stop := errors.New("stop")
	assert.Equal(t, stop, tree.Walk(ctx, "/etc", func(string, vfs.Attr, error) error { return stop }))
	assert.NoError(t, tree.Walk(ctx, "/etc", func(string, vfs.Attr, error) error { return fs.SkipAll }))
	over, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, tree.Walk(over, "/etc", func(string, vfs.Attr, error) error { return nil }), context.Canceled)
}

// cyclic is a file system whose directory /etc contains the root once more.
type cyclic struct{ *memfs.FS }

func (c cyclic) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		if dir != c.Root() && !yield(vfs.DirEntry{Name: "again", Ino: c.Root(), Type: vfs.Dir, Next: 1}, nil) {
			return
		}
		for e, err := range c.FS.ReadDir(ctx, dir, cookie) {
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestWalkReportsACyclicDirectoryOnce(t *testing.T) {
	m := memfs.New()
	m.AddDir("/etc")
	m.AddFile("/etc/x", nil)
	var paths []string
	var cycles []error
	require.NoError(t, vfs.NewTree(cyclic{m}).Walk(ctx, "/", func(path string, _ vfs.Attr, err error) error {
		if err != nil {
			cycles = append(cycles, err)
			return nil
		}
		paths = append(paths, path)
		return nil
	}))
	assert.Equal(t, []string{"/", "/etc", "/etc/x"}, paths)
	require.Len(t, cycles, 1)
	var ce *vfs.CorruptError
	assert.ErrorAs(t, cycles[0], &ce)
	assert.ErrorIs(t, cycles[0], syscall.EIO)
}

func TestModeString(t *testing.T) {
	for mode, want := range map[vfs.Mode]string{
		vfs.Dir | 0o755:                  "drwxr-xr-x",
		vfs.Regular | vfs.SetUID | 0o755: "-rwsr-xr-x",
		vfs.Regular | vfs.SetGID | 0o644: "-rw-r-Sr--",
		vfs.Dir | vfs.Sticky | 0o777:     "drwxrwxrwt",
		vfs.Dir | vfs.Sticky | 0o776:     "drwxrwxrwT",
		vfs.Symlink | 0o777:              "lrwxrwxrwx",
		vfs.Char | 0o620:                 "crw--w----",
		vfs.Block:                        "b---------",
		vfs.FIFO | 0o600:                 "prw-------",
		vfs.Socket | 0o700:               "srwx------",
	} {
		assert.Equal(t, want, mode.String())
	}
}

func TestDevLinuxIsMakedev(t *testing.T) {
	assert.Equal(t, uint64(0x0801), vfs.Dev{Major: 8, Minor: 1}.Linux())
	// makedev(0x12345, 0x678abcde) by the formula in makedev(3)
	assert.Equal(t, uint64(0x00012678abc345de), vfs.Dev{Major: 0x12345, Minor: 0x678abcde}.Linux())
}
