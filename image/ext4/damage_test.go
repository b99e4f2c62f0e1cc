package ext4

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// damagedTree has a file for each structure that has a checksum.
func damagedTree(t *testing.T) string {
	b := treeBuilder{t, t.TempDir()}
	b.mkdir("dir")
	b.mkdir("indexed")
	for i := range 200 {
		b.file("indexed/"+strings.Repeat("n", 40)+string(rune('a'+i%26))+string(rune('a'+i/26)), nil)
	}
	b.file("dir/file", pattern(100, 1))
	pieces := make(map[int64][]byte)
	for i := range int64(50) {
		pieces[i*8192] = pattern(4096, int(i))
	}
	b.sparse("pieces", 400000, pieces)
	return b.dir
}

// One wrong bit in any structure with a checksum is found, and the error names
// the structure and where it is.
func TestChecksumMismatchIsCorruption(t *testing.T) {
	testtool.Need(t, "e2fsck")
	img := mkfs(t, 16<<20, damagedTree(t), "-t", "ext4", "-b", "1024")
	debugfs(t, img, "ea_set pieces user.x "+strings.Repeat("v", 200))
	_ = exec.Command("e2fsck", "-fyD", img).Run() // makes the hash tree; its exit code says that it did
	testtool.Run(t, "e2fsck", "-fn", img)
	good, err := os.ReadFile(img)
	require.NoError(t, err)

	fs := openImage(t, img)
	lookup := func(path string) (in inode) {
		t.Helper()
		ino := fs.Root()
		for name := range strings.SplitSeq(path, "/") {
			a, err := fs.Lookup(ctx, ino, name)
			require.NoError(t, err)
			ino = a.Ino
		}
		require.NoError(t, fs.readInode(ino, &in))
		return in
	}
	blockOff := func(in inode, lblk uint64) int64 {
		m := fs.mapper(&in)
		r, err := m.at(lblk)
		require.NoError(t, err)
		require.NotZero(t, r.start)
		return fs.offset(r.start)
	}
	pieces, indexed, dir := lookup("pieces"), lookup("indexed"), lookup("dir")
	require.True(t, fs.indexed(&indexed), "the test needs a hash tree")
	require.NotZero(t, pieces.FileACL, "the test needs an attribute block")
	require.Equal(t, uint16(1), ondisk.DecodeExtentHeader(pieces.Block[:]).Depth, "the test needs an extent block")
	_, node := ondisk.DecodeExtentIndex(pieces.Block[:], 0)

	for _, c := range []struct {
		name, structure string
		off             int64
		want            int64 // offset in the error
		try             func(fs *FS) error
	}{
		{"superblock", "superblock", ondisk.SuperOff + 0x70, ondisk.SuperOff, nil},
		{"group descriptor", "group 0 descriptor", 2*1024 + 0x10, 2 * 1024, nil},
		{"inode", pieces.name(), pieces.off + 0x10, pieces.off, func(fs *FS) error {
			_, err := fs.Getattr(ctx, vfs.Ino(pieces.num))
			return err
		}},
		{"extra part of the inode", pieces.name(), pieces.off + 0xF0, pieces.off, func(fs *FS) error {
			_, err := fs.Getattr(ctx, vfs.Ino(pieces.num))
			return err
		}},
		{"directory", dir.dirName(), blockOff(dir, 0) + 500, blockOff(dir, 0), func(fs *FS) error {
			_, err := fs.Lookup(ctx, vfs.Ino(dir.num), "file")
			return err
		}},
		{"index of a directory", indexed.dirName(), blockOff(indexed, 0) + 40, blockOff(indexed, 0), func(fs *FS) error {
			_, err := fs.Lookup(ctx, vfs.Ino(indexed.num), "file")
			return err
		}},
		{"listing an indexed directory", indexed.dirName(), blockOff(indexed, 1) + 12, blockOff(indexed, 1), func(fs *FS) error {
			for _, err := range fs.ReadDir(ctx, vfs.Ino(indexed.num), 0) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"extent block", "inode 13 extent node", fs.offset(node) + 20, fs.offset(node), func(fs *FS) error {
			_, err := fs.ReadAt(ctx, vfs.Ino(pieces.num), make([]byte, 10), 0)
			return err
		}},
		{"attribute block", pieces.name() + " attribute block", fs.offset(pieces.FileACL) + 1000, fs.offset(pieces.FileACL), func(fs *FS) error {
			_, err := fs.Xattrs(ctx, vfs.Ino(pieces.num))
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := append([]byte{}, good...)
			bad[c.off] ^= 0x04
			opened, err := Driver.Open(ctx, blockio.NewMemory(bad))
			if c.try != nil {
				require.NoError(t, err)
				err = c.try(opened.(*FS))
			}
			var corrupt *vfs.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.Contains(t, corrupt.Detail, "checksum")
			assert.Equal(t, c.want, corrupt.Off)
			if c.name != "extent block" {
				assert.Equal(t, c.structure, corrupt.Structure)
			}
			assert.ErrorIs(t, err, syscall.EIO)
		})
	}
}

// A bad superblock is not replaced on the quiet, but the error says what is
// still good.
func TestBadSuperblockNamesTheBackup(t *testing.T) {
	img := mkfs(t, 16<<20, "", "-t", "ext4", "-b", "1024")
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{0xFF, 0xFF}, ondisk.SuperOff+4)
	require.NoError(t, err)
	_, err = Driver.Open(ctx, openDevice(t, img))
	var corrupt *vfs.CorruptError
	require.ErrorAs(t, err, &corrupt)
	assert.Equal(t, "superblock", corrupt.Structure)
	assert.Contains(t, err.Error(), "a good copy is at byte 8389632: e2fsck -b 8193 -B 1024")
}

