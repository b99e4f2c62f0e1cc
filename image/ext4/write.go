package ext4

import (
	"context"
	"fmt"
	"math"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// WriteAt implements [vfs.WritableFS]. The blocks that are missing are
// allocated in runs as long as the free space has, and each is written at once.
func (w *Writer) WriteAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	done := 0
	err := w.do(ctx, func(o *op) error {
		if or := w.orphans[ino]; or != nil {
			n, err := o.writeOrphan(or, p, off)
			done = n
			return err
		}
		in, err := o.openFile(ino)
		if err != nil {
			return err
		}
		if err := w.mayWrite(in, int64(len(p)-done), off+int64(done)); err != nil {
			return err
		}
		n, err := o.write(in, p[done:], off+int64(done))
		if n > 0 {
			o.touch(in, true)
			if ferr := o.finishPart(); ferr != nil {
				return ferr
			}
			done += n
		}
		return err
	})
	return done, err
}

// mayWrite says whether n bytes may be written at off.
func (w *Writer) mayWrite(in *inode, n, off int64) error {
	switch {
	case off < 0:
		return syscall.EINVAL
	case in.has(ondisk.FlImmutable) || in.has(ondisk.FlAppend) && off != in.size:
		return syscall.EPERM
	case n > w.maxSize(in)-off:
		return syscall.EFBIG
	}
	return nil
}

// finishPart makes what an operation has done so far irrevocable, before it
// fails: a write that has written some.
func (o *op) finishPart() error {
	if err := o.finish(); err != nil {
		return err
	}
	o.reset()
	return nil
}

// openFile loads the inode of a regular file that is to be changed.
func (o *op) openFile(ino vfs.Ino) (*inode, error) {
	in, err := o.load(ino)
	if err != nil {
		return nil, err
	}
	switch in.mode().Type() {
	case vfs.Regular:
		return in, in.writable()
	case vfs.Dir:
		return nil, syscall.EISDIR
	}
	return nil, syscall.EINVAL
}

// writable refuses contents that are not in plain, or that are protected by
// more than is kept here.
func (in *inode) writable() error {
	if in.has(ondisk.FlVerity) {
		return &vfs.NotSupportedError{What: "writing to a file with fs-verity, " + in.name(), Off: in.off}
	}
	if in.has(ondisk.FlEAInode) {
		return &vfs.NotSupportedError{What: "writing to an inode that holds an attribute, " + in.name(), Off: in.off}
	}
	return in.readable()
}

// write writes p to a file, piece by piece. If one fails, those before it have
// been written.
func (o *op) write(in *inode, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		if err := o.ctx.Err(); err != nil {
			return done, err
		}
		m := o.mark(in, o.raw)
		o.raw = m.raw
		n, err := o.writePiece(in, p[done:], off+int64(done))
		if err != nil {
			o.restore(m, in)
			return done, err
		}
		done += n
	}
	return done, nil
}

// writePiece writes as much of p as lies in one run of blocks.
func (o *op) writePiece(in *inode, p []byte, off int64) (int, error) {
	bs := o.f.blockSize
	if in.has(ondisk.FlInlineData) || o.mayBeInline(in) {
		if n, err := o.writeInline(in, p, off); n > 0 || err != nil {
			return n, err
		}
	}
	if off > in.size {
		if err := o.zeroEnd(in, off); err != nil {
			return 0, err
		}
	}
	lbn, end := uint64(off/bs), off+int64(len(p))
	run, err := o.pieceAt(in, lbn, uint64((end-1)/bs)-lbn+1)
	if err != nil {
		return 0, err
	}
	fresh := true
	switch {
	case run.start == 0:
		run.start, run.n, err = o.addBlocks(in, lbn, run.n, false)
	case run.unwritten:
		err = o.markExtent(in, lbn, run.n, false)
	default:
		fresh = false
	}
	if err != nil {
		return 0, err
	}
	stop := min(int64(lbn+run.n)*bs, end)
	p = p[:stop-off]
	if fresh {
		err = o.newData(p, run.start, off%bs)
	} else if !o.f.validBlocks(run.start, run.n) {
		err = in.corrupt("block %d is at device block %d, outside the file system", lbn, run.start)
	} else {
		err = o.data(p, int64(run.start)*bs+off%bs)
	}
	if err != nil {
		return 0, err
	}
	o.grow(in, stop)
	return len(p), nil
}

