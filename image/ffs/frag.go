package ffs

import (
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// allocFrags allocates n fragments, fewer than a block, in one block.
func (o *op) allocFrags(at wish, n int64) (int64, error) {
	if n == o.g.frag {
		addr, _, err := o.allocBlocks(at, 1)
		return addr, err
	}
	if _, err := o.room(n); err != nil {
		return 0, err
	}
	var addr int64
	may := func(s *ondisk.Summary) bool { return s.FreeBlocks > 0 || int64(s.FreeFrags) >= n }
	err := o.nearest(at, may, func(gr *group, start int64) (bool, error) {
		var err error
		addr, err = o.fragsIn(gr, start, n)
		return addr != 0, err
	})
	return addr, err
}

// fragsIn allocates n fragments in a group, from fragment start on: the
// shortest run that they fit into, or else a part of a whole block. 0: no room.
// ffs_alloccg.
func (o *op) fragsIn(gr *group, start, n int64) (int64, error) {
	b, err := o.block(gr)
	if err != nil {
		return 0, err
	}
	v := o.view(gr, b)
	from := start
	if from < 0 {
		from = min(int64(o.g.order.U32(b[cgFragRotor:])), gr.frags)
	}
	i, ok := int64(0), false
	if v.limited() { // the counts do not tell what there is
		i, ok = o.findRun(&v, from, n, o.g.frag-1)
	}
	for k := n; k < o.g.frag && !ok && !v.limited(); k++ {
		if o.g.order.U32(b[cgFreeRuns+4*k:]) != 0 {
			i, ok = o.findRun(&v, from, k, k)
		}
	}
	if ok {
		if b, err = o.change(gr); err != nil {
			return 0, err
		}
		o.g.order.PutU32(b[cgFragRotor:], uint32(i))
		return gr.start + i, o.setFrags(gr, i, n, false)
	}
	if o.w.sums[gr.num].FreeBlocks <= 0 {
		if gr.waiting && !o.reuse {
			o.blocked = true
		}
		return 0, nil
	}
	blk := start / o.g.frag
	if start < 0 {
		blk = min(int64(o.g.order.U32(b[cgRotor:])), gr.frags) / o.g.frag
	}
	found, ok := o.findBlock(&v, blk)
	if !ok {
		return 0, o.nothingIn(gr, &v, b)
	}
	if found != blk {
		if b, err = o.change(gr); err != nil {
			return 0, err
		}
		o.g.order.PutU32(b[cgRotor:], uint32(found*o.g.frag))
	}
	return gr.start + found*o.g.frag, o.setFrags(gr, found*o.g.frag, n, false)
}

// extendFrags makes have fragments at addr to want in place, if those behind
// them are free: ffs_fragextend.
func (o *op) extendFrags(addr, have, want int64) (bool, error) {
	if addr%o.g.frag+want > o.g.frag {
		return false, nil
	}
	gr, i, err := o.groupOf(addr)
	if err != nil {
		return false, err
	}
	b, err := o.block(gr)
	if err != nil {
		return false, err
	}
	v := o.view(gr, b)
	if i+want > gr.frags {
		return false, nil
	}
	bits := v.byteAt(int(i/8)) >> (i%8 + have)
	need := uint8(1<<(want-have) - 1)
	if bits&need != need {
		return false, nil
	}
	return true, o.setFrags(gr, i+have, want-have, false)
}

// growFrags makes have fragments at addr to want, at another place if need be:
// ffs_realloccg. The caller copies what they hold, and releases the old ones if
// the address is another.
func (o *op) growFrags(addr, have, want int64, at wish) (int64, error) {
	if _, err := o.room(want - have); err != nil {
		return 0, err
	}
	if ok, err := o.extendFrags(addr, have, want); ok || err != nil {
		return addr, err
	}
	if at.addr <= 0 {
		at = wish{addr}
	}
	if want == o.g.frag {
		to, _, err := o.allocBlocks(at, 1)
		return to, err
	}
	// A file that grows once will grow again. Unless fragments pile up, give it
	// a block of its own to grow in, and the rest of that back: FS_OPTTIME.
	w := o.w
	if !w.super.optimSpace && w.total.FreeBlocks > 0 && w.total.FreeFrags < w.super.dataSize*w.super.minFree/200 {
		to, err := o.headOfBlock(at, want)
		if to != 0 || err != nil {
			return to, err
		}
	}
	return o.allocFrags(at, want)
}

// headOfBlock allocates the first n fragments of a free block; 0: there is none.
func (o *op) headOfBlock(at wish, n int64) (int64, error) {
	addr, _, err := o.allocBlocks(at, 1)
	if err != nil {
		if err == syscall.ENOSPC {
			err = nil
		}
		return 0, err
	}
	gr, i, err := o.groupOf(addr)
	if err != nil {
		return 0, err
	}
	return addr, o.setFrags(gr, i+n, o.g.frag-n, true)
}

// tailFrags is how many fragments block lbn of a file of the given size has.
func (g *geometry) tailFrags(size, lbn int64) int64 {
	if lbn >= ondisk.NDirect || (lbn+1)<<g.blockShift <= size {
		return g.frag
	}
	return (size - lbn<<g.blockShift + g.fragSize - 1) >> g.fragShift
}
