package fat

import (
	"context"
	"fmt"
	"iter"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Remnants implements [vfs.Remnants]: free clusters, what lies in the clusters
// of files behind their ends, and directory entries that were deleted or never
// used. The first byte of a deleted entry stays: a zero there would end the
// directory.
func (f *FS) Remnants(ctx context.Context) iter.Seq2[vfs.Remnant, error] {
	return vfs.EachRemnant(f.deviceBytes, func(add func(vfs.Remnant) error) error {
		r := &remnants{f: f, ctx: ctx, yield: add}
		return r.all()
	})
}

// remnants is one walk over what is left over.
type remnants struct {
	f     *FS
	ctx   context.Context
	yield func(vfs.Remnant) error
}

// add yields n bytes at off.
func (r *remnants) add(kind vfs.RemnantKind, ino vfs.Ino, off, n int64) error {
	return r.yield(vfs.Remnant{Kind: kind, Off: off, Len: n, Ino: ino})
}

func (r *remnants) all() error {
	f := r.f
	if err := r.freeClusters(); err != nil {
		return err
	}
	// What is left behind the last cluster makes no other.
	end := f.clusterOff(f.clusters + ondisk.FirstCluster)
	if err := r.add(vfs.FreeSpace, 0, end, f.volumeBytes-end); err != nil {
		return err
	}
	if err := r.tree(); err != nil {
		return err
	}
	return r.add(vfs.BehindEnd, 0, f.volumeBytes, f.deviceBytes-f.volumeBytes)
}

// freeClusters yields the runs of clusters that the table calls free.
func (r *remnants) freeClusters() error {
	f := r.f
	t := table{f: f}
	first := uint32(0)
	for c, end := uint32(ondisk.FirstCluster), f.clusters+ondisk.FirstCluster; c <= end; c++ {
		if c%4096 == 0 && r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		free := false
		if c < end {
			v, err := t.get(c)
			if err != nil {
				return err
			}
			free = v == 0
		}
		switch {
		case free && first == 0:
			first = c
		case !free && first != 0:
			if err := r.add(vfs.FreeSpace, 0, f.clusterOff(first), int64(c-first)*f.clusterSize); err != nil {
				return err
			}
			first = 0
		}
	}
	return nil
}

// tree yields the slack of all directories and files. No directory can be in
// two places, since each claims its clusters.
func (r *remnants) tree() error {
	todo := []vfs.Ino{rootIno}
	for len(todo) > 0 {
		ino := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		d, err := r.f.dir(r.ctx, ino)
		if err != nil {
			return err
		}
		if d.err != nil {
			return d.err
		}
		if err := r.slots(d); err != nil {
			return err
		}
		var failed error
		err = r.f.scan(r.ctx, d, 0, func(e *entry) bool {
			if e.dirent.Attr&ondisk.AttrDir != 0 {
				todo = append(todo, r.f.inoOf(e))
			} else {
				failed = r.tail(e)
			}
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tail yields what the clusters of a file have behind its end.
func (r *remnants) tail(e *entry) error {
	f := r.f
	first := f.firstCluster(&e.dirent)
	if !f.holds(first) {
		return nil
	}
	ino := f.inoOf(e)
	for off := int64(e.dirent.Size); ; {
		x, err := f.extent(r.ctx, first, off, mapAhead)
		if err != nil || x.n == 0 {
			return err
		}
		if err := r.add(vfs.FileSlack, ino, x.off, x.n); err != nil {
			return err
		}
		off += x.n
	}
}

// slots yields the deleted slots of a directory, without their marks, and all
// from the mark of the end on.
func (r *remnants) slots(d *dir) error {
	ended := false
	for _, x := range d.extents {
		for off := x.off; off < x.off+x.n; {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			n := min(x.off+x.n-off, pageSize-off%pageSize)
			if ended {
				if err := r.add(vfs.DirSlack, d.ino, off, n); err != nil {
					return err
				}
				off += n
				continue
			}
			p, err := r.f.cache.Bytes(off, int(n))
			if err != nil {
				return fmt.Errorf("read %s at byte %d: %w", d.structure(), off, err)
			}
			for ; len(p) >= ondisk.DirentSize && !ended; p = p[ondisk.DirentSize:] {
				switch p[0] {
				case ondisk.MarkEnd:
					ended = true
					continue
				case ondisk.MarkDeleted:
					if blockio.IsZero(p[1:ondisk.DirentSize]) {
						break
					}
					if err := r.add(vfs.DirSlack, d.ino, off+1, ondisk.DirentSize-1); err != nil {
						return err
					}
				}
				off += ondisk.DirentSize
			}
		}
	}
	return nil
}
