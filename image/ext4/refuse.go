package ext4

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// writable are the read-only compatible features that the writer keeps to, or
// that concern only files that it refuses singly.
const writable = ondisk.ROCompatSparseSuper | ondisk.ROCompatLargeFile | ondisk.ROCompatBtreeDir |
	ondisk.ROCompatHugeFile | ondisk.ROCompatGDTCsum | ondisk.ROCompatDirNlink | ondisk.ROCompatExtraIsize |
	ondisk.ROCompatBigalloc | ondisk.ROCompatMetadataCsum | ondisk.ROCompatProject | ondisk.ROCompatVerity |
	ondisk.ROCompatOrphanPresent

// refusals say why a feature keeps us from writing.
var refusals = map[ondisk.ROCompat]string{
	ondisk.ROCompatReadonly:     "it is marked as read-only",
	ondisk.ROCompatSharedBlocks: "its files share blocks, which must not be written to",
	ondisk.ROCompatQuota:        "its quota would have to be kept",
	ondisk.ROCompatHasSnapshot:  "its snapshots would have to be kept",
	ondisk.ROCompatReplica:      "its replicas would have to be kept",
}

// Offsets in the superblock of what a refusal points at.
const (
	featureROCompatOff = ondisk.SuperOff + 0x64
	superStateOff      = ondisk.SuperOff + 0x3A
)

// refuse returns why the file system must not be written to, if there is a
// reason: it is not clean, or keeps something up to date that we would not.
func (fs *FS) refuse() error {
	sb := fs.sb
	no := func(off int64, format string, args ...any) error {
		return &vfs.NotSupportedError{What: "writing to " + fmt.Sprintf(format, args...), Off: off}
	}
	if unknown := sb.FeatureROCompat &^ writable; unknown != 0 {
		bit := unknown & -unknown
		why := "which is not known"
		if s, ok := refusals[bit]; ok {
			why = s
		}
		return no(featureROCompatOff, "an ext4 file system with feature %s (bit %d): %s",
			bit.Names()[0], bits.TrailingZeros32(uint32(bit)), why)
	}
	switch {
	case sb.CreatorOS == ondisk.OSHurd:
		return no(ondisk.SuperOff+0x48, "a file system of the GNU Hurd")
	case sb.FeatureCompat&ondisk.CompatHasJournal != 0 && sb.JournalIno == 0:
		return no(ondisk.SuperOff+0xE0, "a file system with an external journal (UUID %s)", uuidString(sb.JournalUUID))
	case fs.clusterShift > 0 && sb.FeatureIncompat&ondisk.IncompatExtents == 0:
		return no(featureROCompatOff, "a file system with clusters (bigalloc) but without extents")
	case fs.blocksPerGroup>>fs.clusterShift%8 != 0 || fs.inodesPerGroup%8 != 0:
		return no(ondisk.SuperOff+0x20, "groups of %d blocks and %d inodes, which are no multiples of 8",
			fs.blocksPerGroup, fs.inodesPerGroup)
	case sb.Blocks() != fs.blocks || sb.ReservedBlocks() > fs.blocks:
		return superError(0x08, "%d reserved blocks of %d", sb.ReservedBlocks(), fs.blocks)
	}
	return fs.activeMMP()
}

// dirty says whether e2fsck has to run first.
func (fs *FS) dirty() error {
	switch sb := fs.sb; {
	case sb.State&ondisk.StateError != 0:
		return &vfs.DirtyError{Why: fmt.Sprintf("the system found errors in it (state %#x at byte %d)", sb.State, superStateOff)}
	case sb.State&ondisk.StateValid == 0:
		return &vfs.DirtyError{Why: fmt.Sprintf("not cleanly unmounted (state %#x at byte %d)", sb.State, superStateOff)}
	}
	return nil
}

// The block that keeps several hosts from mounting at once (struct mmp_struct).
const (
	mmpMagic = 0x004D4D50 // EXT4_MMP_MAGIC
	mmpClean = 0xFF4D4D50 // EXT4_MMP_SEQ_CLEAN
	mmpFsck  = 0xE24D4D50 // EXT4_MMP_SEQ_FSCK
)

// activeMMP says whether another host has the file system mounted, as far as
// that can be seen without waiting.
func (fs *FS) activeMMP() error {
	if fs.sb.FeatureIncompat&ondisk.IncompatMMP == 0 {
		return nil
	}
	const what = "multiple mount protection"
	at := fs.sb.MMPBlock
	b, err := fs.block(at, what)
	if err != nil {
		return err
	}
	off := fs.offset(at)
	if magic := binary.LittleEndian.Uint32(b); magic != mmpMagic {
		return vfs.Corruptf(off, what, "bad magic %#08x, want %#08x", magic, uint32(mmpMagic))
	}
	switch seq := binary.LittleEndian.Uint32(b[4:]); seq {
	case mmpClean:
		return nil
	case mmpFsck:
		return &vfs.DirtyError{Why: fmt.Sprintf("e2fsck is running on it, or was stopped (%s at byte %d)", what, off)}
	default:
		return &vfs.DirtyError{Why: fmt.Sprintf("host %q has it mounted, or did not unmount it (%s at byte %d)",
			cString(b[0x10:0x50]), what, off)}
	}
}
