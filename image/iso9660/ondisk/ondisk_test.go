package ondisk_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/iso9660/ondisk"
)

// recordTwin is a directory record as the standard has it.
type recordTwin struct {
	Length, XattrLen uint8
	Extent, Size     ondisk.Both32
	Time             [7]byte
	Flags            uint8
	UnitSize, Gap    uint8
	Volume           ondisk.Both16
	NameLength       uint8
}

// The decoder written by hand agrees with that of the standard library.
func TestRecord(t *testing.T) {
	require.Equal(t, ondisk.RecordSize, binary.Size(recordTwin{}))
	rnd := rand.New(rand.NewPCG(1, 1))
	raw := make([]byte, ondisk.RecordSize)
	for range 10_000 {
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		var w recordTwin
		_, err := binary.Decode(raw, binary.LittleEndian, &w)
		require.NoError(t, err)
		require.Equal(t, ondisk.Record{
			Length: w.Length, XattrLen: w.XattrLen, Extent: w.Extent.LE, Size: w.Size.LE, Time: w.Time,
			Flags: w.Flags, UnitSize: w.UnitSize, Gap: w.Gap, Volume: w.Volume.LE, NameLength: w.NameLength,
		}, ondisk.DecodeRecord(raw))
	}
}

// The fields of a volume descriptor lie where ECMA-119 says (it counts from 1).
func TestVolume(t *testing.T) {
	raw := make([]byte, ondisk.DescriptorSize)
	raw[80], raw[128], raw[156], raw[813], raw[830], raw[864+16] = 1, 2, 3, 4, 5, 6
	v := ondisk.DecodeVolume(raw)
	assert.Equal(t, uint32(1), v.Space.LE)
	assert.Equal(t, uint16(2), v.BlockSize.LE)
	assert.Equal(t, byte(3), v.Root[0])
	assert.Equal(t, byte(4), v.Created.Digits[0])
	assert.Equal(t, byte(5), v.Modified.Digits[0])
	assert.Equal(t, int8(6), v.Effective.Zone)
}

func TestTimes(t *testing.T) {
	at := ondisk.ShortTime([]byte{124, 2, 29, 13, 57, 42, 0xfc})
	assert.Equal(t, "2024-02-29 14:57:42", at.Format(time.DateTime), "one hour west of UTC")
	assert.True(t, ondisk.ShortTime(make([]byte, 7)).IsZero())
	for _, none := range []string{"0000000000000000", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "2024-02-29 13:57"} {
		long := ondisk.DecodeLongTime([]byte(none + "\x00"))
		assert.True(t, long.Time().IsZero(), none)
	}
}

func TestName(t *testing.T) {
	record := func(n int, nameLength byte) []byte {
		p := make([]byte, n)
		p[32] = nameLength
		return p
	}
	for _, c := range []struct{ size, nameLength, name, use int }{
		{34, 1, 1, 0}, {36, 1, 1, 2}, {36, 2, 2, 0}, {40, 2, 2, 4}, {38, 4, 4, 0}, {34, 2, 0, 0}, {33, 255, 0, 0},
	} {
		name, use := ondisk.Name(record(c.size, byte(c.nameLength)))
		assert.Len(t, name, c.name)
		assert.Len(t, use, c.use)
	}
}
