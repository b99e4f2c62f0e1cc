package ondisk_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/fat/ondisk"
)

func TestSizes(t *testing.T) {
	assert.Equal(t, 0x24, binary.Size(ondisk.BPB{}))
	assert.Equal(t, ondisk.Ext32Offset-ondisk.BPB32Offset, binary.Size(ondisk.BPB32{}))
	assert.Equal(t, 26, binary.Size(ondisk.Ext{}))
	assert.Equal(t, ondisk.FSInfoSize, binary.Size(ondisk.FSInfo{}))
	assert.Equal(t, ondisk.DirentSize, binary.Size(ondisk.Dirent{}))
	assert.Equal(t, ondisk.DirentSize, binary.Size(ondisk.Long{}))
}

// The decoders written by hand agree with those of the standard library.
func TestHandDecoders(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	raw := make([]byte, ondisk.DirentSize)
	for range 10_000 {
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		var want ondisk.Dirent
		_, err := binary.Decode(raw, binary.LittleEndian, &want)
		require.NoError(t, err)
		require.Equal(t, want, ondisk.DecodeDirent(raw))
		encoded := make([]byte, ondisk.DirentSize)
		want.Encode(encoded)
		require.Equal(t, raw, encoded)

		var long ondisk.Long
		_, err = binary.Decode(raw, binary.LittleEndian, &long)
		require.NoError(t, err)
		var units [ondisk.LongUnits]uint16
		ondisk.LongName(raw, &units)
		require.Equal(t, append(append(long.Name1[:], long.Name2[:]...), long.Name3[:]...), units[:])
		require.Equal(t, long.Ord, ondisk.LongOrd(raw))
		require.Equal(t, long.Checksum, ondisk.LongChecksum(raw))
		require.Equal(t, long.Attr&ondisk.AttrLongMask == ondisk.AttrLong, ondisk.IsLong(raw))
	}
}

func TestTableEntries(t *testing.T) {
	// Clusters 0 to 3 of a FAT12: 0xff8, 0xfff, 0x003, 0xabc.
	fat12 := []byte{0xf8, 0xff, 0xff, 0x03, 0xc0, 0xab}
	for cluster, want := range []uint32{0xff8, 0xfff, 0x003, 0xabc} {
		b := ondisk.Bits(12)
		assert.Equal(t, want, b.Entry(fat12[b.Offset(uint32(cluster)):], uint32(cluster)))
	}
	p := []byte{0x78, 0x56, 0x34, 0xf2}
	assert.Equal(t, uint32(0x5678), ondisk.Bits(16).Entry(p, 0))
	assert.Equal(t, uint32(0x02345678), ondisk.Bits(32).Entry(p, 0), "the upper four bits are reserved")
	for bits, end := range map[ondisk.Bits]uint32{12: 0xff8, 16: 0xfff8, 32: 0x0ffffff8} {
		assert.True(t, bits.IsEnd(end))
		assert.True(t, bits.IsEnd(bits.Mask()))
		assert.False(t, bits.IsEnd(bits.Bad()))
		assert.Equal(t, end-1, bits.Bad())
	}
	assert.Equal(t, int64(341), ondisk.Bits(12).Entries(512))
}

func TestChecksum(t *testing.T) {
	// The value that mtools stored for this alias.
	d := ondisk.Dirent{Name: [11]byte([]byte("LONGNA~1TXT"))}
	var want uint8
	for _, c := range []byte("LONGNA~1TXT") {
		low := want & 1
		want >>= 1
		if low != 0 {
			want |= 0x80
		}
		want += c
	}
	assert.Equal(t, want, d.Checksum())
}

// An entry that is stored leaves its neighbours, and the reserved bits.
func TestPut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for _, b := range []ondisk.Bits{12, 16, 32} {
		table := make([]byte, 64)
		for i := range table {
			table[i] = byte(rnd.Uint32())
		}
		reserved := table[7] & 0xf0
		want := map[uint32]uint32{}
		for c := range uint32(15) {
			want[c] = b.Entry(table[b.Offset(c):], c)
		}
		for range 1000 {
			c, v := rnd.Uint32N(15), rnd.Uint32()&b.Mask()
			b.Put(table[b.Offset(c):], c, v)
			want[c] = v
			for c, v := range want {
				require.Equal(t, v, b.Entry(table[b.Offset(c):], c), "FAT%d, entry %d", b, c)
			}
		}
		if b == 32 {
			require.Equal(t, reserved, table[7]&0xf0)
		}
	}
}

func TestEncodeBoot(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	raw, encoded := make([]byte, ondisk.BootSectorSize), make([]byte, ondisk.BootSectorSize)
	for i := range raw {
		raw[i] = byte(rnd.Uint32())
	}
	bpb, bpb32, ext := ondisk.DecodeBPB(raw), ondisk.DecodeBPB32(raw), ondisk.DecodeExt(raw, ondisk.Ext32Offset)
	bpb.Encode(encoded)
	bpb32.Encode(encoded)
	ext.Encode(encoded, ondisk.Ext32Offset)
	assert.Equal(t, raw[:ondisk.Ext32Offset+26], encoded[:ondisk.Ext32Offset+26])
	info := ondisk.DecodeFSInfo(raw)
	info.Encode(encoded)
	assert.Equal(t, raw, encoded)
}
