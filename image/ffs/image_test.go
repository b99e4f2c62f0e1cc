package ffs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// A layout is a variant of the format that makefs can make.
type layout struct {
	version      int
	big          bool
	bsize, fsize int64
}

func (l layout) String() string {
	order := "le"
	if l.big {
		order = "be"
	}
	return fmt.Sprintf("ffs%d-%s-%d-%d", l.version, order, l.bsize, l.fsize)
}

// layouts are both versions in both byte orders.
func layouts(bsize, fsize int64) []layout {
	return []layout{{1, false, bsize, fsize}, {1, true, bsize, fsize}, {2, false, bsize, fsize}, {2, true, bsize, fsize}}
}

// An image is a file system in memory that tests can change.
type image struct {
	t    testing.TB
	name string // of the file
	data []byte
	dev  *blockio.Memory
}

// makeImage has makefs make an image of dir, with the entries of an mtree
// specification added, and fills everything that belongs to no file with 0xAA.
func makeImage(t testing.TB, l layout, size int64, dir, mtree string) *image {
	t.Helper()
	testtool.Need(t, "makefs")
	work := t.TempDir()
	name := filepath.Join(work, "image")
	order := "le"
	if l.big {
		order = "be"
	}
	args := []string{"-t", "ffs", "-B", order, "-s", fmt.Sprint(size),
		"-o", fmt.Sprintf("version=%d,bsize=%d,fsize=%d,density=2048", l.version, l.bsize, l.fsize)}
	if mtree != "" {
		spec := filepath.Join(work, "spec")
		require.NoError(t, os.WriteFile(spec, []byte(mtree), 0o600))
		args = append(args, "-F", spec)
	}
	testtool.Run(t, "makefs", append(args, name, dir)...)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	img := &image{t: t, name: name, data: data, dev: blockio.NewMemory(data)}
	img.poison()
	return img
}

// save writes the image back to its file, for foreign readers.
func (img *image) save() { require.NoError(img.t, os.WriteFile(img.name, img.data, 0o600)) }

// open opens the image as it is now.
func (img *image) open() *FS {
	img.t.Helper()
	fsys, err := Open(context.Background(), img.dev)
	require.NoError(img.t, err)
	return fsys.(*FS)
}

// poison overwrites free fragments, the rest of the last fragment of every
// file and directory, and inodes that were never written, with 0xAA: whoever
// reads what is not theirs will show it.
func (img *image) poison() {
	f := img.open()
	g := &f.geo
	fill := func(from, to int64) {
		for i := from; i < to; i++ {
			img.data[i] = 0xAA
		}
	}
	filled := 0
	for c := range g.groups {
		start := g.groupStart(c)
		header := (start + g.groupHeader) << g.fragShift
		b := img.data[header : header+g.blockSize]
		group, err := ondisk.DecodeGroup(b, g.order)
		require.NoError(img.t, err)
		require.Equal(img.t, uint32(ondisk.GroupMagic), group.Magic)
		for i := range int64(group.Frags) {
			if b[int64(group.FreeMapOff)+i/8]>>(i%8)&1 == 1 {
				fill((start+i)<<g.fragShift, (start+i+1)<<g.fragShift)
				filled++
			}
		}
		if g.version == ondisk.V2 {
			first := c * g.inodesPerGroup
			from := g.inodeOffset(first + uint64(group.InitedInodes))
			if uint64(group.InitedInodes) < g.inodesPerGroup {
				fill(from, g.inodeOffset(first+g.inodesPerGroup-1)+ondisk.Dinode2Size)
			}
		}
	}
	require.NotZero(img.t, filled, "the image has free space")
	for n := range g.inodes() {
		var in inode
		if f.read(vfs.Ino(n), &in) != nil || in.size == 0 || !in.mode().IsRegular() && !in.mode().IsDir() {
			continue
		}
		at, _, err := f.extent(&in, in.size-1, 1)
		require.NoError(img.t, err)
		if at != hole {
			end := (at | (g.fragSize - 1)) + 1
			if in.size > ondisk.NDirect*g.blockSize {
				end = (at | (g.blockSize - 1)) + 1
			}
			fill(at+1, end)
		}
	}
}

// inode returns the inode of path.
func (img *image) inode(path string) *inode {
	img.t.Helper()
	f := img.open()
	attr, err := vfs.NewTree(f).ResolveLink(context.Background(), path)
	require.NoError(img.t, err)
	in := new(inode)
	require.NoError(img.t, f.read(attr.Ino, in))
	return in
}

// setInode writes back an inode that a test has changed.
func (img *image) setInode(in *inode) {
	g := &img.open().geo
	in.Encode(img.data[in.off:], g.order, g.version)
}

