package fsck

import (
	"github.com/resflash/resflash/image/ffs/ondisk"
)

// findInited finds how many inodes of a group are initialised. Its header says
// so. If it cannot be right, or if the map of inodes knows of sound ones behind,
// the inodes themselves tell.
func (c *checker) findInited(i int64, g *group) error {
	c.cg = buffer(c.cg, c.cgsize)
	if err := c.read(c.cg, (c.start(i)+c.cblkno)<<c.fshift); err != nil {
		return err
	}
	n, ok := ondisk.GroupInited(c.cg, c.order, uint32(i))
	if !ok {
		n = 0
		g.guess = "the header is lost"
	} else if int64(n) > c.ipg || int64(n)%c.inopb != 0 && c.openBSD() {
		n = 0
		g.guess = "the header cannot be right"
	}
	g.inited = int64(n)
	if g.inited >= c.ipg {
		return nil
	}
	// The highest inode that the map has in use.
	top := int64(-1)
	m := c.cgMaps(c.cg, ok)
	for k := int64(len(m.inodes)) - 1; k >= 0 && top < 0; k-- {
		if m.inodes[k] != 0 {
			top = k*8 + log2High(m.inodes[k])
		}
	}
	if ok && top < g.inited && g.guess == "" {
		return nil
	}
	// Blocks of inodes that all make sense, up to the last that has one which
	// is in use.
	from := g.inited &^ (c.inopb - 1)
	end := max(g.inited, 0)
	if g.guess != "" {
		end = min(c.ipg, 2*c.inopb)
	}
	c.block = buffer(c.block, c.bsize)
	for k := from; k < c.ipg && k <= max(top, end-1, c.guessTo(ok)); k += c.inopb {
		if err := c.read(c.block, (c.start(i)+c.iblkno)<<c.fshift+k*c.isize); err != nil {
			return err
		}
		sane, inUse := c.saneInodes(c.block, k, m.inodes, ok)
		if !sane && k >= end {
			break
		}
		if inUse && k+c.inopb > end {
			end = k + c.inopb
			if g.guess == "" {
				g.guess = "inodes behind are in use"
			}
		}
	}
	g.inited = min(end, c.ipg)
	return nil
}

// guessTo is the last inode of a group to be tried if there is no header that
// says which are in use.
func (c *checker) guessTo(header bool) int64 {
	if header {
		return -1
	}
	return c.ipg - 1
}

func log2High(b byte) int64 {
	n := int64(-1)
	for ; b != 0; b >>= 1 {
		n++
	}
	return n
}

// saneInodes looks at a block of inodes, of which the first is number first of
// its group: whether all of them could be inodes, and whether some are in use,
// as the map says if it can be trusted.
func (c *checker) saneInodes(b []byte, first int64, inodeMap []byte, trust bool) (sane, inUse bool) {
	var in inode
	for i := range c.inopb {
		p := b[i*c.isize:][:c.isize]
		if c.order.U16(p) == 0 {
			if !c.isZeroInode(p) {
				return false, inUse
			}
			continue
		}
		in.Decode(p, c.order, c.version)
		if !knownType(in.mode()) || in.Nlink == 0 || in.Nlink > 1<<15 || in.Size > uint64(c.maxFile) {
			return false, inUse
		}
		if !in.isSymlink() && !in.isDevice() {
			for k, addr := range append(in.Direct[:], in.Indirect[:]...) {
				if addr != 0 && !c.fits(addr, 1) || addr == 0 && k == 0 && in.isDir() {
					return false, inUse
				}
			}
		}
		k := first + i
		if !trust || inodeMap[k/8]>>(k%8)&1 != 0 {
			inUse = true
		}
	}
	return true, inUse
}
