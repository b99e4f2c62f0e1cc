package fusefs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
)

// noise returns n bytes that do not repeat.
func noise(n int) []byte {
	var seed [32]byte
	copy(seed[:], "noise")
	p := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(p)
	return p
}

// sample has one of everything, with attributes that a program which takes
// short cuts would get wrong.
func sample(fsys *memfs.FS) *memfs.FS {
	fsys.AddDir("/bin")
	fsys.AddFile("/bin/su", noise(70_000), func(a *vfs.Attr) {
		a.Mode, a.UID, a.GID = 0o6755, 12, 34
		a.Gen = 77
	})
	fsys.AddLink("/bin/su", "/bin/doas")
	fsys.AddFile("/secret", []byte("root only\n"), func(a *vfs.Attr) { a.Mode = vfs.Regular })
	fsys.AddFile("/old", []byte("x"), func(a *vfs.Attr) {
		a.Mtime = time.Unix(-1_000_000_000, 999_999_999)
		a.Atime = time.Unix(-1, 1)
		a.Ctime = time.Unix(1<<33, 5)
		a.Btime = time.Unix(-7, 7)
	})
	fsys.AddFile("/timeless", nil, func(a *vfs.Attr) { a.Atime, a.Ctime, a.Btime = time.Time{}, time.Time{}, time.Time{} })
	fsys.AddFile("/big-ids", nil, func(a *vfs.Attr) { a.UID, a.GID, a.Nlink = 4_000_000_000, 4_000_000_001, 65_000 })
	fsys.AddSparse("/sparse", 5<<30, []memfs.Data{{Off: 1 << 20, Bytes: noise(8192)}, {Off: 4 << 30, Bytes: []byte("end")}})
	fsys.AddSymlink("/link", "bin/su")
	fsys.AddSymlink("/long-link", strings.Repeat("d/", 500)+"f")
	fsys.AddSymlink("/nowhere", "/no/such/file")
	fsys.AddDevice("/console", vfs.Char, vfs.Dev{Major: 5, Minor: 1})
	fsys.AddDevice("/disk", vfs.Block, vfs.Dev{Major: 259, Minor: 0x12345}, func(a *vfs.Attr) { a.Mode = 0o660 })
	fsys.AddDevice("/biggest", vfs.Char, vfs.Dev{Major: 4095, Minor: 1<<20 - 1})
	fsys.AddFIFO("/fifo")
	fsys.AddSocket("/socket")
	fsys.AddFile("/"+strings.Repeat("é", 127)+"x", []byte("255 bytes of name"))
	fsys.AddFile("/not-utf8-\xff\xfe", []byte("bytes"))
	fsys.AddDir("/sticky", func(a *vfs.Attr) { a.Mode = 0o1777 })
	fsys.AddDir("/closed", func(a *vfs.Attr) { a.Mode = vfs.Dir })
	fsys.AddFile("/closed/inside", []byte("still readable"))
	fsys.AddXattr("/bin/su", "user.comment", []byte("with\x00zero"))
	fsys.AddXattr("/bin/su", "user.empty", nil)
	fsys.AddXattr("/bin/su", "trusted.overlay", []byte("y"))
	fsys.AddXattr("/bin/su", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	return fsys
}

// walk calls fn for every path of a volume with its attributes there.
func walk(t testing.TB, fsys vfs.FS, fn func(path string, attr vfs.Attr)) {
	t.Helper()
	var dir func(path string, ino vfs.Ino)
	dir = func(path string, ino vfs.Ino) {
		for e, err := range fsys.ReadDir(t.Context(), ino, 0) {
			require.NoError(t, err)
			attr, err := fsys.Getattr(t.Context(), e.Ino)
			require.NoError(t, err)
			fn(path+"/"+e.Name, attr)
			if attr.Mode.IsDir() {
				dir(path+"/"+e.Name, e.Ino)
			}
		}
	}
	dir("", fsys.Root())
}

func TestAttributes(t *testing.T) {
	fsys := sample(memfs.New())
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys})
	seen := 0
	walk(t, fsys, func(path string, want vfs.Attr) {
		seen++
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(mnt+path, &st), path)
		assert.Equal(t, uint64(want.Ino), st.Ino, path)
		assert.Equal(t, uint32(want.Mode), st.Mode, path)
		assert.Equal(t, uint64(want.Nlink), st.Nlink, path)
		assert.Equal(t, [2]uint32{want.UID, want.GID}, [2]uint32{st.Uid, st.Gid}, path)
		assert.Equal(t, [2]int64{want.Size, want.Blocks}, [2]int64{st.Size, st.Blocks}, path)
		assert.Equal(t, want.Rdev.Linux(), st.Rdev, path)
		assert.EqualValues(t, 4096, st.Blksize, path)
		or := func(a, b time.Time) time.Time {
			if a.IsZero() {
				return b
			}
			return a
		}
		assert.Equal(t, want.Mtime.UnixNano(), st.Mtim.Nano(), path)
		assert.Equal(t, or(want.Atime, want.Mtime).UnixNano(), st.Atim.Nano(), path)
		assert.Equal(t, or(want.Ctime, want.Mtime).UnixNano(), st.Ctim.Nano(), path)

		// Birth is told by statx(2) only, and since Linux 6.6.
		var stx unix.Statx_t
		require.NoError(t, unix.Statx(unix.AT_FDCWD, mnt+path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &stx))
		assert.Equal(t, uint32(want.Mode), uint32(stx.Mode), path)
		assert.Equal(t, want.Rdev, vfs.Dev{Major: stx.Rdev_major, Minor: stx.Rdev_minor}, path)
		switch {
		case want.Btime.IsZero():
			assert.Zero(t, stx.Mask&unix.STATX_BTIME, path)
		case stx.Mask&unix.STATX_BTIME != 0:
			assert.Equal(t, want.Btime.UnixNano(), time.Unix(stx.Btime.Sec, int64(stx.Btime.Nsec)).UnixNano(), path)
		}
	})
	assert.Greater(t, seen, 20)
	assert.Empty(t, said.String())
}

