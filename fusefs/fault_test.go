package fusefs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// faulty is a file system that fails, by the name of the file.
type faulty struct {
	*memfs.FS
	errs map[vfs.Ino]error // "panic" panics
}

func (f *faulty) fail(ino vfs.Ino) error {
	err := f.errs[ino]
	if err != nil && err.Error() == "panic" {
		var none []int
		_ = none[ino]
	}
	return err
}

func (f *faulty) Getattr(ctx context.Context, ino vfs.Ino) (vfs.Attr, error) {
	if err := f.fail(ino); err != nil {
		return vfs.Attr{}, err
	}
	return f.FS.Getattr(ctx, ino)
}

func (f *faulty) Lookup(ctx context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	attr, err := f.FS.Lookup(ctx, dir, name)
	if err == nil {
		err = f.fail(attr.Ino)
	}
	if err != nil {
		return vfs.Attr{}, err
	}
	return attr, nil
}

// names lists a directory without looking at the files in it.
func names(t *testing.T, dir string) []string {
	t.Helper()
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	require.NoError(t, err)
	return names
}

func TestErrorsBecomeErrnos(t *testing.T) {
	mem := memfs.New()
	fsys := &faulty{mem, map[vfs.Ino]error{}}
	cases := map[string]struct {
		err  error
		want syscall.Errno
		log  string // "" logs nothing
	}{
		"wrapped-errno": {fmt.Errorf("read block 7: %w", syscall.ELOOP), syscall.ELOOP, ""},
		"corrupt":       {fmt.Errorf("look: %w", vfs.Corruptf(4096, "inode 17", "bad magic")), syscall.EIO, "inode 17 at byte 4096: bad magic"},
		"not-supported": {&vfs.NotSupportedError{What: "ext4 feature encrypt", Off: -1}, syscall.EOPNOTSUPP, "ext4 feature encrypt"},
		"exists":        {fs.ErrExist, syscall.EEXIST, ""},
		"permission":    {fmt.Errorf("x: %w", fs.ErrPermission), syscall.EACCES, ""},
		"missing":       {fmt.Errorf("x: %w", fs.ErrNotExist), syscall.ENOENT, ""},
		"enosys":        {syscall.ENOSYS, syscall.EIO, "function not implemented"},
		"strange":       {errors.New("something else"), syscall.EIO, "something else"},
		"panic":         {errors.New("panic"), syscall.EIO, "bug: panic while"},
	}
	for name, c := range cases {
		fsys.errs[mem.AddFile("/"+name, nil)] = c.err
	}
	mem.AddFile("/good", []byte("still here"))
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys})

	assert.Len(t, names(t, mnt), len(cases)+1, "bad files do not spoil the listing")
	for name, c := range cases {
		for range 3 {
			var st unix.Stat_t
			assert.Equal(t, c.want, unix.Lstat(mnt+"/"+name, &st), name)
		}
		if c.log != "" {
			assert.Equal(t, 1, strings.Count(said.String(), c.log), "%s is logged once: %s", c.log, said)
		}
	}
	assert.Equal(t, "still here", read(t, mnt+"/good"))
	assert.NotContains(t, said.String(), "ELOOP")
}

// hostile lists names that the kernel refuses, and inodes that it cannot show.
type hostile struct{ *memfs.FS }

func (h hostile) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	names := []string{"a/b", "", ".", "..", "nul\x00", "../../etc", "good"}
	if dir != h.Root() {
		return h.FS.ReadDir(ctx, dir, cookie)
	}
	return func(yield func(vfs.DirEntry, error) bool) {
		for i := cookie; i < uint64(len(names)); i++ {
			if !yield(vfs.DirEntry{Name: names[i], Ino: 3, Type: vfs.Regular, Next: i + 1}, nil) {
				return
			}
		}
	}
}

func TestImpossibleNamesAreSkipped(t *testing.T) {
	mem := memfs.New()
	mem.AddFile("/good", nil)
	mnt, said := mountOne(t, fusefs.Volume{FS: hostile{mem}})
	assert.Equal(t, []string{"good"}, names(t, mnt))
	assert.Contains(t, said.String(), "impossible name")
}

