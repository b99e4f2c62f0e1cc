package disklabel

import (
	"encoding/binary"

	"github.com/resflash/resflash/image/part"
	"github.com/resflash/resflash/image/vfs"
)

// Layout of the label.
const (
	magic       = 0x82564557 // DISKMAGIC
	headerBytes = 148
	entryBytes  = 16
	checksumOff = 136
	countOff    = 138
	// maxParts bounds d_npartitions: 8 to 22 are usual, OpenBSD has made it 52
	// since.
	maxParts = 64
)

// header is struct disklabel up to d_partitions. The names are those of the old
// layout, which FreeBSD and NetBSD have; the accessors below are what OpenBSD
// has in the same places.
type header struct {
	Magic         uint32   // d_magic
	Type          uint16   // d_type
	Subtype       uint16   // d_subtype
	TypeName      [16]byte // d_typename
	PackName      [16]byte // d_packname
	SecSize       uint32   // d_secsize, bytes
	NSectors      uint32   // d_nsectors
	NTracks       uint32   // d_ntracks
	NCylinders    uint32   // d_ncylinders
	SecPerCyl     uint32   // d_secpercyl
	SecPerUnit    uint32   // d_secperunit; OpenBSD: the low half
	SparesTrack   uint16   // d_sparespertrack; OpenBSD: d_uid from here, 8 bytes
	SparesCyl     uint16   // d_sparespercyl
	AltCylinders  uint32   // d_acylinders
	RPM           uint16   // d_rpm; OpenBSD: d_acylinders from here
	Interleave    uint16   // d_interleave
	TrackSkew     uint16   // d_trackskew; OpenBSD: d_bstarth
	CylSkew       uint16   // d_cylskew; OpenBSD: d_bendh
	HeadSwitch    uint32   // d_headswitch; OpenBSD: d_bstart
	TrackSeek     uint32   // d_trkseek; OpenBSD: d_bend
	Flags         uint32   // d_flags
	DriveData     [5]uint32
	Spare0        [4]byte // d_spare[0]; OpenBSD: u16 d_secperunith, u16 d_version
	Spare         [4]uint32
	Magic2        uint32 // d_magic2
	Checksum      uint16 // d_checksum
	NumPartitions uint16 // d_npartitions
	BBSize        uint32 // d_bbsize
	SBSize        uint32 // d_sbsize
}

// partition is struct partition. What is in Middle and Frag depends on the
// system and the version.
type partition struct {
	Size   uint32  // p_size, sectors; OpenBSD version 1: the low half
	Offset uint32  // p_offset, sectors; OpenBSD version 1: the low half
	Middle [4]byte // p_fsize, bytes; OpenBSD version 1: u16 p_offseth, u16 p_sizeh
	FSType uint8   // p_fstype
	Frag   uint8   // p_frag, fragments per block; OpenBSD version 1: p_fragblock
	CPG    uint16  // p_cpg

	order binary.ByteOrder
}

// label is a label whose magic numbers and checksum are right.
type label struct {
	header
	order binary.ByteOrder
	raw   []byte // from d_magic to the last partition
	parts []partition
	off   int64 // byte on the disk
}

// decode reads the label at the byte at of window.
func decode(window []byte, at int) (*label, error) {
	if at < 0 || at+headerBytes > len(window) {
		return nil, part.ErrNotFound
	}
	p := window[at:]
	l := &label{}
	switch {
	case binary.LittleEndian.Uint32(p) == magic:
		l.order = binary.LittleEndian
	case binary.BigEndian.Uint32(p) == magic:
		l.order = binary.BigEndian
	default:
		return nil, part.ErrNotFound
	}
	bad := func(field int, format string, args ...any) error {
		return vfs.Corruptf(int64(at+field), "disklabel", format, args...)
	}
	if _, err := binary.Decode(p, l.order, &l.header); err != nil {
		return nil, part.ErrNotFound
	}
	if l.Magic2 != magic {
		return nil, bad(132, "second magic number is 0x%08x instead of 0x%08x", l.Magic2, uint32(magic))
	}
	n := int(l.NumPartitions)
	if n == 0 || n > maxParts {
		return nil, bad(countOff, "%d partitions", n)
	}
	end := headerBytes + n*entryBytes
	if end > len(p) {
		return nil, bad(countOff, "%d partitions reach beyond the device", n)
	}
	l.raw = p[:end]
	if sum := checksum(l.raw, l.order); sum != 0 {
		return nil, bad(checksumOff, "checksum is 0x%04x, should be 0x%04x", l.Checksum, sum^l.Checksum)
	}
	if s := l.SecSize; s < 512 || s > 65536 || s&(s-1) != 0 {
		return nil, bad(40, "sector size of %d bytes", s)
	}
	l.parts = make([]partition, n)
	for i := range l.parts {
		l.parts[i] = decodePartition(l.raw[headerBytes+i*entryBytes:], l.order)
	}
	return l, nil
}

