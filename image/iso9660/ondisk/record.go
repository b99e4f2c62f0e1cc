package ondisk

import "encoding/binary"

// RecordSize is the fixed part of a directory record, before the name.
const RecordSize = 33

// MaxRecord is the longest directory record.
const MaxRecord = 255

// Flags of a directory record.
const (
	FlagHidden      = 0x01
	FlagDirectory   = 0x02
	FlagAssociated  = 0x04
	FlagMultiExtent = 0x80 // another record of the same file follows
)

// Names of the first two records of a directory: itself, and the one above.
const (
	NameSelf   = 0x00
	NameParent = 0x01
)

// Record is the fixed part of a directory record.
type Record struct {
	Length     uint8   // of the whole record
	XattrLen   uint8   // blocks of the extended attribute record before the data
	Extent     uint32  // logical block
	Size       uint32  // bytes
	Time       [7]byte // see ShortTime
	Flags      uint8
	UnitSize   uint8 // of interleaved files, else 0
	Gap        uint8
	Volume     uint16
	NameLength uint8
}

// DecodeRecord decodes the RecordSize bytes of the fixed part:
//
//	0 length · 1 xattr length · 2 extent LE, BE · 10 size LE, BE · 18 time ·
//	25 flags · 26 unit size · 27 gap · 28 volume LE, BE · 32 name length
func DecodeRecord(b []byte) Record {
	_ = b[RecordSize-1]
	le := binary.LittleEndian
	return Record{
		Length:     b[0],
		XattrLen:   b[1],
		Extent:     le.Uint32(b[2:]),
		Size:       le.Uint32(b[10:]),
		Time:       [7]byte(b[18:25]),
		Flags:      b[25],
		UnitSize:   b[26],
		Gap:        b[27],
		Volume:     le.Uint16(b[28:]),
		NameLength: b[32],
	}
}

// Name returns the name of a whole record, and what follows it: the system use
// area. Both are empty if the lengths do not fit the record.
func Name(raw []byte) (name, systemUse []byte) {
	end := RecordSize + int(raw[32])
	if end > len(raw) {
		return nil, nil
	}
	name = raw[RecordSize:end]
	if end&1 != 0 { // a byte of padding makes the area begin at an even offset
		end++
	}
	if end > len(raw) {
		return name, nil
	}
	return name, raw[end:]
}
