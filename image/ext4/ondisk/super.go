package ondisk

import (
	"encoding/binary"
	"fmt"
)

// Where the primary superblock lies, whatever the block size, and how long it
// is, in bytes.
const (
	SuperOff  = 1024
	SuperSize = 1024
)

// SuperMagic is the value of Superblock.Magic.
const SuperMagic = 0xEF53

// Superblock.State
const (
	StateValid  = 0x1 // EXT4_VALID_FS: unmounted cleanly
	StateError  = 0x2 // EXT4_ERROR_FS: errors were detected
	StateOrphan = 0x4 // EXT4_ORPHAN_FS: orphans are being recovered
)

// Superblock.Flags
const (
	FlagSignedHash   = 0x1 // EXT2_FLAGS_SIGNED_HASH
	FlagUnsignedHash = 0x2 // EXT2_FLAGS_UNSIGNED_HASH
	FlagTestFS       = 0x4 // EXT2_FLAGS_TEST_FILESYS
)

// OSHurd is the value of Superblock.CreatorOS for the GNU Hurd, which uses
// some inode fields differently.
const OSHurd = 1

// ChecksumCRC32C is the only value known for Superblock.ChecksumType.
const ChecksumCRC32C = 1

// Superblock is struct ext4_super_block, in its order.
type Superblock struct {
	InodesCount       uint32     // s_inodes_count
	BlocksCountLo     uint32     // s_blocks_count_lo
	RBlocksCountLo    uint32     // s_r_blocks_count_lo
	FreeBlocksCountLo uint32     // s_free_blocks_count_lo
	FreeInodesCount   uint32     // s_free_inodes_count
	FirstDataBlock    uint32     // s_first_data_block
	LogBlockSize      uint32     // s_log_block_size: block size is 1024 << it
	LogClusterSize    uint32     // s_log_cluster_size
	BlocksPerGroup    uint32     // s_blocks_per_group
	ClustersPerGroup  uint32     // s_clusters_per_group
	InodesPerGroup    uint32     // s_inodes_per_group
	Mtime             uint32     // s_mtime: last mount
	Wtime             uint32     // s_wtime: last write
	MntCount          uint16     // s_mnt_count
	MaxMntCount       uint16     // s_max_mnt_count
	Magic             uint16     // s_magic
	State             uint16     // s_state
	Errors            uint16     // s_errors
	MinorRevLevel     uint16     // s_minor_rev_level
	LastCheck         uint32     // s_lastcheck
	CheckInterval     uint32     // s_checkinterval
	CreatorOS         uint32     // s_creator_os
	RevLevel          uint32     // s_rev_level
	DefResUID         uint16     // s_def_resuid
	DefResGID         uint16     // s_def_resgid
	FirstIno          uint32     // s_first_ino
	InodeSize         uint16     // s_inode_size
	BlockGroupNr      uint16     // s_block_group_nr: the group this copy lies in
	FeatureCompat     Compat     // s_feature_compat
	FeatureIncompat   Incompat   // s_feature_incompat
	FeatureROCompat   ROCompat   // s_feature_ro_compat
	UUID              [16]byte   // s_uuid
	VolumeName        [16]byte   // s_volume_name
	LastMounted       [64]byte   // s_last_mounted
	AlgorithmUsage    uint32     // s_algorithm_usage_bitmap
	PreallocBlocks    uint8      // s_prealloc_blocks
	PreallocDirBlocks uint8      // s_prealloc_dir_blocks
	ReservedGDTBlocks uint16     // s_reserved_gdt_blocks
	JournalUUID       [16]byte   // s_journal_uuid: of an external journal
	JournalIno        uint32     // s_journal_inum
	JournalDev        uint32     // s_journal_dev
	LastOrphan        uint32     // s_last_orphan
	HashSeed          [4]uint32  // s_hash_seed
	DefHashVersion    uint8      // s_def_hash_version
	JnlBackupType     uint8      // s_jnl_backup_type
	DescSize          uint16     // s_desc_size
	DefaultMountOpts  uint32     // s_default_mount_opts
	FirstMetaBg       uint32     // s_first_meta_bg
	MkfsTime          uint32     // s_mkfs_time
	JnlBlocks         [17]uint32 // s_jnl_blocks: copy of the journal inode's i_block and i_size
	BlocksCountHi     uint32     // s_blocks_count_hi
	RBlocksCountHi    uint32     // s_r_blocks_count_hi
	FreeBlocksCountHi uint32     // s_free_blocks_count_hi
	MinExtraIsize     uint16     // s_min_extra_isize
	WantExtraIsize    uint16     // s_want_extra_isize
	Flags             uint32     // s_flags
	RaidStride        uint16     // s_raid_stride
	MMPInterval       uint16     // s_mmp_update_interval
	MMPBlock          uint64     // s_mmp_block
	RaidStripeWidth   uint32     // s_raid_stripe_width
	LogGroupsPerFlex  uint8      // s_log_groups_per_flex
	ChecksumType      uint8      // s_checksum_type
	EncryptionLevel   uint8      // s_encryption_level
	ReservedPad       uint8      // s_reserved_pad
	KbytesWritten     uint64     // s_kbytes_written
	SnapshotInum      uint32     // s_snapshot_inum
	SnapshotID        uint32     // s_snapshot_id
	SnapshotRBlocks   uint64     // s_snapshot_r_blocks_count
	SnapshotList      uint32     // s_snapshot_list
	ErrorCount        uint32     // s_error_count
	FirstErrorTime    uint32     // s_first_error_time
	FirstErrorIno     uint32     // s_first_error_ino
	FirstErrorBlock   uint64     // s_first_error_block
	FirstErrorFunc    [32]byte   // s_first_error_func
	FirstErrorLine    uint32     // s_first_error_line
	LastErrorTime     uint32     // s_last_error_time
	LastErrorIno      uint32     // s_last_error_ino
	LastErrorLine     uint32     // s_last_error_line
	LastErrorBlock    uint64     // s_last_error_block
	LastErrorFunc     [32]byte   // s_last_error_func
	MountOpts         [64]byte   // s_mount_opts
	UsrQuotaIno       uint32     // s_usr_quota_inum
	GrpQuotaIno       uint32     // s_grp_quota_inum
	OverheadClusters  uint32     // s_overhead_clusters
	BackupBgs         [2]uint32  // s_backup_bgs: sparse_super2
	EncryptAlgos      [4]byte    // s_encrypt_algos
	EncryptPwSalt     [16]byte   // s_encrypt_pw_salt
	LpfIno            uint32     // s_lpf_ino
	PrjQuotaIno       uint32     // s_prj_quota_inum
	ChecksumSeed      uint32     // s_checksum_seed
	WtimeHi           uint8      // s_wtime_hi
	MtimeHi           uint8      // s_mtime_hi
	MkfsTimeHi        uint8      // s_mkfs_time_hi
	LastCheckHi       uint8      // s_lastcheck_hi
	FirstErrorTimeHi  uint8      // s_first_error_time_hi
	LastErrorTimeHi   uint8      // s_last_error_time_hi
	FirstErrorCode    uint8      // s_first_error_errcode
	LastErrorCode     uint8      // s_last_error_errcode
	Encoding          uint16     // s_encoding
	EncodingFlags     uint16     // s_encoding_flags
	OrphanFileIno     uint32     // s_orphan_file_inum
	DefResUIDHi       uint16     // s_def_resuid_hi
	DefResGIDHi       uint16     // s_def_resgid_hi
	Reserved          [93]uint32 // s_reserved
	Checksum          uint32     // s_checksum: crc32c of all before it
}

