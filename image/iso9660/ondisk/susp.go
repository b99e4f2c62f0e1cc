package ondisk

import (
	"encoding/binary"
	"time"
)

// Signatures of system use entries.
const (
	SigCE = "CE" // continuation area
	SigSP = "SP" // the volume uses the protocol
	SigST = "ST" // end of the entries
	SigER = "ER" // an extension, by name

	SigPX = "PX" // mode, links, owner
	SigPN = "PN" // device number
	SigSL = "SL" // symbolic link
	SigNM = "NM" // name
	SigCL = "CL" // where a relocated directory is
	SigPL = "PL" // where the parent of a relocated directory is
	SigRE = "RE" // a relocated directory, seen where it was moved to
	SigTF = "TF" // times
	SigSF = "SF" // sparse file
	SigZF = "ZF" // zisofs: compressed file
)

// EntryHeader is the size of signature, length and version.
const EntryHeader = 4

// Flags of NM and SL entries, and of the components of SL.
const (
	FlagContinue = 0x01
	FlagCurrent  = 0x02
	FlagParent   = 0x04
	FlagRoot     = 0x08 // SL only
	FlagReserved = 0x30 // once: root of the volume, name of the host
)

// Flags of TF: which times are there, in this order.
const (
	TimeCreation   = 0x01
	TimeModify     = 0x02
	TimeAccess     = 0x04
	TimeAttributes = 0x08
	TimeBackup     = 0x10
	TimeExpiration = 0x20
	TimeEffective  = 0x40
	TimeLong       = 0x80 // in the form of LongTime
)

// Sizes of the two forms of a time.
const (
	ShortTimeSize = 7
	LongTimeSize  = 17
)

// Both returns the little-endian half of the number in both orders at off.
func Both(b []byte, off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }

// ShortTime decodes the time of a directory record: years since 1900, month,
// day, hour, minute, second, and the offset from UTC in quarters of an hour. All
// zeros is no time.
func ShortTime(b []byte) time.Time {
	_ = b[ShortTimeSize-1]
	if b[0] == 0 && b[1] == 0 && b[2] == 0 {
		return time.Time{}
	}
	return date(1900+int(b[0]), int(b[1]), int(b[2]), int(b[3]), int(b[4]), int(b[5]), 0, int8(b[6]))
}

// Time decodes a time in digits. Zeros, as digits or as bytes, are no time.
func (t *LongTime) Time() time.Time {
	var n [16]int
	for i, c := range t.Digits {
		if c < '0' || c > '9' {
			return time.Time{}
		}
		n[i] = int(c - '0')
	}
	two := func(i int) int { return 10*n[i] + n[i+1] }
	year := 100*two(0) + two(2)
	if year == 0 {
		return time.Time{}
	}
	return date(year, two(4), two(6), two(8), two(10), two(12), two(14), t.Zone)
}

// DecodeLongTime decodes the LongTimeSize bytes of a time in digits.
func DecodeLongTime(b []byte) LongTime {
	return LongTime{Digits: [16]byte(b[:16]), Zone: int8(b[16])}
}

func date(year, month, day, hour, minute, second, hundredths int, zone int8) time.Time {
	return time.Date(year, time.Month(month), day, hour, minute, second, hundredths*10_000_000, time.UTC).
		Add(-time.Duration(zone) * 15 * time.Minute)
}
