package fusefs_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/conformance"
)

// watched is a file system that counts commits, and fails them if told so, and
// knows what is pinned.
type watched struct {
	*memfs.FS
	commits atomic.Int64
	fail    atomic.Pointer[error]
	mu      sync.Mutex
	pins    map[vfs.Ino]int
}

func watch(fsys *memfs.FS) *watched { return &watched{FS: fsys, pins: map[vfs.Ino]int{}} }

func (w *watched) Sync(ctx context.Context) error {
	if err := w.fail.Load(); err != nil {
		return *err
	}
	w.commits.Add(1)
	return w.FS.Sync(ctx)
}

func (w *watched) Pin(ino vfs.Ino) {
	w.mu.Lock()
	w.pins[ino]++
	w.mu.Unlock()
	w.FS.Pin(ino)
}

func (w *watched) Unpin(ctx context.Context, ino vfs.Ino) error {
	w.mu.Lock()
	if w.pins[ino]--; w.pins[ino] == 0 {
		delete(w.pins, ino)
	}
	w.mu.Unlock()
	return w.FS.Unpin(ctx, ino)
}

func (w *watched) pinned() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pins)
}

// files counts the files there are, with those that have no name any more.
func files(t *testing.T, fsys vfs.FS) uint64 {
	st, err := fsys.Statfs(t.Context())
	require.NoError(t, err)
	return st.Files - st.FilesFree
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
}

func TestCommits(t *testing.T) {
	fsys := watch(memfs.New())
	mnt, srv, said := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{CommitEvery: time.Hour})
	f, err := os.Create(mnt + "/f")
	require.NoError(t, err)
	defer f.Close()
	for i := range int64(3) {
		assert.Equal(t, i, fsys.commits.Load())
		_, err = f.WriteString("x")
		require.NoError(t, err)
		if i == 1 {
			require.NoError(t, unix.Fdatasync(int(f.Fd())))
		} else {
			require.NoError(t, f.Sync())
		}
	}
	assert.EqualValues(t, 3, fsys.commits.Load())
	require.NoError(t, f.Sync())
	assert.EqualValues(t, 3, fsys.commits.Load(), "nothing has changed")
	require.NoError(t, os.Mkdir(mnt+"/d", 0o755))
	d, err := os.Open(mnt + "/d")
	require.NoError(t, err)
	require.NoError(t, d.Sync())
	d.Close()
	assert.EqualValues(t, 4, fsys.commits.Load(), "a directory can be synced as well")
	require.NoError(t, os.Remove(mnt+"/d"))
	require.NoError(t, srv.Commit())
	assert.EqualValues(t, 5, fsys.commits.Load())
	f.Close()
	require.NoError(t, os.Chmod(mnt+"/f", 0o600))
	require.NoError(t, srv.Unmount())
	assert.EqualValues(t, 6, fsys.commits.Load(), "at the end")
	assert.Empty(t, said.String())
}

func TestCommitsNowAndThen(t *testing.T) {
	fsys := watch(memfs.New())
	mnt, _, _ := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{CommitEvery: 10 * time.Millisecond})
	time.Sleep(50 * time.Millisecond)
	assert.Zero(t, fsys.commits.Load(), "nothing has changed")
	write(t, mnt+"/f", "x")
	assert.Eventually(t, func() bool { return fsys.commits.Load() > 0 }, 5*time.Second, time.Millisecond)
}

