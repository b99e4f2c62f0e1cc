package fsck

import (
	"math/bits"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// cgMaps are the parts of a group header block, as slices of it.
type cgMaps struct {
	inodes     []byte // bit set: in use
	free       []byte // bit set: free, by fragment
	clusters   []byte // bit set: free, by block
	clusterSum []byte // how many runs of free blocks there are of each length
}

// layoutOf is where the maps of a header block are. OpenBSD knows; for others
// the header says, if what it says is possible.
func (c *checker) layoutOf(b []byte, trust bool) cgLayout {
	l := c.cgLayout()
	if !trust || c.openBSD() {
		return l
	}
	h, err := ondisk.DecodeGroup(b, c.order)
	if err != nil {
		return l
	}
	own := cgLayout{
		btot: int64(h.OldBtotOff), b: int64(h.OldBOff),
		inodes: int64(h.InodeMapOff), free: int64(h.FreeMapOff), nextFree: int64(h.NextFreeOff),
		clusterSum: int64(h.ClusterSumOff), clusters: int64(h.ClusterOff),
	}
	inodes, free := divUp(c.ipg, 8), divUp(c.fpg, 8)
	ok := own.inodes >= ondisk.GroupSize && own.free >= own.inodes+inodes && own.free+free <= c.cgsize &&
		own.nextFree >= own.free+free && own.nextFree <= c.cgsize
	if c.contig > 0 {
		ok = ok && own.clusterSum >= own.free+free-4 && own.clusters >= own.clusterSum+(c.contig+1)*4 &&
			own.clusters+divUp(c.fpg/c.frag, 8) <= c.cgsize
	}
	if !ok {
		return l
	}
	return own
}

// cgMaps takes a header block of at least cgsize bytes apart. What would lie
// behind its end is left out.
func (c *checker) cgMaps(b []byte, trust bool) cgMaps {
	return c.mapsAt(b, c.layoutOf(b, trust))
}

func (c *checker) mapsAt(b []byte, l cgLayout) (m cgMaps) {
	part := func(off, n int64) []byte {
		off = min(off, int64(len(b)))
		return b[off:min(off+n, int64(len(b)))]
	}
	m.inodes = part(l.inodes, divUp(c.ipg, 8))
	m.free = part(l.free, divUp(c.fpg, 8))
	if c.contig > 0 {
		m.clusterSum = part(l.clusterSum, (c.contig+1)*4)
		m.clusters = part(l.clusters, divUp(c.fpg/c.frag, 8))
	}
	return m
}

// fillGroup computes what the header block of group g should be, into b, which
// is as long as a header block and all zeros. own is the header that is there,
// or nil if it is lost. Like the loop over the groups in pass5 of fsck_ffs.
func (c *checker) fillGroup(g int64, b []byte, own *ondisk.Group, l cgLayout) *ondisk.Group {
	grp := &c.groups[g]
	m := c.mapsAt(b, l)
	h := &ondisk.Group{Magic: ondisk.GroupMagic, Index: uint32(g), Frags: uint32(c.frags(g))}
	h.InodeMapOff, h.FreeMapOff, h.NextFreeOff = uint32(l.inodes), uint32(l.free), uint32(l.nextFree)
	if c.ffs2() {
		h.Inodes, h.InitedInodes = uint32(c.ipg), uint32(grp.inited)
	} else {
		h.OldInodes = int16(c.ipg)
		h.OldBtotOff, h.OldBOff = int32(l.btot), int32(l.b)
		h.OldNcyl = int16(c.cpg)
		if g == c.ncg-1 && c.cpg > 0 {
			h.OldNcyl = int16(c.ncyl % c.cpg)
		}
	}
	if c.contig > 0 {
		h.ClusterSumOff, h.ClusterOff = uint32(l.clusterSum), uint32(l.clusters)
		h.ClusterBlocks = uint32(c.frags(g) / c.frag)
	}
	if own != nil {
		c.keepOwn(h, own)
	}

	c.fillInodeMap(g, m.inodes, h)
	c.fillFreeMap(g, m, h)
	copy(b, h.Append(c.hbuf[:0], c.order))
	return h
}

// keepOwn takes over from the header that is there what need not be any certain
// value.
func (c *checker) keepOwn(h, own *ondisk.Group) {
	h.OldTime, h.Time = own.OldTime, own.Time
	if own.Rotor < h.Frags {
		h.Rotor = own.Rotor
	}
	if own.FragRotor < h.Frags {
		h.FragRotor = own.FragRotor
	}
	if int64(own.InodeRotor) < c.ipg {
		h.InodeRotor = own.InodeRotor
	}
	if c.openBSD() {
		return
	}
	// Other systems fill some of these, or leave them.
	h.FirstField, h.OldNcyl, h.OldInodes = own.FirstField, own.OldNcyl, own.OldInodes
	h.OldBtotOff, h.OldBOff = own.OldBtotOff, own.OldBOff
	h.UnrefInodes, h.Spare32, h.CheckHash, h.Spare64 = own.UnrefInodes, own.Spare32, own.CheckHash, own.Spare64
	if !c.ffs2() {
		h.Inodes, h.InitedInodes = own.Inodes, own.InitedInodes
	}
	if c.contig <= 0 {
		h.ClusterSumOff, h.ClusterOff, h.ClusterBlocks = own.ClusterSumOff, own.ClusterOff, own.ClusterBlocks
	}
}

// fillInodeMap marks the inodes in use and counts them.
func (c *checker) fillInodeMap(g int64, m []byte, h *ondisk.Group) {
	grp := &c.groups[g]
	used := int64(0)
	state := c.state[grp.first : grp.first+grp.inited]
	for i, s := range state {
		if s&inoKind == inoFree && (g > 0 || i >= ondisk.RootIno) {
			continue
		}
		used++
		m[i>>3] |= 1 << (i & 7)
		if s&inoKind == inoDir || s&inoKind == inoClear && s>>4 == dirType {
			h.Summary.Dirs++
		}
	}
	h.Summary.FreeInodes = int32(c.ipg - used)
}

// fillFreeMap marks what nothing has claimed and counts it.
func (c *checker) fillFreeMap(g int64, m cgMaps, h *ondisk.Group) {
	base, n := c.base(g), c.frags(g)
	for i := int64(0); i < n; i += 64 {
		v := ^c.used.word(base + i)
		if left := n - i; left < 64 {
			v &= 1<<left - 1
		}
		for k := i / 8; v != 0; k++ {
			m.free[k] = byte(v)
			v >>= 8
		}
	}
	run := int64(0) // of free blocks
	endRun := func() {
		if run > 0 {
			at := m.clusterSum[4*min(run, c.contig):]
			c.order.PutU32(at, c.order.U32(at)+1)
			run = 0
		}
	}
	full := byte(1<<c.frag - 1)
	for b := int64(0); b < n; b += c.frag {
		v := m.free[b>>3] >> (b & 7) & full
		if v == full {
			h.Summary.FreeBlocks++
			if c.contig > 0 {
				m.clusters[b/c.frag>>3] |= 1 << (b / c.frag & 7)
				run++
			}
			continue
		}
		if run > 0 {
			endRun()
		}
		if v == 0 {
			continue
		}
		h.Summary.FreeFrags += int32(bits.OnesCount8(v))
		for v != 0 {
			v >>= bits.TrailingZeros8(v)
			k := bits.TrailingZeros8(^v)
			h.FreeRuns[k]++
			v >>= k
		}
	}
	endRun()
}

// fillBlockCounters sets the counters of free blocks by cylinder that FFS1 has
// behind the header. There is one cylinder in a group; where there were more,
// the counters stay. Checkers do not look at them.
func (c *checker) fillBlockCounters(b []byte, h *ondisk.Group) {
	if c.ffs2() || c.cpg != 1 || c.nrpos != 1 || h.OldBtotOff != ondisk.GroupSize || h.OldBOff != ondisk.GroupSize+4 {
		return
	}
	c.order.PutU32(b[h.OldBtotOff:], uint32(h.Summary.FreeBlocks))
	c.order.PutU16(b[h.OldBOff:], uint16(h.Summary.FreeBlocks))
}