func TestRefusesByName(t *testing.T) {
	testtool.Need(t, "mke2fs")
	for _, c := range []struct {
		name string
		make func(t *testing.T) string
		want string
	}{
		{"external journal", func(t *testing.T) string {
			return mkfs(t, 16<<20, "", "-O", "journal_dev")
		}, "external journal of an ext3 or ext4 file system (feature journal_dev)"},
		{"compression", func(t *testing.T) string { return withIncompat(t, ondisk.IncompatCompression) },
			"ext4 feature compression (bit 0) (at byte 1120)"},
		{"dirdata", func(t *testing.T) string { return withIncompat(t, ondisk.IncompatDirdata) },
			"ext4 feature dirdata (bit 12) (at byte 1120)"},
		{"unknown", func(t *testing.T) string { return withIncompat(t, 1<<30) },
			"ext4 feature FEATURE_I30 (bit 30) (at byte 1120)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Driver.Open(ctx, openDevice(t, c.make(t)))
			var unsupported *vfs.NotSupportedError
			require.ErrorAs(t, err, &unsupported)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

// withIncompat makes a file system with one more incompatible feature.
func withIncompat(t *testing.T, f ondisk.Incompat) string {
	img := mkfs(t, 4<<20, "", "-t", "ext4", "-O", "^metadata_csum,^has_journal")
	h, err := os.OpenFile(img, os.O_RDWR, 0)
	require.NoError(t, err)
	defer h.Close()
	var b [4]byte
	_, err = h.ReadAt(b[:], featureIncompatOff)
	require.NoError(t, err)
	binary.LittleEndian.PutUint32(b[:], binary.LittleEndian.Uint32(b[:])|uint32(f))
	_, err = h.WriteAt(b[:], featureIncompatOff)
	require.NoError(t, err)
	return img
}

func TestTruncatedImageSaysSo(t *testing.T) {
	img := mkfs(t, 16<<20, "", "-t", "ext4")
	require.NoError(t, os.Truncate(img, 10<<20))
	_, err := Driver.Open(ctx, openDevice(t, img))
	assert.ErrorContains(t, err, "is the image truncated?")
	for _, size := range []int64{0, 1, 1023, 1024, 2047} {
		require.NoError(t, os.Truncate(img, size))
		ok, err := Driver.Probe(openDevice(t, img))
		assert.NoError(t, err)
		assert.False(t, ok, size)
	}
}

// Encrypted files are refused one by one; all the rest reads.
func TestEncryptedFilesAreRefusedSingly(t *testing.T) {
	tree := t.TempDir()
	b := treeBuilder{t, tree}
	b.file("secret", []byte("s"))
	b.file("plain", []byte("p"))
	b.mkdir("dir")
	img := mkfs(t, 16<<20, tree, "-t", "ext4", "-O", "encrypt")
	debugfs(t, img, "set_inode_field secret flags 0x80800", "set_inode_field dir flags 0x80800")
	fs := openImage(t, img)
	read := func(name string) error {
		a, err := fs.Lookup(ctx, fs.Root(), name)
		require.NoError(t, err)
		_, err = fs.ReadAt(ctx, a.Ino, make([]byte, 1), 0)
		return err
	}
	assert.NoError(t, read("plain"))
	err := read("secret")
	assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
	assert.ErrorContains(t, err, "encrypted file, inode")
	a, err := fs.Lookup(ctx, fs.Root(), "dir")
	require.NoError(t, err)
	for _, err := range fs.ReadDir(ctx, a.Ino, 0) {
		assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
	}
}

// What debugfs sets reads back: unwritten blocks, flags, times, device numbers
// of the old kind.
func TestReadsWhatDebugfsSets(t *testing.T) {
	tree := t.TempDir()
	b := treeBuilder{t, tree}
	b.file("unwritten", nil)
	b.file("flags", nil)
	img := mkfs(t, 16<<20, tree, "-t", "ext4", "-b", "1024")
	debugfs(t, img,
		"fallocate unwritten 0 99", "set_inode_field unwritten size 100000",
		"set_inode_field flags flags 0x80070",
		"mknod old c 4 65",
		"set_inode_field flags generation 77",
	)
	fs := openImage(t, img)
	lookup := func(name string) vfs.Attr {
		t.Helper()
		a, err := fs.Lookup(ctx, fs.Root(), name)
		require.NoError(t, err)
		return a
	}
	a := lookup("unwritten")
	assert.EqualValues(t, 200, a.Blocks)
	got := make([]byte, a.Size)
	_, err := fs.ReadAt(ctx, a.Ino, got, 0)
	require.NoError(t, err)
	assert.Equal(t, make([]byte, 100000), got, "stale bytes of unwritten blocks")
	a = lookup("flags")
	assert.Equal(t, vfs.SystemImmutable|vfs.SystemAppend|vfs.UserNoDump, a.Flags)
	assert.EqualValues(t, 77, a.Gen)
	assert.Equal(t, vfs.Dev{Major: 4, Minor: 65}, lookup("old").Rdev)
}

// Inodes that are the file system's own, out of range or unused are not there.
func TestInodesThatAreNotFiles(t *testing.T) {
	fs := openImage(t, mkfs(t, 16<<20, "", "-t", "ext4"))
	last := vfs.Ino(fs.sb.InodesCount)
	for _, ino := range []vfs.Ino{0, 1, 5, 7, 8, 10, 12, last, last + 1, 1 << 32, 1<<32 + 2, 1<<64 - 1} {
		_, err := fs.Getattr(ctx, ino)
		assert.Equal(t, syscall.ENOENT, err, "inode %d", ino)
	}
}
