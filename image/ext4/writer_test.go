package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A form is a kind of file system, as mke2fs makes it.
type form struct {
	name string
	args []string
}

// forms are the mixes of features that are written to in tests.
var forms = []form{
	{"ext2", []string{"-t", "ext2", "-b", "1024"}},
	{"ext2-rev", []string{"-t", "ext2", "-b", "2048", "-I", "128", "-O", "^dir_index,^resize_inode,^sparse_super,^large_file"}},
	{"ext3", []string{"-t", "ext3", "-b", "4096", "-I", "128"}},
	{"ext4", []string{"-t", "ext4", "-b", "4096"}},
	{"ext4-1k", []string{"-t", "ext4", "-b", "1024"}},
	{"ext4-bare", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^has_journal,^64bit,uninit_bg", "-G", "4"}},
	{"ext4-indirect", []string{"-t", "ext4", "-b", "1024", "-O", "^extent,^64bit,^flex_bg"}},
	{"ext4-bigalloc", []string{"-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"}},
	{"ext4-inline", []string{"-t", "ext4", "-b", "1024", "-O", "inline_data", "-I", "256"}},
	{"ext4-metabg", []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,project,metadata_csum_seed"}},
	{"ext4-sparse2", []string{"-t", "ext4", "-b", "1024", "-O", "sparse_super2,^resize_inode,large_dir", "-G", "1"}},
}

// onFile opens the image file name for changing. Every commit goes to it.
func onFile(t testing.TB, name string) *Writer {
	t.Helper()
	f, err := blockio.OpenWritableFile(name)
	require.NoError(t, err)
	s := blockio.NewSession(f, blockio.SessionOptions{})
	w, err := openWriter(ctx, s)
	require.NoError(t, err)
	w.SetSeed(1)
	w.SetClock(func() time.Time { return time.Unix(1_700_000_000, 123_456_789) })
	t.Cleanup(func() { require.NoError(t, w.Close(), f.Close()) })
	return w
}

// fsck has e2fsck judge an image: nothing is to be said about it.
func fsck(t testing.TB, name string) {
	t.Helper()
	testtool.Need(t, "e2fsck")
	require.NoError(t, e2fsck(name))
}

func lookup(t testing.TB, fs vfs.FS, path string) vfs.Ino {
	t.Helper()
	a, err := vfs.NewTree(fs).Resolve(ctx, path)
	require.NoError(t, err)
	return a.Ino
}

// Files are written to at random, cut and extended, and hold what they should,
// for us, for e2fsck and after a commit.
func TestWriteAnywhere(t *testing.T) {
	testtool.Sequential(t)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			tree := t.TempDir()
			for i := range 3 {
				require.NoError(t, os.WriteFile(filepath.Join(tree, fmt.Sprint(i)), bytes.Repeat([]byte{byte(i + 1)}, 5000*i+100), 0o644))
			}
			name := mkfs(t, 48<<20, tree, f.args...)
			w := onFile(t, name)
			now := time.Unix(1_700_000_000, 123_456_789)
			w.SetClock(func() time.Time { return now })
			rnd := rand.New(rand.NewPCG(1, 2))
			var files [3]vfs.Ino
			var want [3][]byte
			for i := range files {
				files[i] = lookup(t, w, fmt.Sprint("/", i))
				want[i] = bytes.Repeat([]byte{byte(i + 1)}, 5000*i+100)
			}
			verify := func(fs vfs.FS) {
				t.Helper()
				for i, ino := range files {
					p := make([]byte, len(want[i])+10)
					n, err := fs.ReadAt(ctx, ino, p, 0)
					require.Equal(t, len(want[i]), n, "%v", err)
					require.True(t, bytes.Equal(want[i], p[:n]), "file %d", i)
				}
			}
			for step := range 240 {
				i := rnd.IntN(3)
				off, n := rnd.IntN(2<<20), 1+rnd.IntN(1<<(4+rnd.IntN(14)))
				switch rnd.IntN(8) {
				case 0:
					size := int64(off)
					_, err := w.Setattr(ctx, files[i], vfs.SetAttr{Size: &size})
					require.NoError(t, err)
					want[i] = append(want[i][:min(off, len(want[i]))], make([]byte, max(off-len(want[i]), 0))...)
				case 1:
					require.NoError(t, w.Fallocate(ctx, files[i], vfs.AllocPunchHole|vfs.AllocKeepSize, int64(off), int64(n)))
					clear(want[i][min(off, len(want[i])):min(off+n, len(want[i]))])
				case 2:
					require.NoError(t, w.Fallocate(ctx, files[i], vfs.AllocKeepSize, int64(off), int64(n)))
				case 3:
					require.NoError(t, w.Fallocate(ctx, files[i], vfs.AllocZeroRange|vfs.AllocKeepSize, int64(off), int64(n)))
					clear(want[i][min(off, len(want[i])):min(off+n, len(want[i]))])
				default:
					p := make([]byte, n)
					for j := range p {
						p[j] = byte(rnd.Uint32()) | 1
					}
					got, err := w.WriteAt(ctx, files[i], p, int64(off))
					require.NoError(t, err)
					require.Equal(t, n, got)
					if off+n > len(want[i]) {
						want[i] = append(want[i], make([]byte, off+n-len(want[i]))...)
					}
					copy(want[i][off:], p)
				}
				if step%50 == 0 {
					verify(w)
				}
				if step%80 == 79 {
					require.NoError(t, w.Sync(ctx))
					fsck(t, name)
					verify(openImage(t, name))
				}
			}
		})
	}
}

// Inodes and blocks of directories that come and go leave no trace.
func TestInodesComeAndGo(t *testing.T) {
	testtool.Sequential(t)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			name := mkfs(t, 16<<20, "", f.args...)
			w := onFile(t, name)
			before, err := w.Statfs(ctx)
			require.NoError(t, err)
			var made []vfs.Ino
			for i := range 300 {
				require.NoError(t, w.do(ctx, func(o *op) error {
					root, err := o.load(w.Root())
					require.NoError(t, err)
					mode := vfs.Regular
					if i%3 == 0 {
						mode = vfs.Dir
					}
					in, err := o.allocInode(root, mode|0o644)
					if err != nil {
						return err
					}
					in.Links = 1
					if mode == vfs.Dir {
						lbn, b, err := o.appendDirBlock(in)
						require.NoError(t, err)
						require.Zero(t, lbn)
						require.Len(t, b, int(w.blockSize))
						clear(b) // the names' business
						if !w.metadataCsum {
							_, _, err = o.dirBlock(in, lbn)
							require.NoError(t, err)
						}
					} else {
						_, err := o.write(in, make([]byte, 3000), 0)
						require.NoError(t, err)
					}
					made = append(made, vfs.Ino(in.num))
					return nil
				}))
			}
			after, err := w.Statfs(ctx)
			require.NoError(t, err)
			require.Equal(t, before.FilesFree-300, after.FilesFree)
			for _, ino := range made {
				require.NoError(t, w.do(ctx, func(o *op) error {
					in, err := o.loadReserved(ino)
					require.NoError(t, err)
					return o.destroy(in)
				}))
			}
			after, err = w.Statfs(ctx)
			require.NoError(t, err)
			require.Equal(t, before, after)
			require.NoError(t, w.Sync(ctx))
			fsck(t, name)
		})
	}
}
