package ondisk

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

func TestSizes(t *testing.T) {
	assert.Equal(t, SuperSize, binary.Size(Superblock{}))
	assert.Equal(t, JournalSuperSize, binary.Size(JournalSuperblock{}))
	assert.Equal(t, InodeSizeOld+32, binary.Size(rawInode{}))
	assert.Equal(t, GroupDescSize64, binary.Size(rawGroupDesc{}))
}

// rawInode is struct ext4_inode, the twin of DecodeInode.
type rawInode struct {
	Mode, UIDLo                        uint16
	SizeLo, Atime, Ctime, Mtime, Dtime uint32
	GIDLo, Links                       uint16
	BlocksLo, Flags, VersionLo         uint32
	Block                              [BlockLen]byte
	Generation, FileACLLo, SizeHi, Obs uint32
	BlocksHi, FileACLHi                uint16
	UIDHi, GIDHi                       uint16
	ChecksumLo, Reserved               uint16
	ExtraIsize, ChecksumHi             uint16
	CtimeX, MtimeX, AtimeX             uint32
	Crtime, CrtimeX, VersionHi, ProjID uint32
}

func TestDecodeInodeEqualsItsTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		b := randomBytes(rng, InodeSizeOld+32)
		binary.LittleEndian.PutUint16(b[InodeSizeOld:], 32)
		var r rawInode
		_, err := binary.Decode(b, binary.LittleEndian, &r)
		require.NoError(t, err)
		var got Inode
		DecodeInode(b, &got)
		require.Equal(t, Inode{
			Mode: r.Mode, Links: r.Links,
			UID: uint32(r.UIDLo) | uint32(r.UIDHi)<<16, GID: uint32(r.GIDLo) | uint32(r.GIDHi)<<16,
			Size: uint64(r.SizeLo) | uint64(r.SizeHi)<<32, SizeLo: r.SizeLo,
			Blocks: uint64(r.BlocksLo) | uint64(r.BlocksHi)<<32, BlocksLo: r.BlocksLo,
			Flags: r.Flags, Generation: r.Generation,
			FileACL: uint64(r.FileACLLo) | uint64(r.FileACLHi)<<32, FileACLLo: r.FileACLLo,
			Dtime: r.Dtime, ExtraIsize: r.ExtraIsize,
			Checksum: uint32(r.ChecksumLo) | uint32(r.ChecksumHi)<<16, HasHi: true, HasCrtime: true,
			Atime: Time{r.Atime, r.AtimeX}, Ctime: Time{r.Ctime, r.CtimeX},
			Mtime: Time{r.Mtime, r.MtimeX}, Crtime: Time{r.Crtime, r.CrtimeX},
			Version: uint64(r.VersionLo) | uint64(r.VersionHi)<<32, ProjID: r.ProjID, Block: r.Block,
		}, got)
	}
}

// Fields beyond i_extra_isize are not there, whatever the bytes say.
func TestDecodeInodeStopsAtExtraIsize(t *testing.T) {
	b := make([]byte, 256)
	for i := range b {
		b[i] = 0xFF
	}
	for _, c := range []struct {
		extra      uint16
		hi, crtime bool
		mtimeExtra uint32
	}{{0, false, false, 0}, {4, true, false, 0}, {12, true, false, 0xFFFFFFFF}, {20, true, true, 0xFFFFFFFF}, {28, true, true, 0xFFFFFFFF}} {
		binary.LittleEndian.PutUint16(b[InodeSizeOld:], c.extra)
		var in Inode
		DecodeInode(b, &in)
		assert.Equal(t, c.hi, in.HasHi, c.extra)
		assert.Equal(t, c.crtime, in.HasCrtime, c.extra)
		assert.Equal(t, c.mtimeExtra, in.Mtime.Extra, c.extra)
	}
	var in Inode
	DecodeInode(b[:InodeSizeOld], &in)
	assert.False(t, in.HasHi)
	assert.Zero(t, in.Mtime.Extra)
}

