package ext4

import (
	"math"
	"math/bits"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// The limits of mke2fs.
const (
	minBlockSize   = 1 << 10
	maxBlockSize   = 64 << 10
	maxClusterSize = 1 << 29
	maxInodeRatio  = maxBlockSize << 10
	maxReserve     = 50 // percent
	minJournal     = ondisk.JournalMinBlocks
	maxJournal     = 10240000
	pageSize       = 4096 // sizes are rounded down to it
)

// A mkfsProfile is what was asked for, with everything filled in that mke2fs
// takes from mke2fs.conf: the classes "floppy", "small", "big" and "huge" there
// go by size.
type mkfsProfile struct {
	featureSet
	blockSize     int64
	clusterSize   int64
	blocks        uint64
	inodeSize     int64
	inodes        uint64
	reserved      uint64 // blocks
	journalBlocks uint64 // asked for; 0: as many as is usual
}

// profileFor makes the profile of a volume of so many bytes.
func profileFor(kind string, bytes int64, sector int, opt vfs.FormatOptions) (*mkfsProfile, error) {
	p := &mkfsProfile{blockSize: int64(opt.BlockSize), inodeSize: int64(opt.InodeSize), clusterSize: int64(opt.ClusterSize)}
	if err := p.setFeatures(kind, opt.Features); err != nil {
		return nil, err
	}
	bytes -= bytes % max(pageSize, p.blockSize)
	ratio := p.setSizes(bytes, int64(sector))
	if err := p.checkSizes(int64(sector)); err != nil {
		return nil, err
	}
	p.blocks = uint64(bytes / p.blockSize)
	if p.blocks > math.MaxUint32 {
		if p.incompat&ondisk.Incompat64Bit == 0 {
			return nil, cannotMake("%d blocks of %d bytes need the feature 64bit", p.blocks, p.blockSize)
		}
		p.compat &^= ondisk.CompatResizeInode
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := p.setInodes(ratio, opt); err != nil {
		return nil, err
	}
	percent := 5
	if opt.ReservePct != nil {
		percent = *opt.ReservePct
	}
	if percent < 0 || percent > maxReserve {
		return nil, cannotMake("a reserve of %d percent is not 0 to %d", percent, maxReserve)
	}
	p.reserved = uint64(float64(percent) * float64(p.blocks) / 100)
	return p, p.setJournal(opt.JournalSize)
}

func (p *mkfsProfile) setFeatures(kind, edits string) error {
	list := baseFeatures
	switch kind {
	case "ext2":
	case "ext3":
		list += "," + ext3Features
	case "ext4":
		list += "," + ext4Features
	default:
		return cannotMake("file system type %q is not ext2, ext3 or ext4", kind)
	}
	if err := p.edit(list); err != nil {
		return err
	}
	return p.edit(edits)
}

// setSizes fills in the sizes that were not given, and returns how many bytes
// there are for each inode.
func (p *mkfsProfile) setSizes(bytes, sector int64) (ratio int64) {
	small, ratio := false, int64(16384)
	switch {
	case bytes < 3<<20: // floppy
		small, ratio = true, 8192
	case bytes < 512<<20: // small
		small, ratio = true, 4096
	case bytes >= 16<<40: // huge
		ratio = 65536
	case bytes >= 4<<40: // big
		ratio = 32768
	}
	if p.blockSize == 0 {
		p.blockSize = 4096
		if small {
			p.blockSize = 1024
		}
		p.blockSize = max(p.blockSize, sector)
	}
	if p.ro&ondisk.ROCompatBigalloc != 0 && p.clusterSize == 0 {
		p.clusterSize = 16 * p.blockSize
	}
	if p.inodeSize == 0 {
		p.inodeSize = 256
	}
	return max(ratio, p.blockSize, p.clusterSize)
}

func (p *mkfsProfile) checkSizes(sector int64) error {
	bs := p.blockSize
	if !isPower2(bs) || bs < minBlockSize || bs > maxBlockSize {
		return cannotMake("block size %d is not a power of two from %d to %d", bs, minBlockSize, maxBlockSize)
	}
	if bs < sector {
		return cannotMake("block size %d is less than a sector of %d bytes", bs, sector)
	}
	if p.ro&ondisk.ROCompatBigalloc == 0 {
		if p.clusterSize != 0 {
			return cannotMake("a cluster size needs the feature bigalloc")
		}
		p.clusterSize = bs
	} else if cs := p.clusterSize; !isPower2(cs) || cs < 2*bs || cs > maxClusterSize {
		return cannotMake("cluster size %d is not a power of two from %d, two blocks, to %d", cs, 2*bs, maxClusterSize)
	}
	is := p.inodeSize
	if !isPower2(is) || is < ondisk.InodeSizeOld || is > bs {
		return cannotMake("inode size %d is not a power of two from %d to %d, a block", is, ondisk.InodeSizeOld, bs)
	}
	if is == ondisk.InodeSizeOld && (p.incompat&ondisk.IncompatInlineData != 0 || p.ro&ondisk.ROCompatProject != 0) {
		return cannotMake("inodes of %d bytes are too small for inline_data and project", is)
	}
	return nil
}

func isPower2(n int64) bool { return n > 0 && n&(n-1) == 0 }

func log2(n int64) uint32 { return uint32(bits.Len64(uint64(n)) - 1) }

// setInodes finds the number of inodes to aim for.
func (p *mkfsProfile) setInodes(ratio int64, opt vfs.FormatOptions) error {
	bytes := p.blocks * uint64(p.blockSize)
	if opt.BytesPerInode != 0 {
		ratio = int64(opt.BytesPerInode)
		if ratio < minBlockSize || ratio > maxInodeRatio {
			return cannotMake("%d bytes per inode is not %d to %d", ratio, minBlockSize, maxInodeRatio)
		}
	}
	p.inodes = bytes / uint64(ratio)
	if opt.Inodes != 0 {
		p.inodes = uint64(opt.Inodes)
	}
	if opt.Inodes < 0 || p.inodes > math.MaxUint32 && (opt.Inodes != 0 || p.incompat&ondisk.Incompat64Bit == 0) {
		return cannotMake("more than 2^32 inodes, or less than none: use more bytes per inode")
	}
	p.inodes = min(p.inodes, math.MaxUint32)
	if p.inodes*uint64(p.inodeSize) >= bytes {
		return cannotMake("%d inodes of %d bytes do not fit into %d bytes: make fewer", p.inodes, p.inodeSize, bytes)
	}
	return nil
}

// setJournal checks the size of the journal that was asked for.
func (p *mkfsProfile) setJournal(bytes int64) error {
	if p.compat&ondisk.CompatHasJournal == 0 {
		if bytes != 0 {
			return cannotMake("a journal size needs the feature has_journal")
		}
		return nil
	}
	if bytes != 0 {
		p.journalBlocks = uint64(bytes) / uint64(p.blockSize)
		if bytes < 0 || p.journalBlocks < minJournal || p.journalBlocks > maxJournal {
			return cannotMake("a journal of %d bytes does not have %d to %d blocks", bytes, minJournal, maxJournal)
		}
	}
	return nil
}

// defaultJournal is the size in blocks of the journal of a file system of so
// many blocks (ext2fs_default_journal_size).
func defaultJournal(blocks uint64) uint64 {
	if blocks < 2048 {
		return 0
	}
	for _, c := range []struct{ below, size uint64 }{
		{32 << 10, 1 << 10}, {256 << 10, 4 << 10}, {512 << 10, 8 << 10}, {4096 << 10, 16 << 10},
		{8192 << 10, 32 << 10}, {16384 << 10, 64 << 10}, {32768 << 10, 128 << 10},
	} {
		if blocks < c.below {
			return c.size
		}
	}
	return 256 << 10
}
