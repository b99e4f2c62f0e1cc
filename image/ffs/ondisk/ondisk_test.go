package ondisk

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func eachOrder(t *testing.T, fn func(t *testing.T, o Order)) {
	t.Run("little", func(t *testing.T) { fn(t, Order{}) })
	t.Run("big", func(t *testing.T) { fn(t, Order{Big: true}) })
}

// The sizes and offsets are those that a C compiler gives the original.
func TestLayout(t *testing.T) {
	var s Super
	assert.Equal(t, SuperSize, binary.Size(s))
	for _, f := range []struct {
		name string
		want uintptr
		got  uintptr
	}{
		{"fs_sblkno", 8, unsafe.Offsetof(s.SuperOff)},
		{"fs_ncg", 44, unsafe.Offsetof(s.Groups)},
		{"fs_bsize", 48, unsafe.Offsetof(s.BlockSize)},
		{"fs_nindir", 116, unsafe.Offsetof(s.Nindir)},
		{"fs_id", 144, unsafe.Offsetof(s.ID)},
		{"fs_ffs1_csaddr", 152, unsafe.Offsetof(s.OldSummaryAddr)},
		{"fs_ipg", 184, unsafe.Offsetof(s.InodesPerGroup)},
		{"fs_ffs1_cstotal", 192, unsafe.Offsetof(s.OldTotal)},
		{"fs_clean", 209, unsafe.Offsetof(s.Clean)},
		{"fs_fsmnt", 212, unsafe.Offsetof(s.MountPoint)},
		{"fs_volname", 680, unsafe.Offsetof(s.VolumeName)},
		{"fs_swuid", 712, unsafe.Offsetof(s.SystemUID)},
		{"fs_cgrotor", 724, unsafe.Offsetof(s.GroupRotor)},
		{"in-core pointers", 728, unsafe.Offsetof(s.InCore)},
		{"fs_cpc", 856, unsafe.Offsetof(s.OldCpc)},
		{"fs_sblockloc", 1000, unsafe.Offsetof(s.SuperLoc)},
		{"fs_cstotal", 1008, unsafe.Offsetof(s.Total)},
		{"fs_time", 1072, unsafe.Offsetof(s.Time)},
		{"fs_csaddr", 1096, unsafe.Offsetof(s.SummaryAddr)},
		{"fs_pendinginodes", 1112, unsafe.Offsetof(s.PendingInodes)},
		{"fs_avgfilesize", 1196, unsafe.Offsetof(s.AvgFileSize)},
		{"1308", 1308, unsafe.Offsetof(s.Word1308)},
		{"1312", 1312, unsafe.Offsetof(s.Word1312)},
		{"fs_maxsymlinklen", 1320, unsafe.Offsetof(s.MaxSymlinkLen)},
		{"fs_maxfilesize", 1328, unsafe.Offsetof(s.MaxFileSize)},
		{"fs_state", 1352, unsafe.Offsetof(s.State)},
		{"fs_magic", SuperMagicOff, unsafe.Offsetof(s.Magic)},
	} {
		assert.Equal(t, f.want, f.got, f.name)
	}
	var g Group
	assert.Equal(t, GroupSize, binary.Size(g))
	assert.Equal(t, uintptr(52), unsafe.Offsetof(g.FreeRuns))
	assert.Equal(t, uintptr(92), unsafe.Offsetof(g.InodeMapOff))
	assert.Equal(t, uintptr(groupInitOff), unsafe.Offsetof(g.InitedInodes))
	assert.Equal(t, uintptr(136), unsafe.Offsetof(g.Time))
	assert.Equal(t, Dinode1Size, binary.Size(Dinode1{}))
	assert.Equal(t, Dinode2Size, binary.Size(Dinode2{}))
}

