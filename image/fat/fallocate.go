package fat

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// Fallocate implements [vfs.Fallocater]: it makes files longer, with zeros. FAT
// has no holes, and no place to say that a file has space behind its end, so
// that all other modes are EOPNOTSUPP.
func (w *Writer) Fallocate(ctx context.Context, ino vfs.Ino, mode vfs.AllocMode, off, n int64) error {
	return w.do(ctx, func(o *op) error {
		or := w.orphans[ino]
		var in file
		var err error
		if or != nil {
			if in = or.file; in.isDir() {
				return syscall.EISDIR
			}
		} else if in, err = o.openFile(ino); err != nil {
			return err
		}
		switch {
		case off < 0 || n <= 0:
			return syscall.EINVAL
		case mode != 0:
			return syscall.EOPNOTSUPP
		case n > maxFile-off:
			return syscall.EFBIG
		}
		if or != nil {
			if off+n > or.size() {
				err = o.resizeOrphan(or, off+n)
			}
			or.changed(o.now)
			return err
		}
		if off+n > in.size() {
			if err := o.resize(&in, off+n); err != nil {
				return err
			}
		}
		in.changed(o.now)
		return o.store(&in)
	})
}
