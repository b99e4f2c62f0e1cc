package squashfs

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A patient is a file system in memory without any compression, so that every
// structure is at a known byte.
type patient struct {
	t    *testing.T
	data []byte
	fs   *FS // of the undamaged image
}

func newPatient(t *testing.T, args ...string) *patient {
	b := newBuilder(t)
	b.file("large", 300_000)
	b.file("small", 100)
	b.sparse("sparse", 1<<20, 100, 1<<20-100)
	b.link("link", "target")
	b.file("dir/sub/file", 10)
	b.file("dir/other", 10)
	for i := range 700 {
		b.file("many/"+strings.Repeat("n", 20)+string(rune('a'+i/26))+string(rune('a'+i%26)), 0)
	}
	b.xattr("small", "user.name", "value")
	data, err := os.ReadFile(makeSquash(t, b.root, append([]string{"-noI", "-noD", "-noF", "-noX", "-noId"}, args...)...))
	require.NoError(t, err)
	p := &patient{t: t, data: data}
	fsys, err := Open(ctx, blockio.NewMemory(data))
	require.NoError(t, err)
	p.fs = fsys.(*FS)
	return p
}

// inode returns an inode by its path, and the byte where it is.
func (p *patient) inode(path string) (in inode, off int64) {
	p.t.Helper()
	ino := p.fs.Root()
	if path != "" {
		for name := range strings.SplitSeq(path, "/") {
			a, err := p.fs.Lookup(ctx, ino, name)
			require.NoError(p.t, err)
			ino = a.Ino
		}
	}
	require.NoError(p.t, p.fs.readInode(ino, &in))
	ref, _, err := p.fs.export(uint64(in.Number))
	require.NoError(p.t, err)
	return in, in.at + ondisk.HeaderSize + int64(ref.Offset())
}

// entries returns the byte where the header of a directory is.
func (p *patient) entries(path string) (off, block int64) {
	in, _ := p.inode(path)
	block = int64(p.fs.sb.DirectoryTable + in.Start)
	return block + ondisk.HeaderSize + int64(in.Offset), block
}

// list returns the byte that the first pointer of a table leads to.
func (p *patient) list(t table) int64 {
	return int64(binary.LittleEndian.Uint64(p.data[t.list:]))
}

