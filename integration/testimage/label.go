package testimage

import (
	"encoding/binary"
	"math/bits"
)

// sectorBytes is the sector size of the disks made here.
const sectorBytes = 512

// slice is one entry of an MBR, in sectors.
type slice struct {
	active      bool
	typ         byte
	start, size int64
}

// masterBootRecord returns sector 0. Its code tells the firmware that there is
// nothing to boot here.
func masterBootRecord(slots [4]slice) []byte {
	p := make([]byte, sectorBytes)
	copy(p, "\xcd\x18\xf4\xeb\xfd") // int 18h; hlt; jmp back
	for i, s := range slots {
		if s.size == 0 {
			continue
		}
		e := p[446+16*i:]
		if s.active {
			e[0] = 0x80
		}
		e[4] = s.typ
		// With the geometry of vnd(4) no cylinder fits: FE FF FF.
		copy(e[1:], "\xfe\xff\xff")
		copy(e[5:], "\xfe\xff\xff")
		binary.LittleEndian.PutUint32(e[8:], uint32(s.start))
		binary.LittleEndian.PutUint32(e[12:], uint32(s.size))
	}
	p[510], p[511] = 0x55, 0xaa
	return p
}

// The values of p_fstype that a resflash disk has.
const (
	fsUnused = 0
	fsSwap   = 1
	fsBSDFFS = 7
	fsMSDOS  = 8
)

// labelPart is one partition of a disklabel, in sectors.
type labelPart struct {
	start, size int64
	fstype      byte
	ffs         *FFS // the file system in it, nil for none or not known
}

// disklabel returns the label sector of OpenBSD, as it comes from a disk made
// on a vnd(4): type, names and geometry are those of that driver.
func disklabel(sectors, boundStart, boundEnd int64, duid [8]byte, parts [16]labelPart) []byte {
	const header = 148
	le := binary.LittleEndian
	p := make([]byte, header+16*len(parts))
	le.PutUint32(p[0:], 0x82564557)
	le.PutUint16(p[4:], 12) // d_type: vnd
	copy(p[8:], "vnd device")
	copy(p[24:], "fictitious")
	le.PutUint32(p[40:], sectorBytes)
	le.PutUint32(p[44:], 100) // d_nsectors
	le.PutUint32(p[48:], 1)   // d_ntracks
	le.PutUint32(p[52:], uint32(sectors/100))
	le.PutUint32(p[56:], 100) // d_secpercyl
	le.PutUint32(p[60:], uint32(sectors))
	copy(p[64:], duid[:])
	le.PutUint16(p[76:], uint16(boundStart>>32))
	le.PutUint16(p[78:], uint16(boundEnd>>32))
	le.PutUint32(p[80:], uint32(boundStart))
	le.PutUint32(p[84:], uint32(boundEnd))
	le.PutUint16(p[112:], uint16(sectors>>32))
	le.PutUint16(p[114:], 1) // d_version
	le.PutUint32(p[132:], 0x82564557)
	le.PutUint16(p[138:], uint16(len(parts)))
	for i, s := range parts {
		e := p[header+16*i:]
		le.PutUint32(e[0:], uint32(s.size))
		le.PutUint32(e[4:], uint32(s.start))
		le.PutUint16(e[8:], uint16(s.start>>32))
		le.PutUint16(e[10:], uint16(s.size>>32))
		e[12] = s.fstype
		if s.fstype != fsBSDFFS {
			continue
		}
		bsize, fsize, cpg := 16384, 2048, int64(1)
		if s.ffs != nil {
			bsize, fsize, cpg = s.ffs.BlockSize, s.ffs.FragSize, s.ffs.PerGroup
		}
		e[13] = byte((bits.Len(uint(bsize))-13)<<3 | bits.Len(uint(bsize/fsize)))
		le.PutUint16(e[14:], uint16(cpg))
	}
	var sum uint16
	for i := 0; i < len(p); i += 2 {
		sum ^= le.Uint16(p[i:])
	}
	le.PutUint16(p[136:], sum)
	return p
}

// bootParams are the values that installboot(8) patches into biosboot.
type bootParams struct {
	ffs    *FFS
	start  int64 // first sector of the partition with /boot
	inode  uint32
	length int64 // bytes of /boot
}

// partitionBootRecord returns the first sector of the OpenBSD partition. It
// has the parameters of a boot sector of OpenBSD 7.6 where that keeps them,
// and no code.
func partitionBootRecord(b bootParams) []byte {
	p := make([]byte, sectorBytes)
	copy(p, "\xeb\x3c\x90OpenBSD\x00")
	copy(p[0x3e:], "\xcd\x18\xf4\xeb\xfd")
	le := binary.LittleEndian
	block, off := b.ffs.InodeBlock(b.inode)
	direct, increment := int64(40), byte(0)
	if b.ffs.Version == 2 {
		direct, increment = 112, 4
	}
	le.PutUint32(p[0x96:], uint32(block))          // inodeblk
	le.PutUint32(p[0xa3:], uint32(512+off+direct)) // inodedbl
	le.PutUint16(p[0xa8:], uint16(howmany(b.length, int64(b.ffs.BlockSize))))
	p[0xc1] = increment                                     // blkincr
	le.PutUint16(p[0xcd:], uint16(b.ffs.BlockSize/16))      // fs_bsize_p
	p[0x18c] = byte(bits.Len(uint(b.ffs.FragSize/512)) - 1) // fsbtodb
	le.PutUint32(p[0x1a1:], uint32(b.start))                // p_offset
	le.PutUint16(p[0x1ca:], uint16(b.ffs.BlockSize/512))    // fs_bsize_s
	p[510], p[511] = 0x55, 0xaa
	return p
}
