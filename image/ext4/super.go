package ext4

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// supported are the incompatible features that this driver reads.
const supported = ondisk.IncompatFiletype | ondisk.IncompatRecover | ondisk.IncompatMetaBg |
	ondisk.IncompatExtents | ondisk.Incompat64Bit | ondisk.IncompatMMP | ondisk.IncompatFlexBg |
	ondisk.IncompatEAInode | ondisk.IncompatCsumSeed | ondisk.IncompatLargeDir |
	ondisk.IncompatInlineData | ondisk.IncompatEncrypt | ondisk.IncompatCasefold

// featureIncompatOff is where s_feature_incompat lies in the volume.
const featureIncompatOff = ondisk.SuperOff + 0x60

// geometry is what follows from the superblock once it has been checked.
type geometry struct {
	sb             *ondisk.Superblock
	blockSize      int64 // bytes, 1024 << n
	firstBlock     uint64
	blocks         uint64
	groups         uint64
	blocksPerGroup uint64
	inodesPerGroup uint32
	inodeSize      int64 // bytes, a power of two, at most blockSize
	descSize       int   // bytes, a power of two, at most blockSize
	clusterShift   uint  // log2 of blocks per cluster; 0 without bigalloc
	tableBlocks    uint64
	firstIno       uint32
	metadataCsum   bool
	groupCsum      bool // uninit_bg without metadata_csum
	unwrittenBg    bool // groups may have parts that were never written
}

// offset is the byte offset of the block n; for messages, so that it never
// overflows.
func (g *geometry) offset(n uint64) int64 {
	return int64(min(n, uint64(math.MaxInt64/g.blockSize))) * g.blockSize
}

// validBlocks reports whether n blocks at start may hold a file's data or
// metadata (ext4_inode_block_valid).
func (g *geometry) validBlocks(start, n uint64) bool {
	return start >= max(g.firstBlock, 1) && start < g.blocks && n <= g.blocks-start
}

func superError(field int64, format string, args ...any) error {
	return vfs.Corruptf(ondisk.SuperOff+field, "superblock", format, args...)
}

// readSuper reads and checks the primary superblock. A bad one is never
// replaced by a copy on the quiet: what the copy describes may be older. The
// error says where a good copy is.
func readSuper(dev blockio.Device) (geometry, error) {
	raw, err := blockio.ReadFull(dev, ondisk.SuperOff, ondisk.SuperSize)
	if err != nil {
		return geometry{}, fmt.Errorf("read superblock: %w", err)
	}
	g, err := parseSuper(raw, dev.Size())
	if isCorrupt(err) {
		if backup, at, ok := findBackup(dev); ok {
			return geometry{}, fmt.Errorf("%w (a good copy is at byte %d: e2fsck -b %d -B %d can restore it)",
				err, at, at/backup.blockSize, backup.blockSize)
		}
	}
	return g, err
}

// parseSuper decodes a superblock and checks it for a device of size bytes.
func parseSuper(raw []byte, size int64) (geometry, error) {
	sb, err := ondisk.DecodeSuperblock(raw)
	if err != nil {
		return geometry{}, err
	}
	if sb.Magic != ondisk.SuperMagic {
		return geometry{}, superError(0x38, "bad magic %#04x, want %#04x", sb.Magic, ondisk.SuperMagic)
	}
	if sb.FeatureROCompat&ondisk.ROCompatMetadataCsum != 0 {
		if sb.ChecksumType != ondisk.ChecksumCRC32C {
			return geometry{}, &vfs.NotSupportedError{
				What: fmt.Sprintf("ext4 checksum type %d", sb.ChecksumType), Off: ondisk.SuperOff + 0x175}
		}
		if want := ondisk.SuperChecksum(raw); sb.Checksum != want {
			return geometry{}, superError(0, "checksum %#08x, want %#08x", sb.Checksum, want)
		}
	}
	if sb.FeatureIncompat&ondisk.IncompatJournalDev != 0 {
		return geometry{}, &vfs.NotSupportedError{
			What: "external journal of an ext3 or ext4 file system (feature journal_dev), UUID " + uuidString(sb.UUID),
			Off:  featureIncompatOff}
	}
	if unknown := sb.FeatureIncompat &^ supported; unknown != 0 {
		return geometry{}, &vfs.NotSupportedError{
			What: fmt.Sprintf("ext4 feature %s (bit %d)", unknown.Names()[0], bits.TrailingZeros32(uint32(unknown))),
			Off:  featureIncompatOff}
	}
	g := geometry{sb: sb}
	if err := g.setSizes(); err != nil {
		return geometry{}, err
	}
	if err := g.setGroups(size); err != nil {
		return geometry{}, err
	}
	return g, nil
}

