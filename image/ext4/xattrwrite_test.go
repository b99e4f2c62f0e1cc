package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// Attributes come and go at random, in inodes, blocks and inodes of their own.
// What does not fit is refused, and changes nothing.
func TestXattrsComeAndGo(t *testing.T) {
	testtool.Sequential(t)
	eachNameForm(t, 24<<20, func(t *testing.T, image string, w *Writer) {
		rnd := rand.New(rand.NewPCG(3, 1))
		before, err := w.Statfs(ctx)
		require.NoError(t, err)
		files := []vfs.Ino{
			w.must(t, w.Root(), "file", vfs.Regular|0o644), w.must(t, w.Root(), "dir", vfs.Dir|0o755),
			w.must(t, w.Root(), "link", vfs.Symlink|0o777), w.must(t, w.Root(), "fifo", vfs.FIFO|0o644),
		}
		_, err = w.WriteAt(ctx, files[0], pattern(70000, 1), 0)
		require.NoError(t, err)
		want := map[vfs.Ino]map[string][]byte{}
		for _, ino := range files {
			want[ino] = map[string][]byte{}
		}
		names := []string{
			"user.a", "user.b", "trusted.c", "security.capability", "user.n\xc3\xa4me",
			"user." + strings.Repeat("l", 250), "user.d", "user.e", "trusted.a",
		}
		refused := 0
		for step := range 1200 {
			ino, name := files[rnd.IntN(len(files))], names[rnd.IntN(len(names))]
			if rnd.IntN(3) == 0 {
				err := w.RemoveXattr(ctx, ino, name)
				if _, ok := want[ino][name]; !ok {
					require.ErrorIs(t, err, syscall.ENODATA)
				} else {
					require.NoError(t, err)
				}
				delete(want[ino], name)
			} else {
				value := pattern([]int{0, 1, 4, 20, 60, 200, 900, 3000, 60000}[rnd.IntN(9)]+rnd.IntN(9), step)
				err := w.SetXattr(ctx, ino, name, value, false, false)
				if err == nil {
					want[ino][name] = value
				} else {
					require.ErrorIs(t, err, syscall.ENOSPC)
					refused++
				}
			}
			got, err := w.Xattrs(ctx, ino)
			require.NoError(t, err)
			require.Equal(t, want[ino], got, "step %d", step)
			if step%300 == 299 {
				require.NoError(t, w.Sync(ctx))
				fsck(t, image)
				again := openImage(t, image)
				for _, ino := range files {
					got, err := again.Xattrs(ctx, ino)
					require.NoError(t, err)
					require.Equal(t, want[ino], got)
				}
			}
		}
		if w.sb.FeatureIncompat&ondisk.IncompatEAInode == 0 {
			assert.NotZero(t, refused)
		}
		for _, name := range []string{"file", "link", "fifo"} {
			require.NoError(t, w.Unlink(ctx, w.Root(), name))
		}
		require.NoError(t, w.Rmdir(ctx, w.Root(), "dir"))
		after, err := w.Statfs(ctx)
		require.NoError(t, err)
		assert.Equal(t, before, after, "nothing is left behind")
		require.NoError(t, w.Sync(ctx))
		fsck(t, image)
	})
}

// A block of attributes can be filled to the last byte, and not over it.
func TestXattrBlockToTheBrim(t *testing.T) {
	image := mkfs(t, 16<<20, "", "-t", "ext4", "-b", "1024")
	w := onFile(t, image)
	ino := w.must(t, w.Root(), "file", vfs.Regular|0o644)
	// A header of 32 bytes, an entry of 20 with its name, and the end of the list.
	room := 1024 - 32 - 20 - 4
	assert.ErrorIs(t, w.SetXattr(ctx, ino, "user.abcd", make([]byte, room+1), false, false), syscall.ENOSPC)
	value := pattern(room, 1)
	require.NoError(t, w.SetXattr(ctx, ino, "user.abcd", value, false, false))
	assert.ErrorIs(t, w.SetXattr(ctx, ino, "user.abcd", make([]byte, 1<<16+1), false, false), syscall.E2BIG)
	// What is small still has room in the inode.
	require.NoError(t, w.SetXattr(ctx, ino, "user.small", []byte("in the inode"), false, false))
	require.NoError(t, w.Sync(ctx))
	fsck(t, image)
	got, err := openImage(t, image).Xattrs(ctx, ino)
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{"user.abcd": value, "user.small": []byte("in the inode")}, got)
	out := testtool.Run(t, "debugfs", "-R", "ea_list /file", image)
	assert.Contains(t, out, fmt.Sprintf("user.abcd (%d)", room))
}