// DecodeSuperblock decodes the superblock in b, which must hold SuperSize
// bytes. It does not judge what it finds.
func DecodeSuperblock(b []byte) (*Superblock, error) {
	if len(b) < SuperSize {
		return nil, fmt.Errorf("superblock of %d bytes", len(b))
	}
	sb := new(Superblock)
	if _, err := binary.Decode(b[:SuperSize], le, sb); err != nil {
		return nil, err
	}
	return sb, nil
}

// EncodeSuperblock encodes sb into the first SuperSize bytes of b, with the
// checksum that they need where the file system has checksums.
func EncodeSuperblock(b []byte, sb *Superblock) {
	if _, err := binary.Encode(b[:SuperSize], le, sb); err != nil {
		panic("bug: " + err.Error())
	}
	if sb.FeatureROCompat&ROCompatMetadataCsum != 0 {
		le.PutUint32(b[SuperSize-4:], SuperChecksum(b))
	}
}

// SuperChecksum computes the checksum of the superblock in b.
func SuperChecksum(b []byte) uint32 { return CRC32C(^uint32(0), b[:SuperSize-4]) }

// Dynamic reports whether the superblock is of revision 1 (EXT4_DYNAMIC_REV),
// with inode sizes and features.
func (sb *Superblock) Dynamic() bool { return sb.RevLevel >= 1 }

// Blocks is the number of blocks (ext4_blocks_count).
func (sb *Superblock) Blocks() uint64 {
	n := uint64(sb.BlocksCountLo)
	if sb.FeatureIncompat&Incompat64Bit != 0 {
		n |= uint64(sb.BlocksCountHi) << 32
	}
	return n
}

// ReservedBlocks is the number of blocks kept for root (ext4_r_blocks_count).
func (sb *Superblock) ReservedBlocks() uint64 {
	n := uint64(sb.RBlocksCountLo)
	if sb.FeatureIncompat&Incompat64Bit != 0 {
		n |= uint64(sb.RBlocksCountHi) << 32
	}
	return n
}

// HasSuper reports whether group holds a copy of the superblock
// (ext4_bg_has_super).
func (sb *Superblock) HasSuper(group uint64) bool {
	switch {
	case group == 0:
		return true
	case sb.FeatureCompat&CompatSparseSuper2 != 0:
		return group == uint64(sb.BackupBgs[0]) || group == uint64(sb.BackupBgs[1])
	case group == 1 || sb.FeatureROCompat&ROCompatSparseSuper == 0:
		return true
	case group&1 == 0:
		return false
	}
	for _, base := range [...]uint64{3, 5, 7} {
		n := base
		for n < group {
			n *= base
		}
		if n == group {
			return true
		}
	}
	return false
}

// Seed is the value that all metadata checksums start from.
func (sb *Superblock) Seed() uint32 {
	if sb.FeatureIncompat&IncompatCsumSeed != 0 {
		return sb.ChecksumSeed
	}
	return CRC32C(^uint32(0), sb.UUID[:])
}
