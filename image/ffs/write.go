package ffs

import (
	"context"
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// WriteAt implements [vfs.WritableFS]. The blocks that are missing are
// allocated in runs as long as the free space has, and each is written at once.
func (w *Writer) WriteAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	done := 0
	err := w.do(ctx, func(o *op) error {
		if or := w.orphans[uint64(ino)]; or != nil {
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
	flags := vfs.Flags(in.Flags)
	switch {
	case off < 0:
		return syscall.EINVAL
	case flags&immutable != 0 || flags&appendOnly != 0 && off != in.size:
		return syscall.EPERM
	case n > w.super.maxFile-off:
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
		return in, nil
	case vfs.Dir:
		return nil, syscall.EISDIR
	}
	return nil, syscall.EINVAL
}

// write writes p to a file, piece by piece. If one fails, those before it have
// been written.
func (o *op) write(in *inode, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		if err := o.ctx.Err(); err != nil {
			return done, err
		}
		m := o.mark(in)
		n, err := o.writePiece(in, p[done:], off+int64(done))
		if err != nil {
			o.rollback(m)
			*in = m.inode
			return done, err
		}
		done += n
	}
	return done, nil
}

// writePiece writes as much of p as lies in one run of blocks.
func (o *op) writePiece(in *inode, p []byte, off int64) (int, error) {
	g := o.g
	lbn, end := off>>g.blockShift, off+int64(len(p))
	if off > in.size {
		if err := o.extendTo(in, off); err != nil {
			return 0, err
		}
	}
	last := (max(end, in.size) - 1) >> g.blockShift // of the file, when all is written
	blocks := (end-1)>>g.blockShift - lbn + 1       // that p lies in
	addr, run, err := o.f.run(in, lbn, int(min(blocks, mapWork)))
	if err != nil {
		return 0, err
	}
	run = min(run, blocks)
	// The last block of a small file is only as long as need be.
	if have := g.tailFrags(in.size, lbn+run-1); addr != 0 && have < g.frag {
		if have <= 0 {
			return 0, in.corrupt("block %d lies beyond its end of %d bytes", lbn+run-1, in.size)
		}
		if run > 1 {
			run--
		} else if end > in.size {
			want := g.tailFrags(max(end, in.size), lbn)
			if addr, err = o.growTail(in, lbn, addr, have, want, off, end); err != nil {
				return 0, err
			}
		}
	}
	if addr == 0 {
		if frags := g.tailFrags(max(end, in.size), last); lbn+run-1 == last && frags < g.frag {
			if run > 1 {
				run--
			} else {
				return o.writeTail(in, lbn, frags, p, off)
			}
		}
		return o.writeNew(in, lbn, run, p, off)
	}
	if err := o.f.checkAddr(in, addr, (run-1)*g.frag+g.tailFrags(max(end, in.size), lbn+run-1)); err != nil {
		return 0, err
	}
	stop := min((lbn+run)<<g.blockShift, end)
	n := int(stop - off)
	if err := o.data(p[:n], addr<<g.fragShift+off-lbn<<g.blockShift); err != nil {
		return 0, err
	}
	in.size = max(in.size, stop)
	in.dirty = true
	return n, nil
}

// writeTail writes the last block of a small file, into new fragments.
func (o *op) writeTail(in *inode, lbn, frags int64, p []byte, off int64) (int, error) {
	g := o.g
	addr, err := o.addTail(in, lbn, frags)
	if err != nil {
		return 0, err
	}
	b := o.w.scratch[:frags<<g.fragShift]
	clear(b)
	n := copy(b[off-lbn<<g.blockShift:], p)
	if err := o.newData(b, addr); err != nil {
		return 0, err
	}
	in.size = max(in.size, off+int64(n))
	return n, nil
}

// writeNew writes up to run blocks where there is a hole now.
func (o *op) writeNew(in *inode, lbn, run int64, p []byte, off int64) (int, error) {
	g := o.g
	addr, run, err := o.addBlocks(in, lbn, run)
	if err != nil {
		return 0, err
	}
	if n := int64(len(p)); n > (lbn+run)<<g.blockShift-off {
		p = p[:(lbn+run)<<g.blockShift-off]
	}
	done := 0
	for done < len(p) {
		skip := (off + int64(done)) & (g.blockSize - 1)
		rest := p[done:]
		at := addr + (off+int64(done)-lbn<<g.blockShift-skip)>>g.fragShift
		var n int
		if skip == 0 && int64(len(rest)) >= g.blockSize {
			n = len(rest) &^ int(g.blockSize-1)
			err = o.newData(rest[:n], at)
		} else {
			clear(o.w.scratch)
			n = copy(o.w.scratch[skip:], rest)
			err = o.newData(o.w.scratch, at)
		}
		if err != nil {
			return 0, err
		}
		done += n
	}
	in.size = max(in.size, off+int64(done))
	return done, nil
}

// forget has the cache forget what it may still hold of fragments from when
// they were metadata, now that they are not.
func (o *op) forget(addr, n int64) {
	o.f.cache.Drop(addr<<o.g.fragShift, n<<o.g.fragShift)
}

// newData writes contents into fragments that were allocated just now.
func (o *op) newData(p []byte, addr int64) error {
	o.forget(addr, int64(len(p))>>o.g.fragShift)
	return o.data(p, addr<<o.g.fragShift)
}

// data writes contents to their place, telling space that was free in the last
// commit from what was not.
func (o *op) data(p []byte, at int64) error {
	g := o.g
	for len(p) > 0 {
		addr := at >> g.fragShift
		n, fresh, err := o.freshRun(addr, (at+int64(len(p))-1)>>g.fragShift-addr+1)
		if err != nil {
			return err
		}
		k := min((addr+n)<<g.fragShift-at, int64(len(p)))
		if err := o.w.tx.WriteData(p[:k], at, fresh); err != nil {
			return fmt.Errorf("write contents at byte %d: %w", at, err)
		}
		p, at = p[k:], at+k
	}
	return nil
}

// freshRun says whether fragment addr was free in the last commit, and for how
// many of n the same goes.
func (o *op) freshRun(addr, n int64) (run int64, fresh bool, err error) {
	gr, i, err := o.groupOf(addr)
	if err != nil {
		return 0, false, err
	}
	n = min(n, max(gr.frags-i, 1))
	fresh = gr.isFresh(i)
	if gr.committed == nil {
		return n, fresh, nil
	}
	for run = 1; run < n && gr.isFresh(i+run) == fresh; run++ {
	}
	return run, fresh, nil
}

// journaled writes contents that must not be seen before the next commit,
// because the last one promised others.
func (o *op) journaled(p []byte, at int64) error {
	if _, err := o.w.tx.WriteAt(p, at); err != nil {
		return fmt.Errorf("write contents at byte %d: %w", at, err)
	}
	return nil
}
