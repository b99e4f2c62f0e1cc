package ffs

import (
	"fmt"
	"math/bits"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A group is what the writer knows of a cylinder group beside its header, which
// stays in the cache: the maps there are the truth.
//
// Three maps decide what may be allocated, a bit for every fragment: the free
// map as it is now, as it was in the last commit (what is free now but was not
// then must stay as it is until the next commit), and what files without a name
// still hold.
type group struct {
	num    uint64
	off    int64 // byte offset of the header
	start  int64 // first fragment
	frags  int64 // cg_ndblk
	inodes int   // offset of the inode map in the header: cg_iusedoff
	free   int   // offset of the free map: cg_freeoff
	// Cluster summaries, if the file system keeps them.
	clusterSum, clusters int
	clusterBlocks        int64

	committed []byte // the free map of the last commit; nil: no change since
	waiting   bool   // something that was in use then is free now
	held      []byte // nil: nothing
	nheld     int64

	newDirs uint8 // fs_contigdirs: directories made here in a row
}

// Offsets in the header of a group.
const (
	cgOldTime   = 8
	cgDirs      = 24
	cgFreeBlk   = 28
	cgFreeIno   = 32
	cgFreeFrag  = 36
	cgRotor     = 40
	cgFragRotor = 44
	cgInoRotor  = 48
	cgFreeRuns  = 52
	cgBtotOff   = 84
	cgBOff      = 88
	cgInited    = 120
	cgTime      = 136
)

// group returns group c, having checked its header.
func (o *op) group(c uint64) (*group, error) {
	if gr := o.w.groups[c]; gr != nil {
		return gr, nil
	}
	gr, err := o.w.readGroup(c)
	if err == nil {
		o.w.groups[c] = gr
	}
	return gr, err
}

// groupOf returns the group of a fragment, and which of its fragments that is.
func (o *op) groupOf(addr int64) (*group, int64, error) {
	// Groups shifted by cgoffset still map their fragments by number.
	gr, err := o.group(uint64(addr / o.g.fragsPerGroup))
	return gr, addr % o.g.fragsPerGroup, err
}

func (w *Writer) readGroup(c uint64) (*group, error) {
	g := &w.geo
	off := (g.groupStart(c) + g.groupHeader) << g.fragShift
	bad := func(field int64, format string, args ...any) (*group, error) {
		return nil, vfs.Corruptf(off+field, fmt.Sprintf("cylinder group %d", c), format, args...)
	}
	if off > w.cache.Size()-g.blockSize {
		return bad(0, "its header lies beyond the end of the device")
	}
	b, err := w.cache.Bytes(off, int(g.blockSize))
	if err != nil {
		return nil, fmt.Errorf("read cylinder group %d at byte %d: %w", c, off, err)
	}
	h, err := ondisk.DecodeGroup(b, g.order)
	if err != nil {
		return nil, err
	}
	size := g.blockSize
	frags := min(g.fragsPerGroup, g.frags-int64(c)*g.fragsPerGroup)
	inodeBytes, freeBytes := int64(g.inodesPerGroup+7)/8, (frags+7)/8
	gr := &group{
		num: c, off: off, start: int64(c) * g.fragsPerGroup, frags: frags,
		inodes: int(h.InodeMapOff), free: int(h.FreeMapOff),
		clusterSum: int(h.ClusterSumOff), clusters: int(h.ClusterOff), clusterBlocks: int64(h.ClusterBlocks),
	}
	switch {
	case h.Magic != ondisk.GroupMagic:
		return bad(4, "magic %#x", h.Magic)
	case h.Index != uint32(c):
		return bad(12, "it says that it is group %d", h.Index)
	case int64(h.Frags) != frags:
		return bad(20, "%d fragments, want %d", h.Frags, frags)
	case h.InodeMapOff < ondisk.GroupSize || int64(h.InodeMapOff) > size-inodeBytes:
		return bad(92, "inode map at %d", h.InodeMapOff)
	case int64(h.FreeMapOff) < int64(h.InodeMapOff)+inodeBytes || int64(h.FreeMapOff) > size-freeBytes:
		return bad(96, "free map at %d", h.FreeMapOff)
	}
	if g.version == ondisk.V2 && (uint64(h.Inodes) != g.inodesPerGroup || uint64(h.InitedInodes) > g.inodesPerGroup ||
		uint64(h.InitedInodes)%g.inopb != 0) {
		return bad(116, "%d of %d inodes initialised, want %d", h.InitedInodes, h.Inodes, g.inodesPerGroup)
	}
	if w.super.clusters > 0 {
		sum, end := int64(h.ClusterSumOff), int64(h.ClusterSumOff)+4*(w.super.clusters+1)
		switch {
		case sum < int64(h.FreeMapOff)+freeBytes-4 || end > int64(h.ClusterOff):
			return bad(104, "cluster summary at %d", sum)
		case int64(h.ClusterBlocks) > frags/g.frag || int64(h.ClusterOff) > size-(int64(h.ClusterBlocks)+7)/8:
			return bad(108, "cluster map at %d for %d blocks", h.ClusterOff, h.ClusterBlocks)
		}
	}
	for _, v := range []int32{h.Summary.Dirs, h.Summary.FreeBlocks, h.Summary.FreeInodes, h.Summary.FreeFrags} {
		if v < 0 {
			return bad(24, "negative count %d", v)
		}
	}
	return gr, nil
}

// block returns the bytes of a group's header, to be looked at.
func (o *op) block(gr *group) ([]byte, error) {
	if o.edit == gr {
		return o.editBlock, nil
	}
	b, err := o.f.cache.Bytes(gr.off, int(o.g.blockSize))
	if err != nil {
		return nil, fmt.Errorf("read cylinder group %d at byte %d: %w", gr.num, gr.off, err)
	}
	return b, nil
}

// change returns the bytes of a group's header, the fixed part of which may be
// changed; the maps by [op.mapBytes].
func (o *op) change(gr *group) ([]byte, error) {
	if o.edit == gr {
		return o.editBlock, nil
	}
	b, err := o.modify(gr.off, ondisk.GroupSize)
	if err != nil {
		return nil, fmt.Errorf("cylinder group %d at byte %d: %w", gr.num, gr.off, err)
	}
	if o.g.version == ondisk.V1 {
		o.g.order.PutU32(b[cgOldTime:], uint32(o.now.Sec))
	} else {
		o.g.order.PutU64(b[cgTime:], uint64(o.now.Sec))
	}
	// The page stays in memory now that it is modified, so this is the same one.
	b, err = o.f.cache.Bytes(gr.off, int(o.g.blockSize))
	if err != nil {
		return nil, err
	}
	o.edit, o.editBlock = gr, b
	return b, nil
}

// mapBytes makes bytes of a group's header changeable in place.
func (o *op) mapBytes(gr *group, off, n int) ([]byte, error) {
	return o.modify(gr.off+int64(off), n)
}

// keepCommitted remembers the free map of the last commit before it is changed.
func (o *op) keepCommitted(gr *group, b []byte) {
	if gr.committed == nil {
		gr.committed = append([]byte(nil), b[gr.free:gr.free+int(gr.frags+7)/8]...)
		o.w.touched = append(o.w.touched, gr)
	}
}

// count adds to the counts of a group, in all three places.
func (o *op) count(gr *group, b []byte, d ondisk.Summary) {
	add := func(off int, v int32) {
		if v != 0 {
			o.g.order.PutU32(b[off:], o.g.order.U32(b[off:])+uint32(v))
		}
	}
	add(cgDirs, d.Dirs)
	add(cgFreeBlk, d.FreeBlocks)
	add(cgFreeIno, d.FreeInodes)
	add(cgFreeFrag, d.FreeFrags)
	s := &o.w.sums[gr.num]
	o.sums = append(o.sums, undoSum{gr.num, *s})
	s.Dirs += d.Dirs
	s.FreeBlocks += d.FreeBlocks
	s.FreeInodes += d.FreeInodes
	s.FreeFrags += d.FreeFrags
	o.w.sumsNew[gr.num/64] |= 1 << (gr.num % 64)
	t := &o.w.total
	t.Dirs += int64(d.Dirs)
	t.FreeBlocks += int64(d.FreeBlocks)
	t.FreeInodes += int64(d.FreeInodes)
	t.FreeFrags += int64(d.FreeFrags)
}

// setFrags marks n fragments of a group, from its fragment i on, as free or as
// used. They are whole blocks, or part of one. All were the opposite before, or
// the file system is damaged.
func (o *op) setFrags(gr *group, i, n int64, free bool) error {
	if err := o.checkData(gr, i, n); err != nil {
		return err
	}
	b, err := o.change(gr)
	if err != nil {
		return err
	}
	o.keepCommitted(gr, b)
	if free && !gr.waiting && !gr.wasFree(i, n) {
		gr.waiting = true
	}
	first, last := i/8, (i+n-1)/8
	m, err := o.mapBytes(gr, gr.free+int(first), int(last-first+1))
	if err != nil {
		return err
	}
	frag := o.g.frag
	blk := i / frag
	before := blockBits(m, i-first*8-i%frag, frag, gr.frags-(i-i%frag))
	if !flipBits(m, i-first*8, n, free) {
		return vfs.Corruptf(gr.off+int64(gr.free)+first, fmt.Sprintf("cylinder group %d", gr.num),
			"fragments %d to %d are not all %s in its map", gr.start+i, gr.start+i+n-1, usedOrFree(!free))
	}
	if i%frag == 0 && n%frag == 0 {
		blocks, sign := n/frag, int32(1)
		if !free {
			sign = -1
		}
		o.count(gr, b, ondisk.Summary{FreeBlocks: sign * int32(blocks)})
		return o.blocksChanged(gr, b, blk, blocks, free)
	}
	after := blockBits(m, i-first*8-i%frag, frag, gr.frags-(i-i%frag))
	whole := uint8(1<<frag - 1)
	var d ondisk.Summary
	o.accountRuns(b, before, whole, -1, &d)
	o.accountRuns(b, after, whole, +1, &d)
	o.count(gr, b, d)
	if (before == whole) != (after == whole) {
		return o.blocksChanged(gr, b, blk, 1, free)
	}
	return nil
}

// wasFree reports whether n fragments were all free in the last commit.
func (gr *group) wasFree(i, n int64) bool {
	for ; n > 0 && gr.isFresh(i); n-- {
		i++
	}
	return n == 0
}

func usedOrFree(free bool) string {
	if free {
		return "free"
	}
	return "in use"
}

// blockBits returns the bits of a block in a map, from bit i on. Bits beyond
// the end of the group are 0. i is negative when the block begins in front of
// the first byte of m, which cannot be: blocks do not cross bytes.
func blockBits(m []byte, i, frag, left int64) uint8 {
	v := m[i/8] >> (i % 8) & uint8(1<<frag-1)
	if left < frag {
		v &= uint8(1<<left - 1)
	}
	return v
}

// flipBits sets or clears n bits from i on. It says false, having changed
// nothing that is not undone, if any of them was that already.
func flipBits(m []byte, i, n int64, set bool) bool {
	for n > 0 {
		k := min(8-i%8, n)
		mask := uint8(1<<k-1) << (i % 8)
		if set {
			if m[i/8]&mask != 0 {
				return false
			}
			m[i/8] |= mask
		} else {
			if m[i/8]&mask != mask {
				return false
			}
			m[i/8] &^= mask
		}
		i, n = i+k, n-k
	}
	return true
}

// accountRuns adds what a block with these free fragments counts for to the
// counts and to cg_frsum: ffs_fragacct.
func (o *op) accountRuns(b []byte, v, whole uint8, sign int32, d *ondisk.Summary) {
	if v == whole {
		d.FreeBlocks += sign
		return
	}
	d.FreeFrags += sign * int32(bits.OnesCount8(v))
	for v != 0 {
		v >>= bits.TrailingZeros8(v)
		n := bits.TrailingZeros8(^v)
		at := cgFreeRuns + 4*n
		o.g.order.PutU32(b[at:], o.g.order.U32(b[at:])+uint32(sign))
		v >>= n
	}
}

// blocksChanged keeps what counts whole blocks: the cluster summaries, and the
// tables of rotational positions in FFS1.
func (o *op) blocksChanged(gr *group, b []byte, blk, n int64, free bool) error {
	if o.w.super.clusters > 0 && gr.clusterBlocks > 0 {
		m, err := o.mapBytes(gr, gr.clusters, int(gr.clusterBlocks+7)/8)
		if err != nil {
			return err
		}
		sum, err := o.mapBytes(gr, gr.clusterSum, 4*int(o.w.super.clusters+1))
		if err != nil {
			return err
		}
		for i := blk; i < blk+n && i < gr.clusterBlocks; i++ {
			o.clusterChanged(gr, m, sum, i, free)
		}
	}
	if o.g.version == ondisk.V1 {
		return o.rotationChanged(gr, b, blk, n, free)
	}
	return nil
}

// clusterChanged keeps the map of free blocks and the counts of runs of them,
// like ffs_clusteracct.
func (o *op) clusterChanged(gr *group, m, sum []byte, blk int64, free bool) {
	most := o.w.super.clusters
	isFree := func(i int64) bool { return i >= 0 && i < gr.clusterBlocks && m[i/8]>>(i%8)&1 != 0 }
	if isFree(blk) == free {
		return // it was wrong before; fsck's business
	}
	delta := uint32(1)
	if free {
		m[blk/8] |= 1 << (blk % 8)
	} else {
		m[blk/8] &^= 1 << (blk % 8)
		delta = ^uint32(0)
	}
	forward, back := int64(0), int64(0)
	for forward < most && isFree(blk+1+forward) {
		forward++
	}
	for back < most && isFree(blk-1-back) {
		back++
	}
	add := func(run int64, d uint32) {
		o.g.order.PutU32(sum[4*run:], o.g.order.U32(sum[4*run:])+d)
	}
	add(min(back+forward+1, most), delta)
	if back > 0 {
		add(back, -delta)
	}
	if forward > 0 {
		add(forward, -delta)
	}
}

// rotationChanged keeps the counts of free blocks by cylinder and by rotational
// position, which nothing reads any more: cg_blktot and cg_blks.
func (o *op) rotationChanged(gr *group, b []byte, blk, n int64, free bool) error {
	s := &o.w.super
	btot, pos := int64(o.g.order.U32(b[cgBtotOff:])), int64(o.g.order.U32(b[cgBOff:]))
	if s.spc <= 0 || s.nsect <= 0 || s.npsect <= 0 || s.nrpos <= 0 || s.cpg <= 0 || s.nspf <= 0 ||
		btot < ondisk.GroupSize || pos < btot || pos > int64(gr.inodes) {
		return nil
	}
	t, err := o.mapBytes(gr, int(btot), int(int64(gr.inodes)-btot))
	if err != nil {
		return err
	}
	delta := uint32(1)
	if !free {
		delta = ^uint32(0)
	}
	for i := blk; i < blk+n; i++ {
		sector := i * o.g.frag * s.nspf
		cyl := sector / s.spc
		rpos := (sector%s.spc/s.nsect*s.skew + sector%s.spc%s.nsect*s.interleave) % s.nsect * s.nrpos / s.npsect
		if at := 4 * cyl; cyl < s.cpg && at+4 <= int64(len(t)) {
			o.g.order.PutU32(t[at:], o.g.order.U32(t[at:])+delta)
		}
		if at := pos - btot + 2*(cyl*s.nrpos+rpos); cyl < s.cpg && rpos >= 0 && rpos < s.nrpos && at+2 <= int64(len(t)) {
			o.g.order.PutU16(t[at:], o.g.order.U16(t[at:])+uint16(delta))
		}
	}
	return nil
}

// checkData makes sure that fragments of a group are among those that files may
// have: not the copies of the superblock, headers, inodes, or the boot blocks.
func (o *op) checkData(gr *group, i, n int64) error {
	g := o.g
	from := g.groupStart(gr.num) - gr.start + g.superCopy
	if gr.num == 0 {
		from = 0
	}
	to := g.groupStart(gr.num) - gr.start + g.dataStart
	if i < 0 || i+n > gr.frags || i < to && i+n > from {
		return vfs.Corruptf(gr.off+int64(gr.free)+max(i, 0)/8, fmt.Sprintf("cylinder group %d", gr.num),
			"fragments %d to %d are not for data", gr.start+i, gr.start+i+n-1)
	}
	return nil
}

// freeRun gives the fragments of a file back.
func (o *op) freeRun(r fragRun) error {
	for r.n > 0 {
		gr, i, err := o.groupOf(r.addr)
		if err != nil {
			return err
		}
		n := min(r.n, gr.frags-i)
		// Whole blocks at once, and what is not whole at the end.
		if i%o.g.frag != 0 || n < o.g.frag {
			n = min(n, o.g.frag-i%o.g.frag)
		} else {
			n -= n % o.g.frag
		}
		if n <= 0 {
			return vfs.Corruptf(gr.off, fmt.Sprintf("cylinder group %d", gr.num), "fragment %d is beyond its end", r.addr)
		}
		if err := o.setFrags(gr, i, n, true); err != nil {
			return err
		}
		r.addr, r.n = r.addr+n, r.n-n
	}
	return nil
}

// release has fragments freed when the operation has succeeded.
func (o *op) release(in *inode, addr, n int64, meta bool) error {
	if err := o.f.checkAddr(in, addr, n); err != nil {
		return err
	}
	if o.freed += n; o.freed > o.g.frags {
		return in.corrupt("it holds more fragments than the file system has")
	}
	if k := len(o.frees) - 1; k >= o.barrier && o.frees[k].meta == meta && o.frees[k].addr+o.frees[k].n == addr &&
		addr%o.g.frag == 0 && o.frees[k].addr%o.g.frag == 0 {
		o.frees[k].n += n
		return nil
	}
	o.frees = append(o.frees, fragRun{addr, n, meta})
	return nil
}