// Whatever a superblock or group header holds comes back byte for byte: no
// spare field of somebody's image is lost.
func TestColdStructuresKeepEveryByte(t *testing.T) {
	eachOrder(t, func(t *testing.T, o Order) {
		rnd := rand.New(rand.NewPCG(1, 1))
		b := randomBytes(rnd, SuperSize)
		s, err := DecodeSuper(b, o)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(b, s.Append(nil, o)), "superblock")
		b = randomBytes(rnd, GroupSize)
		g, err := DecodeGroup(b, o)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(b, g.Append(nil, o)), "group")
		_, ok := GroupInited(b, o, g.Index)
		assert.Equal(t, g.Magic == GroupMagic, ok)
		o.PutU32(b[4:], GroupMagic)
		inited, ok := GroupInited(b, o, g.Index)
		assert.True(t, ok)
		assert.Equal(t, g.InitedInodes, inited)
		_, ok = GroupInited(b, o, g.Index+1)
		assert.False(t, ok)
	})
}

// The hand-written inode decoder sees what binary.Decode sees in its twin.
func TestInodeDecodersAgree(t *testing.T) {
	eachOrder(t, func(t *testing.T, o Order) {
		rnd := rand.New(rand.NewPCG(2, 2))
		for range 200 {
			b := randomBytes(rnd, Dinode1Size)
			d, err := DecodeDinode1(b, o)
			require.NoError(t, err)
			want := Inode{
				Mode: d.Mode, Nlink: uint16(d.Nlink), UID: d.UID, GID: d.GID, OldUID: d.OldUID, OldGID: d.OldGID,
				Size: d.Size, Blocks: uint64(d.Blocks), Gen: d.Gen, Flags: d.Flags,
				Atime: Time{int64(d.Atime), d.AtimeNsec},
				Mtime: Time{int64(d.Mtime), d.MtimeNsec},
				Ctime: Time{int64(d.Ctime), d.CtimeNsec},
			}
			for i, p := range d.Direct {
				want.Direct[i] = int64(p)
			}
			for i, p := range d.Indirect {
				want.Indirect[i] = int64(p)
			}
			var got Inode
			got.Decode(b, o, V1)
			require.Equal(t, want, got)
			require.Equal(t, uint64(uint32(d.Direct[0])), got.RawDevice(V1))
		}
		for range 200 {
			b := randomBytes(rnd, Dinode2Size)
			d, err := DecodeDinode2(b, o)
			require.NoError(t, err)
			want := Inode{
				Mode: d.Mode, Nlink: uint16(d.Nlink), UID: d.UID, GID: d.GID,
				Size: d.Size, Blocks: d.Blocks, Gen: d.Gen, Flags: d.Flags,
				Atime:   Time{d.Atime, d.AtimeNsec},
				Mtime:   Time{d.Mtime, d.MtimeNsec},
				Ctime:   Time{d.Ctime, d.CtimeNsec},
				Btime:   Time{d.Btime, d.BtimeNsec},
				ExtSize: d.ExtSize, Ext: d.Ext, Direct: d.Direct, Indirect: d.Indirect,
			}
			var got Inode
			got.Decode(b, o, V2)
			require.Equal(t, want, got)
			require.Equal(t, uint64(d.Direct[0]), got.RawDevice(V2))
		}
	})
}

// Encoding over the same bytes changes none of them, and over zeros gives an
// inode that decodes to the same.
func TestInodeEncode(t *testing.T) {
	eachOrder(t, func(t *testing.T, o Order) {
		rnd := rand.New(rand.NewPCG(3, 3))
		for _, v := range []Version{V1, V2} {
			for range 100 {
				b := randomBytes(rnd, v.InodeSize())
				var in, back Inode
				in.Decode(b, o, v)
				over := bytes.Clone(b)
				in.Encode(over, o, v)
				require.Equal(t, b, over, "version %d", v)
				fresh := make([]byte, v.InodeSize())
				in.Encode(fresh, o, v)
				back.Decode(fresh, o, v)
				require.Equal(t, in, back, "version %d", v)
			}
		}
	})
}

