package ext4

import (
	"math"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// truncate makes a file size bytes long: by a hole, or by giving back what lies
// beyond, also what was reserved there. size is not negative, and not over
// [FS.maxSize].
func (o *op) truncate(in *inode, size int64) error {
	bs := o.f.blockSize
	if in.has(ondisk.FlInlineData) {
		if done, err := o.truncateInline(in, size); done || err != nil {
			return err
		}
	}
	if size > in.size {
		if err := o.zeroEnd(in, size); err != nil {
			return err
		}
		o.grow(in, size)
		return nil
	}
	if skip := size % bs; skip != 0 && size < in.size {
		// The kernels take what lies behind the end to be zeros.
		if err := o.zeroBlock(in, size, min(size-skip+bs, in.size)); err != nil {
			return err
		}
	}
	if err := o.removeBlocks(in, uint64((size+bs-1)/bs), math.MaxUint64, in.mode().IsDir()); err != nil {
		return err
	}
	in.size, in.dirty = size, true
	return nil
}

// zeroBlock makes zeros of a part of one block, if it is there. The last commit
// promised what was there before.
func (o *op) zeroBlock(in *inode, off, end int64) error {
	if off >= end {
		return nil
	}
	bs := o.f.blockSize
	run, err := o.pieceAt(in, uint64(off/bs), 1)
	if err != nil || run.start == 0 || run.unwritten {
		return err
	}
	return o.journaled(o.w.zeros[:end-off], int64(run.start)*bs+off%bs)
}
