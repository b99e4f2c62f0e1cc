// Package ondisk holds the layout of FAT12, FAT16 and FAT32 volumes with VFAT
// long names: constants, structures and their decoders, and nothing else. All
// numbers are little endian.
//
// The names of the fields follow Microsoft's "FAT32 File System
// Specification" 1.03; its own names stand in the comments.
package ondisk

import "encoding/binary"

// Sizes and offsets of the boot area, in bytes.
const (
	BootSectorSize = 512  // what of sector 0 is defined, whatever the sector size
	Ext16Offset    = 0x24 // of Ext in the boot sector of FAT12 and FAT16
	BPB32Offset    = 0x24 // of BPB32 in the boot sector of FAT32
	Ext32Offset    = 0x40 // of Ext in the boot sector of FAT32
	StateOffset    = 1    // of Ext.State in Ext
	SignatureOff   = 510  // of the bytes 55 AA
	TableOffset    = 446  // of the partition table, if sector 0 is an MBR
	TableEntrySize = 16
)

// BPB is the BIOS parameter block as all three variants have it, together with
// the jump instruction and the OEM name before it: the first 36 bytes.
type BPB struct {
	Jump              [3]byte // BS_jmpBoot: EB xx 90 or E9 xx xx
	OEMName           [8]byte // BS_OEMName
	BytesPerSector    uint16  // BPB_BytsPerSec
	SectorsPerCluster uint8   // BPB_SecPerClus
	ReservedSectors   uint16  // BPB_RsvdSecCnt, the boot sector among them
	FATs              uint8   // BPB_NumFATs
	RootEntries       uint16  // BPB_RootEntCnt, 0 on FAT32
	TotalSectors16    uint16  // BPB_TotSec16, 0: see TotalSectors32
	Media             uint8   // BPB_Media
	FATSectors16      uint16  // BPB_FATSz16, 0 on FAT32
	SectorsPerTrack   uint16  // BPB_SecPerTrk
	Heads             uint16  // BPB_NumHeads
	HiddenSectors     uint32  // BPB_HiddSec
	TotalSectors32    uint32  // BPB_TotSec32
}

// BPB32 is what FAT32 adds at BPB32Offset.
type BPB32 struct {
	FATSectors  uint32   // BPB_FATSz32
	Flags       uint16   // BPB_ExtFlags: Active…
	Version     uint16   // BPB_FSVer, 0
	RootCluster uint32   // BPB_RootClus
	FSInfo      uint16   // BPB_FSInfo, sector number
	Backup      uint16   // BPB_BkBootSec, sector number of a copy of the boot sector
	Reserved    [12]byte // BPB_Reserved
}

// Bits of BPB32.Flags.
const (
	FlagActiveMask  = 0x000f // the active FAT, if FlagNoMirroring
	FlagNoMirroring = 0x0080 // only one FAT is active; the others are stale
)

// Ext is the extended boot record, at Ext16Offset or Ext32Offset.
type Ext struct {
	Drive     uint8    // BS_DrvNum
	State     uint8    // BS_Reserved1: State…, kept by Windows NT and Linux
	Signature uint8    // BS_BootSig: Signature…
	VolumeID  uint32   // BS_VolID
	Label     [11]byte // BS_VolLab
	FSType    [8]byte  // BS_FilSysType: "FAT12   ", says nothing binding
}

// Values of Ext.
const (
	SignatureID    = 0x28 // only VolumeID follows
	SignatureLabel = 0x29 // VolumeID, Label and FSType follow

	StateDirty   = 0x01 // mounted for writing, or not unmounted
	StateSurface = 0x02 // a surface scan was asked for
)

// FSInfo is the sector of hints of FAT32.
type FSInfo struct {
	LeadSignature   uint32    // FSI_LeadSig
	Reserved1       [480]byte // FSI_Reserved1
	StructSignature uint32    // FSI_StrucSig
	Free            uint32    // FSI_Free_Count: free clusters, Unknown if not known
	Next            uint32    // FSI_Nxt_Free: where to look for a free cluster
	Reserved2       [12]byte  // FSI_Reserved2
	TrailSignature  uint32    // FSI_TrailSig
}

// Values of FSInfo.
const (
	FSInfoSize            = 512
	FSInfoLeadSignature   = 0x41615252 // "RRaA"
	FSInfoStructSignature = 0x61417272 // "rrAa"
	FSInfoTrailSignature  = 0xaa550000
	FSInfoUnknown         = 0xffffffff
)

// decode fills v, a structure of fixed size, from the start of b; what b is
// too short for stays zero.
func decode[T any](b []byte) (v T) {
	// The only error is a buffer that is too short, and every caller slices
	// from a boot sector of BootSectorSize bytes.
	_, _ = binary.Decode(b, binary.LittleEndian, &v)
	return v
}

// encode stores v, a pointer to a structure of fixed size, at the start of b.
func encode(b []byte, v any) {
	if _, err := binary.Encode(b, binary.LittleEndian, v); err != nil {
		panic("bug: " + err.Error()) // b is too short
	}
}

// DecodeBPB decodes the common part of a boot sector.
func DecodeBPB(sector []byte) BPB { return decode[BPB](sector) }

// DecodeBPB32 decodes the part that FAT32 adds.
func DecodeBPB32(sector []byte) BPB32 { return decode[BPB32](sector[BPB32Offset:]) }

// DecodeExt decodes the extended boot record at off in a boot sector.
func DecodeExt(sector []byte, off int) Ext { return decode[Ext](sector[off:]) }

// DecodeFSInfo decodes an FSInfo sector.
func DecodeFSInfo(sector []byte) FSInfo { return decode[FSInfo](sector) }

// Encode stores the common part at the start of a boot sector.
func (b *BPB) Encode(sector []byte) { encode(sector, b) }

// Encode stores the part that FAT32 adds in a boot sector.
func (b *BPB32) Encode(sector []byte) { encode(sector[BPB32Offset:], b) }

// Encode stores the extended boot record at off in a boot sector.
func (e *Ext) Encode(sector []byte, off int) { encode(sector[off:], e) }

// Encode stores an FSInfo sector.
func (i *FSInfo) Encode(sector []byte) { encode(sector, i) }