func TestImpossibleAttributes(t *testing.T) {
	mem := memfs.New()
	mem.AddFile("/whiteout", nil, func(a *vfs.Attr) { a.Mode = vfs.Whiteout | 0o640 })
	mem.AddFile("/no-type", nil, func(a *vfs.Attr) { a.Mode = 0o030000 | 0o777 })
	mem.AddFile("/negative", nil, func(a *vfs.Attr) { a.Size = -1 })
	mem.AddFile("/good", nil, func(a *vfs.Attr) { a.Blocks = -1 })
	mnt, said := mountOne(t, fusefs.Volume{FS: mem})
	assert.Len(t, names(t, mnt), 4)
	var st unix.Stat_t
	assert.NoError(t, unix.Lstat(mnt+"/good", &st))
	assert.NoError(t, unix.Lstat(mnt+"/whiteout", &st))
	assert.Equal(t, uint32(unix.S_IFCHR|0o640), st.Mode)
	assert.Equal(t, unix.EIO, unix.Lstat(mnt+"/no-type", &st))
	assert.Equal(t, unix.EIO, unix.Lstat(mnt+"/negative", &st))
	assert.Contains(t, said.String(), "negative size -1")
	assert.Contains(t, said.String(), "unknown file type 030000")
}

// A file that is cut short under the mount must not read as zeros.
func TestTruncatedImageIsEIO(t *testing.T) {
	fsys, dev := onDevice(t, 8<<20)
	fsys.AddFile("/f", noise(4<<20))
	mnt, _ := mountOne(t, fusefs.Volume{FS: fsys, Device: dev})
	name := dev.(interface{ Name() string }).Name()
	require.NoError(t, os.Truncate(name, 1<<20))
	_, err := os.ReadFile(mnt + "/f")
	assert.ErrorIs(t, err, syscall.EIO)
}

// slow waits in ReadAt until the request is interrupted.
type slow struct {
	*memfs.FS
	entered chan struct{}
}

func (s slow) ReadAt(ctx context.Context, _ vfs.Ino, _ []byte, _ int64) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestInterrupt(t *testing.T) {
	mem := memfs.New()
	mem.AddFile("/f", []byte("never read"))
	fsys := slow{mem, make(chan struct{}, 1)}
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	require.NoError(t, err)
	defer null.Close()
	reader, err := os.StartProcess("/bin/cat", []string{"cat", mnt + "/f"}, &os.ProcAttr{Files: []*os.File{nil, null, null}})
	require.NoError(t, err)
	<-fsys.entered
	require.NoError(t, reader.Signal(syscall.SIGTERM))
	done := make(chan *os.ProcessState, 1)
	go func() {
		state, _ := reader.Wait()
		done <- state
	}()
	select {
	case state := <-done:
		assert.Equal(t, syscall.SIGTERM, state.Sys().(syscall.WaitStatus).Signal())
	case <-time.After(20 * time.Second):
		t.Fatal("the reader cannot be killed")
	}
	assert.Empty(t, said.String())
}

// While reads hang, because the image does, other files can be looked at, and the
// mount can be ended.
func TestHangingReadsDoNotStopOthers(t *testing.T) {
	mem := memfs.New()
	const readers = 8
	for i := range readers {
		mem.AddFile(fmt.Sprintf("/f%d", i), []byte("never read"))
	}
	mem.AddFile("/other", nil)
	fsys := slow{mem, make(chan struct{}, readers)}
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	require.NoError(t, err)
	defer null.Close()
	for i := range readers {
		reader, err := os.StartProcess("/bin/cat", []string{"cat", fmt.Sprintf("%s/f%d", mnt, i)}, &os.ProcAttr{Files: []*os.File{nil, null, null}})
		require.NoError(t, err)
		defer reader.Wait()
		defer reader.Kill()
		<-fsys.entered
	}
	assert.Len(t, names(t, mnt), readers+1)
	_, err = os.Stat(mnt + "/other")
	assert.NoError(t, err)
	assert.Empty(t, said.String())
}

