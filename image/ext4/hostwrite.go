package ext4

import (
	"context"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// WriteFile implements [vfs.HostWriter], for whole blocks at the end of a file.
func (w *Writer) WriteFile(ctx context.Context, ino vfs.Ino, fd int, from, n, off int64) (int64, error) {
	n &^= w.blockSize - 1
	done := int64(0)
	err := w.do(ctx, func(o *op) error {
		if w.orphans[ino] != nil {
			return nil
		}
		in, err := o.openFile(ino)
		if err != nil {
			return err
		}
		if at := off + done; at != in.size || at%w.blockSize != 0 || in.has(ondisk.FlInlineData) {
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
	bs, done := o.f.blockSize, int64(0)
	for done < n {
		if err := o.ctx.Err(); err != nil {
			return done, err
		}
		lbn := uint64(in.size / bs)
		run, err := o.pieceAt(in, lbn, uint64((n-done)/bs))
		if err != nil {
			return done, err
		}
		if run.start != 0 {
			return done, nil // allocated beyond the end
		}
		m := o.mark(in, o.raw)
		o.raw = m.raw
		start, blocks, err := o.addBlocks(in, lbn, run.n, false)
		if err == nil {
			o.forget(start, blocks)
			err = o.copyIn(fd, from+done, int64(blocks)*bs, int64(start)*bs)
		}
		if err != nil {
			o.restore(m, in)
			return done, err
		}
		done += int64(blocks) * bs
		o.grow(in, in.size+int64(blocks)*bs)
	}
	return done, nil
}

// copyIn copies n bytes of a file of the host to their place, as [op.data] writes
// contents.
func (o *op) copyIn(fd int, from, n, at int64) error {
	bs := o.f.blockSize
	for n > 0 {
		blocks, fresh, err := o.freshRun(uint64(at/bs), uint64(n/bs))
		if err != nil {
			return err
		}
		k := int64(blocks) * bs
		if err := o.w.host.Copy(o.w.tx, fd, from, k, at, fresh); err != nil {
			return err
		}
		from, at, n = from+k, at+k, n-k
	}
	return nil
}
