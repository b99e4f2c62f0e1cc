package fusefs_test

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/conformance"
)

// mountWritable mounts a volume for the time of a test, as mountOne does, but
// for writing.
func mountWritable(t testing.TB, vol fusefs.Volume, opt fusefs.Options) (dir string, srv *fusefs.Server, said *messages) {
	t.Helper()
	needMount(t)
	dir, said = mountPoint(t), &messages{}
	opt.Logf = said.logf
	srv, err := fusefs.MountOne(dir, vol, opt)
	require.NoError(t, err)
	require.True(t, srv.Writable())
	t.Cleanup(func() { unmount(t, srv) })
	return dir, srv, said
}

// The cases of go-fuse's suite that do not apply, and why.
var posixExceptions = map[string]string{
	"Tmpfile": "skips itself: a file that was made without a name (O_TMPFILE) could never be given one, so it is EOPNOTSUPP",
	"FcntlFlockLocksFile": "expects one process to be in its own way: the locks of fcntl(2) belong to processes, " +
		"so it fails on every file system of the kernel; see TestLocks",
}

func TestPosix(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		t.Run(name, func(t *testing.T) {
			if name == "FcntlFlockLocksFile" {
				t.Skip(posixExceptions[name])
			}
			mnt, _, said := mountWritable(t, fusefs.Volume{FS: memfs.New()}, fusefs.Options{})
			t.Cleanup(func() {
				if t.Skipped() && posixExceptions[name] == "" {
					t.Error("the case does not apply, and nobody has said why")
				}
				if said.String() != "" {
					t.Errorf("logged: %s", said)
				}
			})
			posixtest.All[name](t, mnt)
		})
	}
}

// Locks are the kernel's own: both kinds that belong to open files are in the
// way of another opening of the file.
func TestLocks(t *testing.T) {
	mnt, _, said := mountWritable(t, fusefs.Volume{FS: memfs.New()}, fusefs.Options{})
	one, err := os.Create(mnt + "/f")
	require.NoError(t, err)
	defer one.Close()
	two, err := os.OpenFile(mnt+"/f", os.O_RDWR, 0)
	require.NoError(t, err)
	defer two.Close()
	lock := func(f *os.File, typ int16) error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: typ})
	}
	require.NoError(t, lock(one, unix.F_WRLCK))
	assert.Equal(t, unix.EAGAIN, lock(two, unix.F_RDLCK))
	require.NoError(t, lock(one, unix.F_UNLCK))
	assert.NoError(t, lock(two, unix.F_RDLCK))

	require.NoError(t, unix.Flock(int(one.Fd()), unix.LOCK_EX))
	assert.Equal(t, unix.EWOULDBLOCK, unix.Flock(int(two.Fd()), unix.LOCK_SH|unix.LOCK_NB))
	require.NoError(t, one.Close())
	assert.NoError(t, unix.Flock(int(two.Fd()), unix.LOCK_SH|unix.LOCK_NB), "closing ends the lock")
	assert.Empty(t, said.String())
}

// What each system call answers, on files of each type.
func TestConformance(t *testing.T) {
	fsys := memfs.NewWith(memfs.Options{LinkMax: 20, MaxSize: 1 << 40})
	mnt, _, said := mountWritable(t, fusefs.Volume{FS: fsys}, fusefs.Options{AllowOther: os.Geteuid() == 0})
	n := conformance.Run(t, mnt, conformance.Options{SameProcess: true, NoDevices: os.Geteuid() != 0, Xattrs: true, LinkMax: 20, SizeMax: 1 << 40})
	t.Logf("%d cases", n)
	assert.Empty(t, said.String())
}