func TestFailingCommits(t *testing.T) {
	fsys := watch(memfs.New())
	needMount(t)
	mnt, said := mountPoint(t), &messages{}
	srv, err := fusefs.MountOne(mnt, fusefs.Volume{Name: "root", FS: fsys},
		fusefs.Options{CommitEvery: 5 * time.Millisecond, Logf: said.logf})
	require.NoError(t, err)
	t.Cleanup(func() { _ = srv.Detach() })
	why := fmt.Errorf("write journal: %w", syscall.ENOSPC)
	fsys.fail.Store(&why)
	f, err := os.Create(mnt + "/f")
	require.NoError(t, err)
	assert.ErrorIs(t, f.Sync(), syscall.ENOSPC, "fsync says why")
	f.Close()
	assert.Eventually(t, func() bool { return said.String() != "" }, 5*time.Second, time.Millisecond)
	time.Sleep(50 * time.Millisecond)
	assert.Equal(t, "changes cannot be saved, and are kept in memory: commit root: write journal: no space left on device\n",
		said.String(), "once")
	fsys.fail.Store(nil)
	assert.Eventually(t, func() bool { return fsys.commits.Load() > 0 }, 5*time.Second, time.Millisecond, "tried again")
	write(t, mnt+"/g", "x")
	fsys.fail.Store(&why)
	write(t, mnt+"/h", "lost")
	assert.ErrorIs(t, srv.Unmount(), syscall.ENOSPC)
	assert.ErrorIs(t, srv.Wait(), syscall.ENOSPC)
	assert.ErrorIs(t, srv.Unmount(), syscall.ENOSPC, "however often it is asked")
}

// What the kernel knows is counted exactly: nothing stays pinned that nobody
// uses, and nothing goes while somebody does.
func TestFilesWithoutNames(t *testing.T) {
	fsys := watch(memfs.New())
	mnt, srv, said := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{})
	before := files(t, fsys)
	write(t, mnt+"/f", "still there")
	require.NoError(t, os.Mkdir(mnt+"/d", 0o755))
	f, err := os.OpenFile(mnt+"/f", os.O_RDWR, 0)
	require.NoError(t, err)
	d, err := os.Open(mnt + "/d")
	require.NoError(t, err)
	require.NoError(t, os.Remove(mnt+"/f"))
	require.NoError(t, os.Remove(mnt+"/d"))
	assert.Equal(t, 2, fsys.pinned())
	data := make([]byte, 11)
	_, err = f.ReadAt(data, 0)
	assert.NoError(t, err)
	assert.Equal(t, "still there", string(data))
	f.Close()
	d.Close()
	assert.Eventually(t, func() bool { return fsys.pinned() == 0 && files(t, fsys) == before }, 5*time.Second, time.Millisecond)

	// At the end of the mount the kernel says nothing any more.
	write(t, mnt+"/g", "gone")
	g, err := os.Open(mnt + "/g")
	require.NoError(t, err)
	require.NoError(t, os.Remove(mnt+"/g"))
	require.NoError(t, srv.Detach())
	assert.Equal(t, 1, fsys.pinned())
	g.Close()
	require.NoError(t, srv.Wait())
	assert.Zero(t, fsys.pinned())
	assert.Equal(t, before, files(t, fsys))
	assert.Empty(t, said.String())
}

// Many processes look up, make, open and remove the same names at once.
func TestRaces(t *testing.T) {
	fsys := watch(memfs.New())
	mnt, _, said := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{CommitEvery: time.Millisecond})
	before := files(t, fsys)
	conformance.Stress(t, mnt, 1, 8, 1500*time.Millisecond)
	assert.Eventually(t, func() bool { return fsys.pinned() == 0 && files(t, fsys) == before }, 5*time.Second, time.Millisecond)
	assert.Empty(t, said.String())
}

// An inode number that is used again is another file, also to those who still
// look at the old one by a handle.
func TestInodeNumbersUsedAgain(t *testing.T) {
	fsys := memfs.New()
	mnt, _, _ := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{})
	seen := map[uint64]bool{}
	again := 0
	for i := range 50 {
		name := fmt.Sprintf("%s/%d", mnt, i%3)
		write(t, name, fmt.Sprint(i))
		st := stat(t, name)
		if seen[st.Ino] {
			again++
		}
		seen[st.Ino] = true
		assert.Equal(t, fmt.Sprint(i), read(t, name))
		assert.EqualValues(t, len(fmt.Sprint(i)), st.Size)
		require.NoError(t, os.Remove(name))
	}
	assert.NotZero(t, again, "the test is about numbers that are used again")
}