// Looking names up one by one must say the same as listing them.
func TestLookupAgreesWithListing(t *testing.T) {
	fsys := sample(memfs.New())
	mnt, _ := mountOne(t, fusefs.Volume{FS: fsys})
	alone, _ := mountOne(t, fusefs.Volume{FS: fsys})
	require.NoError(t, filepath.WalkDir(mnt, func(path string, _ fs.DirEntry, err error) error {
		require.NoError(t, err)
		var listed, looked unix.Stat_t
		require.NoError(t, unix.Lstat(path, &listed))
		require.NoError(t, unix.Lstat(alone+strings.TrimPrefix(path, mnt), &looked))
		looked.Dev = listed.Dev
		assert.Equal(t, listed, looked, path)
		return nil
	}))
}

func TestContents(t *testing.T) {
	fsys := sample(memfs.New())
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys})
	walk(t, fsys, func(path string, attr vfs.Attr) {
		switch {
		case attr.Mode.IsRegular() && attr.Size < 1<<20:
			want := make([]byte, attr.Size)
			_, err := fsys.ReadAt(t.Context(), attr.Ino, want, 0)
			require.True(t, err == nil || err == io.EOF, err)
			got, err := os.ReadFile(mnt + path)
			require.NoError(t, err, "whatever the mode says: %v", attr.Mode)
			assert.Equal(t, want, got, path)
		case attr.Mode.IsSymlink():
			want, err := fsys.Readlink(t.Context(), attr.Ino)
			require.NoError(t, err)
			got, err := os.Readlink(mnt + path)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
	})
	// Beyond 4 GiB.
	f, err := os.Open(mnt + "/sparse")
	require.NoError(t, err)
	defer f.Close()
	p := make([]byte, 5)
	_, err = f.ReadAt(p, 4<<30-1)
	require.NoError(t, err)
	assert.Equal(t, "\x00end\x00", string(p))
	n, err := f.ReadAt(p, 5<<30-2)
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, 2, n)
	assert.Empty(t, said.String())
}

