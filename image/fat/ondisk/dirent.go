package ondisk

import "encoding/binary"

// DirentSize is the size of a directory entry, and of a long-name entry.
const DirentSize = 32

// First bytes of a directory entry that mean something else than a name.
const (
	MarkEnd     = 0x00 // this entry and all behind it were never used
	MarkDeleted = 0xe5
	MarkE5      = 0x05 // the name really begins with 0xe5 (a kanji lead byte)
)

// Attributes of a directory entry.
const (
	AttrReadOnly = 0x01
	AttrHidden   = 0x02
	AttrSystem   = 0x04
	AttrLabel    = 0x08 // the volume label
	AttrDir      = 0x10
	AttrArchive  = 0x20

	AttrLong     = 0x0f // all of the lower four: part of a long name …
	AttrLongMask = 0x3f // … under this mask
)

// Bits of Dirent.Case.
const (
	CaseLowerBase = 0x08
	CaseLowerExt  = 0x10
)

// Dirent is a directory entry with a short (8.3) name.
type Dirent struct {
	Name       [11]byte // DIR_Name: 8 of the base, 3 of the extension
	Attr       uint8    // DIR_Attr
	Case       uint8    // DIR_NTRes: parts to be shown in lower case
	CreateTen  uint8    // DIR_CrtTimeTenth: hundredths of a second, 0 to 199
	CreateTime uint16   // DIR_CrtTime
	CreateDate uint16   // DIR_CrtDate
	AccessDate uint16   // DIR_LstAccDate
	ClusterHi  uint16   // DIR_FstClusHI: FAT32 only
	WriteTime  uint16   // DIR_WrtTime
	WriteDate  uint16   // DIR_WrtDate
	ClusterLo  uint16   // DIR_FstClusLO
	Size       uint32   // DIR_FileSize: bytes, 0 for directories
}

// DecodeDirent decodes the 32 bytes of a directory entry.
func DecodeDirent(b []byte) Dirent {
	_ = b[DirentSize-1]
	le := binary.LittleEndian
	return Dirent{
		Name:       [11]byte(b[0:11]),
		Attr:       b[11],
		Case:       b[12],
		CreateTen:  b[13],
		CreateTime: le.Uint16(b[14:]),
		CreateDate: le.Uint16(b[16:]),
		AccessDate: le.Uint16(b[18:]),
		ClusterHi:  le.Uint16(b[20:]),
		WriteTime:  le.Uint16(b[22:]),
		WriteDate:  le.Uint16(b[24:]),
		ClusterLo:  le.Uint16(b[26:]),
		Size:       le.Uint32(b[28:]),
	}
}

// Checksum is the checksum of the short name that every part of the long name
// before it carries: ChkSum() of the specification.
func (d *Dirent) Checksum() uint8 {
	var sum uint8
	for _, c := range d.Name {
		sum = sum<<7 | sum>>1
		sum += c
	}
	return sum
}

// Long-name entries. A long name is stored in as many of them as it needs, the
// last part first, directly before its directory entry.
const (
	LongUnits   = 13   // UTF-16 code units in an entry
	LongLast    = 0x40 // LDIR_Ord: the last part of the name, the first on disk
	LongOrdMask = 0x3f // LDIR_Ord: number of the part, from 1
	LongParts   = 20   // the most parts of a name
	LongMax     = 255  // the most code units of a name
)

// Long is a long-name entry.
type Long struct {
	Ord      uint8     // LDIR_Ord
	Name1    [5]uint16 // LDIR_Name1
	Attr     uint8     // LDIR_Attr: AttrLong
	Type     uint8     // LDIR_Type: 0
	Checksum uint8     // LDIR_Chksum: of the short name
	Name2    [6]uint16 // LDIR_Name2
	Cluster  uint16    // LDIR_FstClusLO: 0
	Name3    [2]uint16 // LDIR_Name3
}

// IsLong reports whether the 32 bytes of b are a long-name entry.
func IsLong(b []byte) bool { return b[11]&AttrLongMask == AttrLong }

// LongOrd returns LDIR_Ord of a long-name entry.
func LongOrd(b []byte) uint8 { return b[0] }

// LongChecksum returns LDIR_Chksum of a long-name entry.
func LongChecksum(b []byte) uint8 { return b[13] }

// LongName stores the code units of a long-name entry in units.
func LongName(b []byte, units *[LongUnits]uint16) {
	_ = b[DirentSize-1]
	le := binary.LittleEndian
	for i := range 5 {
		units[i] = le.Uint16(b[1+2*i:])
	}
	for i := range 6 {
		units[5+i] = le.Uint16(b[14+2*i:])
	}
	for i := range 2 {
		units[11+i] = le.Uint16(b[28+2*i:])
	}
}

// Encode stores the entry in the first 32 bytes of b.
func (d *Dirent) Encode(b []byte) {
	_ = b[DirentSize-1]
	le := binary.LittleEndian
	copy(b, d.Name[:])
	b[11], b[12], b[13] = d.Attr, d.Case, d.CreateTen
	le.PutUint16(b[14:], d.CreateTime)
	le.PutUint16(b[16:], d.CreateDate)
	le.PutUint16(b[18:], d.AccessDate)
	le.PutUint16(b[20:], d.ClusterHi)
	le.PutUint16(b[22:], d.WriteTime)
	le.PutUint16(b[24:], d.WriteDate)
	le.PutUint16(b[26:], d.ClusterLo)
	le.PutUint32(b[28:], d.Size)
}

// PutLong stores part number n (from 1) of a long name in the first 32 bytes of
// b. What is missing at the end of the name is a NUL and ones.
func PutLong(b []byte, name []uint16, n int, sum uint8) {
	clear(b[:DirentSize])
	le := binary.LittleEndian
	b[0] = uint8(n)
	if n*LongUnits >= len(name) {
		b[0] |= LongLast
	}
	b[11], b[13] = AttrLong, sum
	for i := range LongUnits {
		u := uint16(0xffff)
		switch at := (n-1)*LongUnits + i; {
		case at < len(name):
			u = name[at]
		case at == len(name):
			u = 0
		}
		switch {
		case i < 5:
			le.PutUint16(b[1+2*i:], u)
		case i < 11:
			le.PutUint16(b[14+2*(i-5):], u)
		default:
			le.PutUint16(b[28+2*(i-11):], u)
		}
	}
}
