// Package ondisk holds the layout of ISO 9660 volumes (ECMA-119) with the
// System Use Sharing Protocol and Rock Ridge (IEEE P1281 and P1282), and
// nothing else.
//
// Most numbers are recorded twice, in little and in big endian. Like every
// reader, this package takes the little-endian half.
package ondisk

import "encoding/binary"

// Where the volume descriptors lie: one in each sector from FirstSector on.
const (
	SectorSize     = 2048
	FirstSector    = 16
	DescriptorSize = 2048
	StandardID     = "CD001"
)

// Types of a volume descriptor.
const (
	TypeBoot          = 0
	TypePrimary       = 1
	TypeSupplementary = 2
	TypeTerminator    = 255
)

// Both16 and Both32 are numbers recorded in both byte orders.
type (
	Both16 struct{ LE, BE uint16 }
	Both32 struct{ LE, BE uint32 }
)

// LongTime is a date and time in digits: YYYYMMDDHHMMSScc and the offset from
// UTC in quarters of an hour.
type LongTime struct {
	Digits [16]byte
	Zone   int8
}

// Volume is a primary or supplementary volume descriptor up to its dates. The
// numbers of the path tables are only recorded in one byte order, which decode
// does not matter for: the tables are not used.
type Volume struct {
	Type         uint8    // 0
	ID           [5]byte  // 1: StandardID
	Version      uint8    // 6: 1; 2 for an enhanced volume descriptor
	Flags        uint8    // 7
	System       [32]byte // 8
	Label        [32]byte // 40: volume identifier
	Unused3      [8]byte  // 72
	Space        Both32   // 80: logical blocks
	Escapes      [32]byte // 88: of a supplementary descriptor
	SetSize      Both16   // 120
	Sequence     Both16   // 124
	BlockSize    Both16   // 128
	PathSize     Both32   // 132
	PathL        uint32   // 140
	PathLOpt     uint32   // 144
	PathM        uint32   // 148: big endian
	PathMOpt     uint32   // 152: big endian
	Root         [34]byte // 156: directory record
	Set          [128]byte
	Publisher    [128]byte
	Preparer     [128]byte
	Application  [128]byte
	Copyright    [37]byte
	Abstract     [37]byte
	Bibliography [37]byte
	Created      LongTime // 813
	Modified     LongTime // 830
	Expires      LongTime // 847
	Effective    LongTime // 864
}

// DecodeVolume decodes the DescriptorSize bytes of a volume descriptor.
func DecodeVolume(b []byte) (v Volume) {
	// The only error is a buffer that is too short.
	_, _ = binary.Decode(b[:DescriptorSize], binary.LittleEndian, &v)
	return v
}

// JolietLevel returns 1, 2 or 3 if the escape sequences say that names are in
// UCS-2 at that level, else 0.
func (v *Volume) JolietLevel() int {
	if v.Escapes[0] == '%' && v.Escapes[1] == '/' {
		switch v.Escapes[2] {
		case '@':
			return 1
		case 'C':
			return 2
		case 'E':
			return 3
		}
	}
	return 0
}

// BootSystem is where a boot record keeps its system identifier.
const (
	BootSystemOffset = 7
	ElTorito         = "EL TORITO SPECIFICATION"
)