func TestInlineAreaIsWhereThePointersAre(t *testing.T) {
	for _, v := range []Version{V1, V2} {
		b := make([]byte, v.InodeSize())
		for i := range v.Inline(b) {
			v.Inline(b)[i] = 1
		}
		var in Inode
		in.Decode(b, Order{}, v)
		for _, p := range append(in.Direct[:], in.Indirect[:]...) {
			assert.NotZero(t, p)
		}
		in.Direct, in.Indirect = [NDirect]int64{}, [NIndirect]int64{}
		assert.Equal(t, Inode{}, in, "nothing else is touched")
	}
}

func TestPointers(t *testing.T) {
	b := []byte{0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xff}
	assert.Equal(t, int64(-2), V1.Pointer(Order{Big: true}, b))
	assert.Equal(t, int64(-1<<24-1), V1.Pointer(Order{}, b))
	assert.Equal(t, int64(-1<<32-1), V2.Pointer(Order{Big: true}, b))
}

func TestDirent(t *testing.T) {
	eachOrder(t, func(t *testing.T, o Order) {
		rnd := rand.New(rand.NewPCG(4, 4))
		type dirent struct { // struct direct
			Ino    uint32
			Reclen uint16
			Type   uint8
			Namlen uint8
		}
		type oldDirent struct { // struct odirect
			Ino    uint32
			Reclen uint16
			Namlen uint16
		}
		for range 200 {
			b := randomBytes(rnd, DirentHeader)
			var d dirent
			_, err := binary.Decode(b, o.ByteOrder(), &d)
			require.NoError(t, err)
			got := DecodeDirent(b, o, false)
			require.Equal(t, Dirent{d.Ino, d.Reclen, d.Type, uint16(d.Namlen)}, got)
			back := make([]byte, DirentHeader)
			got.Put(back, o, false)
			require.Equal(t, b, back)

			var old oldDirent
			_, err = binary.Decode(b, o.ByteOrder(), &old)
			require.NoError(t, err)
			got = DecodeDirent(b, o, true)
			require.Equal(t, Dirent{Ino: old.Ino, Len: old.Reclen, NameLen: old.Namlen}, got)
			got.Put(back, o, true)
			require.Equal(t, b, back)
		}
	})
	for n, want := range map[int]int{1: 12, 3: 12, 4: 16, 7: 16, 8: 20, 255: 264} {
		assert.Equal(t, want, DirentSize(n), "name of %d bytes", n)
	}
}

func TestDevice(t *testing.T) {
	for _, c := range []struct {
		flavour      Flavour
		raw          uint64
		major, minor uint32
	}{
		{OpenBSD, 0x0203, 2, 3},
		{OpenBSD, 0x00010005 | 4<<8, 4, 0x105},
		{OpenBSD, 0xabcdefff, 0xef, 0xabcdff},
		{FourTwoBSD, 0x0203, 2, 3},
		{NetBSD, 0x0203, 2, 3},
		{NetBSD, 0x12345678, 0x456, 0x12378},
		{FlavourUnknown, 0x12345678, 0x456, 0x12378},
		{FreeBSD, 0x0203, 2, 3},
		{FreeBSD, 0x00010405, 4, 0x10005},
		{FreeBSD, 0x11223344_55667788, 0x11223377, 0x55664488},
	} {
		major, minor := c.flavour.Device(c.raw)
		assert.Equal(t, [2]uint32{c.major, c.minor}, [2]uint32{major, minor}, "%v %#x", c.flavour, c.raw)
	}
}

func TestExtattr(t *testing.T) {
	o := Order{}
	record := func(length uint32, space, pad, nameLen uint8, rest string) []byte {
		b := make([]byte, 7, 64)
		o.PutU32(b, length)
		b[4], b[5], b[6] = space, pad, nameLen
		return append(b, rest...)
	}
	e, n, ok := DecodeExtattr(record(24, 1, 3, 2, "ab\x00\x00\x00\x00\x00\x00\x00hello\x00\x00\x00more"), o)
	require.True(t, ok)
	assert.Equal(t, 24, n)
	assert.Equal(t, Extattr{1, []byte("ab"), []byte("hello")}, e)

	for _, b := range [][]byte{
		nil,
		make([]byte, 6),
		make([]byte, 7),          // length 0: an endless loop
		record(8, 1, 0, 2, "ab"), // name beyond the record
		record(17, 1, 2, 2, "ab\x00\x00\x00\x00\x00\x00\x00x"), // padding beyond the content
		record(1<<32-1, 1, 0, 1, "a"),
		record(25, 1, 0, 1, "a\x00\x00"),
	} {
		_, _, ok := DecodeExtattr(b, o)
		assert.False(t, ok, "%q", b)
	}
}

