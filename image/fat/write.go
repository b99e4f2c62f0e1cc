package fat

import (
	"context"
	"fmt"
	"math"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// maxFile is the largest size of a file.
const maxFile = math.MaxUint32

// WriteAt implements [vfs.WritableFS]. The clusters that are missing are
// allocated in runs as long as the free space has, and each is written at once.
// There are no holes: what lies between the end of the file and off is filled
// with zeros.
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
		p, off := p[done:], off+int64(done)
		if err := o.mayWrite(&in, int64(len(p)), off); err != nil || len(p) == 0 {
			return err
		}
		n, err := o.write(&in, p, off)
		if n > 0 {
			in.changed(o.now)
			if serr := o.store(&in); serr != nil {
				return serr
			}
			if ferr := o.finish(); ferr != nil {
				return ferr
			}
			// Done, whether or not the rest fails.
			o.reset()
			done += n
		}
		return err
	})
	return done, err
}

// mayWrite says whether n bytes may be written at off.
func (o *op) mayWrite(in *file, n, off int64) error {
	switch {
	case in.isDir():
		return syscall.EISDIR
	case off < 0:
		return syscall.EINVAL
	case n > maxFile-off:
		return syscall.EFBIG
	}
	return nil
}

// write writes p to a file, as far as there is space. An error without a byte
// written leaves it to the caller to undo what was done to have room for it.
func (o *op) write(in *file, p []byte, off int64) (int, error) {
	if off > in.size() {
		if err := o.room(o.missing(in, off+1)); err != nil {
			return 0, err
		}
		if err := o.extend(in, off); err != nil {
			return 0, err
		}
	}
	n, err := o.overwrite(in, p, off, o.data)
	for err == nil && n < len(p) {
		var k int
		if err = o.ctx.Err(); err != nil {
			break
		}
		k, err = o.append(in, p[n:])
		n += k
	}
	if n > 0 {
		in.dirent.Size = uint32(max(in.size(), off+int64(n)))
	}
	return n, err
}

// clustersFor is how many clusters so many bytes need.
func (o *op) clustersFor(bytes int64) int64 { return (bytes + o.f.clusterSize - 1) / o.f.clusterSize }

// missing is how many clusters a file that ends at end needs, beyond those that
// its size says it has.
func (o *op) missing(in *file, end int64) int64 {
	return o.clustersFor(end) - o.clustersFor(in.size())
}

// overwrite writes as much of p as lies in clusters that the file has.
func (o *op) overwrite(in *file, p []byte, off int64, write func(p []byte, at int64) error) (int, error) {
	first := o.f.firstCluster(&in.dirent)
	have := o.clustersFor(in.size()) * o.f.clusterSize
	if off+int64(len(p)) > have {
		t, err := o.tail(in)
		if err != nil {
			return 0, err
		}
		if have > int64(t.n)*o.f.clusterSize {
			return 0, vfs.Corruptf(in.off, "directory entry", "a file of %d bytes has only %d clusters", in.size(), t.n)
		}
		have = int64(t.n) * o.f.clusterSize
	}
	n := 0
	for n < len(p) && off+int64(n) < have {
		want := min(int64(len(p)-n), have-off-int64(n))
		x, err := o.f.extent(o.ctx, first, off+int64(n), want)
		if err != nil {
			return n, err
		}
		if x.n == 0 {
			return n, vfs.Corruptf(in.off, "directory entry", "the chain of cluster %d ends before byte %d", first, off+int64(n))
		}
		k := int(min(x.n, want))
		if err := write(p[n:n+k], x.off); err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// append writes as much of p as goes into one run of new clusters at the end of
// the chain, and zeros up to the end of the last of them.
func (o *op) append(in *file, p []byte) (int, error) {
	t, err := o.tail(in)
	if err != nil {
		return 0, err
	}
	want := o.clustersFor(int64(len(p)))
	r, err := o.find(t.last, uint32(min(want, math.MaxUint32)))
	if err != nil {
		return 0, err
	}
	n := len(p)
	if bytes := int64(r.n) * o.f.clusterSize; int64(n) > bytes {
		n = int(bytes)
	}
	if err := o.newData(p[:n], r); err != nil {
		return 0, err
	}
	m := len(o.tables)
	if err := o.lengthen(in, t, r); err != nil {
		o.undoTables(m)
		return 0, err
	}
	return n, nil
}

// newData writes contents into clusters that are to be allocated.
func (o *op) newData(p []byte, r clusterRun) error {
	// What the cache may still hold of them from when they were a directory.
	o.dropCached(r)
	at, cs := o.f.clusterOff(r.first), o.f.clusterSize
	whole := int64(len(p)) / cs * cs
	if whole > 0 {
		if err := o.data(p[:whole], at); err != nil {
			return err
		}
	}
	rest := p[whole:]
	if len(rest) == 0 {
		return nil
	}
	b := o.w.scratch
	clear(b[copy(b, rest):])
	return o.data(b, at+whole)
}

// data writes contents to their place, telling space that was free in the last
// commit from what was not.
func (o *op) data(p []byte, at int64) error {
	cs := o.f.clusterSize
	for len(p) > 0 {
		first := o.f.clusterAt(at)
		last := o.f.clusterAt(at + int64(len(p)) - 1)
		n, taken := o.w.space.committed.same(clusterRun{first, last - first + 1})
		k := min(o.f.clusterOff(first)+int64(n)*cs-at, int64(len(p)))
		if err := o.w.tx.WriteData(p[:k], at, !taken); err != nil {
			return fmt.Errorf("write contents at byte %d: %w", at, err)
		}
		p, at = p[k:], at+k
	}
	return nil
}

// journaled writes contents that must not be seen before the next commit where
// the last one promised others.
func (o *op) journaled(p []byte, at int64) error {
	if !o.w.space.committed.has(o.f.clusterAt(at)) {
		return o.data(p, at)
	}
	if _, err := o.w.tx.WriteAt(p, at); err != nil {
		return fmt.Errorf("write contents at byte %d: %w", at, err)
	}
	return nil
}