func TestHoles(t *testing.T) {
	fsys := sample(memfs.New())
	mnt, _ := mountOne(t, fusefs.Volume{FS: fsys})
	fd, err := unix.Open(mnt+"/sparse", unix.O_RDONLY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	for _, c := range []struct {
		whence   int
		at, want int64
	}{
		{unix.SEEK_DATA, 0, 1 << 20}, {unix.SEEK_HOLE, 0, 0}, {unix.SEEK_DATA, 1<<20 + 100, 1<<20 + 100},
		{unix.SEEK_HOLE, 1<<20 + 100, 1<<20 + 8192}, {unix.SEEK_DATA, 2 << 20, 4 << 30}, {unix.SEEK_HOLE, 4 << 30, 4<<30 + 3},
	} {
		got, err := unix.Seek(fd, c.at, c.whence)
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%+v", c)
	}
	_, err = unix.Seek(fd, 4<<30+3, unix.SEEK_DATA)
	assert.Equal(t, unix.ENXIO, err, "nothing but a hole follows")
	_, err = unix.Seek(fd, 5<<30, unix.SEEK_HOLE)
	assert.Equal(t, unix.ENXIO, err)
	end, err := unix.Seek(fd, 0, unix.SEEK_END)
	require.NoError(t, err)
	assert.EqualValues(t, 5<<30, end)
}

func TestXattrs(t *testing.T) {
	fsys := sample(memfs.New())
	fsys.AddXattr("/bin", "user.large", bytes.Repeat([]byte("v"), 60_000))
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys})
	su := mnt + "/bin/su"
	buf := make([]byte, 1<<16)
	n, err := unix.Listxattr(su, buf)
	require.NoError(t, err)
	want := "security.capability\x00user.comment\x00user.empty\x00"
	if os.Geteuid() == 0 {
		want = "security.capability\x00trusted.overlay\x00user.comment\x00user.empty\x00"
	}
	assert.Equal(t, want, string(buf[:n]))
	size, err := unix.Listxattr(su, nil)
	require.NoError(t, err)
	assert.Equal(t, n, size)
	_, err = unix.Listxattr(su, buf[:5])
	assert.Equal(t, unix.ERANGE, err)

	n, err = unix.Getxattr(su, "user.comment", buf)
	require.NoError(t, err)
	assert.Equal(t, "with\x00zero", string(buf[:n]))
	n, err = unix.Getxattr(su, "user.comment", nil)
	require.NoError(t, err)
	assert.Equal(t, 9, n)
	_, err = unix.Getxattr(su, "user.comment", buf[:8])
	assert.Equal(t, unix.ERANGE, err)
	n, err = unix.Getxattr(su, "user.empty", buf)
	require.NoError(t, err)
	assert.Zero(t, n)
	_, err = unix.Getxattr(su, "user.none", buf)
	assert.Equal(t, unix.ENODATA, err)
	n, err = unix.Getxattr(mnt+"/bin", "user.large", buf)
	require.NoError(t, err)
	assert.Equal(t, strings.Repeat("v", 60_000), string(buf[:n]))
	n, err = unix.Listxattr(mnt+"/fifo", buf)
	require.NoError(t, err)
	assert.Zero(t, n)
	assert.Empty(t, said.String())
}

// plain takes the abilities off a file system.
type plain struct{ vfs.FS }

