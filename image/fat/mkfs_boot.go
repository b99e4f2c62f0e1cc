package fat

import (
	"encoding/binary"
	"math"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// oemName says who made the volume. Programs that look at it are told to be
// content with anything.
const oemName = "resflash"

// Where things lie in the reserved sectors of FAT32.
const (
	fsInfoSector = 1
	backupSector = 6
	rootCluster  = 2
)

// Boot code for whoever starts a computer from the volume: it prints a message,
// waits for a key, and lets the BIOS try again. It runs at loadAddress; the
// address of the message is patched in.
var bootCode = []byte{
	0x31, 0xc0, // xor ax, ax
	0x8e, 0xd8, // mov ds, ax
	0xfc,             // cld
	0xbe, 0x00, 0x00, // mov si, message
	0xac,       // next: lodsb
	0x84, 0xc0, // test al, al
	0x74, 0x09, // jz wait
	0xb4, 0x0e, // mov ah, 0eh
	0xbb, 0x07, 0x00, // mov bx, 7
	0xcd, 0x10, // int 10h: print al
	0xeb, 0xf2, // jmp next
	0x30, 0xe4, // wait: xor ah, ah
	0xcd, 0x16, // int 16h: wait for a key
	0xcd, 0x19, // int 19h: start again
	0xf4,       // hlt
	0xeb, 0xfd, // jmp to the hlt
}

const (
	loadAddress = 0x7c00
	messageArg  = 6 // offset of the address of the message in bootCode
	bootMessage = "There is no operating system on this disk.\r\nTake it out, or choose another one, and press a key.\r\n\x00"
)

// bootSector returns the first 512 bytes of the volume.
func (m *maker) bootSector() []byte {
	sector := make([]byte, ondisk.BootSectorSize)
	extOff, kind := ondisk.Ext16Offset, "FAT12   "
	switch m.bits {
	case 16:
		kind = "FAT16   "
	case 32:
		extOff, kind = ondisk.Ext32Offset, "FAT32   "
	}
	codeOff := extOff + binary.Size(ondisk.Ext{})
	bpb := ondisk.BPB{
		Jump:              [3]byte{0xeb, byte(codeOff - 2), 0x90},
		OEMName:           [8]byte([]byte(oemName)),
		BytesPerSector:    uint16(m.sectorSize),
		SectorsPerCluster: uint8(m.cluster),
		ReservedSectors:   uint16(m.reserved),
		FATs:              uint8(m.fats),
		RootEntries:       uint16(m.rootEntries),
		Media:             m.disk.media,
		SectorsPerTrack:   uint16(m.disk.sectorsPerTrack),
		Heads:             uint16(m.disk.heads),
		HiddenSectors:     m.hidden,
	}
	if m.sectors <= math.MaxUint16 {
		bpb.TotalSectors16 = uint16(m.sectors)
	} else {
		bpb.TotalSectors32 = uint32(m.sectors)
	}
	if m.bits == 32 {
		bpb32 := ondisk.BPB32{
			FATSectors:  uint32(m.fatSectors),
			RootCluster: rootCluster,
			FSInfo:      fsInfoSector,
			Backup:      backupSector,
		}
		bpb32.Encode(sector)
	} else {
		bpb.FATSectors16 = uint16(m.fatSectors)
	}
	bpb.Encode(sector)
	ext := ondisk.Ext{
		Drive:     m.disk.drive(),
		Signature: ondisk.SignatureLabel,
		VolumeID:  m.id,
		Label:     m.label,
		FSType:    [8]byte([]byte(kind)),
	}
	if !m.hasLabel() {
		copy(ext.Label[:], unlabelled+"    ")
	}
	ext.Encode(sector, extOff)

	n := codeOff + copy(sector[codeOff:], bootCode)
	binary.LittleEndian.PutUint16(sector[codeOff+messageArg:], uint16(loadAddress+n))
	copy(sector[n:], bootMessage)
	sector[ondisk.SignatureOff], sector[ondisk.SignatureOff+1] = 0x55, 0xaa
	return sector
}

// fsInfo returns the sector of hints. The root directory has the first cluster.
func (m *maker) fsInfo() []byte {
	info := ondisk.FSInfo{
		LeadSignature:   ondisk.FSInfoLeadSignature,
		StructSignature: ondisk.FSInfoStructSignature,
		Free:            uint32(m.clusters - 1),
		Next:            rootCluster,
		TrailSignature:  ondisk.FSInfoTrailSignature,
	}
	sector := make([]byte, ondisk.FSInfoSize)
	info.Encode(sector)
	return sector
}
