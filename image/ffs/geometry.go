package ffs

import (
	"math/bits"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// geometry is what the reader relies on of a superblock, checked once by
// [newGeometry]. Addresses are fragment numbers, widened to 64 bits so that
// arithmetic on them cannot overflow.
type geometry struct {
	order   ondisk.Order
	version ondisk.Version
	flavour ondisk.Flavour

	blockSize  int64
	fragSize   int64
	blockShift uint
	fragShift  uint
	frag       int64 // fragments per block
	nindir     int64 // pointers per indirect block
	inopb      uint64
	frags      int64 // size of the file system
	devFrags   int64 // whole fragments that the device has

	groups         uint64
	inodesPerGroup uint64
	fragsPerGroup  int64
	groupOffset    int64 // fs_old_cgoffset, FFS1 of old
	groupMask      uint32
	superCopy      int64 // fs_sblkno
	groupHeader    int64 // fs_cblkno
	inodeTable     int64 // fs_iblkno
	dataStart      int64 // fs_dblkno

	maxSymlink int64
	oldDirs    bool // directory entries without types
	oldIDs     bool // owners of 16 bits
	hasEA      bool // FFS2 of NetBSD whose extended attributes count
}

func log2(n int64) uint { return uint(bits.TrailingZeros64(uint64(n))) }

func isPower2(n int64) bool { return n > 0 && n&(n-1) == 0 }

// newGeometry checks the superblock that lies at byte at, and returns the first
// rule that it breaks.
func newGeometry(s *ondisk.Super, o ondisk.Order, v ondisk.Version, at, devSize int64) (*geometry, error) {
	bad := func(field int64, format string, args ...any) (*geometry, error) {
		return nil, vfs.Corruptf(at+field, "superblock", format, args...)
	}
	g := &geometry{
		order: o, version: v, flavour: s.Flavour(o),
		blockSize: int64(s.BlockSize), fragSize: int64(s.FragSize), frag: int64(s.Frag),
		groups: uint64(s.Groups), inodesPerGroup: uint64(s.InodesPerGroup),
		fragsPerGroup: int64(s.FragsPerGroup),
		superCopy:     int64(s.SuperOff),
		groupHeader:   int64(s.GroupOff), inodeTable: int64(s.InodeOff), dataStart: int64(s.DataOff),
		maxSymlink: int64(s.MaxSymlinkLen), hasEA: s.Magic == ondisk.MagicFFS2EA,
	}
	if !isPower2(g.blockSize) || g.blockSize < ondisk.MinBlockSize || g.blockSize > ondisk.MaxBlockSize {
		return bad(48, "block size %d is not a power of two from %d to %d",
			g.blockSize, ondisk.MinBlockSize, ondisk.MaxBlockSize)
	}
	if !isPower2(g.fragSize) || g.fragSize < ondisk.MinFragSize || g.fragSize > g.blockSize ||
		g.blockSize/g.fragSize > ondisk.MaxFrag {
		return bad(52, "fragment size %d does not divide a block of %d bytes into 1 to %d parts",
			g.fragSize, g.blockSize, ondisk.MaxFrag)
	}
	if g.frag != g.blockSize/g.fragSize {
		return bad(56, "%d fragments per block, want %d", g.frag, g.blockSize/g.fragSize)
	}
	g.blockShift, g.fragShift = log2(g.blockSize), log2(g.fragSize)
	g.nindir = g.blockSize / int64(v.PointerSize())
	g.inopb = uint64(g.blockSize) / uint64(v.InodeSize())
	if int64(s.Nindir) != g.nindir {
		return bad(116, "%d pointers per indirect block, want %d", s.Nindir, g.nindir)
	}
	if uint64(s.InodesPerBlock) != g.inopb {
		return bad(120, "%d inodes per block, want %d", s.InodesPerBlock, g.inopb)
	}

	g.frags = s.Size
	if v == ondisk.V1 {
		g.frags = int64(s.OldSize)
		g.groupOffset, g.groupMask = int64(s.OldGroupOffset), uint32(s.OldGroupMask)
		if g.groupOffset < 0 || g.groupOffset > g.fragsPerGroup {
			return bad(24, "cylinder group offset %d of %d", g.groupOffset, g.fragsPerGroup)
		}
		g.oldDirs = g.maxSymlink <= 0
		g.oldIDs = s.OldInodeFormat < ondisk.InodeFormat44
	}
	// 2^63 bytes is also where offsets end.
	if g.frags <= 0 || g.frags > (1<<63-1)>>g.fragShift {
		return bad(1080, "size of %d fragments", g.frags)
	}
	g.devFrags = devSize >> g.fragShift
	if g.groups == 0 || g.inodesPerGroup == 0 || g.fragsPerGroup <= 0 {
		return bad(44, "%d cylinder groups of %d inodes and %d fragments",
			g.groups, g.inodesPerGroup, g.fragsPerGroup)
	}
	if g.inodesPerGroup%g.inopb != 0 {
		return bad(184, "%d inodes per group do not fill blocks of %d", g.inodesPerGroup, g.inopb)
	}
	// Groups and fragments per group are below 2^32 and 2^31.
	if int64(g.groups)*g.fragsPerGroup < g.frags || int64(g.groups-1)*g.fragsPerGroup >= g.frags {
		return bad(44, "%d cylinder groups of %d fragments cannot hold %d fragments",
			g.groups, g.fragsPerGroup, g.frags)
	}
	if g.groups*g.inodesPerGroup > 1<<32 {
		return bad(184, "%d groups of %d inodes are more than inode numbers can tell", g.groups, g.inodesPerGroup)
	}
	inodeFrags := int64(g.inodesPerGroup/g.inopb) * g.frag
	if g.groupHeader <= 0 || g.inodeTable <= g.groupHeader ||
		g.dataStart < g.inodeTable+inodeFrags || g.dataStart > g.fragsPerGroup {
		return bad(12, "group header at fragment %d, inodes at %d, data at %d of %d: "+
			"they overlap or do not fit", g.groupHeader, g.inodeTable, g.dataStart, g.fragsPerGroup)
	}
	return g, nil
}

// groupStart is the first fragment of group c: cgstart.
func (g *geometry) groupStart(c uint64) int64 {
	return g.fragsPerGroup*int64(c) + g.groupOffset*int64(uint32(c)&^g.groupMask)
}

// inodeOffset is the byte offset of inode n: ino_to_fsba and ino_to_fsbo.
func (g *geometry) inodeOffset(n uint64) int64 {
	c, i := n/g.inodesPerGroup, n%g.inodesPerGroup
	frag := g.groupStart(c) + g.inodeTable + int64(i/g.inopb)*g.frag
	return frag<<g.fragShift + int64(i%g.inopb)*int64(g.version.InodeSize())
}

// inodes is the number of inodes, counting the two that are never used.
func (g *geometry) inodes() uint64 { return g.groups * g.inodesPerGroup }

// maxFileSize is what the pointers of an inode can reach, in bytes.
func (g *geometry) maxFileSize() int64 {
	n := g.nindir
	return (ondisk.NDirect + n + n*n + n*n*n) * g.blockSize
}
