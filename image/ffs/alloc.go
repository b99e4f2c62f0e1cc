package ffs

import (
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

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
	err = o.nearest(at, func(s *ondisk.Summary) bool { return s.FreeBlocks > 0 }, func(gr *group, start int64) (bool, error) {
		if start > 0 {
			start /= o.g.frag
		}
		addr, blocks, err = o.blocksIn(gr, start, want)
		return blocks > 0, err
	})
	return addr, blocks, err
}

// nearest calls fn for the groups that may have room, the one of the wish first,
// until it says that it has found some; ENOSPC if none has. start is the
// fragment that is wished for in the group, -1 if it may be any.
func (o *op) nearest(at wish, may func(*ondisk.Summary) bool, fn func(gr *group, start int64) (bool, error)) error {
	first := o.groupOfWish(at)
	ok, err := o.eachGroup(first, func(c uint64) (bool, error) {
		if !may(&o.w.sums[c]) {
			return false, nil
		}
		gr, err := o.group(c)
		if err != nil {
			return false, err
		}
		start := int64(-1)
		if c == first && at.addr > 0 && at.addr < o.g.frags {
			start = at.addr - gr.start
		}
		return fn(gr, start)
	})
	if err == nil && !ok {
		err = syscall.ENOSPC
	}
	return err
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
