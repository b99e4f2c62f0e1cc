package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/conformance"
	"github.com/resflash/resflash/integration/testtool"
)

// A writableFormat is one that is mounted for writing, and what is special about
// it.
type writableFormat struct {
	name  string
	mkfs  string // what makes it; empty: our own mkfs
	small string // arguments more for 8 MiB
	opt   conformance.Options
}

var fatOptions = conformance.Options{Plain: true, NoFlags: true, NoFallocate: true}

var writableFormats = []writableFormat{
	{name: "ffs1", opt: conformance.Options{SymlinkMax: 1023}},
	{name: "ffs2", opt: conformance.Options{SymlinkMax: 1023, LinkMax: 32767, FewDirs: true}},
	{name: "ext4", mkfs: "mke2fs -q -F -m 0 -t ext4 -b 4096", opt: conformance.Options{Xattrs: true}},
	{name: "ext4-inline", mkfs: "mke2fs -q -F -m 0 -t ext4 -b 1024 -O inline_data,ea_inode", opt: conformance.Options{Xattrs: true, SymlinkMax: 1023}},
	{name: "ext4-bigalloc", mkfs: "mke2fs -q -F -m 0 -t ext4 -b 1024 -O bigalloc -C 8192", opt: conformance.Options{Xattrs: true, SymlinkMax: 1023}},
	{name: "ext3", mkfs: "mke2fs -q -F -m 0 -t ext3 -b 1024", opt: conformance.Options{Xattrs: true, SymlinkMax: 1023}},
	{name: "ext2", mkfs: "mke2fs -q -F -m 0 -t ext2 -b 2048", opt: conformance.Options{Xattrs: true, SymlinkMax: 2047}},
	{name: "fat16", mkfs: "mkfs.fat -F 16 -r 512", small: "-s 1", opt: fatOptions},
	{name: "fat32", mkfs: "mkfs.fat -F 32 -s 1", opt: fatOptions},
}

// isExt says whether e2fsprogs know the format.
func (f writableFormat) isExt() bool { return strings.HasPrefix(f.name, "ext") }

// make makes a file system in a file.
func (f writableFormat) make(t testing.TB, name, size string) {
	t.Helper()
	if f.mkfs == "" {
		resflash(t, "mkfs", "--quiet", "--type", f.name, "--size", size, name)
		return
	}
	args := strings.Fields(f.mkfs)
	if size == "8M" {
		args = append(args, strings.Fields(f.small)...)
	}
	testtool.Need(t, args[0])
	testtool.Run(t, "truncate", "-s", size, name)
	testtool.Run(t, args[0], append(args[1:], name)...)
}

// freshVolume makes a file system in a file.
func freshVolume(t testing.TB, format, size string) string {
	t.Helper()
	i := slices.IndexFunc(writableFormats, func(f writableFormat) bool { return f.name == format })
	name := filepath.Join(t.TempDir(), format+".img")
	writableFormats[i].make(t, name, size)
	return name
}

// mountForWriting mounts an image by the program, in another process than the
// test. The returned function ends the mount, and checks the file system.
func mountForWriting(t testing.TB, name string, args ...string) (dir string, end func()) {
	t.Helper()
	needFUSE(t)
	dir = filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(dir, 0o755))
	out, err := exec.Command(program, append([]string{"mount", "--quiet", name, dir}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
	ended := false
	end = func() {
		t.Helper()
		if ended {
			return
		}
		ended = true
		out, err := exec.Command(program, "umount", dir).CombinedOutput()
		if !assert.NoError(t, err, string(out)) {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
			return
		}
		mustBeClean(t, name)
	}
	t.Cleanup(end)
	return dir, end
}

// mustBeClean has our checker look at an image, and the one that the format comes
// with, if we have it.
func mustBeClean(t testing.TB, name string) {
	t.Helper()
	out, err := exec.Command(program, "check", name).CombinedOutput()
	assert.NoError(t, err, "%s", out)
	switch base := filepath.Base(name); {
	case strings.HasPrefix(base, "ext"):
		assert.NoError(t, fsckExt(context.Background(), name))
	case strings.HasPrefix(base, "fat"):
		assert.NoError(t, fsckFAT(context.Background(), name))
	}
}

// The cases of go-fuse's suite that do not apply, and why.
var posixExceptions = map[string]string{
	"Tmpfile":    "skips itself: a file that was made without a name (O_TMPFILE) could never be given one, so it is EOPNOTSUPP",
	"XAttr":      "skips itself: those of FFS are not written, OpenBSD has none, and FAT has none",
	"XAttrLarge": "skips itself: likewise, and on ext4 without ea_inode all of a file must fit into a block",
	"FcntlFlockLocksFile": "expects one process to be in its own way: the locks of fcntl(2) belong to processes, " +
		"so it fails on every file system of the kernel",
}

// posixPlain are those that do not apply where there are only files and
// directories.
var posixPlain = map[string]string{
	"FallocateKeepSize": "FAT has no space beyond the end of a file",
	"FileBasic":         "wants a mode of 0755: FAT knows but read-only",
	"Link":              "a file of FAT has one name",
	"LinkUnlinkRename":  "likewise",
	"OpenSymlinkRace":   "FAT has no symbolic links",
	"SetattrSymlink":    "likewise",
	"SymlinkReadlink":   "likewise",
}

func TestPosixSuiteOnAMount(t *testing.T) {
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			mnt, end := mountForWriting(t, freshVolume(t, format.name, "128M"))
			for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
				t.Run(name, func(t *testing.T) {
					if name == "FcntlFlockLocksFile" {
						t.Skip(posixExceptions[name])
					}
					if why := posixPlain[name]; format.opt.Plain && why != "" {
						t.Skip(why)
					}
					dir := filepath.Join(mnt, name)
					require.NoError(t, os.Mkdir(dir, 0o755))
					t.Cleanup(func() {
						if t.Skipped() && posixExceptions[name] == "" {
							t.Error("the case does not apply, and nobody has said why")
						}
						assert.NoError(t, os.RemoveAll(dir))
					})
					posixtest.All[name](t, dir)
				})
			}
			end()
		})
	}
}

