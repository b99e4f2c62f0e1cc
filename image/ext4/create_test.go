package ext4

import (
	"encoding/binary"
	"fmt"
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

// Files of every type, every mode bit, device numbers of every size, targets
// around the boundary where they leave the inode, and the longest names: the
// kernel sees them as they were made.
func TestKernelSeesWhatWasCreated(t *testing.T) {
	for _, f := range []form{
		{"default", nil}, {"inline", []string{"-O", "inline_data", "-I", "256"}}, {"ext2", []string{"-O", "^extent,^has_journal,^64bit", "-I", "128"}},
	} {
		t.Run(f.name, func(t *testing.T) {
			image := mkfs(t, 64<<20, "", append([]string{"-t", "ext4"}, f.args...)...)
			w := onFile(t, image)
			type made struct {
				name string
				node vfs.NewNode
			}
			var all []made
			add := func(name string, node vfs.NewNode) {
				t.Helper()
				node.UID, node.GID = 1<<20+7, 1<<31+9
				a, err := w.Create(ctx, w.Root(), name, node)
				require.NoError(t, err, name)
				assert.Equal(t, node.Mode, a.Mode)
				assert.Equal(t, node.Rdev, a.Rdev)
				all = append(all, made{name, node})
			}
			for bit := range 12 {
				add(fmt.Sprintf("mode%o", 1<<bit), vfs.NewNode{Mode: vfs.Regular | 1<<bit})
			}
			add("dir", vfs.NewNode{Mode: vfs.Dir | 0o7777})
			add("fifo", vfs.NewNode{Mode: vfs.FIFO | 0o640})
			add("socket", vfs.NewNode{Mode: vfs.Socket | 0o755})
			for i, d := range [][2]uint32{{0, 0}, {1, 3}, {255, 255}, {256, 0}, {8, 256}, {4095, 1<<20 - 1}} {
				dev := vfs.Dev{Major: d[0], Minor: d[1]}
				add(fmt.Sprint("char", i), vfs.NewNode{Mode: vfs.Char | 0o600, Rdev: dev})
				add(fmt.Sprint("block", i), vfs.NewNode{Mode: vfs.Block | 0o600, Rdev: dev})
			}
			for _, n := range []int{1, 58, 59, 60, 61, 150, w.maxSymlink()} {
				add(fmt.Sprint("link", n), vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: strings.Repeat("t", n)})
			}
			for _, n := range []int{247, 248, 254, 255} {
				add(strings.Repeat("n", n), vfs.NewNode{Mode: vfs.Regular | 0o644})
			}
			for _, d := range []vfs.Dev{{Major: 4096}, {Minor: 1 << 20}} {
				_, err := w.Create(ctx, w.Root(), "bad", vfs.NewNode{Mode: vfs.Char, Rdev: d})
				assert.ErrorIs(t, err, syscall.EINVAL)
			}
			require.NoError(t, w.Sync(ctx))
			fsck(t, image)

			dir, unmount := mount(t, image, "ro")
			defer unmount()
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Len(t, entries, len(all)+1, "and lost+found")
			for _, m := range all {
				var st unix.Stat_t
				name := filepath.Join(dir, m.name)
				require.NoError(t, unix.Lstat(name, &st), m.name)
				assert.Equal(t, uint32(m.node.Mode), st.Mode, m.name)
				assert.Equal(t, m.node.UID, st.Uid)
				assert.Equal(t, m.node.GID, st.Gid)
				if m.node.Mode.IsDevice() {
					assert.Equal(t, m.node.Rdev, vfs.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}, m.name)
				}
				if m.node.Mode.IsSymlink() {
					target, err := os.Readlink(name)
					require.NoError(t, err)
					assert.Equal(t, m.node.Target, target)
				}
			}
		})
	}
}

// A directory counts its subdirectories up to 65,000: with dir_nlink it then
// stops counting, without it there can be no more.
func TestManySubdirectories(t *testing.T) {
	testtool.Sequential(t)
	for _, f := range []form{{"dir_nlink", nil}, {"counted", []string{"-O", "^dir_nlink"}}} {
		t.Run(f.name, func(t *testing.T) {
			image := mkfs(t, 128<<20, "", append([]string{"-t", "ext4", "-b", "1024", "-N", "70000", "-m", "0", "-O", "^has_journal"}, f.args...)...)
			w := onFile(t, image)
			dir := w.must(t, w.Root(), "dir", vfs.Dir|0o755)
			name := func(i int) string { return fmt.Sprint("sub", i) }
			for i := range maxLinks - 2 {
				w.must(t, dir, name(i), vfs.Dir|0o755)
			}
			nlink := func() uint32 {
				a, err := w.Getattr(ctx, dir)
				require.NoError(t, err)
				return a.Nlink
			}
			assert.EqualValues(t, maxLinks, nlink())
			_, err := w.Create(ctx, dir, "one more", vfs.NewNode{Mode: vfs.Dir | 0o755})
			if f.args != nil {
				assert.ErrorIs(t, err, syscall.EMLINK)
				other := w.must(t, w.Root(), "other", vfs.Dir|0o755)
				assert.ErrorIs(t, w.Rename(ctx, w.Root(), "other", dir, "one more", 0), syscall.EMLINK)
				assert.NoError(t, w.Rename(ctx, w.Root(), "other", dir, name(3), 0), "it takes the place of another")
				a, err := w.Lookup(ctx, dir, name(3))
				require.NoError(t, err)
				assert.Equal(t, other, a.Ino)
				assert.EqualValues(t, maxLinks, nlink())
			} else {
				require.NoError(t, err)
				assert.EqualValues(t, 1, nlink())
				w.must(t, dir, "and more", vfs.Dir|0o755)
				assert.EqualValues(t, 1, nlink())
				require.NoError(t, w.Rmdir(ctx, dir, name(7)))
				assert.EqualValues(t, 1, nlink(), "nobody counts again")
			}
			require.NoError(t, w.Sync(ctx))
			fsck(t, image)
		})
	}
}

