package ondisk

import (
	"encoding/binary"
	"fmt"
)

// Where a superblock is looked for, in bytes from the start of the volume.
const (
	SuperFloppy = 0      // SBLOCK_FLOPPY: FreeBSD, for media too small for boot blocks
	SuperFFS1   = 8192   // SBLOCK_UFS1; NetBSD's makefs puts that of UFS2 there as well
	SuperFFS2   = 65536  // SBLOCK_UFS2
	SuperPiggy  = 262144 // SBLOCK_PIGGY

	SuperAreaSize = 8192 // SBLOCKSIZE: room set aside for a superblock
	SuperSize     = 1376 // bytes of struct fs that mean something
	SuperMagicOff = 1372 // offset of fs_magic in it
)

// Magic numbers in fs_magic.
const (
	MagicFFS1   = 0x00011954 // FS_UFS1_MAGIC
	MagicFFS2   = 0x19540119 // FS_UFS2_MAGIC
	MagicFFS2EA = 0x19012038 // FS_UFS2EA_MAGIC: NetBSD 10, UFS2 whose extended attributes count
	MagicBad    = 0x19960408 // FS_BAD_MAGIC: newfs was interrupted, or wiped it
)

// Limits of the format.
const (
	MinBlockSize = 4096  // MINBSIZE
	MaxBlockSize = 65536 // MAXBSIZE
	MinFragSize  = 512
	MaxFrag      = 8   // MAXFRAG: fragments of a block
	NDirect      = 12  // UFS_NDADDR: direct pointers of an inode
	NIndirect    = 3   // UFS_NIADDR: single, double, triple
	NExt         = 2   // UFS_NXADDR: pointers to extended attributes, FFS2
	MaxNameLen   = 255 // UFS_MAXNAMLEN
	RootIno      = 2   // UFS_ROOTINO
	WhiteoutIno  = 1   // UFS_WINO: what a whiteout entry of a union mount refers to
)

// Values of the format fields of old file systems.
const (
	InodeFormat44   = 2  // FS_44INODEFMT
	InodeFormat42   = -1 // FS_42INODEFMT
	PostblFormat42  = -1 // FS_42POSTBLFMT: 4.2BSD tables instead of the fields from 860 on
	PostblFormat44  = 1  // FS_DYNAMICPOSTBLFMT
	StateOK         = 0x7c269d38
	QuotaMagic      = 0xb746915e // Q2_HEAD_MAGIC
	JournalVersion1 = 1          // UFS_WAPBL_VERSION
)

// Bits of fs_flags. Which word holds them depends on the system: see [Super.Flags].
const (
	FlagUnclean      = 0x0001 // FS_UNCLEAN: was not clean when last mounted
	FlagSoftdep      = 0x0002 // FS_DOSOFTDEP
	FlagNeedsFsck    = 0x0004 // FS_NEEDSFSCK
	FlagSUJ          = 0x0008 // FS_SUJ, FreeBSD: journaled soft updates
	FlagACLs         = 0x0010 // FS_ACLS: POSIX.1e access control lists
	FlagMultilabel   = 0x0020 // FS_MULTILABEL: MAC labels
	FlagGjournal     = 0x0040 // FS_GJOURNAL, FreeBSD
	FlagFlagsUpdated = 0x0080 // FS_FLAGS_UPDATED: in fs_old_flags; the flags are in fs_flags
	FlagNFS4ACLs     = 0x0100 // FS_NFS4ACLS, FreeBSD
	FlagWAPBL        = 0x0100 // FS_DOWAPBL, NetBSD: metadata journal
	FlagMetaCkHash   = 0x0200 // FS_METACKHASH, FreeBSD: check hashes
	FlagQuota2       = 0x0200 // FS_DOQUOTA2, NetBSD
	FlagTrim         = 0x0400 // FS_TRIM
)

// Summary counts what is free: struct csum.
type Summary struct {
	Dirs       int32 // cs_ndir
	FreeBlocks int32 // cs_nbfree
	FreeInodes int32 // cs_nifree
	FreeFrags  int32 // cs_nffree: fragments of partially free blocks only
}

// SummaryTotal is struct csum_total.
type SummaryTotal struct {
	Dirs         int64 // cs_ndir
	FreeBlocks   int64 // cs_nbfree
	FreeInodes   int64 // cs_nifree
	FreeFrags    int64 // cs_nffree
	FreeClusters int64 // cs_numclusters, FreeBSD
	Spare        [3]int64
}