func decodePartition(p []byte, order binary.ByteOrder) partition {
	return partition{
		Size:   order.Uint32(p[0:]),
		Offset: order.Uint32(p[4:]),
		Middle: [4]byte(p[8:12]),
		FSType: p[12],
		Frag:   p[13],
		CPG:    order.Uint16(p[14:]),
		order:  order,
	}
}

// checksum is the exclusive or of all 16-bit words; 0 for an intact label
// (dkcksum).
func checksum(p []byte, order binary.ByteOrder) uint16 {
	var sum uint16
	for ; len(p) >= 2; p = p[2:] {
		sum ^= order.Uint16(p)
	}
	return sum
}

// entryOff is the byte on the disk of the entry of partition i.
func (l *label) entryOff(i int) int64 { return l.off + headerBytes + int64(i)*entryBytes }

// OpenBSD's view of the same bytes.

func (l *label) version() uint16        { return l.order.Uint16(l.Spare0[2:]) } // d_version
func (l *label) secPerUnitHigh() uint16 { return l.order.Uint16(l.Spare0[0:]) } // d_secperunith
func (l *label) uid() [8]byte           { return [8]byte(l.raw[64:72]) }        // d_uid
func (l *label) boundStartHigh() uint16 { return l.TrackSkew }
func (l *label) boundEndHigh() uint16   { return l.CylSkew }
func (l *label) boundStart() uint32     { return l.HeadSwitch }
func (l *label) boundEnd() uint32       { return l.TrackSeek }

func (p partition) offsetHigh() uint16 { return p.order.Uint16(p.Middle[0:]) } // p_offseth
func (p partition) sizeHigh() uint16   { return p.order.Uint16(p.Middle[2:]) } // p_sizeh

// uidMissing reports whether a label of OpenBSD lacks what its fstab and boot
// loader identify the disk by. Labels of version 0 never had one.
func (l *label) uidMissing(t *part.Table) bool {
	return t.Flavor == string(OpenBSD) && l.version() >= 1 && t.ID == ""
}

// guess tells whose label this is, where no MBR type says so.
func (l *label) guess() Flavor {
	switch {
	case l.version() == 1:
		return OpenBSD
	case len(l.parts) > rawPart+1 && l.parts[rawPart+1].FSType == fsUnused &&
		l.parts[rawPart+1].Offset == 0 && l.parts[rawPart+1].Size >= l.SecPerUnit && l.SecPerUnit > 0:
		return NetBSD // d is the whole disk on its PC ports
	case l.SparesTrack == 0 && l.SparesCyl == 0 && l.RPM == 3600 && l.Interleave <= 1 && len(l.parts)%8 == 0 && l.order == binary.LittleEndian:
		return FreeBSD // what its bsdlabel and gpart write
	}
	return NetBSD
}

// blockSizes returns the fragment and block size in bytes that the label has
// for a partition with a file system; 0, 0 if none or nonsense.
func (p partition) blockSizes(flavor Flavor, version uint16) (frag, block int) {
	if flavor == OpenBSD && version >= 1 {
		// p_fragblock: (log2(block size) - 12) << 3 | (log2(fragments) + 1)
		if p.Frag&7 == 0 {
			return 0, 0
		}
		block = 1 << (int(p.Frag>>3) + 12)
		frag = block >> (p.Frag&7 - 1)
	} else {
		size := p.order.Uint32(p.Middle[:])
		if size > 1<<16 || p.Frag == 0 || p.Frag > 64 {
			return 0, 0
		}
		frag, block = int(size), int(size)*int(p.Frag)
	}
	if p.FSType != fsBSDFFS && p.FSType != fsBSDLFS || frag < 512 || block > 1<<20 {
		return 0, 0
	}
	return frag, block
}