// An index that makes no sense is not changed. The names can still be read.
func TestDamagedIndexIsNotChanged(t *testing.T) {
	for what, damage := range map[string]func(root []byte){
		"hash version": func(b []byte) { b[28] = 9 },
		"levels":       func(b []byte) { b[30] = 7 },
		"count":        func(b []byte) { binary.LittleEndian.PutUint16(b[34:], 60000) },
		"blocks": func(b []byte) {
			e := ondisk.DxEntries(b[ondisk.DxRootEntries:])
			for i := range e.Count() {
				e.SetBlock(i, 5000)
			}
		},
		"info length": func(b []byte) { b[29] = 12 },
	} {
		t.Run(what, func(t *testing.T) {
			image := mkfs(t, 16<<20, "", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum")
			w := onFile(t, image)
			dir := w.must(t, w.Root(), "dir", vfs.Dir|0o755)
			for i := range 200 {
				w.must(t, dir, fmt.Sprint("name", i), vfs.Regular|0o644)
			}
			require.NoError(t, w.Sync(ctx))
			require.NoError(t, w.do(ctx, func(o *op) error {
				in, err := o.load(dir)
				require.NoError(t, err)
				require.True(t, in.has(ondisk.FlIndex))
				b, _, err := o.changeBlock(in, 0)
				require.NoError(t, err)
				damage(b)
				return nil
			}))
			_, err := w.Create(ctx, dir, "new", vfs.NewNode{Mode: vfs.Regular})
			assert.True(t, isCorrupt(err) || isNotSupported(err), "%v", err)
			_, err = w.Lookup(ctx, dir, "name7")
			assert.NoError(t, err)
			if what != "blocks" {
				assert.Len(t, namesIn(t, w, dir), 200)
			}
		})
	}
}

// A listing goes on where it was while its directory grows from the inode to a
// block and to an index, and shrinks.
func TestListingGoesOnWhileTheDirectoryGrows(t *testing.T) {
	eachNameForm(t, 24<<20, func(t *testing.T, image string, w *Writer) {
		for _, first := range []int{2, 5, 20, 45} {
			dir := w.must(t, w.Root(), fmt.Sprint("dir", first), vfs.Dir|0o755)
			file := w.must(t, dir, "stay0", vfs.Regular|0o644)
			link := func(name string) {
				_, err := w.Link(ctx, file, dir, name)
				require.NoError(t, err)
			}
			for i := 1; i < first; i++ {
				link(fmt.Sprint("stay", i))
			}
			seen := map[string]int{}
			cookie, n := uint64(0), 0
			for more := true; more; {
				more = false
				for e, err := range w.ReadDir(ctx, dir, cookie) {
					require.NoError(t, err)
					seen[e.Name]++
					cookie, more = e.Next, true
					break
				}
				if n++; n > 30 {
					continue
				}
				for i := range 3 * n {
					link(fmt.Sprintf("new%d-%d-%s", n, i, strings.Repeat("x", i%60)))
				}
				if n%2 == 0 {
					for i := 0; i < 3*n; i += 2 {
						require.NoError(t, w.Unlink(ctx, dir, fmt.Sprintf("new%d-%d-%s", n, i, strings.Repeat("x", i%60))))
					}
				}
			}
			for name, times := range seen {
				assert.Equal(t, 1, times, name)
			}
			for i := range first {
				assert.Contains(t, seen, fmt.Sprint("stay", i))
			}
		}
		require.NoError(t, w.Sync(ctx))
		fsck(t, image)
	})
}

// A large directory that mke2fs filled without an index is changed as it is.
func TestLinearDirectoryOfMke2fs(t *testing.T) {
	tree := t.TempDir()
	for i := range 3000 {
		require.NoError(t, os.WriteFile(filepath.Join(tree, fmt.Sprint("file", i)), nil, 0o644))
	}
	image := mkfs(t, 32<<20, tree, "-t", "ext4", "-b", "1024", "-N", "8000")
	w := onFile(t, image)
	for i := 0; i < 3000; i += 2 {
		require.NoError(t, w.Unlink(ctx, w.Root(), fmt.Sprint("file", i)))
	}
	for i := range 2000 {
		w.must(t, w.Root(), fmt.Sprintf("another file %d", i), vfs.Regular|0o644)
	}
	require.NoError(t, w.Sync(ctx))
	fsck(t, image)
	assert.Len(t, namesIn(t, openImage(t, image), ondisk.RootIno), 1500+2000+1)
}