// Super is struct fs, the superblock, of both versions. Where FFS1 has an old
// and a new place for a fact, the fields named Old are the ones that count in
// FFS1, and the others in FFS2.
type Super struct {
	FirstField     int32 // historic
	Unused1        int32 // historic
	SuperOff       int32 // fs_sblkno: fragment offset of the superblock copy in a group
	GroupOff       int32 // fs_cblkno: of the group header
	InodeOff       int32 // fs_iblkno: of the inode table
	DataOff        int32 // fs_dblkno: of the first data
	OldGroupOffset int32 // fs_old_cgoffset
	OldGroupMask   int32 // fs_old_cgmask
	OldTime        int32 // fs_old_time
	OldSize        int32 // fs_old_size: fragments
	OldDataSize    int32 // fs_old_dsize
	Groups         uint32
	BlockSize      int32
	FragSize       int32
	Frag           int32 // fs_frag: fragments per block
	MinFree        int32 // percent
	OldRotDelay    int32
	OldRPS         int32
	BlockMask      int32
	FragMask       int32
	BlockShift     int32
	FragShift      int32 // fs_fshift
	MaxContig      int32
	MaxBPG         int32
	FragsShift     int32 // fs_fragshift: log2 of Frag
	FsbToDb        int32
	SuperBytes     int32 // fs_sbsize
	Spare1         [2]int32
	Nindir         int32
	InodesPerBlock uint32 // fs_inopb
	OldNspf        int32
	Optim          int32
	OldNpsect      int32
	OldInterleave  int32
	OldTrackSkew   int32
	ID             [2]uint32
	OldSummaryAddr int32 // fs_old_csaddr
	SummarySize    int32 // fs_cssize, bytes
	GroupSize      int32 // fs_cgsize, bytes
	OldNtrak       int32
	OldNsect       int32
	OldSpc         int32
	OldNcyl        int32
	OldCpg         int32
	InodesPerGroup uint32 // fs_ipg
	FragsPerGroup  int32  // fs_fpg
	OldTotal       Summary
	Modified       int8  // fs_fmod
	Clean          uint8 // fs_clean
	ReadOnly       int8
	OldFlags       uint8
	MountPoint     [468]byte // fs_fsmnt
	VolumeName     [32]byte
	SystemUID      uint64 // fs_swuid
	Pad            int32
	GroupRotor     int32
	InCore         [128]byte // kernel pointers: junk
	OldCpc         int32
	MaxBSize       int32
	Spare64        [136]byte // FreeBSD and NetBSD use it differently: see the methods
	SuperLoc       int64     // fs_sblockloc, bytes
	Total          SummaryTotal
	Time           int64
	Size           int64 // fragments
	DataSize       int64
	SummaryAddr    int64
	PendingBlocks  int64
	PendingInodes  uint32
	Snapshots      [20]uint32
	AvgFileSize    uint32
	AvgFilesPerDir uint32
	SaveGroupSize  int32
	Spare32        [100]byte // from 1208; FreeBSD: see the methods
	Word1308       uint32    // OpenBSD: fs_flags; FreeBSD: fs_metackhash
	Word1312       uint32    // OpenBSD: fs_fscktime; FreeBSD and NetBSD: fs_flags
	ContigSumSize  int32
	MaxSymlinkLen  int32
	OldInodeFormat int32
	MaxFileSize    uint64
	QBMask         int64
	QFMask         int64
	State          int32
	OldPostblFmt   int32
	OldNrpos       int32
	OldPostblOff   int32
	OldRotblOff    int32
	Magic          uint32
}

// DetectSuper tells from the magic number whether b holds a superblock, and
// its byte order and version. A wiped one is reported as [MagicBad].
func DetectSuper(b []byte) (magic uint32, o Order, v Version) {
	if len(b) < SuperSize {
		return 0, Order{}, 0
	}
	for _, big := range []bool{false, true} {
		o := Order{Big: big}
		switch magic := o.U32(b[SuperMagicOff:]); magic {
		case MagicFFS1:
			return magic, o, V1
		case MagicFFS2, MagicFFS2EA:
			return magic, o, V2
		case MagicBad:
			return magic, o, 0
		}
	}
	return 0, Order{}, 0
}

// DecodeSuper decodes a superblock of at least [SuperSize] bytes.
func DecodeSuper(b []byte, o Order) (*Super, error) {
	s := new(Super)
	if _, err := binary.Decode(b, o.ByteOrder(), s); err != nil {
		return nil, fmt.Errorf("decode superblock: %w", err)
	}
	return s, nil
}

// Append encodes s behind b.
func (s *Super) Append(b []byte, o Order) []byte {
	b, err := binary.Append(b, o.ByteOrder(), s)
	if err != nil {
		panic("bug: ondisk.Super has a field of variable size")
	}
	return b
}

// Views of the spare areas that only some systems use.

// ProviderSize is fs_providersize of FreeBSD.
func (s *Super) ProviderSize(o Order) int64 { return int64(o.U64(s.Spare64[872-864:])) }

// MetaSpace is fs_metaspace of FreeBSD: fragments kept for metadata in a group.
func (s *Super) MetaSpace(o Order) int64 { return int64(o.U64(s.Spare64[880-864:])) }

// SuperActualLoc is fs_sblockactualloc of FreeBSD.
func (s *Super) SuperActualLoc(o Order) int64 { return int64(o.U64(s.Spare64[992-864:])) }

// MountTime is fs_mtime of FreeBSD.
func (s *Super) MountTime(o Order) int64 { return int64(o.U64(s.Spare32[0:])) }

// CheckHash is fs_ckhash of FreeBSD.
func (s *Super) CheckHash(o Order) uint32 { return o.U32(s.Spare32[1304-1208:]) }

// Journal returns fs_journal_version and fs_journal_location of NetBSD.
func (s *Super) Journal() (version, location uint8) { return s.Spare64[0], s.Spare64[1] }

// QuotaMagicWord is fs_quota_magic of NetBSD.
func (s *Super) QuotaMagicWord(o Order) uint32 { return o.U32(s.Spare64[904-864:]) }
