package ffs

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// allocTables answer questions about 8 bits of a free map at once.
type allocTables struct {
	whole [256]uint8 // bit i: block i of those in the byte is wholly free
	runs  [256]uint8 // bit n-1: a block that is not has a run of just n free fragments
}

func newAllocTables(frag int64) allocTables {
	var t allocTables
	for x := range 256 {
		for i := int64(0); i < 8/frag; i++ {
			v := uint8(x) >> (i * frag) & uint8(1<<frag-1)
			if v == uint8(1<<frag-1) {
				t.whole[x] |= 1 << i
				continue
			}
			for v != 0 {
				v >>= bits.TrailingZeros8(v)
				n := bits.TrailingZeros8(^v)
				t.runs[x] |= 1 << (n - 1)
				v >>= n
			}
		}
	}
	return t
}

// A view is what may be allocated in a group: see [group].
type view struct {
	free, committed, held []byte
}

func (o *op) view(gr *group, b []byte) view {
	v := view{free: b[gr.free : gr.free+int(gr.frags+7)/8], held: gr.held}
	if !o.reuse && gr.waiting {
		v.committed = gr.committed
	}
	return v
}

// limited reports whether not all that is free may be allocated.
func (v *view) limited() bool { return v.committed != nil || v.held != nil }

func (v *view) byteAt(i int) uint8 {
	x := v.free[i]
	if v.committed != nil {
		x &= v.committed[i]
	}
	if v.held != nil {
		x &^= v.held[i]
	}
	return x
}

// skip returns the first byte from i on, but before end, that has something
// free; with partial also something that is not.
func (v *view) skip(i, end int, partial bool) int {
	for i+8 <= end {
		x := binary.LittleEndian.Uint64(v.free[i:])
		if v.committed != nil {
			x &= binary.LittleEndian.Uint64(v.committed[i:])
		}
		if v.held != nil {
			x &^= binary.LittleEndian.Uint64(v.held[i:])
		}
		if x != 0 && (!partial || x != 1<<64-1) {
			break
		}
		i += 8
	}
	return i
}

// findBlock returns the first block that is wholly free, from block start on
// and then from the beginning.
func (o *op) findBlock(v *view, start int64) (int64, bool) {
	per := 8 / o.g.frag // blocks in a byte
	from := int(start / per)
	scan := func(i, end int, first uint8) (int64, bool) {
		for ; i < end; i++ {
			if first == 0xff {
				if i = v.skip(i, end, false); i >= end {
					break
				}
			}
			if m := o.w.alloc.whole[v.byteAt(i)] & first; m != 0 {
				return int64(i)*per + int64(bits.TrailingZeros8(m)), true
			}
			first = 0xff
		}
		return 0, false
	}
	if from < len(v.free) {
		if b, ok := scan(from, len(v.free), 0xff<<(start%per)); ok {
			return b, true
		}
	}
	return scan(0, min(from+1, len(v.free)), 0xff)
}

// countBlocks returns how many whole blocks are free from block blk on, up to most.
func (o *op) countBlocks(v *view, blk, most int64) int64 {
	per, n := 8/o.g.frag, int64(0)
	for n < most {
		i := blk + n
		if i/per >= int64(len(v.free)) || o.w.alloc.whole[v.byteAt(int(i/per))]>>(i%per)&1 == 0 {
			break
		}
		n++
	}
	return n
}

// findBlocks returns up to want adjacent free blocks: those at block start if
// that is free, or else the first that are enough, or the most of the first few.
func (o *op) findBlocks(v *view, start, want int64) (blk, n int64) {
	from := start
	for range 16 {
		at, ok := o.findBlock(v, from)
		if !ok {
			break
		}
		k := o.countBlocks(v, at, want)
		if n == 0 || k > n {
			blk, n = at, k
		}
		if at == start || n == want || at < from {
			break
		}
		from = at + k
	}
	return blk, n
}

// findRun returns the first fragment of a run of free ones in a block that is
// not wholly free, from fragment start on and then from the beginning:
// ffs_mapsearch. The run is of n to most fragments.
func (o *op) findRun(v *view, start, n, most int64) (int64, bool) {
	lengths := uint8(1<<most-1) &^ uint8(1<<(n-1)-1)
	scan := func(i, end int) (int64, bool) {
		for ; i < end; i++ {
			if i = v.skip(i, end, true); i >= end {
				break
			}
			x := v.byteAt(i)
			if m := o.w.alloc.runs[x] & lengths; m != 0 {
				return int64(i)*8 + o.runIn(x, int64(bits.TrailingZeros8(m))+1), true
			}
		}
		return 0, false
	}
	from := min(int(start/8), len(v.free))
	if at, ok := scan(from, len(v.free)); ok {
		return at, true
	}
	return scan(0, from)
}

// runIn returns where in a byte of a map the run is that the table promises.
func (o *op) runIn(x uint8, n int64) int64 {
	frag := o.g.frag
	for at := int64(0); at < 8; at += frag {
		v := x >> at & uint8(1<<frag-1)
		if v == uint8(1<<frag-1) {
			continue
		}
		for pos := at; v != 0; {
			z := int64(bits.TrailingZeros8(v))
			v, pos = v>>z, pos+z
			k := int64(bits.TrailingZeros8(^v))
			if k == n {
				return pos
			}
			v, pos = v>>k, pos+k
		}
	}
	panic("bug: ffs: the tables of the free map are wrong")
}

// room says ENOSPC if an ordinary user cannot have n more fragments, and how
// many there are: freespace.
func (o *op) room(n int64) (int64, error) {
	w := o.w
	left := w.freeFrags()
	if !w.reserve {
		left -= w.reserved()
	}
	if left < n {
		return 0, syscall.ENOSPC
	}
	return left, nil
}

