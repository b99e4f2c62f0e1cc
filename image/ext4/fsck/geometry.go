package fsck

import (
	"fmt"
	"math/bits"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// geometry is what follows from a superblock that makes sense.
type geometry struct {
	sb           *ondisk.Superblock
	bsize        int64 // bytes of a block
	bshift       uint
	blocks       uint64
	firstBlock   uint64
	groups       uint32
	perGroup     uint64 // blocks
	clusterShift uint   // log2 of blocks per cluster
	clusters     uint64 // in all, counted from firstBlock
	clustersPer  uint64 // per group
	ipg          uint32 // inodes per group
	inodes       uint32
	isize        int64 // bytes of an inode
	firstIno     uint32
	descSize     int
	descPer      uint32 // descriptors in a block
	descBlocks   uint32
	tableBlocks  uint64 // of the inode table of a group
	csum         bool   // metadata_csum
	groupCsum    bool   // descriptors have checksums, and groups may be uninitialised
	seed         uint32
	ptrs         uint64 // block pointers in a block
}

// checked are the incompatible features that are understood.
const checked = ondisk.IncompatFiletype | ondisk.IncompatRecover | ondisk.IncompatMetaBg |
	ondisk.IncompatExtents | ondisk.Incompat64Bit | ondisk.IncompatMMP | ondisk.IncompatFlexBg |
	ondisk.IncompatEAInode | ondisk.IncompatCsumSeed | ondisk.IncompatLargeDir |
	ondisk.IncompatInlineData | ondisk.IncompatEncrypt | ondisk.IncompatCasefold

// checkedRO are those of the read-only compatible features.
const checkedRO = ondisk.ROCompatSparseSuper | ondisk.ROCompatLargeFile | ondisk.ROCompatBtreeDir |
	ondisk.ROCompatHugeFile | ondisk.ROCompatGDTCsum | ondisk.ROCompatDirNlink | ondisk.ROCompatExtraIsize |
	ondisk.ROCompatQuota | ondisk.ROCompatBigalloc | ondisk.ROCompatMetadataCsum | ondisk.ROCompatReadonly |
	ondisk.ROCompatProject | ondisk.ROCompatVerity | ondisk.ROCompatOrphanPresent

// checkedCompat are those of the compatible features.
const checkedCompat = ondisk.CompatDirPrealloc | ondisk.CompatHasJournal | ondisk.CompatExtAttr |
	ondisk.CompatResizeInode | ondisk.CompatDirIndex | ondisk.CompatSparseSuper2 | ondisk.CompatFastCommit |
	ondisk.CompatStableInodes | ondisk.CompatOrphanFile

// has* report whether a feature is set.
func (g *geometry) hasCompat(f ondisk.Compat) bool     { return g.sb.FeatureCompat&f != 0 }
func (g *geometry) hasIncompat(f ondisk.Incompat) bool { return g.sb.FeatureIncompat&f != 0 }
func (g *geometry) hasRO(f ondisk.ROCompat) bool       { return g.sb.FeatureROCompat&f != 0 }

func superCorrupt(off int64, format string, args ...any) error {
	return vfs.Corruptf(ondisk.SuperOff+off, "superblock", format, args...)
}

// newGeometry derives the geometry, or says what makes no sense. It is as
// strict as e2fsck: a superblock that it refuses is a lost one.
func newGeometry(sb *ondisk.Superblock) (*geometry, error) {
	g := &geometry{sb: sb}
	if sb.LogBlockSize > 6 {
		return nil, superCorrupt(0x18, "block size 1024<<%d", sb.LogBlockSize)
	}
	g.bshift = uint(10 + sb.LogBlockSize)
	g.bsize = 1 << g.bshift
	g.ptrs = uint64(g.bsize) / 4
	g.blocks, g.firstBlock = sb.Blocks(), uint64(sb.FirstDataBlock)
	bigalloc := sb.FeatureROCompat&ondisk.ROCompatBigalloc != 0
	wantFirst := uint64(0)
	if g.bsize == 1024 && !bigalloc {
		wantFirst = 1
	}
	if g.firstBlock > 1 || g.firstBlock == 1 && g.bsize != 1024 || g.firstBlock < wantFirst {
		return nil, superCorrupt(0x14, "first data block %d with blocks of %d bytes", g.firstBlock, g.bsize)
	}
	if g.blocks <= g.firstBlock+8 || g.blocks>>48 != 0 {
		return nil, superCorrupt(0x04, "%d blocks", g.blocks)
	}

	g.isize, g.firstIno = ondisk.InodeSizeOld, ondisk.FirstInoOld
	if sb.Dynamic() {
		g.isize, g.firstIno = int64(sb.InodeSize), sb.FirstIno
		if g.isize < ondisk.InodeSizeOld || g.isize > g.bsize || g.isize&(g.isize-1) != 0 {
			return nil, superCorrupt(0x58, "inode size %d", sb.InodeSize)
		}
	}
	if bigalloc {
		if sb.LogClusterSize < sb.LogBlockSize || sb.LogClusterSize > 19 {
			return nil, superCorrupt(0x1C, "cluster size 1024<<%d with blocks of %d bytes", sb.LogClusterSize, g.bsize)
		}
		g.clusterShift = uint(sb.LogClusterSize - sb.LogBlockSize)
	} else if sb.LogClusterSize != sb.LogBlockSize && sb.Dynamic() && sb.LogClusterSize != 0 {
		return nil, superCorrupt(0x1C, "cluster size 1024<<%d, but block size 1024<<%d", sb.LogClusterSize, sb.LogBlockSize)
	}
	g.perGroup, g.clustersPer = uint64(sb.BlocksPerGroup), uint64(sb.BlocksPerGroup)>>g.clusterShift
	perBitmap := uint64(g.bsize) * 8
	if g.clustersPer < 8 || g.clustersPer > perBitmap || g.clustersPer<<g.clusterShift != g.perGroup || g.clustersPer%8 != 0 {
		return nil, superCorrupt(0x20, "%d blocks per group", g.perGroup)
	}
	if bigalloc && uint64(sb.ClustersPerGroup) != g.clustersPer {
		return nil, superCorrupt(0x24, "%d clusters per group, but %d blocks", sb.ClustersPerGroup, g.perGroup)
	}
	g.clusters = (g.blocks - g.firstBlock + 1<<g.clusterShift - 1) >> g.clusterShift
	groups := (g.blocks - g.firstBlock + g.perGroup - 1) / g.perGroup
	g.ipg = sb.InodesPerGroup
	if g.ipg == 0 || uint64(g.ipg) > perBitmap || g.ipg%8 != 0 {
		return nil, superCorrupt(0x28, "%d inodes per group", g.ipg)
	}
	if groups*uint64(g.ipg) != uint64(sb.InodesCount) {
		return nil, superCorrupt(0x00, "%d inodes, but %d groups of %d make %d", sb.InodesCount, groups, g.ipg, groups*uint64(g.ipg))
	}
	g.groups, g.inodes = uint32(groups), sb.InodesCount
	if g.firstIno < ondisk.FirstInoOld || g.firstIno > g.inodes {
		return nil, superCorrupt(0x54, "first inode %d", g.firstIno)
	}
	g.tableBlocks = (uint64(g.ipg)*uint64(g.isize) + uint64(g.bsize) - 1) >> g.bshift

	g.descSize = ondisk.GroupDescSize
	if sb.FeatureIncompat&ondisk.Incompat64Bit != 0 {
		g.descSize = int(sb.DescSize)
		if g.descSize < ondisk.GroupDescSize64 || g.descSize > 1024 || g.descSize&(g.descSize-1) != 0 {
			return nil, superCorrupt(0xFE, "group descriptor size %d", sb.DescSize)
		}
	}
	g.descPer = uint32(g.bsize) / uint32(g.descSize)
	g.descBlocks = (g.groups + g.descPer - 1) / g.descPer
	if g.hasIncompat(ondisk.IncompatMetaBg) && sb.FirstMetaBg > g.descBlocks {
		return nil, superCorrupt(0x104, "first meta block group %d of %d", sb.FirstMetaBg, g.descBlocks)
	}
	if uint64(sb.ReservedGDTBlocks) > uint64(g.bsize)/4 {
		return nil, superCorrupt(0xCE, "%d blocks reserved for descriptors", sb.ReservedGDTBlocks)
	}
	if g.tableBlocks+uint64(g.oldDescBlocks())+4 > g.perGroup && !g.hasIncompat(ondisk.IncompatFlexBg) || g.tableBlocks >= g.blocks {
		return nil, superCorrupt(0x28, "inode tables of %d blocks in groups of %d", g.tableBlocks, g.perGroup)
	}
	if sb.LogGroupsPerFlex > 31 {
		return nil, superCorrupt(0x174, "1<<%d groups in a flex group", sb.LogGroupsPerFlex)
	}
	g.csum = g.hasRO(ondisk.ROCompatMetadataCsum)
	g.groupCsum = g.csum || g.hasRO(ondisk.ROCompatGDTCsum)
	g.seed = sb.Seed()
	return g, nil
}

// features refuses what cannot be checked, one error for each bit.
func (g *geometry) features() error {
	sb := g.sb
	refuse := func(kind string, bit int, name string, off int64) error {
		return &vfs.NotSupportedError{What: fmt.Sprintf("ext4 %sfeature %s (bit %d)", kind, name, bit), Off: ondisk.SuperOff + off}
	}
	if sb.FeatureIncompat&ondisk.IncompatJournalDev != 0 {
		return &vfs.NotSupportedError{What: "checking an external journal (feature journal_dev)", Off: ondisk.SuperOff + 0x60}
	}
	if f := sb.FeatureIncompat &^ checked; f != 0 {
		return refuse("", bits.TrailingZeros32(uint32(f)), f.Names()[0], 0x60)
	}
	if f := sb.FeatureROCompat &^ checkedRO; f != 0 {
		return refuse("read-only ", bits.TrailingZeros32(uint32(f)), f.Names()[0], 0x64)
	}
	if f := sb.FeatureCompat &^ checkedCompat; f != 0 {
		return refuse("compatible ", bits.TrailingZeros32(uint32(f)), f.Names()[0], 0x5C)
	}
	if g.csum && sb.ChecksumType != ondisk.ChecksumCRC32C {
		return &vfs.NotSupportedError{What: fmt.Sprintf("ext4 checksum type %d", sb.ChecksumType), Off: ondisk.SuperOff + 0x175}
	}
	return nil
}

// Addresses.

func (g *geometry) off(block uint64) int64 { return int64(block) << g.bshift }

// start is the first block of a group, end the one behind its last.
func (g *geometry) start(group uint32) uint64 { return g.firstBlock + uint64(group)*g.perGroup }
func (g *geometry) end(group uint32) uint64   { return min(g.start(group)+g.perGroup, g.blocks) }

// cluster is the number of the cluster that a block is in, as the block bitmaps
// count them.
func (g *geometry) cluster(block uint64) uint64 { return (block - g.firstBlock) >> g.clusterShift }

// groupClusters is how many clusters a group has.
func (g *geometry) groupClusters(group uint32) uint64 {
	return min(g.clustersPer, g.clusters-uint64(group)*g.clustersPer)
}

// fits reports whether n blocks from start on are in the file system.
func (g *geometry) fits(start, n uint64) bool {
	return start > 0 && start >= g.firstBlock && start < g.blocks && n <= g.blocks-start
}

// oldDescBlocks is how many descriptor blocks lie together behind each copy of
// the superblock.
func (g *geometry) oldDescBlocks() uint32 {
	if g.hasIncompat(ondisk.IncompatMetaBg) {
		return g.sb.FirstMetaBg
	}
	return g.descBlocks
}

// superBlockOf is the block of the superblock in a group that has one, and the
// block behind it.
func (g *geometry) superBlockOf(group uint32) (block uint64) {
	b := g.start(group)
	if group == 0 && g.bsize == 1024 && g.firstBlock == 0 {
		b++ // groups begin at block 0, where the boot sector is
	}
	return b
}

// descBlock is where block nr of the descriptors lies: the primary one, or that
// which belongs to the superblock in group copy.
func (g *geometry) descBlock(nr, copy uint32) (uint64, bool) {
	if nr < g.oldDescBlocks() {
		return g.superBlockOf(copy) + 1 + uint64(nr), g.sb.HasSuper(uint64(copy))
	}
	// With meta_bg, the first, second and last group of those that a block
	// describes have it.
	first := nr * g.descPer
	group := first
	switch copy {
	case 0:
	case 1:
		group++
	default:
		group += g.descPer - 1
	}
	if group >= g.groups {
		return 0, false
	}
	b := g.start(group)
	if g.sb.HasSuper(uint64(group)) {
		b = g.superBlockOf(group) + 1
	}
	return b, true
}

// static are the blocks of a group that the superblock alone says are in use:
// its copy, descriptors, and what is reserved for more of them.
func (g *geometry) static(group uint32, visit func(from, to uint64)) {
	if g.sb.HasSuper(uint64(group)) {
		b := g.superBlockOf(group)
		n := uint64(1)
		switch {
		case !g.hasIncompat(ondisk.IncompatMetaBg):
			n += uint64(g.descBlocks) + uint64(g.sb.ReservedGDTBlocks)
		case group/g.descPer < g.sb.FirstMetaBg:
			n += uint64(g.sb.FirstMetaBg)
		}
		if group == 0 {
			visit(g.start(0), min(b+n, g.blocks))
		} else {
			visit(b, min(b+n, g.blocks))
		}
	}
	if !g.hasIncompat(ondisk.IncompatMetaBg) || group/g.descPer < g.sb.FirstMetaBg {
		return
	}
	switch in := group % g.descPer; {
	case in == 0 || in == 1 || in == g.descPer-1:
		b := g.start(group)
		if g.sb.HasSuper(uint64(group)) {
			b = g.superBlockOf(group) + 1
		}
		visit(b, min(b+1, g.blocks))
	}
}

// inodePlace is the group of an inode and its index in it.
func (g *geometry) inodePlace(ino uint32) (group, index uint32) {
	return (ino - 1) / g.ipg, (ino - 1) % g.ipg
}
