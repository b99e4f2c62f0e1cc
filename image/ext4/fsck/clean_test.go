package fsck

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testext"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// check returns what Check finds in bytes.
func check(t testing.TB, data []byte) []vfs.Finding {
	t.Helper()
	var list []vfs.Finding
	require.NoError(t, Check(ctx, blockio.NewMemory(data), func(f vfs.Finding) { list = append(list, f) }))
	return list
}

func checkFile(t testing.TB, name string) []vfs.Finding {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return check(t, data)
}

func tell(list []vfs.Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s %s %v fixed=%v lost=%q\n", f.Code, f.Path, f, f.Fixed, f.Lost)
	}
	return b.String()
}

// What mke2fs makes is clean.
func TestMke2fsIsClean(t *testing.T) {
	testtool.Need(t, "e2fsck")
	tree := testext.Tree(t)
	for _, m := range testext.Mixes() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			name := m.Make(t, tree)
			testtool.Run(t, "e2fsck", "-fn", name)
			assert.Empty(t, tell(checkFile(t, name)))
		})
	}
}

// So is what the kernel makes: hash trees, unwritten blocks, values of
// attributes in inodes of their own, freed space.
func TestKernelIsClean(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "e2fsck")
	for _, m := range testext.Mixes() {
		if !m.Kernel {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			name := m.Make(t, "")
			testext.WithKernel(t, name, func(dir string) {
				testext.Fill(t, dir, 900)
				f, err := os.Create(filepath.Join(dir, "unwritten"))
				require.NoError(t, err)
				_ = unix.Fallocate(int(f.Fd()), 0, 0, 100_000)
				_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 100_000, 300_000)
				_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 8192, 8192)
				require.NoError(t, f.Close())
				if m.Name == "ea-inode" {
					for _, n := range []string{"size-59", "size-60"} {
						require.NoError(t, unix.Setxattr(filepath.Join(dir, n), "user.huge", make([]byte, 9000), 0))
					}
				}
				for i := range 300 {
					require.NoError(t, os.Remove(filepath.Join(dir, fmt.Sprintf("many/file-%04d-with-a-name-that-takes-room", i*3))))
				}
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "dirs/3")))
				require.NoError(t, os.Rename(filepath.Join(dir, "dirs/4"), filepath.Join(dir, "empty/4")))
			})
			testtool.Run(t, "e2fsck", "-fn", name)
			assert.Empty(t, tell(checkFile(t, name)))
		})
	}
}

// Resizing moves and adds descriptors, and tune2fs changes what checksums start
// from.
func TestResizedIsClean(t *testing.T) {
	testtool.Need(t, "e2fsck", "resize2fs", "tune2fs")
	tree := testext.Tree(t)
	for _, m := range testext.Mixes() {
		switch m.Name {
		case "default", "1k", "no-csum-1k", "ext3-1k", "meta-bg", "no-64bit", "inline-data":
		default:
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			name := m.Make(t, tree)
			for _, size := range []string{"70M", "12M", "40M"} {
				testtool.Run(t, "e2fsck", "-fp", name)
				testtool.Run(t, "resize2fs", name, size)
				testtool.Run(t, "e2fsck", "-fn", name)
				assert.Empty(t, tell(checkFile(t, name)), size)
			}
			testtool.Run(t, "tune2fs", "-U", "00000000-0000-4000-8000-00000000beef", name)
			testtool.Run(t, "e2fsck", "-fp", name)
			assert.Empty(t, tell(checkFile(t, name)), "another UUID")
		})
	}
}