// freeFrags is how many fragments are free. Those of files that have no name
// but are still open are free on the medium, and yet in use.
func (w *Writer) freeFrags() int64 {
	return w.total.FreeBlocks*w.geo.frag + w.total.FreeFrags - w.held
}

// reserved is how many fragments are for the superuser.
func (w *Writer) reserved() int64 {
	data := clamp(w.super.dataSize, w.geo.frags)
	return data/100*w.super.minFree + data%100*w.super.minFree/100
}

// eachGroup calls fn for group c, and then for others, the near ones by rising
// distance, until one says ok: ffs_hashalloc.
func (o *op) eachGroup(c uint64, fn func(c uint64) (bool, error)) (bool, error) {
	n := o.g.groups
	if ok, err := fn(c); ok || err != nil {
		return ok, err
	}
	at := c
	for i := uint64(1); i < n; i *= 2 {
		at = (at + i) % n
		if ok, err := fn(at); ok || err != nil {
			return ok, err
		}
	}
	for i := uint64(2); i < n; i++ {
		if ok, err := fn((c + i) % n); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// A wish is where an allocation should go: at fragment addr, or else behind it
// in its group.
type wish struct{ addr int64 }

// groupOfWish is the group to try first.
func (o *op) groupOfWish(at wish) uint64 {
	if at.addr < 0 || at.addr >= o.g.frags {
		return 0
	}
	return uint64(at.addr / o.g.fragsPerGroup)
}

// allocBlocks allocates up to want adjacent blocks, at least one.
func (o *op) allocBlocks(at wish, want int64) (addr, blocks int64, err error) {
	left, err := o.room(o.g.frag)
	if err != nil {
		return 0, 0, err
	}
	want = min(want, left/o.g.frag)
	first := o.groupOfWish(at)
	ok, err := o.eachGroup(first, func(c uint64) (bool, error) {
		if o.w.sums[c].FreeBlocks <= 0 {
			return false, nil
		}
		gr, err := o.group(c)
		if err != nil {
			return false, err
		}
		start := int64(-1)
		if c == first && at.addr > 0 && at.addr < o.g.frags {
			start = (at.addr - gr.start) / o.g.frag
		}
		addr, blocks, err = o.blocksIn(gr, start, want)
		return blocks > 0, err
	})
	if err == nil && !ok {
		err = syscall.ENOSPC
	}
	return addr, blocks, err
}

// blocksIn allocates up to want adjacent blocks in a group, at block start or
// behind it; -1: where the group has got to.
func (o *op) blocksIn(gr *group, start, want int64) (addr, blocks int64, err error) {
	b, err := o.block(gr)
	if err != nil {
		return 0, 0, err
	}
	v := o.view(gr, b)
	if start < 0 {
		start = int64(o.g.order.U32(b[cgRotor:])) / o.g.frag
		start = min(start, gr.frags/o.g.frag)
	}
	blk, n := o.findBlocks(&v, start, want)
	if n == 0 {
		return 0, 0, o.nothingIn(gr, &v, b)
	}
	if blk != start {
		if b, err = o.change(gr); err != nil {
			return 0, 0, err
		}
		o.g.order.PutU32(b[cgRotor:], uint32(blk*o.g.frag))
	}
	if err := o.setFrags(gr, blk*o.g.frag, n*o.g.frag, false); err != nil {
		return 0, 0, err
	}
	return gr.start + blk*o.g.frag, n, nil
}

// nothingIn is what it means that a group has no block although its count says
// so: either it is there but must wait, or the count is wrong.
func (o *op) nothingIn(gr *group, v *view, b []byte) error {
	if gr.waiting && !o.reuse {
		o.blocked = true
	}
	if !v.limited() && o.g.order.U32(b[cgFreeBlk:]) > 0 {
		return vfs.Corruptf(gr.off+cgFreeBlk, fmt.Sprintf("cylinder group %d", gr.num),
			"it counts %d free blocks, but its map has none", o.g.order.U32(b[cgFreeBlk:]))
	}
	return nil
}

// isFresh reports whether fragment i of a group was free in the last commit.
// Without a map of then, nothing has been allocated since.
func (gr *group) isFresh(i int64) bool {
	return gr.committed != nil && gr.committed[i/8]>>(i%8)&1 != 0
}

// newGroupFor returns where a file that has had its share of one group goes on:
// in the next group from c on with at least the average of free blocks.
func (o *op) newGroupFor(c uint64) wish {
	n := o.g.groups
	avg := o.w.total.FreeBlocks / int64(n)
	for i := range n {
		at := (c + i) % n
		if free := int64(o.w.sums[at].FreeBlocks); free > 0 && free >= avg {
			return wish{o.groupData(at)}
		}
	}
	return wish{o.groupData(c % n)}
}

// groupData is the first fragment of a group that a file may have, past which
// a search should begin.
func (o *op) groupData(c uint64) int64 {
	return int64(c)*o.g.fragsPerGroup + o.g.frag
}

// wishFor returns where block lbn of a file should go, whose predecessor lies
// at prev (0: nowhere): ffs_blkpref.
func (o *op) wishFor(in *inode, lbn, prev int64) wish {
	if lbn > ondisk.NDirect && (lbn-ondisk.NDirect)%o.w.super.maxBPG == 0 {
		c := in.num/o.g.inodesPerGroup + uint64(lbn/o.w.super.maxBPG)
		if prev > 0 {
			c = uint64(prev/o.g.fragsPerGroup) + 1
		}
		return o.newGroupFor(c % o.g.groups)
	}
	if prev > 0 {
		return wish{prev + o.g.frag}
	}
	return wish{o.groupData(in.num / o.g.inodesPerGroup)}
}