// What each system call answers, on files of each type.
func TestConformanceOfAMount(t *testing.T) {
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			opt := format.opt
			opt.NoDevices = !asRoot || opt.Plain
			var args []string
			if asRoot {
				args = append(args, "--allow-other")
			}
			mnt, end := mountForWriting(t, freshVolume(t, format.name, "64M"), args...)
			n := conformance.Run(t, mnt, opt)
			t.Logf("%d cases", n)
			assert.Greater(t, n, 400)
			end()
		})
	}
}

// Random operations must answer what the host's own file system answers. What
// the kernel shows, which is mostly from its caches, must be what the driver
// says.
func TestRandomOperationsOnAMount(t *testing.T) {
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			if format.opt.Plain {
				t.Skip("the host has links, owners and modes; TestFATModel has a model without")
			}
			needFUSE(t)
			name := freshVolume(t, format.name, "32M")
			disk, err := image.Edit(t.Context(), name, image.EditOptions{})
			require.NoError(t, err)
			vol, err := disk.Partitions()[0].Edit(t.Context())
			require.NoError(t, err)
			mnt := filepath.Join(t.TempDir(), "mnt")
			require.NoError(t, os.Mkdir(mnt, 0o755))
			srv, err := fusefs.MountOne(mnt, fusefs.Volume{FS: vol.FS}, fusefs.Options{CommitEvery: 100 * time.Millisecond, Logf: t.Errorf})
			require.NoError(t, err)
			t.Cleanup(func() {
				if err := srv.Unmount(); err != nil {
					t.Error(err)
					_ = srv.Detach()
				}
				assert.NoError(t, disk.Close())
				mustBeClean(t, name)
			})
			reference, opt := conformance.Reference(t)
			if format.isExt() {
				require.NoError(t, os.Mkdir(filepath.Join(reference, "lost+found"), 0o700))
			}
			conformance.Random(t, mnt, reference, opt, 1, 1000, func(paths []string, fds []int) {
				var st unix.Stat_t
				for _, path := range paths {
					require.NoError(t, unix.Lstat(mnt+path, &st))
					asTheDriverSays(t, vol.FS, &st, path)
				}
				for _, fd := range fds {
					require.NoError(t, unix.Fstat(fd, &st))
					asTheDriverSays(t, vol.FS, &st, "open file")
				}
			})
		})
	}
}

// asTheDriverSays compares what stat(2) shows with the attributes of the file.
func asTheDriverSays(t *testing.T, fsys vfs.FS, st *unix.Stat_t, path string) {
	t.Helper()
	attr, err := fsys.Getattr(t.Context(), vfs.Ino(st.Ino))
	require.NoError(t, err, path)
	want := []int64{int64(attr.Mode), int64(attr.Nlink), int64(attr.UID), int64(attr.GID), attr.Size, attr.Blocks,
		attr.Atime.UnixNano(), attr.Mtime.UnixNano(), attr.Ctime.UnixNano()}
	got := []int64{int64(st.Mode), int64(st.Nlink), int64(st.Uid), int64(st.Gid), st.Size, st.Blocks,
		st.Atim.Nano(), st.Mtim.Nano(), st.Ctim.Nano()}
	require.Equal(t, want, got, "mode, nlink, uid, gid, size, blocks and times of %s", path)
}

