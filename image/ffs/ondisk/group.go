package ondisk

import (
	"encoding/binary"
	"fmt"
)

// The cylinder group header.
const (
	GroupMagic    = 0x00090255 // CG_MAGIC
	GroupSize     = 168        // bytes of struct cg before the maps
	groupMagicOff = 4
	groupIndexOff = 12
	groupInitOff  = 120
)

// Group is struct cg, the header of a cylinder group.
type Group struct {
	FirstField    int32 // historic
	Magic         uint32
	OldTime       int32
	Index         uint32 // cg_cgx
	OldNcyl       int16
	OldInodes     int16  // cg_old_niblk: FFS1
	Frags         uint32 // cg_ndblk: fragments of this group
	Summary       Summary
	Rotor         uint32
	FragRotor     uint32
	InodeRotor    uint32
	FreeRuns      [MaxFrag]uint32 // cg_frsum
	OldBtotOff    int32
	OldBOff       int32
	InodeMapOff   uint32 // cg_iusedoff: bit set = used
	FreeMapOff    uint32 // cg_freeoff: bit set = free, one per fragment
	NextFreeOff   uint32
	ClusterSumOff uint32
	ClusterOff    uint32
	ClusterBlocks uint32
	Inodes        uint32 // cg_niblk: FFS2
	InitedInodes  uint32 // cg_initediblk: FFS2; the inodes behind are not written yet
	UnrefInodes   uint32 // cg_unrefs, FreeBSD
	Spare32       int32
	CheckHash     uint32 // cg_ckhash, FreeBSD
	Time          int64  // FFS2
	Spare64       [3]int64
}

// DecodeGroup decodes the header of a cylinder group.
func DecodeGroup(b []byte, o Order) (*Group, error) {
	g := new(Group)
	if _, err := binary.Decode(b, o.ByteOrder(), g); err != nil {
		return nil, fmt.Errorf("decode cylinder group: %w", err)
	}
	return g, nil
}

// Append encodes g behind b.
func (g *Group) Append(b []byte, o Order) []byte {
	b, err := binary.Append(b, o.ByteOrder(), g)
	if err != nil {
		panic("bug: ondisk.Group has a field of variable size")
	}
	return b
}

// GroupInited returns the number of inodes of group c that have been written,
// or false if b is not the header of that group.
func GroupInited(b []byte, o Order, c uint32) (uint32, bool) {
	if len(b) < GroupSize || o.U32(b[groupMagicOff:]) != GroupMagic || o.U32(b[groupIndexOff:]) != c {
		return 0, false
	}
	return o.U32(b[groupInitOff:]), true
}