func TestOwners(t *testing.T) {
	for name, c := range map[string]struct {
		opt  fusefs.Options
		want fusefs.Owner
	}{
		"root":  {fusefs.Options{}, fusefs.Owner{}},
		"given": {fusefs.Options{Owner: &fusefs.Owner{UID: 12, GID: 34}}, fusefs.Owner{UID: 12, GID: 34}},
		"both":  {fusefs.Options{Owner: &fusefs.Owner{UID: 12, GID: 34}, KeepOwner: true}, fusefs.Owner{UID: 12, GID: 34}},
		"kept":  {fusefs.Options{KeepOwner: true}, fusefs.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}},
	} {
		t.Run(name, func(t *testing.T) {
			mnt, _, _ := mountWritable(t, fusefs.Volume{FS: memfs.New()}, c.opt)
			write(t, mnt+"/f", "x")
			require.NoError(t, os.Mkdir(mnt+"/d", 0o755))
			require.NoError(t, os.Symlink("f", mnt+"/l"))
			require.NoError(t, unix.Mkfifo(mnt+"/p", 0o644))
			for _, path := range []string{"/f", "/d", "/l", "/p"} {
				var st unix.Stat_t
				require.NoError(t, unix.Lstat(mnt+path, &st))
				assert.Equal(t, c.want, fusefs.Owner{UID: st.Uid, GID: st.Gid}, path)
			}
			// In a set-group-id directory the group is that of the directory.
			require.NoError(t, os.Chown(mnt+"/d", 5, 4321))
			require.NoError(t, unix.Chmod(mnt+"/d", 0o2755))
			write(t, mnt+"/d/f", "x")
			require.NoError(t, os.Mkdir(mnt+"/d/d", 0o755))
			for path, mode := range map[string]uint32{"/d/f": unix.S_IFREG | 0o644, "/d/d": unix.S_IFDIR | 0o2755} {
				st := stat(t, mnt+path)
				assert.Equal(t, fusefs.Owner{UID: c.want.UID, GID: 4321}, fusefs.Owner{UID: st.Uid, GID: st.Gid}, path)
				assert.Equal(t, mode, st.Mode, path)
			}
		})
	}
}

// Some volumes are written to and others are not.
func TestMixedVolumes(t *testing.T) {
	needMount(t)
	rw, ro, other := memfs.New(), memfs.New(), memfs.New()
	ro.AddFile("/old", []byte("kept"))
	rw.AddFile("/f", []byte("x"))
	dir := mountPoint(t)
	srv, err := fusefs.MountVolumes(dir, []fusefs.Volume{
		{Name: "rw", FS: rw}, {Name: "ro", FS: ro, ReadOnly: true}, {Name: "other", FS: other},
	}, fusefs.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { unmount(t, srv) })

	write(t, dir+"/rw/new", "text")
	assert.Equal(t, "text", read(t, dir+"/rw/new"))
	for what, err := range map[string]error{
		"create":    os.WriteFile(dir+"/ro/new", nil, 0o644),
		"write":     os.WriteFile(dir+"/ro/old", []byte("x"), 0o644),
		"mkdir":     os.Mkdir(dir+"/ro/d", 0o755),
		"symlink":   os.Symlink("x", dir+"/ro/l"),
		"link":      os.Link(dir+"/ro/old", dir+"/ro/l"),
		"remove":    unix.Unlink(dir + "/ro/old"),
		"rename":    os.Rename(dir+"/ro/old", dir+"/ro/new"),
		"chmod":     os.Chmod(dir+"/ro/old", 0o600),
		"truncate":  os.Truncate(dir+"/ro/old", 0),
		"setxattr":  unix.Setxattr(dir+"/ro/old", "user.a", nil, 0),
		"access":    unix.Access(dir+"/ro/old", unix.W_OK),
		"mkdir-top": os.Mkdir(dir+"/new", 0o755),
		"rmdir-top": unix.Rmdir(dir + "/rw"),
		"file-top":  os.WriteFile(dir+"/new", nil, 0o644),
	} {
		assert.ErrorIs(t, err, syscall.EROFS, what)
	}
	assert.Equal(t, "kept", read(t, dir+"/ro/old"))
	f, err := os.Open(dir + "/ro/old")
	require.NoError(t, err)
	assert.NoError(t, f.Sync(), "there is nothing to do")
	f.Close()
	for _, err := range []error{
		os.Rename(dir+"/rw/f", dir+"/other/f"), os.Link(dir+"/rw/f", dir+"/other/f"),
		os.Rename(dir+"/rw/f", dir+"/f"),
	} {
		assert.ErrorIs(t, err, syscall.EXDEV)
	}
	// Copying between volumes is no problem.
	from, err := os.Open(dir + "/rw/new")
	require.NoError(t, err)
	defer from.Close()
	to, err := os.Create(dir + "/other/copy")
	require.NoError(t, err)
	defer to.Close()
	n, err := unix.CopyFileRange(int(from.Fd()), nil, int(to.Fd()), nil, 100, 0)
	require.NoError(t, err)
	assert.Equal(t, 4, n)
	assert.Equal(t, "text", read(t, dir+"/other/copy"))
}