// setSuper lets a test change the superblock.
func (img *image) setSuper(change func(s *ondisk.Super, o ondisk.Order)) {
	f := img.open()
	at := f.info.UsedOffset
	s, err := ondisk.DecodeSuper(img.data[at:], f.geo.order)
	require.NoError(img.t, err)
	change(s, f.geo.order)
	copy(img.data[at:], s.Append(nil, f.geo.order))
}

// The tree that images are made of.

const longName = 255

// sizes are file lengths around everything that changes with the length.
func sizes(bs, fs int64) []int64 {
	list := []int64{0, 1, 511, 512, 513}
	for k := int64(1); k <= bs/fs; k++ { // every length of a tail
		list = append(list, k*fs-1, k*fs, k*fs+1, bs+k*fs)
	}
	for _, at := range []int64{11 * bs, 12 * bs, 13 * bs, 14*bs + fs} {
		list = append(list, at-1, at, at+1)
	}
	if bs == 4096 { // the first double indirect blocks of FFS1 and FFS2
		for _, n := range []int64{bs / 4, bs / 8} {
			end := (12 + n) * bs
			list = append(list, end-1, end, end+1, end+3*bs+1)
		}
	}
	return list
}

// contents are bytes that tell their file and place.
func contents(seed, size int64) []byte {
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	p := make([]byte, size)
	_, _ = rnd.Read(p)
	return p
}

// makeTree makes a folder with everything that ordinary users can make.
func makeTree(t testing.TB, bs, fs int64) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	path := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	write := func(name string, p []byte) {
		require.NoError(t, os.WriteFile(name, p, 0o644))
	}
	mkdir := func(name string) { require.NoError(t, os.Mkdir(name, 0o755)) }

	mkdir(path("sizes"))
	for _, size := range sizes(bs, fs) {
		write(path("sizes", fmt.Sprint(size)), contents(size, size))
	}
	mkdir(path("links"))
	write(path("links", "0"), []byte("linked"))
	for i := 1; i < 300; i++ {
		require.NoError(t, os.Link(path("links", "0"), path("links", fmt.Sprint(i))))
	}
	mkdir(path("symlinks"))
	for _, n := range []int{1, 58, 59, 60, 61, 118, 119, 120, 121, 500, 511, 512, 513, 1023} {
		require.NoError(t, os.Symlink(strings.Repeat("t", n), path("symlinks", fmt.Sprint(n))))
	}
	mkdir(path("names"))
	for _, name := range []string{
		strings.Repeat("n", longName), strings.Repeat("ü", 127), "Grüße", "日本語", "white space", "new\nline",
		"back\\slash", "*?[", "-rf", "...", "..x", ".hidden", "caf\xe9", "trailing.", "\x01", "\xff\xfe",
	} {
		write(path("names", name), []byte(name))
	}
	for n := 1; n < longName; n += 9 { // every padding of an entry
		write(path("names", strings.Repeat("l", n)), nil)
	}
	mkdir(path("many"))
	for i := range 700 {
		write(path("many", fmt.Sprintf("file-%05d-of-many", i)), nil)
	}
	deep := path("deep")
	mkdir(deep)
	for i := range 40 {
		deep = filepath.Join(deep, fmt.Sprint(i))
		mkdir(deep)
	}
	write(filepath.Join(deep, "bottom"), []byte("down here"))
	mkdir(path("modes"))
	for _, mode := range []uint32{0, 0o400, 0o777, 0o4755, 0o2755, 0o1777, 0o7777, 0o6111} {
		name := path("modes", fmt.Sprintf("%04o", mode))
		write(name, []byte("mode"))
		require.NoError(t, syscall.Chmod(name, mode))
	}
	require.NoError(t, syscall.Mkfifo(path("modes", "fifo"), 0o640))
	for i, when := range []time.Time{
		time.Unix(0, 0), time.Unix(1, 999_999_000), time.Unix(1<<31-1, 0), time.Unix(1_700_000_000, 123_456_000),
	} {
		name := path("modes", fmt.Sprintf("time%d", i))
		write(name, nil)
		require.NoError(t, os.Chtimes(name, when, when))
	}
	return dir
}

// devices adds what only root could make, and owners.
const devices = `#mtree
. type=dir
    dev type=dir mode=0711 uid=3 gid=4 time=1000000000.0
        null type=char mode=0666 uid=7 gid=8 device=netbsd,2,2 time=1000000001.0
        disk type=block mode=0640 uid=100000 gid=200000 device=netbsd,14,255 time=1.0
        setid type=file mode=06711 uid=65534 gid=65535 time=1500000000.0
        pipe type=fifo mode=01600 uid=1 gid=1 time=1500000000.0
        link type=link link=../sizes/1 mode=0777 uid=0 gid=0 time=1500000000.0
    ..
..
`