// rawGroupDesc is struct ext4_group_desc, the twin of DecodeGroupDesc.
type rawGroupDesc struct {
	BlockBitmapLo, InodeBitmapLo, InodeTableLo uint32
	FreeBlocksLo, FreeInodesLo, UsedDirsLo     uint16
	Flags                                      uint16
	ExcludeLo                                  uint32
	BlockCsumLo, InodeCsumLo, UnusedLo         uint16
	Checksum                                   uint16
	BlockBitmapHi, InodeBitmapHi, InodeTableHi uint32
	FreeBlocksHi, FreeInodesHi, UsedDirsHi     uint16
	UnusedHi                                   uint16
	ExcludeHi                                  uint32
	BlockCsumHi, InodeCsumHi                   uint16
	Reserved                                   uint32
}

func TestDecodeGroupDescEqualsItsTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		b := randomBytes(rng, GroupDescSize64)
		var r rawGroupDesc
		_, err := binary.Decode(b, binary.LittleEndian, &r)
		require.NoError(t, err)
		want := GroupDesc{
			BlockBitmap: uint64(r.BlockBitmapLo), InodeBitmap: uint64(r.InodeBitmapLo), InodeTable: uint64(r.InodeTableLo),
			FreeBlocks: uint32(r.FreeBlocksLo), FreeInodes: uint32(r.FreeInodesLo), UsedDirs: uint32(r.UsedDirsLo),
			Flags: r.Flags, ItableUnused: uint32(r.UnusedLo), Checksum: r.Checksum,
			BlockBitmapSum: uint32(r.BlockCsumLo), InodeBitmapSum: uint32(r.InodeCsumLo),
		}
		var got GroupDesc
		DecodeGroupDesc(b[:GroupDescSize], &got)
		require.Equal(t, want, got)
		want.BlockBitmap |= uint64(r.BlockBitmapHi) << 32
		want.InodeBitmap |= uint64(r.InodeBitmapHi) << 32
		want.InodeTable |= uint64(r.InodeTableHi) << 32
		want.FreeBlocks |= uint32(r.FreeBlocksHi) << 16
		want.FreeInodes |= uint32(r.FreeInodesHi) << 16
		want.UsedDirs |= uint32(r.UsedDirsHi) << 16
		want.ItableUnused |= uint32(r.UnusedHi) << 16
		want.BlockBitmapSum |= uint32(r.BlockCsumHi) << 16
		want.InodeBitmapSum |= uint32(r.InodeCsumHi) << 16
		DecodeGroupDesc(b, &got)
		require.Equal(t, want, got)
	}
}

// rawExtent is struct ext4_extent, the twin of DecodeExtent.
type rawExtent struct {
	Block   uint32
	Len, Hi uint16
	Lo      uint32
}

// rawDirEntry is struct ext4_dir_entry_2, the twin of DecodeDirEntry.
type rawDirEntry struct {
	Ino           uint32
	RecLen        uint16
	NameLen, Type uint8
}

func TestSmallDecodersEqualTheirTwins(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		b := randomBytes(rng, ExtentHeaderSize+ExtentEntrySize)
		var x rawExtent
		_, err := binary.Decode(b[ExtentHeaderSize:], binary.LittleEndian, &x)
		require.NoError(t, err)
		want := Extent{Block: x.Block, Len: uint32(x.Len), Start: uint64(x.Lo) | uint64(x.Hi)<<32}
		if want.Len > 32768 {
			want.Len, want.Unwritten = want.Len-32768, true
		}
		require.Equal(t, want, DecodeExtent(b, 0))

		var d rawDirEntry
		_, err = binary.Decode(b[:DirEntryHeader], binary.LittleEndian, &d)
		require.NoError(t, err)
		require.Equal(t, DirEntry{d.Ino, int(d.RecLen), int(d.NameLen), d.Type}, DecodeDirEntry(b, 4096))
	}
}