// A directory that a volume is mounted over stays where it is.
func TestGraftsStay(t *testing.T) {
	needMount(t)
	root, usr := volumeWith("d", "/usr", "/empty"), volumeWith("usr")
	dir := mountPoint(t)
	srv, err := fusefs.MountTree(dir, []fusefs.Volume{{FS: root}, {FS: usr}}, []fusefs.Graft{{"/usr", 1}}, fusefs.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { unmount(t, srv) })
	assert.Equal(t, unix.EBUSY, unix.Rmdir(dir+"/usr"))
	assert.Equal(t, unix.EBUSY, unix.Rename(dir+"/usr", dir+"/var"))
	assert.Equal(t, unix.EBUSY, unix.Rename(dir+"/empty", dir+"/usr"))
	assert.Equal(t, unix.EBUSY, unix.Renameat2(unix.AT_FDCWD, dir+"/empty", unix.AT_FDCWD, dir+"/usr", unix.RENAME_EXCHANGE))
	assert.Equal(t, unix.EXDEV, unix.Rename(dir+"/usr/name", dir+"/n"))
	write(t, dir+"/usr/new", "in the other volume")
	_, err = usr.Lookup(t.Context(), usr.Root(), "new")
	assert.NoError(t, err)
}

func TestChanges(t *testing.T) {
	fsys := memfs.New()
	fsys.AddDir("/etc")
	fsys.AddFile("/etc/motd", []byte("old"))
	fsys.AddFile("/etc/passwd", []byte("root"))
	mnt, srv, _ := mountWritable(t, fusefs.Volume{Name: "root", FS: fsys}, fusefs.Options{})
	read(t, mnt+"/etc/motd")
	require.Len(t, srv.Changes(), 1)
	assert.False(t, srv.Changes()[0].Any(), "reading is no change")

	write(t, mnt+"/etc/motd", "welcome")
	write(t, mnt+"/etc/motd", "welcome!")
	require.NoError(t, os.Chmod(mnt+"/etc/passwd", 0o600))
	require.NoError(t, os.Mkdir(mnt+"/new", 0o755))
	write(t, mnt+"/new/file", "12345")
	require.NoError(t, os.Rename(mnt+"/new", mnt+"/newer"))
	require.NoError(t, os.Remove(mnt+"/etc/passwd"))
	require.NoError(t, os.Mkdir(mnt+"/tmp", 0o755))
	write(t, mnt+"/tmp/file", "")
	require.NoError(t, os.RemoveAll(mnt+"/tmp"))
	require.NoError(t, os.Mkdir(mnt+"/reused", 0o755)) // perhaps with the number that /tmp had
	want := fusefs.Changes{
		Volume: "root", Created: 5, Removed: 3, Renamed: 1, Changed: 2, Written: 7 + 8 + 5,
		Names: []fusefs.NameChange{
			{Kind: fusefs.Created, Path: "/new"},
			{Kind: fusefs.Created, Path: "/newer/file"},
			{Kind: fusefs.Renamed, Path: "/new", To: "/newer"},
			{Kind: fusefs.Removed, Path: "/etc/passwd"},
			{Kind: fusefs.Created, Path: "/tmp"},
			{Kind: fusefs.Removed, Path: "/tmp"},
			{Kind: fusefs.Created, Path: "/reused"},
		},
	}
	assert.Equal(t, want, srv.Changes()[0])
	require.NoError(t, srv.Unmount())
	assert.Equal(t, want, srv.Changes()[0], "also when it has ended")
}

