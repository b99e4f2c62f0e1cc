package ondisk_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/erofs/ondisk"
)

// compactTwin and extendedTwin are the two forms of an inode as erofs_fs.h has
// them.
type compactTwin struct {
	Format, Xattrs, Mode, Nlink uint16
	Size, Reserved              uint32
	Where, Number               uint32
	UID, GID                    uint16
	Reserved2                   uint32
}

type extendedTwin struct {
	Format, Xattrs, Mode, Reserved uint16
	Size                           uint64
	Where, Number, UID, GID        uint32
	Mtime                          int64
	Nsec, Nlink                    uint32
	Reserved2                      [16]byte
}

// The decoder written by hand agrees with that of the standard library.
func TestInode(t *testing.T) {
	require.Equal(t, ondisk.CompactSize, binary.Size(compactTwin{}))
	require.Equal(t, ondisk.ExtendedSize, binary.Size(extendedTwin{}))
	rnd := rand.New(rand.NewPCG(1, 1))
	raw := make([]byte, ondisk.ExtendedSize)
	for range 10_000 {
		for i := range raw {
			raw[i] = byte(rnd.Uint32())
		}
		n := ondisk.InodeSize(raw)
		got := ondisk.DecodeInode(raw[:n])
		assert.Equal(t, ondisk.Layout(raw[0]>>1&7), got.Layout)
		if got.Extended {
			var w extendedTwin
			_, err := binary.Decode(raw, binary.LittleEndian, &w)
			require.NoError(t, err)
			require.Equal(t, ondisk.Inode{
				Format: w.Format, Extended: true, Layout: got.Layout, Xattrs: w.Xattrs, Mode: w.Mode, Nlink: w.Nlink,
				Size: w.Size, Where: w.Where, Number: w.Number, UID: w.UID, GID: w.GID, Mtime: w.Mtime, Nsec: w.Nsec,
			}, got)
			continue
		}
		require.Equal(t, ondisk.CompactSize, n)
		var w compactTwin
		_, err := binary.Decode(raw[:n], binary.LittleEndian, &w)
		require.NoError(t, err)
		require.Equal(t, ondisk.Inode{
			Format: w.Format, Layout: got.Layout, Xattrs: w.Xattrs, Mode: w.Mode, Nlink: uint32(w.Nlink),
			Size: uint64(w.Size), Where: w.Where, Number: w.Number, UID: uint32(w.UID), GID: uint32(w.GID),
		}, got)
	}
}

// The superblock has the size that it has on disk, and its fields lie where
// erofs_fs.h says.
func TestSuper(t *testing.T) {
	require.Equal(t, ondisk.SuperSize, binary.Size(ondisk.Super{}))
	raw := make([]byte, ondisk.SuperSize)
	for _, off := range []int{8, 14, 36, 40, 44, 80, 86, 90, 91, 92, 96, 112, 120} {
		raw[off] = byte(off)
	}
	s := ondisk.DecodeSuper(raw)
	assert.Equal(t, []uint64{8, 14, 36, 40, 44, 80, 86, 90, 91, 92, 96, 112, 120}, []uint64{
		uint64(s.Compat), uint64(s.Root), uint64(s.Blocks), uint64(s.MetaBlock), uint64(s.XattrBlock), uint64(s.Incompat),
		uint64(s.ExtraDevices), uint64(s.DirBlockBits), uint64(s.Prefixes), uint64(s.PrefixStart), s.PackedNid, s.Root8, s.MetaboxNid})
}

func TestDevice(t *testing.T) {
	// new_encode_dev(300, 70000) of Linux: minor & 0xff | major << 8 | (minor & ~0xff) << 12
	const minor = 70_000
	in := ondisk.Inode{Where: minor&0xFF | 300<<8 | minor&^0xFF<<12}
	major, got := in.Device()
	assert.EqualValues(t, 300, major)
	assert.EqualValues(t, minor, got)
}

func TestXattrSizes(t *testing.T) {
	assert.Zero(t, ondisk.XattrsSize(0))
	assert.EqualValues(t, 12, ondisk.XattrsSize(1))
	assert.EqualValues(t, 20, ondisk.XattrsSize(3))
	assert.Equal(t, 12, ondisk.XattrEntry{NameSize: 4, ValueSize: 1}.Size())
	assert.Equal(t, 4, ondisk.XattrEntry{}.Size())
}
