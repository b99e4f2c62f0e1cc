package ext4

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

// What the kernel writes, with what mke2fs -d never makes: hash trees,
// unwritten extents, large attribute values, times beyond 2038.
func TestReadsWhatTheKernelWrites(t *testing.T) {
	testtool.Sequential(t)
	needRoot(t, "mounts an image with the kernel")
	testtool.Need(t, "e2fsck", "tune2fs")
	for _, c := range []struct {
		name string
		args []string
		tune []string
		ssv  string // for debugfs
		many int    // entries in the large directory
	}{
		{name: "default", many: 10000},
		{name: "1k", args: []string{"-b", "1024", "-N", "12000"}, many: 5000},
		{name: "tea", tune: []string{"-E", "hash_alg=tea"}, many: 3000},
		{name: "legacy", tune: []string{"-E", "hash_alg=legacy"}, many: 3000},
		{name: "unsigned", ssv: "set_super_value flags 2", many: 3000},
		{name: "tea-unsigned", tune: []string{"-E", "hash_alg=tea"}, ssv: "set_super_value flags 2", many: 3000},
		{name: "legacy-unsigned", tune: []string{"-E", "hash_alg=legacy"}, ssv: "set_super_value flags 2", many: 3000},
		{name: "sign-unknown", ssv: "set_super_value flags 0", many: 3000},
		{name: "large-dir-1k", args: []string{"-b", "1024", "-O", "large_dir", "-N", "12000"}, many: 5000},
		{name: "ea-inode", args: []string{"-O", "ea_inode"}, many: 300},
		{name: "inline-data", args: []string{"-O", "inline_data"}, many: 300},
		{name: "no-csum", args: []string{"-O", "^metadata_csum"}, many: 3000},
		{name: "no-extent", args: []string{"-O", "^extent,^64bit"}, many: 3000},
		{name: "128-byte-inodes", args: []string{"-I", "128"}, many: 300},
		{name: "bigalloc", args: []string{"-O", "bigalloc"}, many: 300},
		{name: "verity", args: []string{"-O", "verity"}, many: 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := mkfs(t, 48<<20, "", append([]string{"-t", "ext4"}, c.args...)...)
			if c.tune != nil {
				testtool.Run(t, "tune2fs", append(c.tune, img)...)
			}
			if c.ssv != "" {
				debugfs(t, img, c.ssv)
			}
			dir, unmount := mount(t, img, "user_xattr,acl")
			fillByKernel(t, dir, c.many, c.name == "ea-inode")
			unmount()
			testtool.Run(t, "e2fsck", "-fn", img)
			if c.name == "sign-unknown" {
				debugfs(t, img, c.ssv) // the kernel has set it
			}

			dir, unmount = mount(t, img, "ro,noload")
			defer unmount()
			dev := openDevice(t, img)
			opened, err := Driver.Open(ctx, dev)
			require.NoError(t, err)
			fs := opened.(*FS)
			assert.Equal(t, vfs.Clean, fs.Info().State)
			// First of all: pages that have been read count as data to the kernel.
			compareHoles(t, fs, dir, "fallocated", "punched", "holes")
			compareTree(t, fs, dir, judge{nanoseconds: true})
			compareStatfs(t, fs, dir)
			checkIndex(t, fs, "many")
			if c.name == "default" || c.name == "ea-inode" {
				vfstest.Run(t, fs, dev)
			}
		})
	}
}