// A full file system has room again as soon as something is removed, though
// what is freed can be used only after a commit.
type committed struct {
	*watched
	freed atomic.Bool
}

func (c *committed) Unpin(ctx context.Context, ino vfs.Ino) error {
	c.freed.Store(true)
	return c.watched.Unpin(ctx, ino)
}

func (c *committed) Sync(ctx context.Context) error {
	c.freed.Store(false)
	return c.watched.Sync(ctx)
}

func (c *committed) WriteAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	if c.freed.Load() {
		return 0, fmt.Errorf("write: %w", syscall.ENOSPC)
	}
	return c.watched.WriteAt(ctx, ino, p, off)
}

func TestFullAndRoomAgain(t *testing.T) {
	fsys := &committed{watched: watch(memfs.NewWith(memfs.Options{Capacity: 1 << 20}))}
	mnt, _, said := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{CommitEvery: time.Hour})
	big := make([]byte, 1<<20)
	for range 3 {
		require.NoError(t, os.WriteFile(mnt+"/f", big, 0o644))
		assert.ErrorIs(t, os.WriteFile(mnt+"/g", big, 0o644), syscall.ENOSPC)
		require.NoError(t, os.Remove(mnt+"/f"))
		require.NoError(t, os.Remove(mnt+"/g"))
	}
	// A write that does not fit says how much did.
	f, err := os.Create(mnt + "/f")
	require.NoError(t, err)
	defer f.Close()
	n, err := f.Write(append(big, big...))
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, 1<<20, n)
	commits := fsys.commits.Load()
	for range 5 {
		_, err = f.Write(big)
		assert.ErrorIs(t, err, syscall.ENOSPC)
	}
	assert.LessOrEqual(t, fsys.commits.Load(), commits+1, "no commit for nothing")
	assert.Empty(t, said.String())
}

// What cannot be done says so, without a word in the log.
func TestWritingWithoutAbilities(t *testing.T) {
	plain := struct{ vfs.WritableFS }{memfs.New()} // no Fallocater, no XattrWriter
	mnt, _, said := mountWritable(t, fusefs.Volume{FS: plain}, fusefs.Options{})
	f, err := os.Create(mnt + "/f")
	require.NoError(t, err)
	defer f.Close()
	assert.ErrorIs(t, unix.Fallocate(int(f.Fd()), 0, 0, 10), syscall.EOPNOTSUPP)
	assert.ErrorIs(t, unix.Setxattr(f.Name(), "user.a", nil, 0), syscall.EOPNOTSUPP)
	_, err = unix.Getxattr(f.Name(), "user.a", nil)
	assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
	assert.ErrorIs(t, unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, mnt+"/g", unix.RENAME_WHITEOUT), syscall.EINVAL)
	n, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_END)
	assert.NoError(t, err)
	assert.Zero(t, n)
	assert.Empty(t, said.String())
}

func TestReadOnlyOption(t *testing.T) {
	needMount(t)
	dir := mountPoint(t)
	srv, err := fusefs.MountOne(dir, fusefs.Volume{FS: memfs.New()}, fusefs.Options{ReadOnly: true})
	require.NoError(t, err)
	t.Cleanup(func() { unmount(t, srv) })
	assert.False(t, srv.Writable())
	assert.Empty(t, srv.Changes())
	assert.ErrorIs(t, os.WriteFile(dir+"/f", nil, 0o644), syscall.EROFS)
}
