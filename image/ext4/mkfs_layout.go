package ext4

import (
	"math"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// A mkfsLayout is how a new file system is divided into groups, and what is in
// use there. Its superblock is complete but for identifiers, times and counts.
type mkfsLayout struct {
	sb          ondisk.Superblock
	blockSize   int64
	inodeSize   int64
	descSize    int64
	groups      uint64
	descBlocks  uint64 // of the whole descriptor table
	tableBlocks uint64 // of the inode table of a group
	flexSize    uint64 // groups whose tables lie together; 0: each has its own
	clusterSize uint64 // blocks
	used        blockSet
}

const (
	creatorLinux     = 0
	errorsContinue   = 1
	hashHalfMD4      = 1
	defaultMountOpts = 0x0C // user_xattr, acl
	flexGroups       = 16
	extraIsize       = 32  // what the fields of an inode have behind its first 128 bytes
	lastGroupSpare   = 50  // blocks that a last group has for contents, or it is left out
	leastGroup       = 256 // blocks
)

// layoutFor divides a file system into groups, as ext2fs_initialize does.
func layoutFor(p *mkfsProfile) (*mkfsLayout, error) {
	l := &mkfsLayout{blockSize: p.blockSize, inodeSize: p.inodeSize, clusterSize: uint64(p.clusterSize / p.blockSize)}
	l.sb = ondisk.Superblock{
		LogBlockSize: log2(p.blockSize) - 10, LogClusterSize: log2(p.clusterSize) - 10,
		MaxMntCount: math.MaxUint16, Magic: ondisk.SuperMagic, State: ondisk.StateValid,
		Errors: errorsContinue, CreatorOS: creatorLinux, RevLevel: 1,
		FirstIno: ondisk.FirstInoOld, InodeSize: uint16(p.inodeSize),
		FeatureCompat: p.compat, FeatureIncompat: p.incompat, FeatureROCompat: p.ro,
		DefHashVersion: hashHalfMD4, DefaultMountOpts: defaultMountOpts,
		Flags: ondisk.FlagSignedHash,
	}
	if l.sb.LogClusterSize == 0 {
		l.sb.FirstDataBlock = 1
	}
	if p.inodeSize >= ondisk.InodeSizeOld+extraIsize {
		l.sb.MinExtraIsize, l.sb.WantExtraIsize = extraIsize, extraIsize
	}
	l.descSize = ondisk.GroupDescSize
	if p.incompat&ondisk.Incompat64Bit != 0 {
		l.descSize = ondisk.GroupDescSize64
		l.sb.DescSize = ondisk.GroupDescSize64
	}
	if p.incompat&ondisk.IncompatFlexBg != 0 {
		l.flexSize = flexGroups
		l.sb.LogGroupsPerFlex = uint8(log2(flexGroups))
	}
	if l.hasChecksums() {
		l.sb.ChecksumType = ondisk.ChecksumCRC32C
	}
	l.setClustersPerGroup(p.blockSize * 8)
	if err := l.divide(p); err != nil {
		return nil, err
	}
	l.used = newBlockSet(l.firstBlock(), l.blocks())
	for g := range l.groups {
		l.reserveHead(g)
	}
	return l, nil
}

func (l *mkfsLayout) has(f ondisk.ROCompat) bool { return l.sb.FeatureROCompat&f != 0 }

// hasChecksums says whether everything has a checksum.
func (l *mkfsLayout) hasChecksums() bool { return l.has(ondisk.ROCompatMetadataCsum) }

// lazy says whether the descriptors have checksums, so that they may say that
// bitmaps and inodes are not there yet.
func (l *mkfsLayout) lazy() bool {
	return l.has(ondisk.ROCompatMetadataCsum | ondisk.ROCompatGDTCsum)
}

func (l *mkfsLayout) blocks() uint64         { return l.sb.Blocks() }
func (l *mkfsLayout) firstBlock() uint64     { return uint64(l.sb.FirstDataBlock) }
func (l *mkfsLayout) blocksPerGroup() uint64 { return uint64(l.sb.BlocksPerGroup) }
func (l *mkfsLayout) inodesPerGroup() uint64 { return uint64(l.sb.InodesPerGroup) }
func (l *mkfsLayout) descsPerBlock() uint64  { return uint64(l.blockSize / l.descSize) }
func (l *mkfsLayout) pointersPerBlock() int  { return int(l.blockSize / 4) }

func (l *mkfsLayout) setBlocks(n uint64) {
	l.sb.BlocksCountLo, l.sb.BlocksCountHi = uint32(n), uint32(n>>32)
}

func (l *mkfsLayout) setReserved(n uint64) {
	l.sb.RBlocksCountLo, l.sb.RBlocksCountHi = uint32(n), uint32(n>>32)
}

// setClustersPerGroup sets the size of groups: a group has at most as many
// clusters as its bitmap has bits, and less than 2^16 in the descriptor.
func (l *mkfsLayout) setClustersPerGroup(n int64) {
	n = min(n, math.MaxUint16&^7)
	l.sb.ClustersPerGroup = uint32(n)
	l.sb.BlocksPerGroup = uint32(n) * uint32(l.clusterSize)
}

// divide finds the size of the groups and of their inode tables. Groups become
// smaller until their bitmaps have room for the inodes, and a last group that
// would hold little more than its own tables is left out.
func (l *mkfsLayout) divide(p *mkfsProfile) error {
	blocks, reserved := p.blocks/l.clusterSize*l.clusterSize, p.reserved
	for {
		l.setBlocks(blocks)
		l.setReserved(reserved)
		if blocks <= l.firstBlock() {
			return l.tooSmall(p)
		}
		l.groups = howMany(blocks-l.firstBlock(), l.blocksPerGroup())
		l.descBlocks = howMany(l.groups, l.descsPerBlock())
		perGroup := howMany(p.inodes, l.groups)
		if perGroup > uint64(l.blockSize)*8 {
			if l.clusterSize > 1 || l.sb.BlocksPerGroup < leastGroup {
				return cannotMake("%d inodes are too many for %d groups: make fewer", p.inodes, l.groups)
			}
			l.setClustersPerGroup(int64(l.sb.ClustersPerGroup) - 8)
			blocks = p.blocks
			continue
		}
		if err := l.setInodes(perGroup); err != nil {
			return err
		}
		l.reserveDescriptors()
		heads := 1 + l.descBlocks + uint64(l.sb.ReservedGDTBlocks)
		if l.sb.FeatureIncompat&ondisk.IncompatMetaBg != 0 {
			heads = 2
		}
		if heads+2+l.tableBlocks > l.blocksPerGroup() {
			return cannotMake("%d inodes in each group of %d blocks leave no room: make fewer", l.inodesPerGroup(), l.blocksPerGroup())
		}
		least := 2 + l.tableBlocks
		if l.sb.HasSuper(l.groups - 1) {
			least += 1 + l.descBlocks + uint64(l.sb.ReservedGDTBlocks)
		}
		last := (blocks - l.firstBlock()) % l.blocksPerGroup()
		if last == 0 || last >= least+lastGroupSpare {
			return nil
		}
		if l.groups == 1 {
			return l.tooSmall(p)
		}
		ratio := 100 * float64(p.reserved) / float64(p.blocks)
		blocks -= last
		reserved = uint64(ratio * float64(blocks) / 100)
	}
}

func (l *mkfsLayout) tooSmall(p *mkfsProfile) error {
	return cannotMake("%d bytes are too few for blocks of %d bytes and %d inodes", p.blocks*uint64(p.blockSize), p.blockSize, p.inodes)
}

func howMany(n, by uint64) uint64 { return (n + by - 1) / by }

// setInodes sets the inodes of a group, so that they fill whole blocks and
// whole bytes of the bitmap, and that there are more than are spoken for.
func (l *mkfsLayout) setInodes(perGroup uint64) error {
	bs, size := uint64(l.blockSize), uint64(l.inodeSize)
	perGroup = min(perGroup, 1<<16-bs/size)
	for {
		n := howMany(perGroup*size, bs) * bs / size
		n = max(n, 8) &^ 7
		l.tableBlocks = howMany(n*size, bs)
		if n*l.groups > math.MaxUint32 {
			perGroup--
			continue
		}
		if n*l.groups < ondisk.FirstInoOld+1 {
			perGroup += 8
			continue
		}
		l.sb.InodesPerGroup, l.sb.InodesCount = uint32(n), uint32(n*l.groups)
		return nil
	}
}

// reserveDescriptors keeps room behind the group descriptors, so that the file
// system can grow a thousandfold while it is mounted. Where that is too much
// for a group, the descriptors are spread over the groups.
func (l *mkfsLayout) reserveDescriptors() {
	l.sb.ReservedGDTBlocks = 0
	if l.sb.FeatureCompat&ondisk.CompatResizeInode != 0 {
		grown := uint64(math.MaxUint32)
		if l.blocks() < grown/1024 {
			grown = l.blocks() * 1024
		}
		n := howMany(howMany(grown-l.firstBlock(), l.blocksPerGroup()), l.descsPerBlock()) - l.descBlocks
		l.sb.ReservedGDTBlocks = uint16(min(n, uint64(l.pointersPerBlock())))
	}
	if uint64(l.sb.ReservedGDTBlocks)+l.descBlocks > l.blocksPerGroup()*3/4 {
		l.sb.FeatureIncompat |= ondisk.IncompatMetaBg
		l.sb.FeatureCompat &^= ondisk.CompatResizeInode
		l.sb.ReservedGDTBlocks = 0
	}
}

// groupStart is the first block of group g.
func (l *mkfsLayout) groupStart(g uint64) uint64 { return l.firstBlock() + g*l.blocksPerGroup() }

// groupEnd is the block behind group g.
func (l *mkfsLayout) groupEnd(g uint64) uint64 { return min(l.groupStart(g+1), l.blocks()) }

// groupOf is the group of a block.
func (l *mkfsLayout) groupOf(block uint64) uint64 {
	return (block - l.firstBlock()) / l.blocksPerGroup()
}

// superBlock is the block that the superblock copy of group g begins in.
func (l *mkfsLayout) superBlock(g uint64) uint64 {
	if g == 0 {
		return uint64(ondisk.SuperOff / l.blockSize)
	}
	return l.groupStart(g)
}

// descriptors says where group g has descriptors, how many blocks, and which of
// the whole table they are: a copy of all of it beside every superblock; or
// with meta_bg, for as many groups as one block describes, that block in the
// first, the second and the last of them.
func (l *mkfsLayout) descriptors(g uint64) (at, n, first uint64) {
	at = l.groupStart(g)
	if l.sb.HasSuper(g) {
		at = l.superBlock(g) + 1
	}
	if l.sb.FeatureIncompat&ondisk.IncompatMetaBg == 0 {
		if l.sb.HasSuper(g) {
			n = l.descBlocks
		}
		return at, n, 0
	}
	per := l.descsPerBlock()
	if i := g % per; i == 0 || i == 1 || i == per-1 {
		n = 1
	}
	return at, n, g / per
}

// reserveHead takes what lies at the start of group g, before its tables.
func (l *mkfsLayout) reserveHead(g uint64) {
	at, n, _ := l.descriptors(g)
	if l.sb.HasSuper(g) {
		start := l.groupStart(g)
		l.used.add(start, at-start)
		n += uint64(l.sb.ReservedGDTBlocks)
	}
	l.used.add(at, n)
}
