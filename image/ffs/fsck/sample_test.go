package fsck

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// A kind is a variant of the format.
type kind struct {
	version      int
	bsize, fsize int
	size         int64
}

func (k kind) String() string {
	return fmt.Sprintf("ffs%d-%d-%d-%dk", k.version, k.bsize, k.fsize, k.size>>10)
}

// kinds are the geometries that tests run with: all numbers of fragments per
// block, short last groups, one group and many.
var kinds = []kind{
	{1, 16384, 2048, 4 << 20}, {2, 16384, 2048, 4 << 20},
	{1, 4096, 512, 2<<20 + 512*7}, {2, 4096, 512, 4<<20 + 512*5},
	{1, 8192, 8192, 4 << 20}, {2, 8192, 4096, 3<<20 + 4096},
	{1, 32768, 8192, 12 << 20}, {2, 65536, 8192, 16 << 20},
}

// sampleTree has every kind of file, tails, holes, indirect blocks to the second
// level where that is small, and directories of many chunks.
func sampleTree(k kind) testimage.Tree {
	t := testimage.Tree{}
	data := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(i*7 + i>>8 + n)
		}
		return p
	}
	bs, fs := k.bsize, k.fsize
	for _, n := range []int{0, 1, fs, fs + 1, bs - 1, bs, bs + fs, 12 * bs, 12*bs + 1, 14*bs + 5} {
		t.File(fmt.Sprintf("sizes/%d", n), 0o644, data(n))
	}
	if bs == 4096 && k.version == 2 {
		t.File("sizes/double", 0o600, data((12+bs/4/k.version+2)*bs))
	}
	holes := make([]byte, 15*bs+3)
	copy(holes[13*bs:], data(100))
	t.Set("holes/inside", &testimage.Node{Mode: testimage.ModeRegular | 0o644, Data: holes, Holes: true})
	for i := range 90 {
		t.File(fmt.Sprintf("many/%s-%03d", strings.Repeat("n", i), i), 0o644, nil)
	}
	for _, n := range []int{1, 59, 60, 119, 120, 700} {
		t.Symlink(fmt.Sprintf("links/%d", n), strings.Repeat("t", min(n, fs)))
	}
	t.Link("links/hard-a", "sizes/1")
	t.Link("links/hard-b", "sizes/1")
	t.Device("dev/null", testimage.ModeChar, 0o666, 0, 2, 2)
	t.Set("dev/fifo", &testimage.Node{Mode: testimage.ModeFIFO | 0o600})
	t.Text("a/b/c/d/deep", 0o600, "down here")
	t.Text("a/b/c2/file", 0o600, "and here")
	t.Text("etc/motd", 0o644, "Welcome")
	return t
}

// An image is a file system in memory to be damaged.
type image struct {
	t    testing.TB
	data []byte
	ffs  *testimage.FFS
	*checker
}

func newImage(t testing.TB, k kind, tree testimage.Tree) *image {
	t.Helper()
	img := &image{t: t, data: make([]byte, k.size)}
	f, err := testimage.WriteFFS(blockio.NewMemory(img.data), k.size, testimage.FFSOptions{
		Version: k.version, BlockSize: k.bsize, FragSize: k.fsize, Time: time.Unix(1_700_000_000, 0), Seed: 1, Mounted: "/",
	}, tree)
	require.NoError(t, err)
	img.ffs = f
	img.look()
	return img
}

// look makes the geometry known to the functions below.
func (img *image) look() {
	s, _, err := findSuper(ctx, blockio.NewMemory(img.data))
	require.NoError(img.t, err)
	img.checker = &checker{ctx: ctx, dev: blockio.NewMemory(img.data), geometry: *s.geo, super: s.super, superAt: s.at}
	img.checker.maxSymlink = int64(s.super.MaxSymlinkLen)
	img.checker.tx = blockio.NewSession(blockio.NewMemory(img.data), blockio.SessionOptions{})
}

func (img *image) clone() *image {
	c := &image{t: img.t, data: bytes.Clone(img.data), ffs: img.ffs}
	c.look()
	return c
}

// check returns what Check finds.
func (img *image) check() []vfs.Finding {
	img.t.Helper()
	var list []vfs.Finding
	err := Check(ctx, blockio.NewMemory(img.data), func(f vfs.Finding) { list = append(list, f) })
	require.NoError(img.t, err)
	return list
}

