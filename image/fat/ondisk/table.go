package ondisk

import "encoding/binary"

// Bits is the width of an entry of the file allocation table: 12, 16 or 32.
// FAT32 uses 28 of its 32 bits.
type Bits int

// Limits of cluster counts: a volume with fewer clusters than MinClusters16 is
// FAT12, and one with fewer than MinClusters32 is FAT16.
const (
	MinClusters16 = 4085
	MinClusters32 = 65525
)

// FirstCluster is the number of the first cluster of the data area.
const FirstCluster = 2

// Mask covers the bits of an entry that count.
func (b Bits) Mask() uint32 {
	switch b {
	case 12:
		return 0xfff
	case 16:
		return 0xffff
	}
	return 0x0fffffff
}

// Bad marks a cluster with a defect: 0xff7 and its wider kin.
func (b Bits) Bad() uint32 { return b.Mask() - 8 }

// IsEnd reports whether an entry ends a chain: 0xff8 to 0xfff and wider kin.
func (b Bits) IsEnd(v uint32) bool { return v > b.Bad() }

// Offset is where in the table the entry of a cluster begins, in bytes.
func (b Bits) Offset(cluster uint32) int64 { return int64(cluster) * int64(b) / 8 }

// Width is how many bytes an entry touches.
func (b Bits) Width() int { return (int(b) + 7) / 8 }

// Entries is how many whole entries fit into so many bytes.
func (b Bits) Entries(bytes int64) int64 { return bytes * 8 / int64(b) }

// Entry decodes the entry of a cluster from the bytes at Offset(cluster).
func (b Bits) Entry(p []byte, cluster uint32) uint32 {
	switch b {
	case 12:
		v := uint32(binary.LittleEndian.Uint16(p))
		if cluster&1 != 0 {
			return v >> 4
		}
		return v & 0xfff
	case 16:
		return uint32(binary.LittleEndian.Uint16(p))
	}
	return binary.LittleEndian.Uint32(p) & 0x0fffffff
}

// Bits of the entry of cluster 1, which are set while the volume is fine.
// FAT12 has none.
const (
	Clean16    = 0x8000     // ClnShutBitMask
	NoErrors16 = 0x4000     // HrdErrBitMask
	Clean32    = 0x08000000 // ClnShutBitMask
	NoErrors32 = 0x04000000 // HrdErrBitMask
)

// Put stores the entry of a cluster in the bytes at Offset(cluster). What else
// these bytes hold stays: half of a neighbour on FAT12, four reserved bits on
// FAT32.
func (b Bits) Put(p []byte, cluster, v uint32) {
	le := binary.LittleEndian
	switch b {
	case 12:
		old := le.Uint16(p)
		if cluster&1 != 0 {
			le.PutUint16(p, old&0x000f|uint16(v)<<4)
		} else {
			le.PutUint16(p, old&0xf000|uint16(v)&0xfff)
		}
	case 16:
		le.PutUint16(p, uint16(v))
	default:
		le.PutUint32(p, le.Uint32(p)&0xf0000000|v&0x0fffffff)
	}
}