// Programs that ask at the same time, for what is answered at once and for what
// takes long, all get their own answers.
func TestCrowd(t *testing.T) {
	fsys, dev := onDevice(t, 64<<20)
	const files = 64
	for i := range files {
		if i < 8 {
			fsys.AddDir(fmt.Sprintf("/d%d", i))
		}
		fsys.AddFile(fmt.Sprintf("/d%d/f%d", i%8, i), noise(1000+i))
	}
	big := noise(16 << 20)
	fsys.AddFile("/big", big)
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys, Device: dev})
	var crowd sync.WaitGroup
	for range 2 {
		crowd.Go(func() {
			got, err := os.ReadFile(mnt + "/big")
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(big, got))
		})
	}
	for c := range 6 {
		crowd.Go(func() {
			for i := range files * 4 {
				i = (i*7 + c*11) % files
				name := fmt.Sprintf("%s/d%d/f%d", mnt, i%8, i)
				st, err := os.Lstat(name)
				if assert.NoError(t, err) {
					assert.Equal(t, int64(1000+i), st.Size())
				}
				_, err = os.Lstat(fmt.Sprintf("%s/none-%d-%d", mnt, c, i))
				assert.ErrorIs(t, err, fs.ErrNotExist)
				if names, err := os.ReadDir(fmt.Sprintf("%s/d%d", mnt, i%8)); assert.NoError(t, err) {
					assert.Len(t, names, files/8)
				}
			}
		})
	}
	crowd.Wait()
	assert.Empty(t, said.String())
}

func TestUnmountWhileBusy(t *testing.T) {
	needMount(t)
	dir := mountPoint(t)
	srv, err := fusefs.MountOne(dir, fusefs.Volume{FS: sample(memfs.New())}, fusefs.Options{ReadOnly: true})
	require.NoError(t, err)
	f, err := os.Open(dir + "/bin/su")
	require.NoError(t, err)

	err = srv.Unmount()
	assert.ErrorIs(t, err, syscall.EBUSY)
	var me *fusefs.MountError
	require.ErrorAs(t, err, &me)
	assert.Contains(t, me.Hint, "fuser")

	// The mount is none the worse for it.
	_, err = os.ReadFile(dir + "/secret")
	assert.NoError(t, err)
	require.NoError(t, srv.Detach())
	_, err = os.Stat(dir + "/bin")
	assert.ErrorIs(t, err, fs.ErrNotExist, "out of the tree")
	p := make([]byte, 10)
	_, err = f.ReadAt(p, 65_000)
	assert.NoError(t, err, "but still in use")
	f.Close()
	srv.Wait()
	assert.NoError(t, srv.Unmount(), "twice is no error")
}

func TestBadMountPoints(t *testing.T) {
	needMount(t)
	vol := fusefs.Volume{FS: memfs.New()}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	_, err := fusefs.MountOne(dir, vol, fusefs.Options{})
	assert.ErrorIs(t, err, fusefs.ErrNotEmpty)
	_, err = fusefs.MountOne(file, vol, fusefs.Options{})
	assert.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = fusefs.MountOne(filepath.Join(dir, "none"), vol, fusefs.Options{})
	assert.ErrorIs(t, err, syscall.ENOENT)
	assert.EqualError(t, err, "mount on "+filepath.Join(dir, "none")+": no such file or directory (mkdir "+filepath.Join(dir, "none")+")")

	// Through a symbolic link is fine, and so is mounting over a mount that is
	// empty: that is somebody's choice.
	target := mountPoint(t)
	require.NoError(t, os.Symlink(target, filepath.Join(dir, "link")))
	srv, err := fusefs.MountOne(filepath.Join(dir, "link"), vol, fusefs.Options{})
	require.NoError(t, err)
	assert.Equal(t, target, srv.Dir())
	unmount(t, srv)
}
