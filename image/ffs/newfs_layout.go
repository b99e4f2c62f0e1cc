package ffs

import (
	"math"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

const (
	newGroups    = 4    // MINCYLGRPS: as many groups at least, if there is room
	newSuperSize = 1384 // sizeof(struct fs) where pointers have 64 bits

	// Sectors that a file system may have: a signed number of 32 bits in FFS1,
	// what a disklabel can hold in FFS2.
	maxSectors1 = math.MaxInt32
	maxSectors2 = 1<<47 - 1
	dbSize      = 512 // DEV_BSIZE
)

// newfsLayout is where newfs puts what. Offsets and sizes are in fragments unless
// they are called bytes.
type newfsLayout struct {
	version   ondisk.Version
	blockSize int64 // bytes
	fragSize  int64 // bytes
	frag      int64 // fragments per block
	frags     int64 // of the file system
	inopb     int64 // inodes per block
	nindir    int64 // pointers per block

	superOff, groupOff, inodeOff, dataOff int64 // in a group

	fragsPerGroup  int64
	inodesPerGroup int64
	groups         int64
	groupBytes     int64 // of a header with its maps
	summaryBytes   int64
	dataFrags      int64 // fs_dsize
}

func howMany(n, by int64) int64 { return (n + by - 1) / by }
func roundUp(n, to int64) int64 { return howMany(n, to) * to }

// superLoc is where the primary superblock goes, in bytes.
func (l *newfsLayout) superLoc() int64 {
	if l.version == ondisk.V1 {
		return ondisk.SuperFFS1
	}
	return ondisk.SuperFFS2
}

// layoutFor works out the layout of a file system of so many bytes.
func layoutFor(version ondisk.Version, bytes int64, sector int, opt vfs.FormatOptions) (*newfsLayout, error) {
	l := &newfsLayout{version: version, blockSize: int64(opt.BlockSize), fragSize: int64(opt.FragSize)}
	if err := l.setSizes(int64(sector)); err != nil {
		return nil, err
	}
	sectors, limit := bytes/dbSize, int64(maxSectors2)
	if version == ondisk.V1 {
		limit = maxSectors1
	}
	if sectors > limit {
		return nil, cannotMake("FFS%d holds %d bytes at most, and this volume has %d%s", version, limit*dbSize, bytes,
			map[bool]string{true: ": use ffs2"}[version == ondisk.V1])
	}
	l.frags = bytes / l.fragSize
	l.inopb = l.blockSize / int64(version.InodeSize())
	l.nindir = l.blockSize / int64(version.PointerSize())
	l.superOff = roundUp(howMany(l.superLoc()+ondisk.SuperAreaSize, l.fragSize), l.frag)
	l.groupOff = l.superOff + roundUp(howMany(ondisk.SuperAreaSize, l.fragSize), l.frag)
	l.inodeOff = l.groupOff + l.frag

	density := int64(opt.BytesPerInode)
	if density == 0 {
		density = newDensity * l.fragSize
	}
	if density < 0 {
		return nil, cannotMake("%d bytes per inode", density)
	}
	if err := l.divide(density); err != nil {
		return nil, err
	}
	return l, l.finish(bytes)
}

// setSizes completes and checks the block and fragment sizes.
func (l *newfsLayout) setSizes(sector int64) error {
	if l.fragSize == 0 {
		// Newfs would refuse its default where blocks are so large that it is
		// less than an eighth of them.
		l.fragSize = max(newFragSize, sector, l.blockSize/ondisk.MaxFrag)
	}
	if l.blockSize == 0 {
		l.blockSize = max(min(newBlockSize, ondisk.MaxFrag*l.fragSize), l.fragSize)
	}
	bs, fs := l.blockSize, l.fragSize
	if !isPower2(bs) || bs < ondisk.MinBlockSize || bs > ondisk.MaxBlockSize {
		return cannotMake("block size %d is not a power of two from %d to %d", bs, ondisk.MinBlockSize, ondisk.MaxBlockSize)
	}
	if !isPower2(fs) || fs > bs || fs < bs/ondisk.MaxFrag {
		return cannotMake("fragment size %d is not a power of two from %d, an eighth of a block, to %d", fs, bs/ondisk.MaxFrag, bs)
	}
	if fs < sector {
		return cannotMake("fragment size %d is less than a sector of %d bytes", fs, sector)
	}
	l.frag = bs / fs
	return nil
}

// divide finds the size of the groups and the number of inodes in each. First
// the least that holds the inodes asked for; then as large as one block can
// describe, but so that there are four groups; then smaller again until the
// last group is not too small.
func (l *newfsLayout) divide(density int64) error {
	var perInode int64 // fragments for each inode
	inodes := func() { l.inodesPerGroup = roundUp(howMany(l.fragsPerGroup, perInode), l.inopb) }
	for ; ; density -= l.fragSize {
		perInode = max(density/l.fragSize, 1)
		least := min(perInode*l.inopb, l.frags)
		l.inodesPerGroup = l.inopb
		for range 2 {
			l.fragsPerGroup = max(l.metadata(), least)
			inodes()
		}
		if l.describing() < l.blockSize {
			break
		}
		if density < l.fragSize {
			return cannotMake("blocks of %d bytes are too small to describe a group of this file system: use larger ones", l.blockSize)
		}
	}
	for {
		l.fragsPerGroup += l.frag
		inodes()
		if l.frags/l.fragsPerGroup < newGroups || l.describing() > l.blockSize {
			break
		}
	}
	l.fragsPerGroup -= l.frag
	inodes()
	for {
		l.groups = howMany(l.frags, l.fragsPerGroup)
		if l.frags < l.metadata() || l.fragsPerGroup < l.metadata() {
			return l.tooSmall()
		}
		if last := l.frags % l.fragsPerGroup; last == 0 || last >= l.metadata() {
			return nil
		}
		l.fragsPerGroup -= l.frag
		inodes()
	}
}

// metadata is what a group needs before its first data.
func (l *newfsLayout) metadata() int64 {
	return roundUp(l.inodeOff+l.inodesPerGroup/(l.inopb/l.frag), l.frag)
}

// describing is the size in bytes of a group header with its maps: CGSIZE.
func (l *newfsLayout) describing() int64 {
	return ondisk.GroupSize + 4 + 4 + 2 + howMany(l.inodesPerGroup, 8) + howMany(l.fragsPerGroup, 8)
}

func (l *newfsLayout) tooSmall() error {
	return cannotMake("%d bytes are too few for FFS%d with blocks of %d bytes: make the volume larger, or the blocks smaller (from %d)",
		l.frags*l.fragSize, l.version, l.blockSize, ondisk.MinBlockSize)
}

// finish derives the rest from the groups.
func (l *newfsLayout) finish(bytes int64) error {
	if l.inodesPerGroup*l.groups > math.MaxUint32 {
		return cannotMake("%d bytes have more than 2^32 inodes: use more bytes per inode, or larger fragments", bytes)
	}
	l.dataOff = l.inodeOff + l.inodesPerGroup/(l.inopb/l.frag)
	l.groupBytes = roundUp(l.describing(), l.fragSize)
	l.summaryBytes = roundUp(l.groups*summarySize, l.fragSize)
	l.dataFrags = l.frags - l.superOff - l.groups*(l.dataOff-l.superOff) - l.summaryBytes/l.fragSize
	// The first group has to have room for the summary and the root directory.
	if l.rootFrag()+l.frag > l.groupFrags(0) {
		return l.tooSmall()
	}
	return nil
}

// groupFrags is the number of fragments of group c: less in the last.
func (l *newfsLayout) groupFrags(c int64) int64 {
	return min(l.fragsPerGroup, l.frags-c*l.fragsPerGroup)
}

// rootFrag is where the root directory goes: the first block that is wholly
// free, behind the summary.
func (l *newfsLayout) rootFrag() int64 {
	return roundUp(l.dataOff+l.summaryBytes/l.fragSize, l.frag)
}

// inited is the number of inodes of a group that are written.
func (l *newfsLayout) inited() int64 {
	if l.version == ondisk.V1 {
		return l.inodesPerGroup
	}
	return min(l.inodesPerGroup, 2*l.inopb)
}

// headBytes is the size of what leads to the inode table: the copy of the
// superblock and the group header, each in whole blocks.
func (l *newfsLayout) headBytes() int64 { return (l.inodeOff - l.superOff) * l.fragSize }

// tableBytes is how much is written to all groups.
func (l *newfsLayout) tableBytes() int64 {
	return l.groups * (l.headBytes() + l.inited()*int64(l.version.InodeSize()))
}
