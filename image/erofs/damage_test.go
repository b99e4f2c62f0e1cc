package erofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// victims are file systems of all kinds, to be damaged.
func victims(t testing.TB) (images [][]byte) {
	t.Helper()
	root := folder(t)
	for _, form := range forms {
		images = append(images, makeImage(t, root, form.args...))
	}
	return append(images, makeImage(t, root, "-zlz4hc", "-C65536", "-Eztailpacking"))
}

// seal gives a damaged superblock a checksum that fits, for damage that a hostile
// hand has done.
func seal(image []byte) {
	if len(image) < 4096 {
		return
	}
	super := image[ondisk.SuperOffset:4096]
	sb := ondisk.DecodeSuper(super)
	n := ondisk.SuperOffset
	if sb.BlockBits >= ondisk.MinBlockBits && sb.BlockBits <= ondisk.MaxBlockBits {
		n = sb.ChecksumSize()
	}
	if ondisk.SuperOffset+n <= len(image) {
		binary.LittleEndian.PutUint32(super[4:], ondisk.SuperChecksum(image[ondisk.SuperOffset:][:n]))
	}
}

// explore asks everything of everything in a file system, within bounds.
func explore(f *FS) (reached int) {
	const maxInodes, maxEntries, maxLookups = 100, 1000, 20
	seen := map[vfs.Ino]bool{}
	todo := []vfs.Ino{f.Root()}
	buf := make([]byte, 16<<10)
	_, _ = f.Statfs(ctx)
	for ; len(todo) > 0 && len(seen) < maxInodes; todo = todo[1:] {
		ino := todo[0]
		if seen[ino] {
			continue
		}
		seen[ino] = true
		a, err := f.Getattr(ctx, ino)
		if err != nil {
			continue
		}
		_, _ = f.Xattrs(ctx, ino)
		_, _ = f.Readlink(ctx, ino)
		n, cookie := 0, uint64(0)
		for e, err := range f.ReadDir(ctx, ino, 0) {
			if err != nil {
				break
			}
			if e.Next <= cookie {
				panic(fmt.Sprintf("cookie %d after %d", e.Next, cookie))
			}
			if cookie = e.Next; n > maxEntries {
				break
			}
			if n++; n < maxLookups {
				_, _ = f.Lookup(ctx, ino, e.Name)
				_, _ = f.Lookup(ctx, ino, e.Name+"?")
				_, _ = f.Lookup(ctx, e.Ino, "..")
			}
			todo = append(todo, e.Ino)
		}
		for range f.ReadDir(ctx, ino, cookie/2) {
			if n++; n > 2*maxEntries {
				break
			}
		}
		for _, off := range []int64{0, a.Size / 2, a.Size - 100, a.Size} {
			if got, err := f.ReadAt(ctx, ino, buf, off); err == nil && got < len(buf) {
				panic("short read without an error")
			}
			_, _, _ = f.Map(ctx, ino, off)
			_, _ = f.SeekData(ctx, ino, off)
			_, _ = f.SeekHole(ctx, ino, off)
		}
	}
	return len(seen)
}

// openAndExplore opens a damaged image. What it refuses must be refused with
// an error of the kinds that the contract has.
func openAndExplore(t testing.TB, image []byte) (reached int) {
	dev := blockio.NewMemory(image)
	if ok, err := Probe(dev); err != nil || !ok {
		return 0
	}
	fsys, err := Open(ctx, dev)
	if err != nil {
		var corrupt *vfs.CorruptError
		var unsupported *vfs.NotSupportedError
		if !errors.As(err, &corrupt) && !errors.As(err, &unsupported) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		return 0
	}
	return explore(fsys.(*FS))
}

// Random damage never makes the driver panic or hang.
func TestRandomDamageIsSurvived(t *testing.T) {
	for i, image := range victims(t) {
		require.Greater(t, openAndExplore(t, bytes.Clone(image)), 5, "the test needs an image that opens")
		opened := 0
		for seed := range 150 {
			rng := rand.New(rand.NewPCG(uint64(seed), uint64(i)))
			damaged := bytes.Clone(image)
			for range 1 + rng.IntN(8) {
				damage(rng, damaged)
			}
			if seal(damaged); seed%5 == 0 {
				damaged = damaged[:len(damaged)-rng.IntN(len(damaged))]
			}
			done := make(chan int, 1)
			go func() { done <- openAndExplore(t, damaged) }()
			select {
			case n := <-done:
				if n > 0 {
					opened++
				}
			case <-time.After(time.Minute):
				t.Fatalf("image %d with seed %d takes for ever", i, seed)
			}
		}
		require.NotZero(t, opened, "no damage got past Open")
	}
}

