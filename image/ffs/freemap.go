package ffs

import (
	"fmt"
	"math/bits"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

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