func TestRecordLengthsOf64KBlocks(t *testing.T) {
	for _, c := range []struct {
		disk uint16
		want int
	}{{12, 12}, {0xFFFC, 0xFFFC}, {0, 65536}, {0xFFFF, 65536}, {1, 65536}, {0xFFF4, 0xFFF4}} {
		assert.Equal(t, c.want, recLen(c.disk, 65536), "%#x", c.disk)
	}
	assert.Equal(t, 0xFFFF, recLen(0xFFFF, 4096))
}

func TestChecksumsOfKnownBytes(t *testing.T) {
	// The check values of the catalogues of CRCs, over "123456789".
	p := []byte("123456789")
	assert.Equal(t, uint32(0xE3069283), ^CRC32C(^uint32(0), p), "CRC-32C")
	assert.Equal(t, CRC32C(7, []byte{0x78, 0x56, 0x34, 0x12}), CRC32C32(7, 0x12345678))
	assert.Equal(t, CRC32C(7, make([]byte, 5)), crc32cZeros(7, 5))
	assert.Equal(t, uint16(0x4B37), CRC16(0xFFFF, p), "CRC-16/MODBUS")
	assert.Equal(t, uint32(0x0376E6E7), CRC32BE(^uint32(0), p), "CRC-32/MPEG-2")
}

// debugfs computes the same hashes of names.
func TestNameHashesEqualDebugfs(t *testing.T) {
	testtool.Need(t, "debugfs")
	names := []string{"a", "ab", "abc", "file", "exactly-sixteen-", "exactly-thirty-two-bytes-long-xx",
		"exactly-thirty-two-bytes-long-xxy", strings.Repeat("n", 255), "näme", "\u2713", "x\xff\xfe"}
	seed := "a1b2c3d4-0517-4c11-9e3f-f00dfacecafe"
	raw := []byte{0xa1, 0xb2, 0xc3, 0xd4, 0x05, 0x17, 0x4c, 0x11, 0x9e, 0x3f, 0xf0, 0x0d, 0xfa, 0xce, 0xca, 0xfe}
	var words [4]uint32
	for i := range words {
		words[i] = binary.LittleEndian.Uint32(raw[i*4:])
	}
	for version, alg := range map[uint8]string{
		HashLegacy: "legacy", HashHalfMD4: "half_md4", HashTEA: "tea",
	} {
		for _, seeded := range []bool{false, true} {
			var script strings.Builder
			option, s := "", [4]uint32{}
			if seeded {
				option, s = " -s "+seed, words
			}
			for _, name := range names {
				script.WriteString("dx_hash -h " + alg + option + " \"" + name + "\"\n")
			}
			file := filepath.Join(t.TempDir(), "script")
			require.NoError(t, os.WriteFile(file, []byte(script.String()), 0o600))
			out := testtool.Run(t, "debugfs", "-f", file)
			var got []string
			for line := range strings.Lines(out) {
				if _, after, ok := strings.Cut(line, " is 0x"); ok {
					hash, _, _ := strings.Cut(after, " ")
					got = append(got, hash)
				}
			}
			require.Len(t, got, len(names), out)
			for i, name := range names {
				h, ok := NameHash(name, version, s)
				require.True(t, ok)
				assert.Equal(t, got[i], strconv.FormatUint(uint64(h), 16), "%s of %q, seeded %v", alg, name, seeded)
			}
		}
	}
	_, ok := NameHash("x", HashSip, words)
	assert.False(t, ok)
}

func TestFeatureNames(t *testing.T) {
	assert.Equal(t, []string{"has_journal", "FEATURE_C31"}, (CompatHasJournal | 1<<31).Names())
	assert.Equal(t, []string{"extent", "FEATURE_I11"}, (IncompatExtents | 1<<11).Names())
	assert.Nil(t, ROCompat(0).Names())
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}