// setSizes takes over the sizes of things.
func (g *geometry) setSizes() error {
	sb := g.sb
	if sb.LogBlockSize > 6 {
		return superError(0x18, "block size 1024<<%d", sb.LogBlockSize)
	}
	g.blockSize = 1024 << sb.LogBlockSize

	g.inodeSize, g.firstIno = ondisk.InodeSizeOld, ondisk.FirstInoOld
	if sb.Dynamic() {
		g.inodeSize, g.firstIno = int64(sb.InodeSize), sb.FirstIno
		if g.inodeSize < ondisk.InodeSizeOld || g.inodeSize > g.blockSize || g.inodeSize&(g.inodeSize-1) != 0 {
			return superError(0x58, "inode size %d", sb.InodeSize)
		}
		if g.firstIno < ondisk.FirstInoOld {
			return superError(0x54, "first inode %d", g.firstIno)
		}
	}

	g.descSize = ondisk.GroupDescSize
	if sb.FeatureIncompat&ondisk.Incompat64Bit != 0 {
		g.descSize = int(sb.DescSize)
		if g.descSize < ondisk.GroupDescSize64 || g.descSize > 1024 || g.descSize&(g.descSize-1) != 0 {
			return superError(0xFE, "group descriptor size %d", sb.DescSize)
		}
	}

	if sb.FeatureROCompat&ondisk.ROCompatBigalloc != 0 {
		if sb.LogClusterSize < sb.LogBlockSize || sb.LogClusterSize > 20 {
			return superError(0x1C, "cluster size 1024<<%d with blocks of %d bytes", sb.LogClusterSize, g.blockSize)
		}
		g.clusterShift = uint(sb.LogClusterSize - sb.LogBlockSize)
		if uint64(sb.BlocksPerGroup) != uint64(sb.ClustersPerGroup)<<g.clusterShift {
			return superError(0x24, "%d clusters per group, but %d blocks", sb.ClustersPerGroup, sb.BlocksPerGroup)
		}
	}
	g.metadataCsum = sb.FeatureROCompat&ondisk.ROCompatMetadataCsum != 0
	g.groupCsum = !g.metadataCsum && sb.FeatureROCompat&ondisk.ROCompatGDTCsum != 0
	g.unwrittenBg = g.metadataCsum || g.groupCsum
	return nil
}

// setGroups takes over the counts of things on a device of size bytes.
func (g *geometry) setGroups(size int64) error {
	sb := g.sb
	g.blocks, g.firstBlock = sb.Blocks(), uint64(sb.FirstDataBlock)
	if g.firstBlock > 1 || g.firstBlock == 1 && g.blockSize != 1024 {
		return superError(0x14, "first data block %d with blocks of %d bytes", g.firstBlock, g.blockSize)
	}
	if g.blocks <= g.firstBlock {
		return superError(0x04, "%d blocks", g.blocks)
	}
	if g.blocks > uint64(size)/uint64(g.blockSize) {
		return superError(0x04, "%d blocks of %d bytes, but the volume has only %d bytes: is the image truncated?",
			g.blocks, g.blockSize, size)
	}

	// Each bitmap is one block.
	perBitmap := uint64(g.blockSize) * 8
	g.blocksPerGroup, g.inodesPerGroup = uint64(sb.BlocksPerGroup), sb.InodesPerGroup
	if g.blocksPerGroup == 0 || g.blocksPerGroup>>g.clusterShift > perBitmap {
		return superError(0x20, "%d blocks per group", g.blocksPerGroup)
	}
	if g.inodesPerGroup == 0 || uint64(g.inodesPerGroup) > perBitmap {
		return superError(0x28, "%d inodes per group", g.inodesPerGroup)
	}
	g.tableBlocks = (uint64(g.inodesPerGroup)*uint64(g.inodeSize) + uint64(g.blockSize) - 1) / uint64(g.blockSize)
	g.groups = (g.blocks - g.firstBlock + g.blocksPerGroup - 1) / g.blocksPerGroup
	if want := g.groups * uint64(g.inodesPerGroup); uint64(sb.InodesCount) != want {
		return superError(0x00, "%d inodes, but %d groups of %d make %d", sb.InodesCount, g.groups, g.inodesPerGroup, want)
	}
	if sb.FeatureIncompat&ondisk.IncompatMetaBg != 0 && uint64(sb.FirstMetaBg) > g.descBlocks() {
		return superError(0x104, "first meta block group %d of %d", sb.FirstMetaBg, g.descBlocks())
	}
	return nil
}

// findBackup looks for a good copy of the superblock where mke2fs puts the
// first one: at the start of group 1, for each block size.
func findBackup(dev blockio.Device) (g geometry, at int64, ok bool) {
	for shift := range 7 {
		bs := int64(1024) << shift
		at = bs * bs * 8
		if bs == 1024 {
			at += bs // block 0 is not in a group
		}
		raw, err := blockio.ReadFull(dev, at, ondisk.SuperSize)
		if err != nil {
			break // the device ends here
		}
		g, err := parseSuper(raw, dev.Size())
		if err == nil && g.blockSize == bs && g.sb.BlockGroupNr == 1 {
			return g, at, true
		}
	}
	return geometry{}, 0, false
}