func TestXattrNames(t *testing.T) {
	w := onFile(t, mkfs(t, 16<<20, "", "-t", "ext4"))
	ino := w.must(t, w.Root(), "file", vfs.Regular|0o644)
	for _, c := range []struct {
		name string
		want error
	}{
		{"user", syscall.ENOTSUP}, {"user.", syscall.EINVAL}, {"other.x", syscall.ENOTSUP}, {"system.data", syscall.ENOTSUP},
		{"", syscall.ENOTSUP}, {"user." + strings.Repeat("x", 251), syscall.ERANGE}, {"user." + strings.Repeat("x", 250), nil},
	} {
		err := w.SetXattr(ctx, ino, c.name, nil, false, false)
		if c.want == nil {
			assert.NoError(t, err)
		} else {
			assert.ErrorIs(t, err, c.want, c.name)
		}
	}
	assert.ErrorIs(t, w.SetXattr(ctx, 1<<40, "user.a", nil, false, false), syscall.ENOENT)
}

// Files that share a block of attributes, or a value, keep theirs when one of
// them changes.
func TestSharedXattrs(t *testing.T) {
	for _, f := range []form{{"block", nil}, {"values", []string{"-O", "ea_inode"}}} {
		t.Run(f.name, func(t *testing.T) {
			image := mkfs(t, 32<<20, "", append([]string{"-t", "ext4", "-b", "4096"}, f.args...)...)
			dir, unmount := mount(t, image, "")
			block, large := pattern(3000, 1), pattern(20000, 2)
			for i := range 4 {
				name := filepath.Join(dir, fmt.Sprint(i))
				require.NoError(t, os.WriteFile(name, []byte("x"), 0o644))
				require.NoError(t, unix.Setxattr(name, "user.block", block, 0))
				if f.args != nil {
					require.NoError(t, unix.Setxattr(name, "user.large", large, 0))
				}
			}
			unmount()
			out := testtool.Run(t, "debugfs", "-R", "stat /0", image)
			var inos [4]vfs.Ino
			w := onFile(t, image)
			for i := range inos {
				inos[i] = lookup(t, w, fmt.Sprint("/", i))
			}
			shared := map[uint64]bool{}
			for _, ino := range inos {
				var in inode
				require.NoError(t, w.readInode(ino, &in))
				require.NotZero(t, in.FileACL, out)
				shared[in.FileACL] = true
			}
			require.Less(t, len(shared), 4, "the kernel shares blocks")
			all := map[string][]byte{"user.block": block}
			if f.args != nil {
				all["user.large"] = large
			}
			want := [4]map[string][]byte{}
			for i := range want {
				want[i] = map[string][]byte{}
				for k, v := range all {
					want[i][k] = v
				}
			}
			check := func() {
				t.Helper()
				require.NoError(t, w.Sync(ctx))
				fsck(t, image)
				for i, ino := range inos {
					if want[i] == nil {
						continue
					}
					got, err := w.Xattrs(ctx, ino)
					require.NoError(t, err)
					require.Equal(t, want[i], got, "file %d", i)
				}
			}
			require.NoError(t, w.SetXattr(ctx, inos[0], "user.block", pattern(2000, 3), false, true))
			want[0]["user.block"] = pattern(2000, 3)
			check()
			require.NoError(t, w.RemoveXattr(ctx, inos[1], "user.block"))
			delete(want[1], "user.block")
			check()
			w.Pin(inos[2])
			require.NoError(t, w.Unlink(ctx, w.Root(), "2"))
			check()
			require.NoError(t, w.SetXattr(ctx, inos[2], "user.more", []byte("1"), true, false))
			want[2]["user.more"] = []byte("1")
			check()
			require.NoError(t, w.Unpin(ctx, inos[2]))
			want[2] = nil
			require.NoError(t, w.Unlink(ctx, w.Root(), "0"))
			want[0] = nil
			check()
			require.NoError(t, w.Unlink(ctx, w.Root(), "1"))
			require.NoError(t, w.Unlink(ctx, w.Root(), "3"))
			want[1], want[3] = nil, nil
			check()
		})
	}
}

// acl makes an ACL of Linux's form, of tags, permissions and ids.
func acl(entries ...[3]uint32) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, aclLinuxVersion)
	for _, e := range entries {
		id := e[2]
		if id == 0 {
			id = aclNoID
		}
		b = le.AppendUint32(le.AppendUint16(le.AppendUint16(b, uint16(e[0])), uint16(e[1])), id)
	}
	return b
}

