package fat

import (
	"context"
	"math"

	"github.com/resflash/resflash/image/vfs"
)

// WriteFile implements [vfs.HostWriter], for whole clusters at the end of a file.
func (w *Writer) WriteFile(ctx context.Context, ino vfs.Ino, fd int, from, n, off int64) (int64, error) {
	n -= n % w.clusterSize
	done := int64(0)
	err := w.do(ctx, func(o *op) error {
		if w.orphans[ino] != nil {
			return nil
		}
		in, err := o.openFile(ino)
		if err != nil {
			return err
		}
		if err := o.mayWrite(&in, n-done, off+done); err != nil {
			return err
		}
		if at := off + done; at != in.size() || at%w.clusterSize != 0 {
			return nil
		}
		k, err := o.appendFile(&in, fd, from+done, n-done)
		if k > 0 {
			in.changed(o.now)
			if serr := o.store(&in); serr != nil {
				return serr
			}
			if ferr := o.finish(); ferr != nil {
				return ferr
			}
			o.reset()
			done += k
		}
		return err
	})
	return done, err
}

// appendFile appends whole clusters of a file of the host, run by run. If one
// fails, those before it have been written.
func (o *op) appendFile(in *file, fd int, from, n int64) (int64, error) {
	cs, done := o.f.clusterSize, int64(0)
	for done < n {
		if err := o.ctx.Err(); err != nil {
			return done, err
		}
		t, err := o.tail(in)
		if err != nil || int64(t.n)*cs != in.size() { // allocated beyond the end
			return done, err
		}
		r, err := o.find(t.last, uint32(min((n-done)/cs, math.MaxUint32)))
		if err != nil {
			return done, err
		}
		o.dropCached(r)
		if err := o.copyIn(fd, from+done, int64(r.n)*cs, o.f.clusterOff(r.first)); err != nil {
			return done, err
		}
		m := len(o.tables)
		if err := o.lengthen(in, t, r); err != nil {
			o.undoTables(m)
			return done, err
		}
		done += int64(r.n) * cs
		in.dirent.Size += uint32(int64(r.n) * cs)
	}
	return done, nil
}

// copyIn copies n bytes of a file of the host to their place, as [op.data] writes
// contents.
func (o *op) copyIn(fd int, from, n, at int64) error {
	cs := o.f.clusterSize
	for n > 0 {
		first, last := o.f.clusterAt(at), o.f.clusterAt(at+n-1)
		clusters, taken := o.w.space.committed.same(clusterRun{first, last - first + 1})
		k := min(int64(clusters)*cs, n)
		if err := o.w.host.Copy(o.w.tx, fd, from, k, at, !taken); err != nil {
			return err
		}
		from, at, n = from+k, at+k, n-k
	}
	return nil
}