func TestWithoutAbilities(t *testing.T) {
	fsys := sample(memfs.New())
	mnt, said := mountOne(t, fusefs.Volume{FS: plain{fsys}})
	buf := make([]byte, 10)
	for range 2 { // the second time the kernel knows
		_, err := unix.Getxattr(mnt+"/bin/su", "user.comment", buf)
		assert.Equal(t, unix.EOPNOTSUPP, err)
	}
	fd, err := unix.Open(mnt+"/sparse", unix.O_RDONLY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	at, err := unix.Seek(fd, 12345, unix.SEEK_DATA)
	require.NoError(t, err)
	assert.EqualValues(t, 12345, at)
	at, err = unix.Seek(fd, 12345, unix.SEEK_HOLE)
	require.NoError(t, err)
	assert.EqualValues(t, 5<<30, at)
	_, err = unix.Seek(fd, 5<<30, unix.SEEK_DATA)
	assert.Equal(t, unix.ENXIO, err)
	assert.Empty(t, said.String())
}

func TestStatfs(t *testing.T) {
	fsys := sample(memfs.New())
	mnt, _ := mountOne(t, fusefs.Volume{FS: fsys})
	want, err := fsys.Statfs(t.Context())
	require.NoError(t, err)
	var got unix.Statfs_t
	require.NoError(t, unix.Statfs(mnt+"/bin", &got))
	assert.Equal(t, want.BlockSize, got.Bsize)
	assert.Equal(t, want.Blocks, got.Blocks)
	assert.Equal(t, want.Files, got.Files)
	assert.EqualValues(t, 255, got.Namelen)
	assert.NotZero(t, got.Flags&unix.ST_RDONLY)
}

func TestErrno(t *testing.T) {
	mnt, said := mountOne(t, fusefs.Volume{FS: sample(memfs.New())})
	open := func(path string, flags int) error {
		fd, err := unix.Open(mnt+path, flags, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	for range 2 { // once asked, once from the kernel's cache
		assert.Equal(t, unix.ENOENT, open("/none", unix.O_RDONLY))
		assert.Equal(t, unix.ENOENT, open("/nowhere", unix.O_RDONLY))
		assert.Equal(t, unix.ENOTDIR, open("/bin/su/x", unix.O_RDONLY))
		assert.Equal(t, unix.ENAMETOOLONG, open("/"+strings.Repeat("n", 256), unix.O_RDONLY))
		assert.Equal(t, unix.EACCES, open("/console", unix.O_RDONLY), "nodev")
		assert.Equal(t, unix.ENXIO, open("/socket", unix.O_RDONLY))
		assert.Equal(t, unix.ELOOP, open("/link", unix.O_RDONLY|unix.O_NOFOLLOW))
	}
	fd, err := unix.Open(mnt+"/bin", unix.O_RDONLY, 0)
	require.NoError(t, err)
	_, err = unix.Read(fd, make([]byte, 10))
	assert.Equal(t, unix.EISDIR, err)
	unix.Close(fd)
	_, err = os.Readlink(mnt + "/secret")
	assert.ErrorIs(t, err, unix.EINVAL)

	fd, err = unix.Open(mnt+"/bin/su", unix.O_RDONLY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	for range 2 {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0x5401, uintptr(unsafe.Pointer(&make([]byte, 64)[0]))) // TCGETS: isatty(3)
		assert.Equal(t, unix.ENOTTY, errno)
	}
	assert.NoError(t, unix.Fsync(fd))

	assert.NoError(t, unix.Access(mnt+"/secret", unix.R_OK), "mode 0000 is readable")
	assert.NoError(t, unix.Access(mnt+"/closed", unix.R_OK|unix.X_OK))
	assert.NoError(t, unix.Access(mnt+"/bin/su", unix.X_OK))
	assert.Equal(t, unix.EACCES, unix.Access(mnt+"/secret", unix.X_OK), "not a program")
	assert.Equal(t, unix.EROFS, unix.Access(mnt+"/bin/su", unix.W_OK))
	assert.Empty(t, said.String())
}

func TestEveryWriteIsEROFS(t *testing.T) {
	mnt, said := mountOne(t, fusefs.Volume{FS: sample(memfs.New())})
	su := mnt + "/bin/su"
	times := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	for name, try := range map[string]func() error{
		"create":      func() error { _, err := unix.Open(mnt+"/new", unix.O_CREAT|unix.O_WRONLY, 0o644); return err },
		"exclusive":   func() error { _, err := unix.Open(mnt+"/new", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o644); return err },
		"tmpfile":     func() error { _, err := unix.Open(mnt+"/bin", unix.O_TMPFILE|unix.O_RDWR, 0o644); return err },
		"write":       func() error { _, err := unix.Open(su, unix.O_WRONLY, 0); return err },
		"read-write":  func() error { _, err := unix.Open(su, unix.O_RDWR, 0); return err },
		"trunc":       func() error { _, err := unix.Open(su, unix.O_TRUNC|unix.O_WRONLY, 0); return err },
		"truncate":    func() error { return unix.Truncate(su, 0) },
		"mkdir":       func() error { return unix.Mkdir(mnt+"/new", 0o755) },
		"mknod":       func() error { return unix.Mknod(mnt+"/new", unix.S_IFIFO|0o644, 0) },
		"unlink":      func() error { return unix.Unlink(su) },
		"rmdir":       func() error { return unix.Rmdir(mnt + "/closed") },
		"rename":      func() error { return unix.Rename(su, mnt+"/bin/new") },
		"link":        func() error { return unix.Link(su, mnt+"/new") },
		"symlink":     func() error { return unix.Symlink("x", mnt+"/new") },
		"chmod":       func() error { return unix.Chmod(su, 0o777) },
		"chown":       func() error { return unix.Lchown(su, os.Getuid(), os.Getgid()) },
		"utimes":      func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, su, times, 0) },
		"setxattr":    func() error { return unix.Setxattr(su, "user.new", []byte("v"), 0) },
		"removexattr": func() error { return unix.Removexattr(su, "user.comment") },
	} {
		assert.Equal(t, unix.EROFS, try(), name)
	}
	assert.Empty(t, said.String())
}

// A large directory, read in every way a program can read it.
func TestLargeDirectory(t *testing.T) {
	const entries = 50_000
	fsys := memfs.New()
	fsys.AddDir("/d")
	want := map[string]bool{}
	for i := range entries {
		name := fmt.Sprintf("file-%05d-%s", i, strings.Repeat("x", i%200))
		fsys.AddFile("/d/"+name, nil)
		want[name] = true
	}
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys})
	for range 2 { // the second time from the kernel's cache
		got, err := os.ReadDir(mnt + "/d")
		require.NoError(t, err)
		assert.Len(t, got, entries)
		for _, e := range got {
			require.True(t, want[e.Name()], e.Name())
		}
	}

	// telldir, seekdir, rewinddir: an offset seen once always leads to the
	// same place.
	fd, err := unix.Open(mnt+"/d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	type place struct {
		off  int64 // behind the entry
		name string
	}
	var all []place
	list := func(limit int) (found []place) {
		buf := make([]byte, 4096)
		for len(found) < limit {
			n, err := unix.Getdents(fd, buf)
			require.NoError(t, err)
			if n == 0 {
				break
			}
			for p := buf[:n]; len(p) > 0; {
				d := (*unix.Dirent)(unsafe.Pointer(&p[0]))
				name := p[19:d.Reclen]
				found = append(found, place{d.Off, string(name[:bytes.IndexByte(name, 0)])})
				p = p[d.Reclen:]
			}
		}
		return found
	}
	all = list(1 << 30)
	require.Len(t, all, entries+2)
	assert.Equal(t, ".", all[0].name)
	assert.Equal(t, "..", all[1].name)
	for _, i := range []int{0, 1, 2, 17, 1000, 25_000, entries, entries + 1} {
		_, err := unix.Seek(fd, all[i].off, unix.SEEK_SET)
		require.NoError(t, err)
		next := list(3)
		if i == entries+1 {
			assert.Empty(t, next)
			continue
		}
		require.NotEmpty(t, next)
		assert.Equal(t, all[i+1], next[0], "behind entry %d", i)
	}
	_, err = unix.Seek(fd, 0, unix.SEEK_SET)
	require.NoError(t, err)
	assert.Equal(t, all[:3], list(3)[:3], "rewinddir")
	assert.Empty(t, said.String())
}