// grow makes a file at least size bytes long, without a look at what it has
// there.
func (o *op) grow(in *inode, size int64) {
	in.size = max(in.size, size)
	in.dirty = true
	if in.size > math.MaxInt32 && o.f.sb.FeatureROCompat&ondisk.ROCompatLargeFile == 0 {
		o.w.sb.FeatureROCompat |= ondisk.ROCompatLargeFile
	}
}

// zeroEnd makes zeros of what the last block of a file has behind its end, up to
// off, as that is to be part of the file now.
func (o *op) zeroEnd(in *inode, off int64) error {
	bs := o.f.blockSize
	skip := in.size % bs
	if skip == 0 || in.has(ondisk.FlInlineData) {
		return nil
	}
	run, err := o.pieceAt(in, uint64(in.size/bs), 1)
	if err != nil || run.start == 0 || run.unwritten {
		return err
	}
	return o.data(o.w.zeros[:min(bs-skip, off-in.size)], int64(run.start)*bs+skip)
}

// newData writes contents into blocks that held nothing of the file before, from
// byte skip of the first on. The rest of the first and of the last becomes zeros.
func (o *op) newData(p []byte, start uint64, skip int64) error {
	bs := o.f.blockSize
	o.forget(start, uint64((skip+int64(len(p))+bs-1)/bs))
	at := int64(start) * bs
	for len(p) > 0 {
		size := (skip + int64(len(p)) + bs - 1) &^ (bs - 1)
		if size != int64(len(p)) && size <= int64(len(o.w.scratch)) {
			// All of it in one piece, which small files are.
			all := o.w.scratch[:size]
			clear(all[:skip])
			n := copy(all[skip:], p)
			clear(all[skip+int64(n):])
			return o.data(all, at)
		}
		// Whole blocks as they are; only the first and the last are padded.
		n := len(p) &^ int(bs-1)
		if skip > 0 {
			n = int(bs - skip)
			all := o.w.scratch[:bs]
			clear(all[:skip])
			copy(all[skip:], p[:n])
			if err := o.data(all, at); err != nil {
				return err
			}
		} else if err := o.data(p[:n], at); err != nil {
			return err
		}
		at += (skip + int64(n)) &^ (bs - 1)
		p, skip = p[n:], 0
	}
	return nil
}

// data writes contents to their place, telling space that was free in the last
// commit from what was not.
func (o *op) data(p []byte, at int64) error {
	bs := o.f.blockSize
	for len(p) > 0 {
		block := uint64(at / bs)
		n, fresh, err := o.freshRun(block, uint64((at+int64(len(p))-1)/bs)-block+1)
		if err != nil {
			return err
		}
		k := min(int64(block+n)*bs-at, int64(len(p)))
		if err := o.w.tx.WriteData(p[:k], at, fresh); err != nil {
			return fmt.Errorf("write contents at byte %d: %w", at, err)
		}
		p, at = p[k:], at+k
	}
	return nil
}

// freshRun says whether a block was free in the last commit, and for how many of
// n the same goes.
func (o *op) freshRun(block, n uint64) (run uint64, fresh bool, err error) {
	gr, i, err := o.groupOf(block)
	if err != nil {
		return 0, false, err
	}
	shift := o.f.clusterShift
	end := gr.start + o.f.blocksPerGroup
	n = min(n, end-block)
	fresh = gr.isFresh(i, 1)
	if gr.committed == nil {
		return n, fresh, nil
	}
	run = 1<<shift - (block-gr.start)&(1<<shift-1)
	for i++; run < n && i < gr.clusters && gr.isFresh(i, 1) == fresh; i++ {
		run += 1 << shift
	}
	return min(run, n), fresh, nil
}

// journaled writes contents that must not be seen before the next commit,
// because the last one promised others.
func (o *op) journaled(p []byte, at int64) error {
	if _, err := o.w.tx.WriteAt(p, at); err != nil {
		return fmt.Errorf("write contents at byte %d: %w", at, err)
	}
	return nil
}

func (o *op) writeOrphan(or *orphan, p []byte, off int64) (int, error) {
	if err := or.isFile(); err != nil {
		return 0, err
	}
	if err := o.w.mayWrite(&or.in, int64(len(p)), off); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := or.in.writable(); err != nil {
		return 0, err
	}
	if err := o.spoolOrphan(or); err != nil {
		return 0, err
	}
	n, err := or.spool.WriteAt(p, off)
	if n > 0 {
		o.touch(&or.in, true)
		or.in.size = max(or.in.size, off+int64(n))
		err = o.f.setSectors(&or.in, or.spool.Blocks())
	}
	return n, err
}
