package ondisk

// Sizes of group descriptors without and with the feature 64bit, in bytes.
const (
	GroupDescSize   = 32
	GroupDescSize64 = 64
)

// GroupDesc.Flags
const (
	GroupInodeUninit = 0x1 // EXT4_BG_INODE_UNINIT: no inode is in use
	GroupBlockUninit = 0x2 // EXT4_BG_BLOCK_UNINIT
	GroupInodeZeroed = 0x4 // EXT4_BG_INODE_ZEROED
)

// groupChecksumOff is where bg_checksum lies.
const groupChecksumOff = 0x1E

// GroupDesc is struct ext4_group_desc with its halves put together.
type GroupDesc struct {
	BlockBitmap    uint64 // bg_block_bitmap: block
	InodeBitmap    uint64 // bg_inode_bitmap: block
	InodeTable     uint64 // bg_inode_table: first block
	FreeBlocks     uint32 // bg_free_blocks_count: clusters
	FreeInodes     uint32 // bg_free_inodes_count
	UsedDirs       uint32 // bg_used_dirs_count
	Flags          uint16 // bg_flags
	BlockBitmapSum uint32 // bg_block_bitmap_csum
	InodeBitmapSum uint32 // bg_inode_bitmap_csum
	ItableUnused   uint32 // bg_itable_unused: inodes at the table's end never used
	Checksum       uint16 // bg_checksum
}

// DecodeGroupDesc decodes the descriptor in b, whose length is the
// descriptors' size: at least GroupDescSize, and with the feature 64bit at
// least GroupDescSize64.
//
//	00 block bitmap  04 inode bitmap  08 inode table  0c free blocks (16)
//	0e free inodes (16)  10 used dirs (16)  12 flags (16)  14 exclude bitmap
//	18 block bitmap csum (16)  1a inode bitmap csum (16)  1c itable unused (16)
//	1e checksum (16)  20… the upper halves of the same, in the same order
func DecodeGroupDesc(b []byte, d *GroupDesc) {
	*d = GroupDesc{
		BlockBitmap:    uint64(le.Uint32(b[0x00:])),
		InodeBitmap:    uint64(le.Uint32(b[0x04:])),
		InodeTable:     uint64(le.Uint32(b[0x08:])),
		FreeBlocks:     uint32(le.Uint16(b[0x0C:])),
		FreeInodes:     uint32(le.Uint16(b[0x0E:])),
		UsedDirs:       uint32(le.Uint16(b[0x10:])),
		Flags:          le.Uint16(b[0x12:]),
		BlockBitmapSum: uint32(le.Uint16(b[0x18:])),
		InodeBitmapSum: uint32(le.Uint16(b[0x1A:])),
		ItableUnused:   uint32(le.Uint16(b[0x1C:])),
		Checksum:       le.Uint16(b[groupChecksumOff:]),
	}
	if len(b) >= GroupDescSize64 {
		d.BlockBitmap |= uint64(le.Uint32(b[0x20:])) << 32
		d.InodeBitmap |= uint64(le.Uint32(b[0x24:])) << 32
		d.InodeTable |= uint64(le.Uint32(b[0x28:])) << 32
		d.FreeBlocks |= uint32(le.Uint16(b[0x2C:])) << 16
		d.FreeInodes |= uint32(le.Uint16(b[0x2E:])) << 16
		d.UsedDirs |= uint32(le.Uint16(b[0x30:])) << 16
		d.ItableUnused |= uint32(le.Uint16(b[0x32:])) << 16
		d.BlockBitmapSum |= uint32(le.Uint16(b[0x38:])) << 16
		d.InodeBitmapSum |= uint32(le.Uint16(b[0x3A:])) << 16
	}
}

// EncodeGroupDesc encodes d into b, as long as the descriptors are. What d does
// not have stays as it is, and so does the checksum: see [SealGroupDesc].
func EncodeGroupDesc(b []byte, d *GroupDesc) {
	le.PutUint32(b[0x00:], uint32(d.BlockBitmap))
	le.PutUint32(b[0x04:], uint32(d.InodeBitmap))
	le.PutUint32(b[0x08:], uint32(d.InodeTable))
	le.PutUint16(b[0x0C:], uint16(d.FreeBlocks))
	le.PutUint16(b[0x0E:], uint16(d.FreeInodes))
	le.PutUint16(b[0x10:], uint16(d.UsedDirs))
	le.PutUint16(b[0x12:], d.Flags)
	le.PutUint16(b[0x18:], uint16(d.BlockBitmapSum))
	le.PutUint16(b[0x1A:], uint16(d.InodeBitmapSum))
	le.PutUint16(b[0x1C:], uint16(d.ItableUnused))
	if len(b) >= GroupDescSize64 {
		le.PutUint32(b[0x20:], uint32(d.BlockBitmap>>32))
		le.PutUint32(b[0x24:], uint32(d.InodeBitmap>>32))
		le.PutUint32(b[0x28:], uint32(d.InodeTable>>32))
		le.PutUint16(b[0x2C:], uint16(d.FreeBlocks>>16))
		le.PutUint16(b[0x2E:], uint16(d.FreeInodes>>16))
		le.PutUint16(b[0x30:], uint16(d.UsedDirs>>16))
		le.PutUint16(b[0x32:], uint16(d.ItableUnused>>16))
		le.PutUint16(b[0x38:], uint16(d.BlockBitmapSum>>16))
		le.PutUint16(b[0x3A:], uint16(d.InodeBitmapSum>>16))
	}
}

// SealGroupDesc gives the encoded descriptor b of group the checksum that the
// features of sb call for, if any.
func SealGroupDesc(sb *Superblock, group uint32, b []byte) {
	switch {
	case sb.FeatureROCompat&ROCompatMetadataCsum != 0:
		le.PutUint16(b[groupChecksumOff:], GroupChecksum(sb.Seed(), group, b))
	case sb.FeatureROCompat&ROCompatGDTCsum != 0:
		le.PutUint16(b[groupChecksumOff:], GroupChecksum16(sb.UUID, group, b))
	}
}

// BitmapChecksum computes bg_block_bitmap_csum or bg_inode_bitmap_csum from the
// bits that describe clusters or inodes: without the padding to a block. Where
// descriptors are small, only the lower 16 bits are kept.
func BitmapChecksum(sb *Superblock, bits []byte) uint32 {
	sum := CRC32C(sb.Seed(), bits)
	if sb.DescSize < GroupDescSize64 || sb.FeatureIncompat&Incompat64Bit == 0 {
		sum &= 0xFFFF
	}
	return sum
}

// GroupChecksum computes the checksum of the descriptor b of group for
// metadata_csum, from the file system's seed.
func GroupChecksum(seed, group uint32, b []byte) uint16 {
	crc := CRC32C32(seed, group)
	crc = CRC32C(crc, b[:groupChecksumOff])
	crc = crc32cZeros(crc, 2)
	return uint16(CRC32C(crc, b[groupChecksumOff+2:]))
}

// GroupChecksum16 computes the checksum of the descriptor b of group for
// uninit_bg.
func GroupChecksum16(uuid [16]byte, group uint32, b []byte) uint16 {
	var g [4]byte
	le.PutUint32(g[:], group)
	crc := CRC16(^uint16(0), uuid[:])
	crc = CRC16(crc, g[:])
	crc = CRC16(crc, b[:groupChecksumOff])
	return CRC16(crc, b[groupChecksumOff+2:])
}
