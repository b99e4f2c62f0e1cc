package ffs

import (
	"context"
	"math"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// fallocateStep bounds what one operation reserves, and so what it holds in
// memory before it can be flushed.
const fallocateStep = 1 << 30

// Fallocate implements [vfs.Fallocater]. FFS has no space that is reserved but
// not written: what is reserved is filled with zeros. Nor has it any behind the
// end of a file: what is asked for there with AllocKeepSize is not kept.
func (w *Writer) Fallocate(ctx context.Context, ino vfs.Ino, mode vfs.AllocMode, off, n int64) error {
	for first := true; first || n > 0; first = false {
		step := n
		if mode&vfs.AllocPunchHole == 0 {
			step = min(n, fallocateStep)
		}
		err := w.do(ctx, func(o *op) error { return o.fallocate(ino, mode, off, step, n) })
		if err != nil {
			return err
		}
		off, n = off+step, n-step
	}
	return nil
}

// fallocate does the first step bytes of the n at off.
func (o *op) fallocate(ino vfs.Ino, mode vfs.AllocMode, off, step, n int64) error {
	in, or, err := o.loadAny(ino)
	if err != nil {
		return err
	}
	keep, punch, zero := mode&vfs.AllocKeepSize != 0, mode&vfs.AllocPunchHole != 0, mode&vfs.AllocZeroRange != 0
	switch {
	case in.mode().IsDir():
		return syscall.EISDIR
	case !in.mode().IsRegular():
		return syscall.ENODEV
	case off < 0 || n <= 0:
		return syscall.EINVAL
	case mode&^(vfs.AllocKeepSize|vfs.AllocPunchHole|vfs.AllocZeroRange) != 0, punch && zero, punch && !keep:
		return syscall.EOPNOTSUPP
	case vfs.Flags(in.Flags)&(immutable|appendOnly) != 0:
		return syscall.EPERM
	case n > math.MaxInt64-off, !keep && off+n > o.w.super.maxFile:
		return syscall.EFBIG
	}
	end := off + step
	if keep {
		end = min(end, in.size)
	}
	switch {
	case off >= end:
	case or != nil:
		err = o.fallocateOrphan(or, mode, off, end)
	case punch:
		err = o.punch(in, off, end)
	default:
		err = o.fill(in, off, end, zero)
	}
	if err == nil {
		o.touch(in, true)
	}
	return err
}

// punch makes a hole, and zeros of the blocks that lie in it only in part.
func (o *op) punch(in *inode, off, end int64) error {
	g := o.g
	from, to := (off+g.blockSize-1)>>g.blockShift, end>>g.blockShift
	if end == in.size {
		to = (end + g.blockSize - 1) >> g.blockShift
	}
	if from > to { // within one block
		return o.zeroBlock(in, off, end)
	}
	if err := o.zeroBlock(in, off, min(from<<g.blockShift, end)); err != nil {
		return err
	}
	if err := o.zeroBlock(in, to<<g.blockShift, end); err != nil {
		return err
	}
	if from == to {
		return nil
	}
	return o.releaseBlocks(in, from, to, false)
}

// zeroBlock writes zeros to a part of one block, if it is there.
func (o *op) zeroBlock(in *inode, off, end int64) error {
	if off >= end {
		return nil
	}
	at, n, err := o.f.extent(in, off, end-off)
	if err != nil || at == hole {
		return err
	}
	return o.journaled(o.w.zeros[:min(end-off, n)], at)
}

// fill allocates what is a hole from off to end, as zeros. When there is space
// for all of it, it makes zeros of the rest too if it is told to.
func (o *op) fill(in *inode, off, end int64, all bool) error {
	g := o.g
	size := in.size
	type part struct{ off, end int64 }
	var there []part
	if missing := end - max(in.size, off); missing > 0 {
		if _, err := o.room(missing >> g.fragShift); err != nil {
			return err
		}
	}
	zeros := make([]byte, min(end-off+g.blockSize, 1<<20))
	for off < end {
		lbn := off >> g.blockShift
		addr, blocks, err := o.f.run(in, lbn, mapWork)
		if err != nil {
			return err
		}
		stop := min(end, (lbn+blocks)<<g.blockShift)
		if addr != 0 {
			if all && off < size {
				there = append(there, part{off, min(stop, size)})
			}
			off = stop
			continue
		}
		// In pieces that end with a block.
		stop = min(stop, (off+int64(len(zeros)))&^(g.blockSize-1))
		if stop <= off {
			stop = end
		}
		n, err := o.write(in, zeros[:stop-off], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	if end > in.size {
		if err := o.extendTo(in, end); err != nil {
			return err
		}
	}
	for _, p := range there {
		for p.off < p.end {
			n := min(p.end-p.off, int64(len(zeros)))
			if _, err := o.write(in, zeros[:n], p.off); err != nil {
				return err
			}
			p.off += n
		}
	}
	return nil
}

func (o *op) fallocateOrphan(or *orphan, mode vfs.AllocMode, off, end int64) error {
	if err := o.spoolOrphan(or); err != nil {
		return err
	}
	if mode&(vfs.AllocPunchHole|vfs.AllocZeroRange) != 0 {
		if err := or.spool.Zero(off, end-off); err != nil {
			return err
		}
	}
	if end > or.in.size {
		return o.resizeOrphan(or, end)
	}
	return nil
}
