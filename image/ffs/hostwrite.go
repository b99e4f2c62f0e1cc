package ffs

import (
	"context"

	"github.com/resflash/resflash/image/vfs"
)

// WriteFile implements [vfs.HostWriter], for whole blocks at the end of a file.
func (w *Writer) WriteFile(ctx context.Context, ino vfs.Ino, fd int, from, n, off int64) (int64, error) {
	n &^= w.geo.blockSize - 1
	done := int64(0)
	err := w.do(ctx, func(o *op) error {
		if w.orphans[uint64(ino)] != nil {
			return nil
		}
		in, err := o.openFile(ino)
		if err != nil {
			return err
		}
		if at := off + done; at != in.size || at&(w.geo.blockSize-1) != 0 {
			return nil
		}
		if err := w.mayWrite(in, n-done, off+done); err != nil {
			return err
		}
		k, err := o.appendFile(in, fd, from+done, n-done)
		if k > 0 {
			o.touch(in, true)
			if ferr := o.finishPart(); ferr != nil {
				return ferr
			}
			done += k
		}
		return err
	})
	return done, err
}

// appendFile appends whole blocks of a file of the host, piece by piece. If one
// fails, those before it have been written.
func (o *op) appendFile(in *inode, fd int, from, n int64) (int64, error) {
	g, done := o.g, int64(0)
	for done < n {
		if err := o.ctx.Err(); err != nil {
			return done, err
		}
		lbn, blocks := in.size>>g.blockShift, (n-done)>>g.blockShift
		addr, run, err := o.f.run(in, lbn, int(min(blocks, mapWork)))
		if err != nil || addr != 0 { // allocated beyond the end
			return done, err
		}
		m := o.mark(in)
		addr, run, err = o.addBlocks(in, lbn, min(run, blocks))
		if err == nil {
			o.forget(addr, run*g.frag)
			err = o.copyIn(fd, from+done, run<<g.blockShift, addr<<g.fragShift)
		}
		if err != nil {
			o.rollback(m)
			*in = m.inode
			return done, err
		}
		done += run << g.blockShift
		in.size += run << g.blockShift
	}
	return done, nil
}

// copyIn copies n bytes of a file of the host to their place, as [op.data] writes
// contents.
func (o *op) copyIn(fd int, from, n, at int64) error {
	g := o.g
	for n > 0 {
		frags, fresh, err := o.freshRun(at>>g.fragShift, n>>g.fragShift)
		if err != nil {
			return err
		}
		k := frags << g.fragShift
		if err := o.w.host.Copy(o.w.tx, fd, from, k, at, fresh); err != nil {
			return err
		}
		from, at, n = from+k, at+k, n-k
	}
	return nil
}
