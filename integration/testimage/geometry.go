package testimage

import "fmt"

// geometry is what newfs(8) of OpenBSD computes from the size of a file
// system. All positions are in fragments.
type geometry struct {
	version        int // 1 or 2
	bsize, fsize   int // bytes
	frag           int // fragments in a block
	size           int64
	sblkno, cblkno int64
	iblkno, dblkno int64
	fpg            int64 // fragments in a cylinder group
	ipg            int64 // inodes in a cylinder group
	ncg            int64
	inopb          int64 // inodes in a block
	nindir         int64 // pointers in a block
	cssize         int64 // bytes of the summary area
	cgsize         int64 // bytes of a cylinder group block
	dsize          int64 // data fragments
}

const (
	superBytes = 8192 // space for a superblock, SBSIZE
	superUsed  = 1384 // size of struct fs
	cgHeader   = 168  // size of struct cg
	minGroups  = 4    // MINCYLGRPS
)

func roundup(n, to int64) int64 { return (n + to - 1) / to * to }
func howmany(n, by int64) int64 { return (n + by - 1) / by }

// superOff is the byte offset of the superblock.
func (g *geometry) superOff() int64 {
	if g.version == 2 {
		return 65536
	}
	return 8192
}

func (g *geometry) inodeSize() int64 { return 128 * int64(g.version) }

// cgNeeds is CGSIZE: the bytes that a cylinder group block needs.
func (g *geometry) cgNeeds() int64 {
	return cgHeader + 4 + 4 + 2 + howmany(g.ipg, 8) + howmany(g.fpg, 8)
}

// first is the first usable fragment of a group, as a multiple of blocks.
func (g *geometry) first() int64 {
	return roundup(g.iblkno+g.ipg/(g.inopb/int64(g.frag)), int64(g.frag))
}

// newGeometry computes the layout of a file system of bytes bytes.
func newGeometry(version int, bytes int64, bsize, fsize int) (*geometry, error) {
	if bsize < fsize || bsize > 8*fsize || fsize < 512 {
		return nil, fmt.Errorf("block size %d with fragment size %d", bsize, fsize)
	}
	g := &geometry{version: version, bsize: bsize, fsize: fsize, frag: bsize / fsize}
	fs, frag := int64(fsize), int64(g.frag)
	if g.size = bytes / fs; g.size < 4*frag {
		return nil, fmt.Errorf("%d bytes are too few for a file system", bytes)
	}
	g.inopb = int64(bsize) / g.inodeSize()
	g.nindir = int64(bsize) / 8
	if version == 1 {
		g.nindir = int64(bsize) / 4
	}
	g.sblkno = roundup(howmany(g.superOff()+superBytes, fs), frag)
	g.cblkno = g.sblkno + roundup(howmany(superBytes, fs), frag)
	g.iblkno = g.cblkno + frag
	inopf := g.inopb / frag

	var perInode int64 // fragments for each inode
	inodes := func() { g.ipg = roundup(howmany(g.fpg, perInode), g.inopb) }
	for density := 4 * fs; ; density -= fs {
		if density <= 0 {
			return nil, fmt.Errorf("no cylinder group fits a block of %d bytes", bsize)
		}
		perInode = max(density/fs, 1)
		minfpg := min(perInode*g.inopb, g.size)
		g.ipg = g.inopb
		for range 2 {
			g.fpg = max(roundup(g.iblkno+g.ipg/inopf, frag), minfpg)
			inodes()
		}
		if g.cgNeeds() < int64(bsize) {
			break
		}
	}
	// As large as one block can describe, but at least four of them.
	least := g.fpg
	for g.size/g.fpg >= minGroups && g.cgNeeds() <= int64(bsize) {
		g.fpg += frag
		inodes()
	}
	g.fpg = max(g.fpg-frag, least)
	inodes()
	for g.ncg = howmany(g.size, g.fpg); g.size%g.fpg != 0 && g.size%g.fpg < g.first(); g.ncg = howmany(g.size, g.fpg) {
		if g.fpg -= frag; g.fpg <= g.iblkno {
			return nil, fmt.Errorf("%d bytes are too few for a file system", bytes)
		}
		inodes()
	}
	g.dblkno = g.iblkno + g.ipg/inopf
	if g.fpg <= g.dblkno || g.size <= g.dblkno {
		return nil, fmt.Errorf("%d bytes are too few for a file system", bytes)
	}
	g.cssize = roundup(g.ncg*16, fs)
	g.cgsize = roundup(g.cgNeeds(), fs)
	g.dsize = g.size - g.sblkno - g.ncg*(g.dblkno-g.sblkno) - g.cssize/fs
	return g, nil
}