func fillByKernel(t *testing.T, dir string, many int, big bool) {
	t.Helper()
	b := treeBuilder{t, dir}
	b.mkdir("many")
	for i := range many {
		b.file(fmt.Sprintf("many/%05d-näme-%s", i, strings.Repeat("x", 60+i%90)), nil)
	}
	for i := 0; i < many; i += 7 {
		require.NoError(t, os.Remove(b.path(fmt.Sprintf("many/%05d-näme-%s", i, strings.Repeat("x", 60+i%90)))))
	}
	create := func(name string, do func(fd int) error) {
		t.Helper()
		f, err := os.Create(b.path(name))
		require.NoError(t, err)
		if err := do(int(f.Fd())); err != syscall.EOPNOTSUPP { // indirect blocks cannot
			require.NoError(t, err)
		}
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
	create("fallocated", func(fd int) error {
		if err := unix.Fallocate(fd, 0, 0, 3<<20); err != nil {
			return err
		}
		_, err := unix.Pwrite(fd, pattern(9000, 1), 1<<20+77)
		return err
	})
	create("beyond-the-end", func(fd int) error {
		if err := unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20); err != nil {
			return err
		}
		_, err := unix.Pwrite(fd, pattern(9000, 2), 0)
		return err
	})
	create("punched", func(fd int) error {
		if _, err := unix.Pwrite(fd, pattern(2<<20, 3), 0); err != nil {
			return err
		}
		for i := range int64(60) {
			if err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, i*32768+5000, 16384); err != nil {
				return err
			}
		}
		return nil
	})
	create("holes", func(fd int) error {
		for i := range int64(2000) {
			if _, err := unix.Pwrite(fd, pattern(100, int(i)), i*12288+4096); err != nil {
				return err
			}
		}
		_, err := unix.Pwrite(fd, []byte("far"), 3<<30)
		return err
	})
	create("attributes", func(fd int) error {
		for i := range 20 {
			if err := unix.Fsetxattr(fd, fmt.Sprintf("user.name-%d", i), pattern(i*2, i), 0); err != nil {
				return err
			}
		}
		if big {
			if err := unix.Fsetxattr(fd, "user.large", pattern(20000, 5), 0); err != nil {
				return err
			}
			return unix.Fsetxattr(fd, "security.large", pattern(60000, 6), 0)
		}
		return nil
	})
	b.mkdir("acl")
	b.file("acl/file", nil)
	setACL(t, b.path("acl/file"), "u:1000:rwx,u:1001:r--,g:5:-w-,g:70000:--x,m::rwx")
	setACL(t, b.path("acl"), "d:u:1000:rwx,u:99:---")
	for i, sec := range []int64{-1 << 31, -1, 0, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<33 + 5, 3<<32 + 1<<31 - 1} {
		name := b.path(fmt.Sprintf("time-%d", i))
		require.NoError(t, os.WriteFile(name, nil, 0o600))
		at := time.Unix(sec, int64(i)*111111111%1e9)
		require.NoError(t, os.Chtimes(name, at, at))
	}
	for i, n := range []int{1, 59, 60, 61, 1000, 1023} {
		link := b.path(fmt.Sprintf("link-%d", i))
		require.NoError(t, os.Symlink(strings.Repeat("l", n), link))
		require.NoError(t, unix.Lsetxattr(link, "trusted.t", pattern(800, i), 0))
	}
	for i := range 30 {
		require.NoError(t, unix.Mknod(b.path(fmt.Sprintf("dev-%d", i)), unix.S_IFBLK|0o600, int(unix.Mkdev(uint32(i*37), uint32(i*9973)))))
	}
	b.mkdir("chain/a/b/c")
	require.NoError(t, os.Chmod(b.path("chain"), 0o1777|os.ModeSticky))
}

// compareHoles compares where files have data with what the kernel says.
func compareHoles(t *testing.T, fs *FS, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		f, err := os.Open(dir + "/" + name)
		require.NoError(t, err)
		defer f.Close()
		a, err := fs.Lookup(ctx, fs.Root(), name)
		require.NoError(t, err)
		for off := int64(0); off < a.Size; off += a.Size/997 + 1 {
			for _, s := range []struct {
				whence int
				seek   func() (int64, error)
			}{
				{unix.SEEK_DATA, func() (int64, error) { return fs.SeekData(ctx, a.Ino, off) }},
				{unix.SEEK_HOLE, func() (int64, error) { return fs.SeekHole(ctx, a.Ino, off) }},
			} {
				want, werr := unix.Seek(int(f.Fd()), off, s.whence)
				got, err := s.seek()
				if werr != nil {
					require.Equal(t, werr, err)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, want, got, "%s from %d, whence %d", name, off, s.whence)
			}
		}
	}
}

// checkIndex makes sure that the directory has a hash tree, that all its names
// are found through it, and that others are not.
func checkIndex(t *testing.T, fs *FS, name string) {
	t.Helper()
	a, err := fs.Lookup(ctx, fs.Root(), name)
	require.NoError(t, err)
	var in inode
	require.NoError(t, fs.readInode(a.Ino, &in))
	if !fs.indexed(&in) {
		require.Less(t, a.Size, int64(100<<10), "a directory as large as this should have an index")
		return
	}
	// In the old way of hashing, bytes are signed or not: not recorded means
	// that a miss proves nothing.
	certain := fs.sb.Flags != 0
	for e, err := range fs.ReadDir(ctx, a.Ino, 0) {
		require.NoError(t, err)
		ino, usable, err := fs.findHashed(ctx, &in, e.Name)
		require.NoError(t, err)
		if certain {
			require.True(t, usable)
			require.Equal(t, uint32(e.Ino), ino)
		}
		_, usable, err = fs.findHashed(ctx, &in, e.Name+"é")
		if certain {
			require.True(t, usable)
			require.Equal(t, syscall.ENOENT, err)
		}
	}
}
