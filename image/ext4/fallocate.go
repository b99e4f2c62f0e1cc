package ext4

import (
	"context"
	"math"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// fallocateStep bounds what one operation reserves by writing zeros, and so what
// it holds in memory before it can be flushed.
const fallocateStep = 1 << 30

// Fallocate implements [vfs.Fallocater]. In files with extents, space is reserved
// as extents that are not written, behind the end of the file too if that is
// asked for. Others have no such thing (Linux refuses the call): there what is
// reserved is filled with zeros, and nothing is kept behind the end.
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
	case in.has(ondisk.FlImmutable) || in.has(ondisk.FlAppend):
		return syscall.EPERM
	case n > math.MaxInt64-off, !punch && off+n > o.f.maxSize(in):
		return syscall.EFBIG
	}
	if err := in.writable(); err != nil {
		return err
	}
	end := off + step
	if punch || keep && (or != nil || !in.has(ondisk.FlExtents)) {
		end = min(end, max(in.size, off))
	}
	switch {
	case off >= end:
	case or != nil:
		err = o.fallocateOrphan(or, mode, off, end)
	case punch:
		err = o.punch(in, off, end)
	default:
		err = o.reserve(in, off, end, keep, zero)
	}
	if err == nil {
		o.touch(in, true)
	}
	return err
}

// punch makes a hole, and zeros of the blocks that lie in it only in part.
func (o *op) punch(in *inode, off, end int64) error {
	bs := o.f.blockSize
	if in.has(ondisk.FlInlineData) {
		return o.zeroInline(in, off, end)
	}
	from, to := (off+bs-1)/bs, end/bs
	if end == in.size {
		to = (end + bs - 1) / bs
	}
	if from > to { // within one block
		return o.zeroBlock(in, off, end)
	}
	if err := o.zeroBlock(in, off, min(from*bs, end)); err != nil {
		return err
	}
	if err := o.zeroBlock(in, to*bs, end); err != nil {
		return err
	}
	if from == to {
		return nil
	}
	return o.removeBlocks(in, uint64(from), uint64(to), false)
}

// reserve allocates what is a hole from off to end, and with zero makes zeros of
// the rest. Unless keep is set, the file is at least that long then.
func (o *op) reserve(in *inode, off, end int64, keep, zero bool) error {
	bs := o.f.blockSize
	if in.has(ondisk.FlInlineData) {
		if end <= in.size && !zero {
			return nil
		}
		if err := o.leaveInline(in); err != nil {
			return err
		}
	}
	if !in.has(ondisk.FlExtents) {
		return o.fill(in, off, end, zero)
	}
	if !keep && end > in.size {
		if err := o.zeroEnd(in, end); err != nil {
			return err
		}
	}
	// Whole blocks change as they are; parts of blocks are written.
	from, to := uint64(off/bs), uint64((end+bs-1)/bs)
	if zero {
		whole := (off + bs - 1) / bs * bs
		if err := o.zeroBlock(in, off, min(whole, end)); err != nil {
			return err
		}
		if last := end / bs * bs; last >= whole {
			if err := o.zeroBlock(in, last, end); err != nil {
				return err
			}
		}
	}
	for at := from; at < to; {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		run, err := o.pieceAt(in, at, to-at)
		if err != nil {
			return err
		}
		switch {
		case run.start == 0:
			if _, run.n, err = o.addBlocks(in, at, run.n, true); err != nil {
				return err
			}
		case zero && !run.unwritten:
			run.n = min(run.n, ondisk.MaxUnwrittenLen)
			if int64(at)*bs < off || int64(at+1)*bs > end && int64(at+1)*bs-bs < in.size { // only a part
				run.n = 1
				break
			}
			if last := uint64(end / bs); at+run.n > last && end%bs != 0 && int64(last)*bs < in.size {
				run.n = last - at
			}
			if err := o.markExtent(in, at, run.n, true); err != nil {
				return err
			}
		}
		at += run.n
	}
	if !keep && end > in.size {
		o.grow(in, end)
	}
	return nil
}

// fill allocates what is a hole from off to end, as zeros, in a file without
// extents; with all it makes zeros of the rest too.
func (o *op) fill(in *inode, off, end int64, all bool) error {
	bs := o.f.blockSize
	zeros := make([]byte, min(end-off+bs, 1<<20))
	for off < end {
		lbn := off / bs
		run, err := o.pieceAt(in, uint64(lbn), uint64((end-1)/bs-lbn)+1)
		if err != nil {
			return err
		}
		stop := min(end, (lbn+int64(run.n))*bs)
		if run.start != 0 && !all {
			if stop > in.size {
				if err := o.zeroEnd(in, stop); err != nil {
					return err
				}
				o.grow(in, stop)
			}
			off = stop
			continue
		}
		// In pieces that end with a block.
		stop = min(stop, (off+int64(len(zeros)))&^(bs-1))
		if stop <= off {
			stop = end
		}
		n, err := o.write(in, zeros[:stop-off], off)
		if err != nil {
			return err
		}
		off += int64(n)
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