// damage changes something, more often in the superblock and the inodes behind
// it than in the rest.
func damage(rng *rand.Rand, image []byte) {
	at := rng.IntN(len(image))
	switch rng.IntN(6) {
	case 0:
		at = ondisk.SuperOffset + 4 + rng.IntN(ondisk.SuperSize-4)
	case 1, 2, 3:
		at = ondisk.SuperOffset + ondisk.SuperSize + rng.IntN(8<<10)
	}
	switch at = min(at, len(image)-4); rng.IntN(4) {
	case 0:
		image[at] ^= 1 << rng.IntN(8)
	case 1:
		image[at] = byte(rng.Uint32())
	case 2: // a whole word of something extreme
		v := []uint32{0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 24, uint32(len(image))}
		binary.LittleEndian.PutUint32(image[at:], v[rng.IntN(len(v))])
	case 3: // bytes from elsewhere
		copy(image[at:], image[rng.IntN(len(image)):][:min(16, len(image)-at)])
	}
}

func u16(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// everything reads all that there is, and returns the first error.
func everything(fsys vfs.FS) error {
	buf := make([]byte, 64<<10)
	return vfs.NewTree(fsys).Walk(ctx, "/", func(_ string, a vfs.Attr, err error) error {
		if err != nil {
			return err
		}
		if _, err := fsys.(vfs.Xattrer).Xattrs(ctx, a.Ino); err != nil {
			return err
		}
		switch {
		case a.Mode.IsSymlink():
			_, err = fsys.Readlink(ctx, a.Ino)
		case a.Mode.IsRegular():
			for off := int64(0); err == nil && off < min(a.Size, 8<<20); off += int64(len(buf)) {
				_, err = fsys.ReadAt(ctx, a.Ino, buf, off)
			}
		}
		if err == io.EOF {
			return nil
		}
		return err
	})
}

// Each rule that is broken is reported with the structure that breaks it, where
// it lies, and what is wrong.
func TestDamageIsNamed(t *testing.T) {
	root := folder(t)
	inline := makeImage(t, root, "-x1")
	chunks := makeImage(t, root, "--chunksize=4096", "-Eforce-chunk-indexes")
	fi, _ := open(t, inline)
	fc, _ := open(t, chunks)
	find := func(f *FS, path string) (in inode) {
		require.NoError(t, f.readInode(at(t, f, path).Ino, &in))
		return in
	}
	var rootIn inode
	require.NoError(t, fi.readInode(fi.Root(), &rootIn))
	small, link, dir, many := find(fi, "/small"), find(fi, "/link"), find(fi, "/dir"), find(fi, "/many")
	large := find(fi, "/sizes/200000")
	chunked := find(fc, "/sizes/200000")
	table := (chunked.tail + 7) &^ 7
	// "small" follows "sizes" in the root, "dir" is in front of them.
	rootBlock, err := fi.dirBlock(ctx, &rootIn, 0)
	require.NoError(t, err)
	entry := func(name string) int64 {
		i, _, err := rootBlock.find([]byte(name))
		require.NoError(t, err)
		return rootBlock.at + int64(i)*ondisk.DirentSize
	}
	named := find(fi, "/sizes/100")
	xattrs := named.tail - ondisk.XattrsSize(named.Xattrs)

	for _, c := range []struct {
		name      string
		image     []byte
		off       int64
		with      []byte
		structure string
		want      int64
		detail    string
	}{
		{"block size", inline, 1036, []byte{17}, "superblock", 1036, "blocks of 2 to the power of 17 bytes"},
		{"checksum", inline, 1028, []byte{1, 2, 3, 4}, "superblock", 1028, "a checksum of"},
		{"root", inline, 1038, u16(uint16(nidOf(small.ino))), "superblock", 1038, "the root is no directory"},
		{"root beyond all", inline, 1038, u16(65535), "inode 65535", -1, "there is no place for it"},
		{"blocks", inline, 1060, u32(1 << 30), "superblock", 1060, "is the image truncated?"},
		{"no blocks", inline, 1060, u32(0), "superblock", 1060, "a size of 0 blocks"},
		{"metadata", inline, 1064, u32(1 << 20), "superblock", 1064, "metadata from block 1048576"},
		{"attributes", inline, 1068, u32(1 << 20), "superblock", 1068, "attributes from block 1048576"},

		{"mode", inline, small.at + 4, u16(0o644), "inode", small.at, "a mode of 0644"},
		{"size of a file", inline, large.at + 8, u64(1 << 40), "inode", -2, "do not lie in the file system"},
		{"size beyond all", inline, large.at + 8, u64(1 << 63), "inode", large.at, "a size of 9223372036854775808 bytes"},
		{"place of a file", inline, large.at + 16, u32(1 << 24), "inode", 1 << 36, "do not lie in the file system"},
		{"nanoseconds", inline, large.at + 40, u32(1e9), "inode", large.at, "1000000000 nanoseconds"},
		{"target of a link", inline, link.at + 8, u64(5000), "inode", link.at, "a target of 5000 bytes"},
		{"end of a file", inline, link.at + 8, u64(4000), "inode", link.at, "do not end in one block"},
		{"size of a directory", inline, many.at + 8, u64(1 << 50), "inode", many.at, "a directory of 1125899906842624 bytes"},

		{"names of a block", inline, rootBlock.at + 8, u16(7), "directory", rootBlock.at, "begin at byte 7"},
		{"names behind the block", inline, rootBlock.at + 8, u16(12000), "directory", rootBlock.at, "begin at byte 12000"},
		{"a name", inline, entry("dir") + 8, u16(5), "directory", rootBlock.at, "from byte"},
		{"type of an entry", inline, entry("dir") + 10, []byte{9}, "directory", rootBlock.at, `entry "dir" has the type 9`},
		{"another type", inline, entry("dir") + 10, []byte{1}, "directory", rootBlock.at, `entry "dir" has the type 1, inode`},
		{"nid", inline, entry("dir"), u64(1 << 50), "directory", rootBlock.at, `entry "dir" leads to inode 1125899906842624`},
		{"nid in the superblock", inline, entry("dir"), u64(33), "directory", rootBlock.at, "for which there is no place"},
		{"a cycle", inline, entry("dir"), u64(nidOf(fi.root)), "directory", rootBlock.at, `entry "dir" leads back to the root`},
		{"two parents", inline, entry("many"), u64(nidOf(dir.ino)), "directory", rootBlock.at, `leads to directory`},

		{"shared attributes", inline, xattrs + 4, []byte{255}, named.name().String() + " xattrs", xattrs, "255 shared attributes"},
		{"own attributes", inline, xattrs + 12 + 2, u16(60000), named.name().String() + " xattrs", xattrs + 12, "an attribute of"},
		{"name of an attribute", inline, xattrs + 12 + 4, []byte{0}, named.name().String() + " xattrs", xattrs + 12, "an attribute is called"},
		{"long prefix", inline, xattrs + 12 + 1, []byte{0x85}, named.name().String() + " xattrs", xattrs + 12, "the long prefix 5 of 0"},

		{"place of a chunk", chunks, table + 4, u32(1 << 24), "inode", 1 << 36, "do not lie in the file system"},
		{"device of a chunk", chunks, table + 2, u16(3), "inode", table, "a chunk is on device 3"},
		{"chunks without end", chunks, chunked.at + 8, u64(1 << 60), "inode", chunked.at, "chunks in a file system of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := bytes.Clone(c.image)
			require.NotEqual(t, c.with, data[c.off:c.off+int64(len(c.with))], "the damage changes something")
			copy(data[c.off:], c.with)
			if c.name != "checksum" {
				seal(data)
			}
			fsys, err := Open(ctx, blockio.NewMemory(data))
			if err == nil {
				err = everything(fsys)
			}
			var corrupt *vfs.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.ErrorIs(t, err, syscall.EIO)
			assert.True(t, strings.HasPrefix(corrupt.Structure, c.structure), "%s: %v", corrupt.Structure, err)
			assert.Contains(t, corrupt.Detail, c.detail)
			if c.want != -2 {
				assert.Equal(t, c.want, corrupt.Off, "%v", err)
			}
		})
	}
}

