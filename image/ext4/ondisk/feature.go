package ondisk

import "fmt"

// Compat are features that a reader or writer may ignore.
type Compat uint32

// Incompat are features that keep those who do not know them from reading.
type Incompat uint32

// ROCompat are features that keep those who do not know them from writing.
type ROCompat uint32

// Superblock.FeatureCompat
const (
	CompatDirPrealloc   Compat = 0x0001
	CompatImagicInodes  Compat = 0x0002
	CompatHasJournal    Compat = 0x0004
	CompatExtAttr       Compat = 0x0008
	CompatResizeInode   Compat = 0x0010
	CompatDirIndex      Compat = 0x0020
	CompatSparseSuper2  Compat = 0x0200
	CompatFastCommit    Compat = 0x0400
	CompatStableInodes  Compat = 0x0800
	CompatOrphanFile    Compat = 0x1000
	CompatLazyBg        Compat = 0x0040
	CompatExcludeInode  Compat = 0x0080
	CompatExcludeBitmap Compat = 0x0100
)

// Superblock.FeatureIncompat
const (
	IncompatCompression Incompat = 0x00001
	IncompatFiletype    Incompat = 0x00002
	IncompatRecover     Incompat = 0x00004 // needs_recovery
	IncompatJournalDev  Incompat = 0x00008
	IncompatMetaBg      Incompat = 0x00010
	IncompatExtents     Incompat = 0x00040
	Incompat64Bit       Incompat = 0x00080
	IncompatMMP         Incompat = 0x00100
	IncompatFlexBg      Incompat = 0x00200
	IncompatEAInode     Incompat = 0x00400
	IncompatDirdata     Incompat = 0x01000
	IncompatCsumSeed    Incompat = 0x02000
	IncompatLargeDir    Incompat = 0x04000
	IncompatInlineData  Incompat = 0x08000
	IncompatEncrypt     Incompat = 0x10000
	IncompatCasefold    Incompat = 0x20000
)

// Superblock.FeatureROCompat
const (
	ROCompatSparseSuper   ROCompat = 0x00001
	ROCompatLargeFile     ROCompat = 0x00002
	ROCompatBtreeDir      ROCompat = 0x00004
	ROCompatHugeFile      ROCompat = 0x00008
	ROCompatGDTCsum       ROCompat = 0x00010 // uninit_bg
	ROCompatDirNlink      ROCompat = 0x00020
	ROCompatExtraIsize    ROCompat = 0x00040
	ROCompatHasSnapshot   ROCompat = 0x00080
	ROCompatQuota         ROCompat = 0x00100
	ROCompatBigalloc      ROCompat = 0x00200
	ROCompatMetadataCsum  ROCompat = 0x00400
	ROCompatReplica       ROCompat = 0x00800
	ROCompatReadonly      ROCompat = 0x01000
	ROCompatProject       ROCompat = 0x02000
	ROCompatSharedBlocks  ROCompat = 0x04000
	ROCompatVerity        ROCompat = 0x08000
	ROCompatOrphanPresent ROCompat = 0x10000
)

// The names are those of mke2fs -O and dumpe2fs, by bit.
var (
	compatNames = [32]string{
		0: "dir_prealloc", 1: "imagic_inodes", 2: "has_journal", 3: "ext_attr",
		4: "resize_inode", 5: "dir_index", 6: "lazy_bg", 7: "snapshot_exclude_inode",
		8: "snapshot_exclude_bitmap", 9: "sparse_super2", 10: "fast_commit",
		11: "stable_inodes", 12: "orphan_file",
	}
	incompatNames = [32]string{
		0: "compression", 1: "filetype", 2: "needs_recovery", 3: "journal_dev",
		4: "meta_bg", 6: "extent", 7: "64bit", 8: "mmp", 9: "flex_bg",
		10: "ea_inode", 12: "dirdata", 13: "metadata_csum_seed", 14: "large_dir",
		15: "inline_data", 16: "encrypt", 17: "casefold",
	}
	roCompatNames = [32]string{
		0: "sparse_super", 1: "large_file", 2: "btree_dir", 3: "huge_file",
		4: "uninit_bg", 5: "dir_nlink", 6: "extra_isize", 7: "snapshot",
		8: "quota", 9: "bigalloc", 10: "metadata_csum", 11: "replica",
		12: "read-only", 13: "project", 14: "shared_blocks", 15: "verity",
		16: "orphan_present",
	}
)

// Names returns the names of the bits set, unknown ones as "FEATURE_C13".
func (f Compat) Names() []string { return featureNames(uint32(f), &compatNames, "FEATURE_C") }

// Names returns the names of the bits set, unknown ones as "FEATURE_I11".
func (f Incompat) Names() []string { return featureNames(uint32(f), &incompatNames, "FEATURE_I") }

// Names returns the names of the bits set, unknown ones as "FEATURE_R31".
func (f ROCompat) Names() []string { return featureNames(uint32(f), &roCompatNames, "FEATURE_R") }

func featureNames(bits uint32, names *[32]string, unknown string) []string {
	var out []string
	for i := range names {
		switch {
		case bits&(1<<i) == 0:
		case names[i] != "":
			out = append(out, names[i])
		default:
			out = append(out, fmt.Sprintf("%s%d", unknown, i))
		}
	}
	return out
}

// TypeName says what people call the file system: "ext2", "ext3", "ext4", or
// "jbd" for a journal device, by the rules of blkid(8): the smallest of the
// three whose kernel driver would know all the features.
func (sb *Superblock) TypeName() string {
	const (
		ro   = ROCompatSparseSuper | ROCompatLargeFile | ROCompatBtreeDir
		ext2 = IncompatFiletype | IncompatMetaBg
		ext3 = ext2 | IncompatRecover
	)
	journal := sb.FeatureCompat&CompatHasJournal != 0
	switch {
	case sb.FeatureIncompat&IncompatJournalDev != 0:
		return "jbd"
	case sb.FeatureROCompat&^ro == 0 && sb.FeatureIncompat&^ext2 == 0 && !journal:
		return "ext2"
	case sb.FeatureROCompat&^ro == 0 && sb.FeatureIncompat&^ext3 == 0 && journal:
		return "ext3"
	}
	return "ext4"
}
