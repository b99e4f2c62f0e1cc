package fat

import (
	"github.com/resflash/resflash/image/vfs"
)

// resize makes a file size bytes long.
func (o *op) resize(in *file, size int64) error {
	switch {
	case size > in.size():
		if err := o.room(o.missing(in, size)); err != nil {
			return err
		}
		return o.extend(in, size)
	case size < in.size():
		return o.shrink(in, size)
	}
	return nil
}

// extend makes a file longer, with zeros. There must be room for them.
func (o *op) extend(in *file, size int64) error {
	t, err := o.tail(in)
	if err != nil {
		return err
	}
	// In the clusters that it has, where nobody may see it before the commit.
	for end := min(size, int64(t.n)*o.f.clusterSize); in.size() < end; {
		n := min(end-in.size(), int64(len(o.w.zeros)))
		if _, err := o.overwrite(in, o.w.zeros[:n], in.size(), o.journaled); err != nil {
			return err
		}
		in.dirent.Size += uint32(n)
	}
	for in.size() < size {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		n, err := o.append(in, o.w.zeros[:min(size-in.size(), int64(len(o.w.zeros)))])
		if err != nil {
			return err
		}
		in.dirent.Size += uint32(n)
	}
	return nil
}

// shrink cuts a file off at size, and frees what lies beyond.
func (o *op) shrink(in *file, size int64) error {
	first := o.f.firstCluster(&in.dirent)
	keep := uint32(o.clustersFor(size))
	in.dirent.Size = uint32(size)
	runs, err := o.runs(o.ctx, first, keep)
	if err != nil || len(runs) == 0 {
		return err
	}
	if err := o.release(runs, false); err != nil {
		return err
	}
	ino := in.ino
	forget := func() {
		o.w.tails.forget(ino)
		o.f.forgetChain(first)
	}
	o.undos = append(o.undos, forget)
	defer forget()
	if keep == 0 {
		o.f.setStart(&in.dirent, 0)
		return nil
	}
	x, err := o.f.extent(o.ctx, first, int64(keep-1)*o.f.clusterSize, 1)
	if err != nil {
		return err
	}
	last := o.f.clusterAt(x.off)
	old, err := o.w.rawNext(last)
	if err != nil {
		return err
	}
	if old != runs[0].first {
		return vfs.Corruptf(o.f.entryOff(last), "file allocation table", "entry %d is %#x, not %#x", last, old, runs[0].first)
	}
	return o.redirect(last, old, o.w.end())
}
