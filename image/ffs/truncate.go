package ffs

import (
	"fmt"
	"math"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
)

// resize makes a file size bytes long: by a hole, or by giving back what lies
// beyond.
func (o *op) resize(in *inode, size int64) error {
	if size > in.size {
		return o.extendTo(in, size)
	}
	if size == in.size {
		return nil
	}
	return o.shrink(in, size, false)
}

// shrink cuts a file (or with meta, a directory) off at size.
func (o *op) shrink(in *inode, size int64, meta bool) error {
	g := o.g
	lbn := size >> g.blockShift
	if size&(g.blockSize-1) != 0 {
		addr, _, err := o.f.run(in, lbn, 1)
		if err != nil {
			return err
		}
		if addr != 0 {
			have, want := g.tailFrags(in.size, lbn), g.tailFrags(size, lbn)
			if err := o.f.checkAddr(in, addr, have); err != nil {
				return err
			}
			// The kernels take what lies behind the end to be zeros.
			skip := size - lbn<<g.blockShift
			end := min(want<<g.fragShift, in.size-lbn<<g.blockShift)
			if end > skip && !meta {
				if err := o.journaled(o.w.zeros[:end-skip], addr<<g.fragShift+skip); err != nil {
					return err
				}
			}
			if want < have {
				if err := o.release(in, addr+want, have-want, meta); err != nil {
					return err
				}
				in.hold(g, want-have)
			}
		}
		lbn++
	}
	if err := o.releaseBlocks(in, lbn, math.MaxInt64, meta); err != nil {
		return err
	}
	in.size, in.dirty = size, true
	return nil
}

// releaseBlocks makes a hole of the blocks of a file from block from on, up to
// block to.
func (o *op) releaseBlocks(in *inode, from, to int64, meta bool) error {
	g := o.g
	for lbn := from; lbn < min(to, ondisk.NDirect); lbn++ {
		addr := in.Direct[lbn]
		if addr == 0 {
			continue
		}
		n := g.tailFrags(in.size, lbn)
		if n <= 0 {
			return in.corrupt("block %d lies beyond its end of %d bytes", lbn, in.size)
		}
		if err := o.release(in, addr, n, meta); err != nil {
			return err
		}
		in.Direct[lbn] = 0
		in.hold(g, -n)
	}
	first, span := int64(ondisk.NDirect), g.nindir
	for level := 1; level <= ondisk.NIndirect; level++ {
		if addr := in.Indirect[level-1]; addr != 0 && from < first+span && to > first {
			empty, err := o.releaseIndirect(in, addr, level, max(from-first, 0), min(to-first, span), meta)
			if err != nil {
				return err
			}
			if empty {
				in.Indirect[level-1] = 0
				in.dirty = true
			}
		}
		first += span
		span *= g.nindir
	}
	return nil
}

// releaseIndirect does the work of releaseBlocks behind an indirect block, for
// those of its blocks from from up to to. If nothing is left behind it, it goes
// as well, with what it says left as it is: a file that is still open reads it.
func (o *op) releaseIndirect(in *inode, addr int64, level int, from, to int64, meta bool) (empty bool, err error) {
	g := o.g
	if err := o.ctx.Err(); err != nil {
		return false, err
	}
	b, err := o.f.indirect(in, addr)
	if err != nil {
		return false, err
	}
	span := int64(1)
	for range level - 1 {
		span *= g.nindir
	}
	size := int64(g.version.PointerSize())
	whole := from == 0 && to == g.nindir*span
	if !whole {
		// What stays in memory may be read while it is changed.
		if b, err = o.modify(addr<<g.fragShift, int(g.blockSize)); err != nil {
			return false, err
		}
	}
	for i := from / span; i*span < to; i++ {
		child := g.version.Pointer(g.order, b[i*size:])
		if child == 0 {
			continue
		}
		gone := true
		if level == 1 {
			err = o.release(in, child, g.frag, meta)
			in.hold(g, -g.frag)
		} else {
			gone, err = o.releaseIndirect(in, child, level-1, max(from-i*span, 0), min(to-i*span, span), meta)
		}
		if err != nil {
			return false, err
		}
		if gone && !whole {
			g.version.PutPointer(g.order, b[i*size:], 0)
		}
	}
	if !whole && !blockio.IsZero(b) {
		return false, nil
	}
	if err := o.release(in, addr, g.frag, true); err != nil {
		return false, fmt.Errorf("indirect block: %w", err)
	}
	in.hold(g, -g.frag)
	return true, nil
}