// everything asks for all there is, and returns the first error.
func everything(fsys vfs.FS) error {
	buf := make([]byte, 1<<20)
	var visit func(ino vfs.Ino) error
	visit = func(ino vfs.Ino) error {
		a, err := fsys.Getattr(ctx, ino)
		if err != nil {
			return err
		}
		if _, err := fsys.(vfs.Xattrer).Xattrs(ctx, ino); err != nil {
			return err
		}
		switch {
		case a.Mode.IsDir():
			var entries []vfs.DirEntry
			for e, err := range fsys.ReadDir(ctx, ino, 0) {
				if err != nil {
					return err
				}
				entries = append(entries, e)
			}
			for _, e := range entries {
				if _, err := fsys.Lookup(ctx, ino, e.Name); err != nil {
					return err
				}
				if err := visit(e.Ino); err != nil {
					return err
				}
			}
		case a.Mode.IsRegular():
			for _, off := range []int64{0, a.Size - 10} {
				if _, err := fsys.ReadAt(ctx, ino, buf, max(off, 0)); err != io.EOF && err != nil {
					return err
				}
			}
		case a.Mode.IsSymlink():
			if _, err := fsys.Readlink(ctx, ino); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(fsys.Root())
}

// Damage to any structure is found, and the error says to which, and where.
func TestDamageIsNamed(t *testing.T) {
	p := newPatient(t)
	require.NoError(t, everything(p.fs))
	f := p.fs
	u16 := func(v uint16) []byte { return binary.LittleEndian.AppendUint16(nil, v) }
	u32 := func(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
	u64 := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

	large, largeOff := p.inode("large")
	_, smallOff := p.inode("small")
	small, _ := p.inode("small")
	require.True(t, small.Extended, "the test needs extended attributes")
	link, linkOff := p.inode("link")
	other, otherOff := p.inode("dir/other")
	many, manyOff := p.inode("many")
	require.NotZero(t, many.Indexes, "the test needs an index")
	root, rootBlock := p.entries("")
	dir, dirBlock := p.entries("dir")
	parent, _ := p.inode("dir")
	parentRef, _, err := f.export(uint64(parent.Number))
	require.NoError(t, err)
	table := int64(f.sb.InodeTable)
	device := int64(len(p.data))
	first := root + ondisk.DirHeaderSize // entry "dir" of the root

	for _, c := range []struct {
		name      string
		off       int64
		with      []byte
		structure string
		want      int64 // offset in the error
		detail    string
	}{
		{"magic", 1, []byte{'x'}, "superblock", 0, "bad magic"},
		{"block size", 12, u32(4097), "superblock", 12, "4097 bytes"},
		{"small blocks", 12, append(u32(2048), p.data[16:24]...), "superblock", 12, "2048 bytes"},
		{"large blocks", 12, u32(2 << 20), "superblock", 12, "2097152 bytes"},
		{"block log", 22, u16(12), "superblock", 12, "logarithm of 12"},
		{"block log beyond all", 22, u16(65535), "superblock", 12, "logarithm"},
		{"no ids", 26, u16(0), "superblock", 26, "no ids"},
		{"size", 40, u64(uint64(device) + 1), "superblock", 40, "is the image truncated?"},
		{"negative size", 40, u64(1 << 63), "superblock", 40, "a size of"},
		{"tables in disorder", 64, u64(f.sb.DirectoryTable + 1), "superblock", 64, "directories from byte"},
		{"id table", 48, u64(uint64(f.size) - 7), "id table", f.size - 7, "do not lie in the file system"},
		{"id table beyond all", 48, u64(1 << 63), "id table", -1, "do not lie in the file system"},
		{"fragment table", 80, u64(1), "fragment table", 1, "do not lie in the file system"},
		{"fragments without end", 16, u32(1<<32 - 1), "fragment table", int64(f.sb.FragmentTable), "do not lie in the file system"},
		{"inodes without end", 4, u32(1<<32 - 1), "export table", int64(f.sb.ExportTable), "do not lie in the file system"},
		{"xattr table", 56, u64(uint64(f.size) - 15), "xattr table", f.size - 15, "do not lie in the file system"},
		{"xattrs elsewhere", int64(f.sb.XattrTable), u64(1 << 40), "xattr table", int64(f.sb.XattrTable), "leads to byte"},
		{"root beyond the table", 32, u64(1 << 30 << 16), "inode table", table + 1<<30, "goes on beyond its table"},
		{"root between inodes", 32, u64(uint64(f.sb.Root) + 1), "inode table", 0, ""},
		{"root beyond its block", 32, u64(uint64(f.sb.Root)&^0xFFFF | 8191), "inode table", table + f.sb.Root.Block(), "bytes"},
		{"root out of range", 32, u64(1<<63 | 1), "inode table", table, "bad reference"},

		{"metadata of 0 bytes", large.at, u16(0x8000), "inode table", large.at, "a metadata block of 0 bytes"},
		{"metadata of 9000 bytes", large.at, u16(0x8000 | 9000), "inode table", large.at, "a metadata block of 9000 bytes"},
		{"metadata that is not compressed", large.at, u16(100), "inode table", large.at, "decompress 100 bytes of gzip"},

		{"type of an inode", largeOff, u16(15), "inode table", large.at, "type 15"},
		{"no type of an inode", largeOff, u16(0), "inode table", large.at, "type 0"},
		{"number of an inode", largeOff + 12, u32(9999), "export table", p.list(f.exports), "is said to be where inode 9999 is"},
		{"owner", largeOff + 4, u16(999), large.name().String(), large.at, "owner number 999 of"},
		{"group", largeOff + 6, u16(999), large.name().String(), large.at, "owner number 999 of"},
		{"start of a file", largeOff + 16, u32(uint32(f.size) + 1), large.name().String(), large.at, "its blocks begin at byte"},
		{"fragment of a file", largeOff + 20, u32(77), large.name().String(), large.at, "its end is in fragment 77 of 1"},
		{"place in a fragment", otherOff + 24, u32(131072), other.name().String(), other.at, "of a fragment of 131072"},
		{"place behind a fragment", otherOff + 24, u32(100_000), other.name().String(), other.at, "its end is 10 bytes at byte 100000 of a fragment of"},
		{"size of a block", largeOff + 32, u32(1<<24 | 1000), large.name().String(), large.at, "is stored in 1000 bytes instead of 131072"},
		{"unknown bits of a block", largeOff + 32, u32(1<<25 | 1000), large.name().String(), large.at, "block 0 has the size"},
		{"a block that is too large", largeOff + 32, u32(131073), large.name().String(), int64(large.Start), "is stored in 131073"},
		{"a block that is not compressed", largeOff + 32, u32(131072), large.name().String(), int64(large.Start), "decompress 131072 bytes of gzip"},
		{"size of an extended file", smallOff + 24, u64(1 << 63), small.name().String(), small.at, "a size of 9223372036854775808"},
		{"a list of blocks without end", smallOff + 24, append(u64(1<<50), p.data[smallOff+32:smallOff+40]...), small.name().String(), 0, ""},
		{"extended attributes", smallOff + 52, u32(5), small.name().String(), small.at, "extended attributes number 5 of 1"},
		{"target", linkOff + 20, u32(65536), link.name().String(), link.at, "a target of 65536 bytes"},

		{"fragment beyond all", p.list(f.fragments) + 2, u64(1 << 63), "fragment table", p.list(f.fragments), "fragment 0"},
		{"fragment behind the end", p.list(f.fragments) + 2, u64(uint64(f.size) - 10), "fragment table", f.size - 10, "do not lie in the file system"},
		{"size of a fragment", p.list(f.fragments) + 10, u32(1<<24 | 131073), "fragment table", 0, "is stored in 131073"},
		{"pointer of a table", f.fragments.list, u64(1 << 40), "fragment table", f.fragments.list, "leads to byte 1099511627776"},
		{"pointer of ids", f.ids.list, u64(1 << 40), "id table", f.ids.list, "leads to byte"},
		{"pointer into nothing", f.ids.list, u64(uint64(f.size) - 1), "id table", f.size - 1, "goes on beyond its table"},

		{"count of entries", root, u32(256), "directory", rootBlock, "257 entries behind one header"},
		{"count of entries wraps", root, u32(1<<32 - 1), "directory", rootBlock, "0 entries behind one header"},
		{"place of an inode", first, u16(8192), "directory", rootBlock, "byte 8192 of a metadata block"},
		{"inode in another place", first, u16(uint16(f.sb.Root.Offset())), "directory", rootBlock, "by the export table"},
		{"type of an entry", first + 4, u16(8), "directory", rootBlock, `entry "dir" has the type 8`},
		{"length of a name", first + 6, u16(256), "directory", rootBlock, "a name of 257 bytes"},
		{"name with a slash", first + 8, []byte("a/b"), "directory", rootBlock, `a file is called "a/b"`},
		{"name with a zero", first + 8, []byte("a\x00b"), "directory", rootBlock, `a file is called "a\x00b"`},
		{"size of a directory", manyOff + 20, u32(uint32(many.Size) + 1<<30), "directory", 0, ""},
		{"a directory that contains itself", dir, concat(u32(1), u32(uint32(parentRef.Block())), u32(parent.Number),
			u16(uint16(parentRef.Offset())), u16(0), u16(ondisk.TypeDir), u16(4), []byte("other"),
			u16(uint16(parentRef.Offset())), u16(0), u16(ondisk.TypeDir), u16(2), []byte("sub")), "directory", dirBlock, "leads to directory"},
		{"index of a directory", manyOff + 40, u32(1 << 30), "directory", many.at, "its index leads from byte 0"},
		{"length of a name in an index", manyOff + 48, u32(1<<32 - 1), "directory", many.at, "a name of 0 bytes in its index"},

		{"name of an attribute", f.xattrs + 2 + 2, u16(0), small.name().String() + " xattrs", f.xattrs, "an attribute is called"},
		{"value of an attribute", f.xattrs + 2 + 4 + 4, u32(65537), small.name().String() + " xattrs", f.xattrs, "a value of 65537 bytes"},
		{"place of a value", f.xattrs + 2, u16(0x100), small.name().String() + " xattrs", f.xattrs, "the place of the value"},
		{"attributes without end", p.list(f.xattrIDs) + 2 + 8, u32(1<<32 - 1), small.name().String() + " xattrs", 0, ""},
		{"attributes elsewhere", p.list(f.xattrIDs) + 2, u64(1 << 40), small.name().String() + " xattrs", f.xattrs, "a bad reference"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := bytes.Clone(p.data)
			require.NotEqual(t, c.with, data[c.off:c.off+int64(len(c.with))], "the damage changes something")
			copy(data[c.off:], c.with)
			fsys, err := Open(ctx, blockio.NewMemory(data))
			if err == nil {
				err = everything(fsys)
			}
			var corrupt *vfs.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.ErrorIs(t, err, syscall.EIO)
			assert.True(t, strings.HasPrefix(corrupt.Structure, c.structure), "%s: %v", corrupt.Structure, err)
			assert.Contains(t, corrupt.Detail, c.detail)
			if c.want != 0 || c.name == "magic" {
				assert.Equal(t, c.want, corrupt.Off, "%v", err)
			}
		})
	}
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// What other versions and other programs make is refused by name.
func TestRefusedByName(t *testing.T) {
	p := newPatient(t)
	for _, c := range []struct {
		off  int64
		with []byte
		what string
		want int64
	}{
		{28, []byte{3, 0, 1, 0}, "squashfs version 3.1", 28},
		{28, []byte{2, 0, 0, 0}, "squashfs version 2.0", 28},
		{28, []byte{4, 0, 1, 0}, "squashfs version 4.1", 28},
		{20, []byte{3, 0}, "squashfs with lzo compression", 20},
		{20, []byte{9, 0}, "squashfs compression 9", 20},
	} {
		data := bytes.Clone(p.data)
		copy(data[c.off:], c.with)
		ok, err := Probe(blockio.NewMemory(data))
		require.NoError(t, err)
		assert.True(t, ok, c.what)
		_, err = Open(ctx, blockio.NewMemory(data))
		var unsupported *vfs.NotSupportedError
		require.ErrorAs(t, err, &unsupported)
		assert.Equal(t, vfs.NotSupportedError{What: c.what, Off: c.want}, *unsupported)
	}
}

// Where the export table is wrong, files are still found by their directories.
func TestDamagedExportTable(t *testing.T) {
	p := newPatient(t)
	in, _ := p.inode("large")
	at := p.list(p.fs.exports) + ondisk.HeaderSize + int64(in.Number-1)*ondisk.ExportSize

	data := bytes.Clone(p.data)
	copy(data[at:], []byte{7, 7, 7})
	fsys, err := Open(ctx, blockio.NewMemory(data))
	require.NoError(t, err)
	assert.NoError(t, everything(fsys))

	copy(data[p.fs.exports.list:], []byte{7, 7, 7, 7, 7, 7})
	fsys, err = Open(ctx, blockio.NewMemory(data))
	require.NoError(t, err)
	assert.NoError(t, everything(fsys))
	assert.Contains(t, fsys.Info().StateNote, "the export table is damaged")
}

// A flipped bit in compressed data is found where the compression can tell, and
// the error says which block it is in.
func TestDamagedData(t *testing.T) {
	b := newBuilder(t)
	b.file("file", 500_000)
	for _, comp := range []string{"gzip", "xz", "zstd"} {
		t.Run(comp, func(t *testing.T) {
			data, err := os.ReadFile(makeSquash(t, b.root, "-comp", comp, "-no-fragments"))
			require.NoError(t, err)
			fsys, err := Open(ctx, blockio.NewMemory(data))
			require.NoError(t, err)
			a, err := fsys.Lookup(ctx, fsys.Root(), "file")
			require.NoError(t, err)
			var in inode
			require.NoError(t, fsys.(*FS).readInode(a.Ino, &in))
			l, err := fsys.(*FS).list(ctx, &in, 1)
			require.NoError(t, err)
			w, err := l.read()
			require.NoError(t, err)
			for i := int64(0); i < 5; i++ {
				damaged := bytes.Clone(data)
				damaged[w.off+w.word.Size()*i/5] ^= 0x10
				fsys, err := Open(ctx, blockio.NewMemory(damaged))
				require.NoError(t, err)
				buf := make([]byte, a.Size)
				n, err := fsys.ReadAt(ctx, a.Ino, buf, 0)
				if comp == "zstd" && err == nil {
					continue // mksquashfs asks for no checksum
				}
				assert.Equal(t, 131072, n, "what is in front of the damage can be read")
				var corrupt *vfs.CorruptError
				require.ErrorAs(t, err, &corrupt)
				assert.Equal(t, in.name().String(), corrupt.Structure)
				assert.Equal(t, w.off, corrupt.Off)
				require.NoError(t, fsys.Close())
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	p := newPatient(t)
	for _, size := range []int{0, 1, 95, 96, 1000, len(p.data) / 2} {
		dev := blockio.NewMemory(p.data[:size])
		ok, err := Probe(dev)
		require.NoError(t, err)
		assert.Equal(t, size >= 96, ok)
		if ok {
			_, err = Open(ctx, dev)
			assert.ErrorContains(t, err, "is the image truncated?")
		}
	}
}

// Inode numbers that nobody gave out are not there.
func TestInodesThatAreNotThere(t *testing.T) {
	p := newPatient(t)
	last := vfs.Ino(p.fs.sb.Inodes)
	for _, ino := range []vfs.Ino{0, last + 1, 1 << 31, 1<<32 + 1, 1<<64 - 1} {
		_, err := p.fs.Getattr(ctx, ino)
		assert.Equal(t, syscall.ENOENT, err, "inode %d", ino)
	}
}
