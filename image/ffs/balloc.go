package ffs

import (
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// sectors is n fragments in units of 512 bytes, as di_blocks counts.
func (g *geometry) sectors(n int64) uint64 { return uint64(n) << (g.fragShift - 9) }

// hold counts n fragments more (or less) as the file's.
func (in *inode) hold(g *geometry, n int64) {
	if n >= 0 {
		in.Blocks += g.sectors(n)
	} else {
		in.Blocks -= min(in.Blocks, g.sectors(-n))
	}
	in.dirty = true
}

// A slot is where the pointer to a block of a file lies, and for how many
// blocks more the pointers follow it.
type slot struct {
	direct int64 // index, or -1
	off    int64 // byte offset in the volume
	room   int64 // pointers from this one to the end of the inode or block
	// prev is the block behind which this one should lie: the one in front of
	// it in the file, or an indirect block that was just made for it.
	prev int64
}

// slotFor finds the pointer to block lbn of a file, making the indirect blocks
// that are missing on the way. prev is the address of the block before.
func (o *op) slotFor(in *inode, lbn, prev int64) (slot, error) {
	g := o.g
	if lbn < ondisk.NDirect {
		return slot{direct: lbn, room: ondisk.NDirect - lbn, prev: prev}, nil
	}
	rel, span := lbn-ondisk.NDirect, g.nindir
	level := 1
	for ; rel >= span; level++ {
		if level == ondisk.NIndirect {
			return slot{}, in.corrupt("block %d is beyond the reach of its pointers", lbn)
		}
		rel -= span
		span *= g.nindir
	}
	addr := in.Indirect[level-1]
	if addr == 0 {
		var err error
		if addr, err = o.newIndirect(in, lbn, prev); err != nil {
			return slot{}, err
		}
		in.Indirect[level-1] = addr
		prev = addr
	}
	size := int64(g.version.PointerSize())
	for ; ; level-- {
		if err := o.f.checkAddr(in, addr, g.frag); err != nil {
			return slot{}, fmt.Errorf("indirect block: %w", err)
		}
		span /= g.nindir
		i := rel / span
		off := addr<<g.fragShift + i*size
		if level == 1 {
			return slot{direct: -1, off: off, room: g.nindir - i, prev: prev}, nil
		}
		rel %= span
		b, err := o.f.cache.Bytes(off, int(size))
		if err != nil {
			return slot{}, fmt.Errorf("read indirect block of inode %d at byte %d: %w", in.num, off, err)
		}
		addr = g.version.Pointer(g.order, b)
		if addr == 0 {
			if addr, err = o.newIndirect(in, lbn, prev); err != nil {
				return slot{}, err
			}
			if b, err = o.modify(off, int(size)); err != nil {
				return slot{}, err
			}
			g.version.PutPointer(g.order, b, addr)
			prev = addr
		}
	}
}

// newIndirect allocates an indirect block for block lbn, full of holes, near
// the block in front of that.
func (o *op) newIndirect(in *inode, lbn, prev int64) (int64, error) {
	addr, _, err := o.allocBlocks(o.wishFor(in, lbn, prev), 1)
	if err != nil {
		return 0, err
	}
	if err := o.freshBlock(addr); err != nil {
		return 0, err
	}
	in.hold(o.g, o.g.frag)
	return addr, nil
}

// freshBlock puts a block of zeros into the cache.
func (o *op) freshBlock(addr int64) error {
	_, err := o.f.cache.Fresh(addr << o.g.fragShift)
	return err
}

// point sets the n pointers from s on to adjacent blocks (or, with addr 0, to
// nothing).
func (o *op) point(in *inode, s slot, addr, n int64) error {
	g := o.g
	step := g.frag
	if addr == 0 {
		step = 0
	}
	in.dirty = true
	if s.direct >= 0 {
		for i := range n {
			in.Direct[s.direct+i] = addr + i*step
		}
		return nil
	}
	size := int64(g.version.PointerSize())
	b, err := o.modify(s.off, int(n*size))
	if err != nil {
		return err
	}
	for i := range n {
		g.version.PutPointer(g.order, b[i*size:], addr+i*step)
	}
	return nil
}

// prevBlock is the address of the block in front of lbn, or 0.
func (o *op) prevBlock(in *inode, lbn int64) int64 {
	if lbn == 0 {
		return 0
	}
	addr, _, err := o.f.run(in, lbn-1, 1)
	if err != nil || addr < 0 || addr >= o.g.frags {
		return 0
	}
	return addr
}

// addBlocks allocates up to want whole blocks for the hole at lbn, adjacent
// ones, and points to them.
func (o *op) addBlocks(in *inode, lbn, want int64) (addr, n int64, err error) {
	prev := o.prevBlock(in, lbn)
	s, err := o.slotFor(in, lbn, prev)
	if err != nil {
		return 0, 0, err
	}
	want = min(want, s.room)
	if lbn >= ondisk.NDirect { // do not run past the file's share of a group
		want = min(want, o.w.super.maxBPG-(lbn-ondisk.NDirect)%o.w.super.maxBPG)
	}
	at := o.wishFor(in, lbn, prev)
	if s.prev != prev { // behind its indirect block
		at = wish{s.prev + o.g.frag}
	}
	if addr, n, err = o.allocBlocks(at, want); err != nil {
		return 0, 0, err
	}
	in.hold(o.g, n*o.g.frag)
	return addr, n, o.point(in, s, addr, n)
}

// addTail allocates n fragments for the hole at lbn, the last block of a small
// file.
func (o *op) addTail(in *inode, lbn, n int64) (int64, error) {
	addr, err := o.allocFrags(o.wishFor(in, lbn, o.prevBlock(in, lbn)), n)
	if err != nil {
		return 0, err
	}
	in.hold(o.g, n)
	in.Direct[lbn] = addr
	return addr, nil
}
