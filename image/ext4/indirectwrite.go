package ext4

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// A slot is where the pointer to a block of a file lies, in a file without
// extents, and how many pointers follow it up to the end of the inode's or of
// their block.
type slot struct {
	direct int    // index in i_block, or -1
	off    int64  // byte offset in the volume
	room   uint64 // with this one
}

// slotFor finds the pointer to block lbn of a file, making the pointer blocks
// that are missing on the way, near goal.
func (o *op) slotFor(in *inode, lbn, goal uint64) (slot, error) {
	if lbn < directBlocks {
		return slot{direct: int(lbn), room: directBlocks - lbn}, nil
	}
	perBlock := uint64(o.f.blockSize / 4)
	rel, span, at := lbn-directBlocks, perBlock, directBlocks
	for rel >= span {
		rel -= span
		span *= perBlock
		if at++; at == ondisk.BlockLen/4 {
			return slot{}, syscall.EFBIG // more than three levels can hold
		}
	}
	le := binary.LittleEndian
	addr := uint64(le.Uint32(in.Block[at*4:]))
	if addr == 0 {
		var err error
		if addr, err = o.newPointers(in, goal); err != nil {
			return slot{}, err
		}
		le.PutUint32(in.Block[at*4:], uint32(addr))
		in.dirty = true
	}
	for {
		if !o.f.validBlocks(addr, 1) {
			return slot{}, in.corrupt("indirect block at device block %d, outside the file system", addr)
		}
		span /= perBlock
		off := o.f.offset(addr) + int64(rel/span)*4
		if span == 1 {
			return slot{direct: -1, off: off, room: perBlock - rel}, nil
		}
		rel %= span
		b, err := o.f.cache.Bytes(off, 4)
		if err != nil {
			return slot{}, fmt.Errorf("read indirect block of inode %d at byte %d: %w", in.num, off, err)
		}
		if addr = uint64(le.Uint32(b)); addr == 0 {
			if addr, err = o.newPointers(in, goal); err != nil {
				return slot{}, err
			}
			if b, err = o.modify(off, 4); err != nil {
				return slot{}, err
			}
			le.PutUint32(b, uint32(addr))
		}
	}
}

// newPointers allocates a block of pointers, full of holes. Pointers have 32
// bits.
func (o *op) newPointers(in *inode, goal uint64) (uint64, error) {
	addr, _, err := o.allocMeta(in, goal)
	if err == nil && addr>>32 != 0 {
		err = syscall.ENOSPC
	}
	return addr, err
}

// point sets the n pointers from s on to adjacent blocks.
func (o *op) point(in *inode, s slot, addr, n uint64) error {
	b := in.Block[:]
	if s.direct >= 0 {
		b = b[s.direct*4:]
		in.dirty = true
	} else {
		var err error
		if b, err = o.modify(s.off, int(n*4)); err != nil {
			return err
		}
	}
	for i := range n {
		binary.LittleEndian.PutUint32(b[i*4:], uint32(addr+i))
	}
	return nil
}

// removePointers makes a hole of the blocks [from, to) of a file without
// extents. With meta, the cache knows them.
func (o *op) removePointers(in *inode, from, to uint64, meta bool) error {
	le := binary.LittleEndian
	perBlock := uint64(o.f.blockSize / 4)
	first, span := uint64(0), uint64(1)
	for at, level := 0, 0; at < ondisk.BlockLen/4; at++ {
		if at >= directBlocks {
			level++
			span *= perBlock
		}
		addr := uint64(le.Uint32(in.Block[at*4:]))
		if addr != 0 && from < first+span && to > first {
			lo, hi := max(from, first)-first, min(to-first, span)
			gone, err := o.removeBehind(in, addr, level, lo, hi, meta)
			if err != nil {
				return err
			}
			if gone {
				le.PutUint32(in.Block[at*4:], 0)
				in.dirty = true
			}
		}
		first += span
	}
	return nil
}

// removeBehind does the work of removePointers behind a pointer to addr, which
// leads to level levels of pointers, for those of its blocks from from up to to.
// It says whether nothing is left behind it, and so it goes as well: with what
// it says left as it is, for a file that is still open.
func (o *op) removeBehind(in *inode, addr uint64, level int, from, to uint64, meta bool) (gone bool, err error) {
	if level == 0 {
		if err := o.release(in, addr, 1, meta); err != nil {
			return false, err
		}
		return true, o.hold(in, -1)
	}
	if err := o.ctx.Err(); err != nil {
		return false, err
	}
	b, err := o.f.block(addr, fmt.Sprintf("inode %d indirect block", in.num))
	if err != nil {
		return false, err
	}
	perBlock := uint64(o.f.blockSize / 4)
	span := uint64(1)
	for range level - 1 {
		span *= perBlock
	}
	whole := from == 0 && to == perBlock*span
	if !whole {
		if b, err = o.modify(o.f.offset(addr), int(o.f.blockSize)); err != nil {
			return false, err
		}
	}
	le := binary.LittleEndian
	for i := from / span; i*span < to; i++ {
		child := uint64(le.Uint32(b[i*4:]))
		if child == 0 {
			continue
		}
		lo, hi := max(from, i*span)-i*span, min(to-i*span, span)
		gone, err := o.removeBehind(in, child, level-1, lo, hi, meta)
		if err != nil {
			return false, err
		}
		if gone && !whole {
			le.PutUint32(b[i*4:], 0)
		}
	}
	if !whole && !blockio.IsZero(b) {
		return false, nil
	}
	return true, o.freeMeta(in, addr)
}
