package fsck

import (
	"fmt"
	"math/bits"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// geometry is what the passes rely on of a superblock. Addresses are fragment
// numbers, widened to 64 bits so that arithmetic on them cannot overflow.
type geometry struct {
	order   ondisk.Order
	version ondisk.Version
	flavour ondisk.Flavour

	bsize, fsize int64 // bytes
	frag         int64 // fragments per block
	fshift       uint
	size         int64 // of the file system, in fragments
	ncg          int64
	ipg, fpg     int64
	cgoffset     int64 // FFS1 of old: groups are staggered
	cgmask       uint32
	sblkno       int64 // superblock copy of a group …
	cblkno       int64 // … its header …
	iblkno       int64 // … its inode table …
	dblkno       int64 // … and its first data
	isize        int64 // bytes of an inode
	inopb        int64
	nindir       int64
	csaddr       int64 // summary area …
	cssize       int64 // … in bytes
	cgsize       int64 // bytes of a header with its maps
	sbsize       int64
	cpg, nrpos   int64
	ncyl         int64
	contig       int64 // contigsumsize
	maxSymlink   int64 // shorter targets lie in the inode
	maxFile      int64 // bytes that the pointers of an inode reach
}

func isPower2(n int64) bool       { return n > 0 && n&(n-1) == 0 }
func log2(n int64) int64          { return int64(bits.TrailingZeros64(uint64(n))) }
func roundUp(n, to int64) int64   { return (n + to - 1) / to * to }
func divUp(n, by int64) int64     { return (n + by - 1) / by }
func (g *geometry) openBSD() bool { return g.flavour == ondisk.OpenBSD }
func (g *geometry) ffs2() bool    { return g.version == ondisk.V2 }
func (g *geometry) inodes() int64 { return g.ncg * g.ipg }

// A fieldError is a rule of the superblock that is broken: the field and why.
type fieldError struct {
	off int64
	why string
}

func (e *fieldError) Error() string { return e.why }

// newGeometry checks the fields of a superblock that everything else is found
// by, and returns the first rule that it breaks.
func newGeometry(s *ondisk.Super, o ondisk.Order, v ondisk.Version) (*geometry, error) {
	bad := func(off int64, format string, args ...any) (*geometry, error) {
		return nil, &fieldError{off, fmt.Sprintf(format, args...)}
	}
	g := &geometry{
		order: o, version: v, flavour: s.Flavour(o),
		bsize: int64(s.BlockSize), fsize: int64(s.FragSize), frag: int64(s.Frag),
		ncg: int64(s.Groups), ipg: int64(s.InodesPerGroup), fpg: int64(s.FragsPerGroup),
		sblkno: int64(s.SuperOff), cblkno: int64(s.GroupOff), iblkno: int64(s.InodeOff), dblkno: int64(s.DataOff),
		isize: int64(v.InodeSize()), size: s.Size, csaddr: s.SummaryAddr,
		cssize: int64(s.SummarySize), cgsize: int64(s.GroupSize), sbsize: int64(s.SuperBytes),
		cpg: int64(s.OldCpg), nrpos: int64(s.OldNrpos), ncyl: int64(s.OldNcyl),
		contig: int64(s.ContigSumSize), maxSymlink: int64(s.MaxSymlinkLen),
	}
	switch {
	case !isPower2(g.bsize) || g.bsize < ondisk.MinBlockSize || g.bsize > ondisk.MaxBlockSize:
		return bad(48, "block size %d", g.bsize)
	case !isPower2(g.fsize) || g.fsize < ondisk.MinFragSize || g.fsize > g.bsize || g.bsize/g.fsize > ondisk.MaxFrag:
		return bad(52, "fragment size %d with blocks of %d", g.fsize, g.bsize)
	case g.frag != g.bsize/g.fsize:
		return bad(56, "%d fragments per block, want %d", g.frag, g.bsize/g.fsize)
	}
	g.fshift = uint(log2(g.fsize))
	g.inopb = g.bsize / g.isize
	g.nindir = g.bsize / int64(v.PointerSize())
	n := g.nindir
	g.maxFile = (ondisk.NDirect + n + n*n + n*n*n) * g.bsize
	if v == ondisk.V1 {
		g.size, g.csaddr = int64(s.OldSize), int64(s.OldSummaryAddr)
		g.cgoffset, g.cgmask = int64(s.OldGroupOffset), uint32(s.OldGroupMask)
	}
	switch {
	case int64(s.Nindir) != g.nindir:
		return bad(116, "%d pointers per indirect block, want %d", s.Nindir, g.nindir)
	case int64(s.InodesPerBlock) != g.inopb:
		return bad(120, "%d inodes per block, want %d", s.InodesPerBlock, g.inopb)
	case g.sbsize < ondisk.SuperSize || g.sbsize > ondisk.SuperAreaSize:
		return bad(104, "superblock of %d bytes", g.sbsize)
	case g.size <= 0 || g.size > (1<<62)>>g.fshift:
		return bad(1080, "size of %d fragments", g.size)
	case g.ncg < 1:
		return bad(44, "no cylinder groups")
	case g.fpg <= 0 || g.fpg%g.frag != 0:
		return bad(188, "%d fragments per group are no whole blocks of %d", g.fpg, g.frag)
	case g.ipg <= 0 || g.ipg%g.inopb != 0:
		return bad(184, "%d inodes per group do not fill blocks of %d", g.ipg, g.inopb)
	case g.ncg*g.ipg > 1<<32:
		return bad(184, "%d groups of %d inodes are more than inode numbers can tell", g.ncg, g.ipg)
	case g.ncg*g.fpg < g.size || (g.ncg-1)*g.fpg >= g.size:
		return bad(44, "%d groups of %d fragments for %d fragments", g.ncg, g.fpg, g.size)
	case g.cgsize < ondisk.GroupSize || g.cgsize > g.bsize:
		return bad(160, "group headers of %d bytes", g.cgsize)
	case g.cgoffset < 0 || g.cgoffset > g.fpg:
		return bad(24, "cylinder group offset %d", g.cgoffset)
	case g.contig < 0 || g.contig > 64: // FS_MAXCONTIG is 16
		return bad(1316, "cluster summaries of %d", g.contig)
	}
	if v == ondisk.V1 && g.openBSD() {
		// ncg * cpg >= ncyl > (ncg - 1) * cpg
		if g.cpg < 1 || g.ncyl > g.ncg*g.cpg || g.ncyl <= (g.ncg-1)*g.cpg {
			return bad(180, "%d cylinders in %d groups of %d", g.ncyl, g.ncg, g.cpg)
		}
	}
	if g.sblkno < 1 || g.cblkno <= g.sblkno || g.iblkno < g.cblkno+divUp(g.cgsize, g.fsize) ||
		g.dblkno < g.iblkno+g.ipg/g.inopb*g.frag {
		return bad(8, "superblock copy at fragment %d of a group, header at %d, inodes at %d, data at %d: they overlap",
			g.sblkno, g.cblkno, g.iblkno, g.dblkno)
	}
	if g.sblkno%g.frag != 0 || g.cblkno%g.frag != 0 || g.iblkno%g.frag != 0 || g.cgoffset%g.frag != 0 {
		return bad(8, "superblock copy at fragment %d of a group, header at %d, inodes at %d: not at blocks",
			g.sblkno, g.cblkno, g.iblkno)
	}
	worst := g.start(g.ncg - 1)
	if g.dblkno+g.cgoffset*int64(min(uint32(g.ncg-1), ^g.cgmask)) > g.fpg || worst+g.dblkno > g.size {
		return bad(20, "data at fragment %d of groups of %d: the last group, or every one, is too short", g.dblkno, g.fpg)
	}
	if g.cssize < g.ncg*16 || g.cssize > g.size<<g.fshift || g.cssize%g.fsize != 0 {
		return bad(156, "summary area of %d bytes for %d groups", g.cssize, g.ncg)
	}
	if g.csaddr < 1 || g.csaddr+g.cssize>>g.fshift > g.size || g.reserved(g.csaddr, g.cssize>>g.fshift) {
		return bad(1096, "summary area at fragment %d", g.csaddr)
	}
	layout := g.cgLayout()
	if layout.end > g.bsize {
		return bad(160, "the maps of %d inodes and %d fragments need %d bytes", g.ipg, g.fpg, layout.end)
	}
	return g, nil
}

// base is the first fragment of group c, and start that from which its
// metadata is counted: cgbase and cgstart.
func (g *geometry) base(c int64) int64 { return g.fpg * c }
func (g *geometry) start(c int64) int64 {
	return g.fpg*c + g.cgoffset*int64(uint32(c)&^g.cgmask)
}

// frags is the number of fragments of group c.
func (g *geometry) frags(c int64) int64 { return min(g.fpg, g.size-g.base(c)) }

// metadata is the range of fragments of group c that no file can have. In the
// first group the boot blocks belong to it.
func (g *geometry) metadata(c int64) (from, to int64) {
	from = g.start(c) + g.sblkno
	if c == 0 {
		from = 0
	}
	return from, g.start(c) + g.dblkno
}

// reserved reports whether the n fragments at addr, which lie in the file
// system, touch the metadata of a group.
func (g *geometry) reserved(addr, n int64) bool {
	for c := addr / g.fpg; c < g.ncg && g.base(c) < addr+n; c++ {
		from, to := g.metadata(c)
		if addr < to && addr+n > from {
			return true
		}
	}
	return false
}

// fits reports whether a file may have the n fragments at addr: they lie in one
// block, in the file system, and not in what is reserved. Like chkrange.
func (g *geometry) fits(addr, n int64) bool {
	if addr < 1 || addr >= g.size || n > g.size-addr || addr&(g.frag-1)+n > g.frag {
		return false
	}
	c := addr / g.fpg
	from, to := g.metadata(c)
	if addr < to && addr+n > from {
		return false
	}
	return addr+n <= g.csaddr || addr >= g.csaddr+g.cssize>>g.fshift
}

// inodeOff is the byte offset of an inode.
func (g *geometry) inodeOff(ino uint32) int64 {
	c, i := int64(ino)/g.ipg, int64(ino)%g.ipg
	return (g.start(c)+g.iblkno)<<g.fshift + i*g.isize
}

// A cgLayout says where the parts of a group header block lie.
type cgLayout struct {
	btot, b    int64 // FFS1: counters of free blocks
	inodes     int64 // inode map
	free       int64 // free map
	nextFree   int64
	clusterSum int64
	clusters   int64
	end        int64
}

// cgLayout is where newfs puts them.
func (g *geometry) cgLayout() (l cgLayout) {
	l.inodes = ondisk.GroupSize
	if !g.ffs2() {
		cpg, nrpos := min(max(g.cpg, 0), 1<<16), min(max(g.nrpos, 0), 1<<16)
		l.btot = ondisk.GroupSize
		l.b = l.btot + 4*cpg
		l.inodes = l.b + 2*cpg*nrpos
	}
	l.free = l.inodes + divUp(g.ipg, 8)
	l.nextFree = l.free + divUp(g.fpg, 8)
	if g.contig > 0 {
		l.clusterSum = roundUp(l.nextFree-4, 4)
		l.clusters = l.clusterSum + (g.contig+1)*4
		l.nextFree = l.clusters + divUp(g.fpg/g.frag, 8)
	}
	l.end = l.nextFree
	return l
}