// An entry that leads nowhere does not hide the others.
func TestOtherEntriesAreListed(t *testing.T) {
	image := makeImage(t, folder(t))
	f, _ := open(t, image)
	var d inode
	require.NoError(t, f.readInode(f.Root(), &d))
	b, err := f.dirBlock(ctx, &d, 0)
	require.NoError(t, err)
	i, _, err := b.find([]byte("dir"))
	require.NoError(t, err)
	copy(image[b.at+int64(i)*ondisk.DirentSize:], u64(1<<60))
	seal(image)
	f, _ = open(t, image)
	names, errs := 0, 0
	for _, err := range f.ReadDir(ctx, f.Root(), 0) {
		if err != nil {
			errs++
		} else {
			names++
		}
	}
	assert.Equal(t, b.count-3, names) // but for ".", ".." and "dir"
	assert.Equal(t, 1, errs)
	_, err = f.Lookup(ctx, f.Root(), "small")
	assert.NoError(t, err)
}

// Features that are not read are refused by name, each of them.
func TestRefusedByName(t *testing.T) {
	image := makeImage(t, folder(t))
	for _, c := range []struct {
		off  int64
		with []byte
		what string
	}{
		{1104, u32(0x80), "erofs with 48bit"},
		{1104, u32(0x100), "erofs with metabox"},
		{1104, u32(0x40000280), "erofs with 48bit, incompat bit 0x200, incompat bit 0x40000000"},
		{1114, []byte{1}, "erofs with directory blocks of 2 to the power of 1 blocks"},
	} {
		data := bytes.Clone(image)
		copy(data[c.off:], c.with)
		seal(data)
		_, err := Open(ctx, blockio.NewMemory(data))
		var unsupported *vfs.NotSupportedError
		require.ErrorAs(t, err, &unsupported)
		assert.Equal(t, vfs.NotSupportedError{What: c.what, Off: c.off}, *unsupported)
	}
	f, _ := open(t, image)
	var in inode
	require.NoError(t, f.readInode(at(t, f, "/small").Ino, &in))
	data := bytes.Clone(image)
	copy(data[in.at:], u16(in.Format|0x10))
	seal(data)
	f, _ = open(t, data)
	var unsupported *vfs.NotSupportedError
	require.ErrorAs(t, everything(f), &unsupported)
	assert.Equal(t, fmt.Sprintf("erofs inode %d of the format %#x", in.ino, in.Format|0x10), unsupported.What)
}