// repair repairs and commits.
func (img *image) repair(mode vfs.RepairMode) []vfs.Finding {
	img.t.Helper()
	list, err := img.tryRepair(mode)
	require.NoError(img.t, err, "%s", tell(list))
	return list
}

func (img *image) tryRepair(mode vfs.RepairMode) (list []vfs.Finding, err error) {
	tx := blockio.NewSession(blockio.NewMemory(img.data), blockio.SessionOptions{})
	err = Repair(ctx, tx, mode, func(f vfs.Finding) { list = append(list, f) })
	if err == nil {
		err = tx.Commit(ctx)
	}
	return list, err
}

func tell(list []vfs.Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s %s %v fixed=%v lost=%q\n", f.Code, f.Path, f, f.Fixed, f.Lost)
	}
	return b.String()
}

// codes are the different codes of findings, in the order of their first.
func codes(list []vfs.Finding) []string {
	var out []string
	seen := map[string]bool{}
	for _, f := range list {
		if !seen[f.Code] {
			out = append(out, f.Code)
			seen[f.Code] = true
		}
	}
	return out
}

// inode returns the number of a file, inodeAt its bytes.
func (img *image) ino(path string) uint32 {
	img.t.Helper()
	n := img.ffs.Inode(path)
	require.NotZero(img.t, n, "%s", path)
	return n
}

func (img *image) inodeBytes(ino uint32) []byte {
	off := img.inodeOff(ino)
	return img.data[off : off+img.isize]
}

// edit changes an inode.
func (img *image) edit(ino uint32, fn func(in *ondisk.Inode)) {
	b := img.inodeBytes(ino)
	var in ondisk.Inode
	in.Decode(b, img.order, img.version)
	fn(&in)
	in.Encode(b, img.order, img.version)
}

func (img *image) inode(ino uint32) (in inode) {
	in.num = ino
	in.Decode(img.inodeBytes(ino), img.order, img.version)
	return in
}

// frags returns the bytes of n fragments.
func (img *image) fragBytes(addr, n int64) []byte {
	return img.data[addr<<img.fshift : (addr+n)<<img.fshift]
}

// header returns the header block of a group.
func (img *image) header(g int64) []byte {
	return img.fragBytes(img.start(g)+img.cblkno, img.frag)
}

// superBytes returns the primary superblock.
func (img *image) superBytes() []byte { return img.data[img.superAt : img.superAt+ondisk.SuperSize] }

// entry returns the bytes of a name in a directory, from its header to the end
// of its chunk, and the offset in the chunk.
func (img *image) entry(dir uint32, name string) ([]byte, int) {
	img.t.Helper()
	in := img.inode(dir)
	for i := int64(0); i < int64(in.Size); i += ondisk.DirChunk {
		chunk := img.data[in.Direct[i/img.bsize]<<img.fshift+i%img.bsize:][:ondisk.DirChunk]
		at := -1
		img.entries(chunk, func(_ int, e *entry) bool {
			if e.Ino != 0 && string(e.name) == name {
				at = e.at
			}
			return true
		})
		if at >= 0 {
			return chunk[at:], at
		}
	}
	require.Fail(img.t, "no such name", "%q in directory %d", name, dir)
	return nil, 0
}

// makefs has makefs of NetBSD make an image.
func makefs(t testing.TB, args ...string) *image {
	t.Helper()
	testtool.Need(t, "makefs")
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	require.NoError(t, os.MkdirAll(filepath.Join(src, "sub", "deep"), 0o755))
	for i, n := range []int{0, 1, 1000, 5000, 100_000, 300_000} {
		require.NoError(t, os.WriteFile(filepath.Join(src, "sub", fmt.Sprint("f", n)), bytes.Repeat([]byte{byte(i)}, n), 0o644))
	}
	for _, n := range []int{1, 58, 59, 60, 118, 119, 120, 500} {
		require.NoError(t, os.Symlink(strings.Repeat("s", n), filepath.Join(src, fmt.Sprint("l", n))))
	}
	for i := range 200 {
		require.NoError(t, os.WriteFile(filepath.Join(src, "sub", "deep", fmt.Sprint("file", i)), nil, 0o644))
	}
	require.NoError(t, os.Link(filepath.Join(src, "sub", "f1"), filepath.Join(src, "hard")))
	name := filepath.Join(dir, "image")
	testtool.Run(t, "makefs", append(append([]string{"-t", "ffs"}, args...), name, src)...)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	img := &image{t: t, data: data}
	img.look()
	return img
}