func TestFlavour(t *testing.T) {
	base := func(magic uint32) *Super { return &Super{Magic: magic, SuperLoc: SuperFFS2} }
	put := func(s *Super, off int, v uint64) *Super {
		Order{}.PutU64(s.Spare64[off-864:], v)
		return s
	}
	open2 := base(MagicFFS2)
	open2.OldPostblFmt, open2.OldCpg = 1, 1
	open1 := base(MagicFFS1)
	open1.OldInodeFormat = InodeFormat44
	free1 := base(MagicFFS1)
	free1.OldInodeFormat, free1.ContigSumSize = InodeFormat44, 8
	Order{}.PutU64(free1.Spare32[:], 1)
	old := base(MagicFFS1)
	old.OldPostblFmt = PostblFormat42
	hashes := base(MagicFFS2)
	hashes.Word1308, hashes.Word1312 = 7, FlagMetaCkHash
	makefs := base(MagicFFS2)
	makefs.SuperLoc = SuperFFS1
	net1 := base(MagicFFS1)
	net1.OldInodeFormat, net1.ContigSumSize = InodeFormat44, 8
	for _, c := range []struct {
		name string
		s    *Super
		want Flavour
	}{
		{"OpenBSD FFS2", open2, OpenBSD},
		{"OpenBSD FFS1", open1, OpenBSD},
		{"FreeBSD UFS2", put(base(MagicFFS2), 992, 65536), FreeBSD},
		{"FreeBSD UFS2 of 2006", put(base(MagicFFS2), 872, 1<<30), FreeBSD},
		{"FreeBSD UFS1", free1, FreeBSD},
		{"FreeBSD check hashes", hashes, FreeBSD},
		{"NetBSD makefs", makefs, NetBSD},
		{"NetBSD WAPBL", put(base(MagicFFS2), 864, 0x0201), NetBSD},
		{"NetBSD quota", put(base(MagicFFS2), 904, QuotaMagic), NetBSD},
		{"NetBSD attributes", base(MagicFFS2EA), NetBSD},
		{"4.2BSD", old, FourTwoBSD},
		{"UFS2 without marks", base(MagicFFS2), FlavourUnknown},
		{"UFS1 with clusters", net1, FlavourUnknown},
	} {
		assert.Equal(t, c.want, c.s.Flavour(Order{}), c.name)
	}
}

func TestFlagsMoveWithTheSystem(t *testing.T) {
	s := &Super{Magic: MagicFFS1, OldFlags: 2, Word1308: 0x11, Word1312: 0x22}
	assert.Equal(t, uint32(2), s.Flags(OpenBSD))
	assert.Equal(t, uint32(2), s.Flags(FreeBSD))
	s.OldFlags |= FlagFlagsUpdated
	assert.Equal(t, uint32(0x11), s.Flags(OpenBSD))
	assert.Equal(t, uint32(0x22), s.Flags(FreeBSD))
	s.Magic, s.OldFlags = MagicFFS2, 0
	assert.Equal(t, uint32(0x11), s.Flags(OpenBSD))
	assert.Equal(t, uint32(0x22), s.Flags(NetBSD))
}

func BenchmarkInodeDecode(b *testing.B) {
	buf := randomBytes(rand.New(rand.NewPCG(1, 1)), Dinode2Size)
	var in Inode
	for b.Loop() {
		in.Decode(buf, Order{}, V2)
	}
}