func TestTruncated(t *testing.T) {
	image := makeImage(t, folder(t))
	for _, size := range []int{0, 1, 1151, 1152, 4096, len(image) / 2} {
		dev := blockio.NewMemory(image[:size])
		ok, err := Probe(dev)
		require.NoError(t, err)
		assert.Equal(t, size >= 1152, ok)
		if ok {
			_, err = Open(ctx, dev)
			assert.ErrorIs(t, err, syscall.EIO)
		}
	}
}

// FuzzOpen changes bytes of images made by mkfs.erofs. A patch is three bytes of
// position, from the superblock on, and one of value.
func FuzzOpen(f *testing.F) {
	images := victims(f)
	for i := range images {
		f.Add(uint8(i), uint32(0), []byte{})
		f.Add(uint8(i), uint32(0), bytes.Repeat([]byte{byte(i), 1, 0, 255}, 3))
	}
	f.Fuzz(func(t *testing.T, which uint8, cut uint32, patches []byte) {
		image := bytes.Clone(images[int(which)%len(images)])
		for ; len(patches) >= 4 && len(patches) < 4<<10; patches = patches[4:] {
			at := ondisk.SuperOffset + int(patches[0]) + int(patches[1])<<8 + int(patches[2])<<16
			image[at%len(image)] = patches[3]
		}
		seal(image)
		if cut > 0 && int(cut) < len(image) {
			image = image[:cut]
		}
		openAndExplore(t, image)
	})
}