// One file, changed by every way there is.
func TestExerciseOnAMount(t *testing.T) {
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			mnt, end := mountForWriting(t, freshVolume(t, format.name, "32M"))
			for seed := range uint64(4) {
				require.NoError(t, conformance.Exercise(mnt, format.opt, seed, 1000))
			}
			end()
		})
	}
}

// Many at once, with the same names.
func TestStressOnAMount(t *testing.T) {
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			mnt, end := mountForWriting(t, freshVolume(t, format.name, "16M"), "--commit-interval", "50ms")
			conformance.Stress(t, mnt, 1, 16, 4*time.Second)
			end()
		})
	}
}

// A full file system says so, keeps what it has, and takes more when something
// is removed, at once.
func TestFullVolume(t *testing.T) {
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			mnt, end := mountForWriting(t, freshVolume(t, format.name, "8M"))
			chunk := bytes.Repeat([]byte("full"), 256<<10)
			fill := func(name string) (wrote int) {
				f, err := os.Create(filepath.Join(mnt, name))
				require.NoError(t, err)
				defer f.Close()
				for err == nil {
					var n int
					n, err = f.Write(chunk)
					wrote += n
				}
				assert.ErrorIs(t, err, unix.ENOSPC)
				require.NoError(t, f.Sync())
				fi, err := f.Stat()
				require.NoError(t, err)
				assert.EqualValues(t, wrote, fi.Size())
				return wrote
			}
			first := fill("a")
			assert.Greater(t, first, 3<<20) // of ext4, half is the journal
			data, err := os.ReadFile(filepath.Join(mnt, "a"))
			require.NoError(t, err)
			for at := 0; at < len(data); at += len(chunk) {
				require.True(t, bytes.HasPrefix(chunk, data[at:min(at+len(chunk), len(data))]), "byte %d", at)
			}
			// Names are small.
			require.NoError(t, os.WriteFile(filepath.Join(mnt, "empty"), nil, 0o644))
			for range 5 {
				require.NoError(t, os.Remove(filepath.Join(mnt, "a")))
				assert.InDelta(t, first, fill("a"), 64<<10, "what was removed can be used again")
			}
			// Not removed, but made shorter, and with a hole.
			require.NoError(t, os.Truncate(filepath.Join(mnt, "a"), 1<<20))
			assert.InDelta(t, first-1<<20, fill("b"), 128<<10)
			end()
		})
	}
}

// An unlinked file gives back its space when it is closed, and statfs shows it.
func TestStatfsOfAMount(t *testing.T) {
	for _, format := range writableFormats {
		t.Run(format.name, func(t *testing.T) {
			mnt, end := mountForWriting(t, freshVolume(t, format.name, "32M"))
			free := func() uint64 {
				var st unix.Statfs_t
				require.NoError(t, unix.Statfs(mnt, &st))
				return st.Bfree
			}
			empty := free()
			f, err := os.Create(filepath.Join(mnt, "f"))
			require.NoError(t, err)
			_, err = f.Write(make([]byte, 4<<20))
			require.NoError(t, err)
			full := free()
			assert.Less(t, full, empty)
			require.NoError(t, os.Remove(f.Name()))
			assert.Equal(t, full, free(), "it is still open")
			require.NoError(t, f.Close())
			assert.Eventually(t, func() bool { return free() == empty }, 5*time.Second, time.Millisecond)
			end()
		})
	}
}

// Files of all sizes are read to their end, wherever in a page of the image they
// begin: what is spliced must fit into a pipe.
func TestWholeFilesOfAMount(t *testing.T) {
	name := freshVolume(t, "fat32", "64M")
	mnt, end := mountForWriting(t, name)
	want := map[string][]byte{}
	for i := range 128 {
		// Around 15 and 31 pages, where there is the least room.
		n := 16<<12 - 7*4096/2 + i*205
		if i%2 == 1 {
			n += 16 << 12
		}
		file := fmt.Sprintf("file-%d-of-%d", i, n)
		want[file] = contents(file, n)
		require.NoError(t, os.WriteFile(filepath.Join(mnt, file), want[file], 0o644))
	}
	end()
	mnt, end = mountForWriting(t, name, "--read-only")
	for file, data := range want {
		got, err := os.ReadFile(filepath.Join(mnt, file))
		require.NoError(t, err)
		assert.Equal(t, len(data), len(got), file)
		assert.True(t, bytes.Equal(data, got), file)
	}
	end()
}

// Nobody else may change the image meanwhile.
func TestTwoMounts(t *testing.T) {
	name := freshVolume(t, "ffs2", "8M")
	_, end := mountForWriting(t, name)
	second := filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(second, 0o755))
	out, err := exec.Command(program, "mount", name, second).CombinedOutput()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%s", out)
	assert.Equal(t, 10, exit.ExitCode(), "%s", out)
	end()
}