// onDevice returns a file system whose contents lie in a file of the host, so
// that they are spliced.
func onDevice(t testing.TB, size int64) (*memfs.FS, blockio.Device) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	require.NoError(t, os.Truncate(name, size))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	dev, err := blockio.OpenFile(name)
	require.NoError(t, err)
	t.Cleanup(func() { dev.Close() })
	return memfs.NewOn(&fileDevice{dev, f}), dev
}

// fileDevice adds writing to a device.
type fileDevice struct {
	blockio.Device
	f *os.File
}

func (d *fileDevice) WriteAt(p []byte, off int64) (int, error) { return d.f.WriteAt(p, off) }
func (d *fileDevice) Sync() error                              { return nil }

func TestSplicedReadsAreTheSame(t *testing.T) {
	fsys, dev := onDevice(t, 64<<20)
	data := noise(3<<20 + 777)
	fsys.AddFile("/contiguous", data)
	// Extents that end within pages, and holes.
	fsys.AddSparse("/pieces", 4<<20, []memfs.Data{
		{Off: 0, Bytes: data[:100_001]}, {Off: 100_001, Bytes: data[5:300_000]}, {Off: 1 << 20, Bytes: data[:2<<20]}, {Off: 4<<20 - 1, Bytes: []byte("z")},
	})
	copied, _ := mountOne(t, fusefs.Volume{FS: fsys})
	spliced, said := mountOne(t, fusefs.Volume{FS: fsys, Device: dev})
	for _, name := range []string{"/contiguous", "/pieces"} {
		want, err := fs.ReadFile(vfs.NewTree(fsys), name[1:])
		require.NoError(t, err)
		for _, mnt := range []string{copied, spliced} {
			got, err := os.ReadFile(mnt + name)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, got), name)

			// O_DIRECT goes around the page cache: every request is ours.
			fd, err := unix.Open(mnt+name, unix.O_RDONLY|unix.O_DIRECT, 0)
			require.NoError(t, err)
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 200 {
				off := rnd.Int64N(int64(len(want)))
				p := make([]byte, 1+rnd.IntN(600_000))
				n, err := unix.Pread(fd, p, off)
				require.NoError(t, err)
				end := min(off+int64(len(p)), int64(len(want)))
				require.Equal(t, int(end-off), n)
				require.True(t, bytes.Equal(want[off:end], p[:n]), "%s: %d bytes at %d", name, len(p), off)
			}
			unix.Close(fd)

			f, err := os.Open(mnt + name)
			require.NoError(t, err)
			mapped, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ, unix.MAP_SHARED)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, mapped), "mmap of %s", name)
			require.NoError(t, unix.Munmap(mapped))
			f.Close()
		}
	}
	assert.Empty(t, said.String())
}

func TestConcurrentReads(t *testing.T) {
	fsys, dev := onDevice(t, 64<<20)
	want := map[string][32]byte{}
	for i := range 20 {
		name, data := fmt.Sprintf("/f%d", i), noise(100_000*(i+1))
		fsys.AddFile(name, data)
		want[name] = sha256.Sum256(data)
	}
	mnt, said := mountOne(t, fusefs.Volume{FS: fsys, Device: dev})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	if os.Geteuid() == 0 {
		// Meanwhile the kernel forgets what it knows of the files.
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0)
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for name, sum := range want {
				data, err := os.ReadFile(mnt + name)
				if assert.NoError(t, err) {
					assert.Equal(t, sum, sha256.Sum256(data), name)
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	wg.Wait()
	assert.Empty(t, said.String())
}
