package ondisk

import "time"

// Inode numbers with a meaning.
const (
	RootIno    = 2 // EXT4_ROOT_INO
	ResizeIno  = 7
	JournalIno = 8
	// FirstInoOld is the first inode for files in revision 0.
	FirstInoOld = 11
)

// Sizes in bytes.
const (
	InodeSizeOld = 128 // EXT4_GOOD_OLD_INODE_SIZE: the part that every inode has
	BlockLen     = 60  // i_block
)

// Inode.Flags
const (
	FlCompressed  = 0x00000004 // EXT4_COMPR_FL
	FlImmutable   = 0x00000010 // EXT4_IMMUTABLE_FL
	FlAppend      = 0x00000020 // EXT4_APPEND_FL
	FlNoDump      = 0x00000040 // EXT4_NODUMP_FL
	FlNoAtime     = 0x00000080 // EXT4_NOATIME_FL
	FlEncrypt     = 0x00000800 // EXT4_ENCRYPT_FL
	FlIndex       = 0x00001000 // EXT4_INDEX_FL: hash-indexed directory
	FlTopDir      = 0x00020000 // EXT4_TOPDIR_FL: its directories are spread like those of the root
	FlHugeFile    = 0x00040000 // EXT4_HUGE_FILE_FL: i_blocks counts file system blocks
	FlExtents     = 0x00080000 // EXT4_EXTENTS_FL
	FlVerity      = 0x00100000 // EXT4_VERITY_FL
	FlEAInode     = 0x00200000 // EXT4_EA_INODE_FL: holds a large attribute value
	FlInlineData  = 0x10000000 // EXT4_INLINE_DATA_FL
	FlProjInherit = 0x20000000 // EXT4_PROJINHERIT_FL: what is made in it gets its project
	FlCasefold    = 0x40000000 // EXT4_CASEFOLD_FL

	// FlInherited are the flags that a file gets from its directory
	// (EXT4_FL_INHERITED), and those of them that files other than directories
	// (EXT4_REG_FLMASK) and neither those nor regular files
	// (EXT4_OTHER_FLMASK) may have.
	FlInherited = 0x00000001 | 0x00000002 | FlCompressed | 0x00000008 | FlNoDump | FlNoAtime | 0x00000400 |
		0x00004000 | 0x00008000 | 0x00010000 | FlProjInherit | FlCasefold | 0x02000000
	FlRegularMask = 1<<32 - 1 - (0x00010000 | FlCasefold | FlProjInherit | FlTopDir)
	FlOtherMask   = FlNoDump | FlNoAtime
)

// Inode is struct ext4_inode with its halves put together and the fields that
// only some sizes of inode have, zero where they are missing.
type Inode struct {
	Mode       uint16
	Links      uint16
	UID, GID   uint32
	Size       uint64 // i_size_lo and i_size_high; the latter means something in files and large directories only
	SizeLo     uint32
	Blocks     uint64 // i_blocks_lo and l_i_blocks_high, in units of 512 bytes or of blocks
	BlocksLo   uint32
	Flags      uint32
	Generation uint32
	FileACL    uint64 // block of extended attributes
	FileACLLo  uint32
	Dtime      uint32
	ExtraIsize uint16 // bytes in use behind the first 128; 0 in inodes of 128 bytes
	Checksum   uint32 // i_checksum_lo, i_checksum_hi
	HasHi      bool   // Checksum has its upper half
	HasCrtime  bool
	Atime      Time
	Ctime      Time
	Mtime      Time
	Crtime     Time
	Version    uint64
	ProjID     uint32
	Block      [BlockLen]byte // i_block: extents, block pointers, link target, device number or data
}

// Time is a time stamp: signed seconds, and the extra word with nanoseconds
// and two more bits of seconds.
type Time struct {
	Sec   uint32
	Extra uint32
}

// Time returns t as a time (ext4_decode_extra_time).
func (t Time) Time() time.Time {
	return time.Unix(int64(int32(t.Sec))+int64(t.Extra&3)<<32, int64(t.Extra>>2)).UTC()
}