// Access control lists are what the kernel makes of them, and so is the mode.
func TestACLs(t *testing.T) {
	image := mkfs(t, 32<<20, "", "-t", "ext4")
	w := onFile(t, image)
	file := w.must(t, w.Root(), "file", vfs.Regular|0o4644)
	dir := w.must(t, w.Root(), "dir", vfs.Dir|0o755)
	const access, byDefault = "system.posix_acl_access", "system.posix_acl_default"
	full := acl([3]uint32{aclUserObj, 6}, [3]uint32{aclUser, 7, 1000}, [3]uint32{aclGroupObj, 4},
		[3]uint32{aclGroup, 5, 50}, [3]uint32{aclMask, 5}, [3]uint32{aclOther, 1})
	for what, bad := range map[string][]byte{
		"short": {2, 0}, "torn": full[:len(full)-3], "no owner": acl([3]uint32{aclGroupObj, 4}, [3]uint32{aclOther, 1}),
		"no mask":   acl([3]uint32{aclUserObj, 6}, [3]uint32{aclUser, 7, 1000}, [3]uint32{aclGroupObj, 4}, [3]uint32{aclOther, 1}),
		"order":     acl([3]uint32{aclGroupObj, 4}, [3]uint32{aclUserObj, 6}, [3]uint32{aclOther, 1}),
		"unknown":   acl([3]uint32{aclUserObj, 6}, [3]uint32{aclGroupObj, 4}, [3]uint32{aclOther, 1}, [3]uint32{0x40, 1}),
		"bits":      acl([3]uint32{aclUserObj, 8}, [3]uint32{aclGroupObj, 4}, [3]uint32{aclOther, 1}),
		"two masks": acl([3]uint32{aclUserObj, 6}, [3]uint32{aclGroupObj, 4}, [3]uint32{aclMask, 4}, [3]uint32{aclMask, 4}, [3]uint32{aclOther, 1}),
	} {
		assert.ErrorIs(t, w.SetXattr(ctx, file, access, bad, false, false), syscall.EINVAL, what)
	}
	require.NoError(t, w.SetXattr(ctx, file, access, full, false, false))
	a, err := w.Getattr(ctx, file)
	require.NoError(t, err)
	assert.Equal(t, vfs.Regular|0o4651, a.Mode, "the group's bits are the mask")
	mode := vfs.Mode(0o624)
	a, err = w.Setattr(ctx, file, vfs.SetAttr{Mode: &mode})
	require.NoError(t, err)
	assert.Equal(t, vfs.Regular|0o624, a.Mode)
	assert.ErrorIs(t, w.SetXattr(ctx, file, byDefault, full, false, false), syscall.EACCES)
	require.NoError(t, w.SetXattr(ctx, dir, byDefault, full, false, false))
	minimal := acl([3]uint32{aclUserObj, 7}, [3]uint32{aclGroupObj, 0}, [3]uint32{aclOther, 0})
	require.NoError(t, w.SetXattr(ctx, dir, access, minimal, false, false))
	all, err := w.Xattrs(ctx, dir)
	require.NoError(t, err)
	assert.Equal(t, map[string][]byte{byDefault: full}, all, "the mode says it all")
	require.NoError(t, w.Sync(ctx))
	fsck(t, image)

	testtool.Need(t, "getfacl")
	at, unmount := mount(t, image, "ro")
	out := testtool.Run(t, "getfacl", "-n", "-c", "-E", "--absolute-names", filepath.Join(at, "file"), filepath.Join(at, "dir"))
	unmount()
	for _, line := range []string{
		"user::rw-", "user:1000:rwx", "group:50:r-x", "mask::-w-", "other::r--",
		"user::rwx", "group::---", "other::---", "default:user:1000:rwx", "default:mask::r-x",
	} {
		assert.Contains(t, out, line+"\n", out)
	}
	require.NoError(t, w.SetXattr(ctx, dir, byDefault, nil, false, false))
	all, err = w.Xattrs(ctx, dir)
	require.NoError(t, err)
	assert.Empty(t, all)
}

// The kernel reads what was written.
func TestKernelReadsXattrs(t *testing.T) {
	for _, f := range []form{{"default", nil}, {"1k", []string{"-b", "1024"}}, {"ea-inode", []string{"-O", "ea_inode"}}} {
		t.Run(f.name, func(t *testing.T) {
			image := mkfs(t, 32<<20, "", append([]string{"-t", "ext4"}, f.args...)...)
			w := onFile(t, image)
			ino := w.must(t, w.Root(), "file", vfs.Regular|0o644)
			sizes := []int{1, 30, 400, 90}
			if strings.Contains(f.name, "inode") {
				sizes = append(sizes, 40000, 65536, 5000)
			}
			want := map[string][]byte{}
			for i, n := range sizes {
				name := fmt.Sprintf("user.n\xc3\xa4me%d", i)
				want[name] = pattern(n, i)
				require.NoError(t, w.SetXattr(ctx, ino, name, want[name], true, false))
			}
			require.NoError(t, w.Sync(ctx))
			fsck(t, image)
			at, unmount := mount(t, image, "ro")
			defer unmount()
			name := filepath.Join(at, "file")
			buf := make([]byte, 1<<16)
			n, err := unix.Listxattr(name, buf)
			require.NoError(t, err)
			assert.Equal(t, len(want), bytes.Count(buf[:n], []byte{0}))
			for attr, value := range want {
				n, err := unix.Getxattr(name, attr, buf)
				require.NoError(t, err, attr)
				assert.True(t, bytes.Equal(value, buf[:n]), attr)
			}
		})
	}
}