// MakeTime is t as inodes hold it, with the extra word or without. What it
// cannot hold becomes the nearest time that it can.
func MakeTime(t time.Time, extra bool) Time {
	sec, most := t.Unix(), int64(1<<31-1)
	if extra {
		most += 3 << 32
	}
	nsec := uint32(t.Nanosecond())
	if sec < -1<<31 {
		sec, nsec = -1<<31, 0
	} else if sec > most {
		sec, nsec = most, 999_999_999
	}
	if !extra {
		return Time{Sec: uint32(sec)}
	}
	return Time{uint32(sec), uint32((sec-int64(int32(sec)))>>32)&3 | nsec<<2}
}

// DecodeInode decodes the inode in b, which is as long as inodes are in this
// file system: at least InodeSizeOld bytes. Fields beyond i_extra_isize stay
// zero; an i_extra_isize beyond the inode is for the caller to refuse.
//
//	00 mode (16)  02 uid  04 size  08 atime  0c ctime  10 mtime  14 dtime
//	18 gid (16)  1a links (16)  1c blocks  20 flags  24 version  28 block[15]
//	64 generation  68 file acl  6c size high  70 (obsolete)
//	74 blocks high (16)  76 file acl high (16)  78 uid high (16)
//	7a gid high (16)  7c checksum (16)  7e (reserved)
//	80 extra isize (16)  82 checksum high (16)  84 ctime extra  88 mtime extra
//	8c atime extra  90 crtime  94 crtime extra  98 version high  9c projid
func DecodeInode(b []byte, in *Inode) {
	_ = b[InodeSizeOld-1]
	*in = Inode{
		Mode:       le.Uint16(b[0x00:]),
		Links:      le.Uint16(b[0x1A:]),
		UID:        uint32(le.Uint16(b[0x02:])) | uint32(le.Uint16(b[0x78:]))<<16,
		GID:        uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7A:]))<<16,
		SizeLo:     le.Uint32(b[0x04:]),
		BlocksLo:   le.Uint32(b[0x1C:]),
		Flags:      le.Uint32(b[0x20:]),
		Generation: le.Uint32(b[0x64:]),
		FileACLLo:  le.Uint32(b[0x68:]),
		Dtime:      le.Uint32(b[0x14:]),
		Checksum:   uint32(le.Uint16(b[0x7C:])),
		Atime:      Time{Sec: le.Uint32(b[0x08:])},
		Ctime:      Time{Sec: le.Uint32(b[0x0C:])},
		Mtime:      Time{Sec: le.Uint32(b[0x10:])},
		Version:    uint64(le.Uint32(b[0x24:])),
		Block:      [BlockLen]byte(b[0x28:]),
	}
	in.Size = uint64(in.SizeLo) | uint64(le.Uint32(b[0x6C:]))<<32
	in.Blocks = uint64(in.BlocksLo) | uint64(le.Uint16(b[0x74:]))<<32
	in.FileACL = uint64(in.FileACLLo) | uint64(le.Uint16(b[0x76:]))<<32
	if len(b) < InodeSizeOld+4 {
		return
	}
	in.ExtraIsize = le.Uint16(b[0x80:])
	end := min(InodeSizeOld+int(in.ExtraIsize), len(b))
	if end >= 0x84 {
		in.Checksum |= uint32(le.Uint16(b[0x82:])) << 16
		in.HasHi = true
	}
	if end >= 0x88 {
		in.Ctime.Extra = le.Uint32(b[0x84:])
	}
	if end >= 0x8C {
		in.Mtime.Extra = le.Uint32(b[0x88:])
	}
	if end >= 0x90 {
		in.Atime.Extra = le.Uint32(b[0x8C:])
	}
	if end >= 0x94 {
		in.Crtime.Sec = le.Uint32(b[0x90:])
		in.HasCrtime = true
	}
	if end >= 0x98 {
		in.Crtime.Extra = le.Uint32(b[0x94:])
	}
	if end >= 0x9C {
		in.Version |= uint64(le.Uint32(b[0x98:])) << 32
	}
	if end >= 0xA0 {
		in.ProjID = le.Uint32(b[0x9C:])
	}
}

// EncodeInode encodes in into b, which is as long as inodes are in this file
// system. Fields that begin behind i_extra_isize stay as they are, and so does
// what Inode does not have: the attributes behind the fields, and the checksum
// (see [SealInode]). SizeLo, BlocksLo and FileACLLo are not looked at.
func EncodeInode(b []byte, in *Inode) {
	_ = b[InodeSizeOld-1]
	le.PutUint16(b[0x00:], in.Mode)
	le.PutUint16(b[0x02:], uint16(in.UID))
	le.PutUint32(b[0x04:], uint32(in.Size))
	le.PutUint32(b[0x08:], in.Atime.Sec)
	le.PutUint32(b[0x0C:], in.Ctime.Sec)
	le.PutUint32(b[0x10:], in.Mtime.Sec)
	le.PutUint32(b[0x14:], in.Dtime)
	le.PutUint16(b[0x18:], uint16(in.GID))
	le.PutUint16(b[0x1A:], in.Links)
	le.PutUint32(b[0x1C:], uint32(in.Blocks))
	le.PutUint32(b[0x20:], in.Flags)
	le.PutUint32(b[0x24:], uint32(in.Version))
	copy(b[0x28:], in.Block[:])
	le.PutUint32(b[0x64:], in.Generation)
	le.PutUint32(b[0x68:], uint32(in.FileACL))
	le.PutUint32(b[0x6C:], uint32(in.Size>>32))
	le.PutUint16(b[0x74:], uint16(in.Blocks>>32))
	le.PutUint16(b[0x76:], uint16(in.FileACL>>32))
	le.PutUint16(b[0x78:], uint16(in.UID>>16))
	le.PutUint16(b[0x7A:], uint16(in.GID>>16))
	if len(b) < InodeSizeOld+4 {
		return
	}
	le.PutUint16(b[0x80:], in.ExtraIsize)
	end := min(InodeSizeOld+int(in.ExtraIsize), len(b))
	for _, f := range [...]struct {
		off int
		v   uint32
	}{
		{0x84, in.Ctime.Extra}, {0x88, in.Mtime.Extra}, {0x8C, in.Atime.Extra},
		{0x90, in.Crtime.Sec}, {0x94, in.Crtime.Extra}, {0x98, uint32(in.Version >> 32)}, {0x9C, in.ProjID},
	} {
		if end >= f.off+4 {
			le.PutUint32(b[f.off:], f.v)
		}
	}
}

// SealInode gives the encoded inode b its checksum, from its seed. Its upper
// half is there only if i_extra_isize reaches it.
func SealInode(inodeSeed uint32, b []byte) {
	hasHi := len(b) >= InodeSizeOld+4 && le.Uint16(b[0x80:]) >= 4
	sum := InodeChecksum(inodeSeed, b, hasHi)
	le.PutUint16(b[0x7C:], uint16(sum))
	if hasHi {
		le.PutUint16(b[0x82:], uint16(sum>>16))
	}
}

// InodeSeed is what the checksums of an inode and of its directory and extent
// blocks start from.
func InodeSeed(seed, ino, generation uint32) uint32 {
	return CRC32C32(CRC32C32(seed, ino), generation)
}

// InodeChecksum computes the checksum of the inode in b from its seed
// (ext4_inode_csum). Without an upper half (hasHi), only the lower 16 bits
// count.
func InodeChecksum(inodeSeed uint32, b []byte, hasHi bool) uint32 {
	crc := CRC32C(inodeSeed, b[:0x7C])
	crc = crc32cZeros(crc, 2)
	crc = CRC32C(crc, b[0x7E:InodeSizeOld])
	if len(b) > InodeSizeOld {
		if hasHi {
			crc = CRC32C(crc, b[InodeSizeOld:0x82])
			crc = crc32cZeros(crc, 2)
			crc = CRC32C(crc, b[0x84:])
		} else {
			crc = CRC32C(crc, b[InodeSizeOld:])
		}
	}
	if !hasHi {
		crc &= 0xFFFF
	}
	return crc
}
