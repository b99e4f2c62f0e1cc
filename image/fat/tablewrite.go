package fat

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An undoTable is a change of the table.
type undoTable struct {
	kind      tableChange
	run       clusterRun
	next, old uint32 // what the last cluster of the run leads to, and did before
}

type tableChange uint8

const (
	chained    tableChange = iota // free clusters became a chain
	freed                         // a chain became free clusters
	redirected                    // a cluster of a chain leads elsewhere
)

// chain makes a chain of the clusters of a run, the last of which ends it.
func (o *op) chain(r clusterRun) error {
	o.tables = append(o.tables, undoTable{kind: chained, run: r})
	return o.w.putChain(r, o.w.end())
}

// unchain sets the clusters of a run free, the last of which leads to old.
func (o *op) unchain(r clusterRun, old uint32) error {
	o.tables = append(o.tables, undoTable{kind: freed, run: r, old: old})
	return o.w.putFree(r)
}

// redirect has a cluster of a chain, which led to old, lead to next.
func (o *op) redirect(cluster, old, next uint32) error {
	o.tables = append(o.tables, undoTable{redirected, clusterRun{cluster, 1}, next, old})
	return o.w.putNext(cluster, old, next)
}

// undoTables puts the table back to what it was when there were n changes. The
// pages were all modified before, and are in memory.
func (o *op) undoTables(n int) {
	for i := len(o.tables) - 1; i >= n; i-- {
		switch u := o.tables[i]; u.kind {
		case chained:
			_ = o.w.putFree(u.run)
		case freed:
			_ = o.w.putChain(u.run, u.old)
		case redirected:
			_ = o.w.putNext(u.run.first, u.next, u.old)
		}
	}
	o.tables = o.tables[:n]
}

func (w *Writer) putNext(cluster, old, next uint32) error {
	if w.holds(old) {
		w.space.linked.remove(old)
	}
	if w.holds(next) {
		w.space.linked.add(next)
	}
	return w.put(clusterRun{cluster, 1}, func(uint32) uint32 { return next })
}

func (w *Writer) putChain(r clusterRun, next uint32) error {
	s := &w.space
	s.free -= uint32(s.used.addRun(r))
	if r.n > 1 {
		s.linked.addRun(clusterRun{r.first + 1, r.n - 1})
	}
	if w.holds(next) {
		s.linked.add(next)
	}
	last := r.first + r.n - 1
	return w.put(r, func(cluster uint32) uint32 {
		if cluster == last {
			return next
		}
		return cluster + 1
	})
}

func (w *Writer) putFree(r clusterRun) error {
	s := &w.space
	s.free += uint32(s.used.removeRun(r))
	// Whatever led to the first is changed as well.
	s.linked.removeRun(r)
	return w.put(r, func(uint32) uint32 { return 0 })
}

// put stores the entries of a run of clusters in the active table.
func (w *Writer) put(r clusterRun, value func(cluster uint32) uint32) error {
	width := int64(w.bits.Width())
	for cluster := r.first; cluster < r.first+r.n; {
		off := w.entryOff(cluster)
		if w.bits == 12 {
			if err := w.putStraddling(off, cluster, value(cluster)); err != nil {
				return err
			}
			cluster++
			continue
		}
		// As many as lie within one page of the cache.
		n := min(r.first+r.n-cluster, uint32((pageSize-off%pageSize)/width))
		p, err := w.cache.Modify(off, int(n)*int(width))
		if err != nil {
			return fmt.Errorf("file allocation table: %w", err)
		}
		w.tableNew(off, int64(n)*width)
		for i := range n {
			w.bits.Put(p[int64(i)*width:], cluster+i, value(cluster+i))
		}
		cluster += n
	}
	return nil
}

// putStraddling stores an entry of FAT12, which may lie in two sectors, and so
// in two pages.
func (w *Writer) putStraddling(off int64, cluster, v uint32) error {
	var b [2]byte
	var p [2][]byte
	for i := range p {
		var err error
		if p[i], err = w.cache.Modify(off+int64(i), 1); err != nil {
			return fmt.Errorf("file allocation table: %w", err)
		}
		b[i] = p[i][0]
	}
	w.tableNew(off, 2)
	w.bits.Put(b[:], cluster, v)
	p[0][0], p[1][0] = b[0], b[1]
	return nil
}

// tableSector is the unit in which changes of the table are copied.
const tableSector = 512

// tableNew notes which sectors of the table have to be copied.
func (w *Writer) tableNew(off, n int64) {
	from, to := (off-w.tableOff)/tableSector, (off-w.tableOff+n-1)/tableSector
	for s := from; s <= to; s++ {
		w.tableDirty[s/64] |= 1 << (s % 64)
	}
}

// copyTable copies what has changed in the active table to the others.
func (w *Writer) copyTable() error {
	copies := w.copies()
	for i, word := range w.tableDirty {
		for bit := 0; word != 0; bit++ {
			if word>>bit&1 == 0 {
				continue
			}
			word &^= 1 << bit
			off := (int64(i)*64 + int64(bit)) * tableSector
			p, err := w.cache.Bytes(w.tableOff+off, tableSector)
			if err != nil {
				return err
			}
			for _, at := range copies {
				q, err := w.cache.Modify(at+off, tableSector)
				if err != nil {
					return err
				}
				copy(q, p)
			}
		}
		w.tableDirty[i] = 0
	}
	return nil
}

// end is what marks the end of a chain.
func (w *Writer) end() uint32 { return w.bits.Mask() }

// runs returns the clusters of a chain from the cluster number skip on, and what
// the last of them leads to, for them to be freed. A chain that is damaged is an
// error: what it leads to may belong to another.
func (o *op) runs(ctx context.Context, first, skip uint32) ([]clusterRun, error) {
	var list []clusterRun
	for num := skip / segmentClusters; ; num++ {
		s, err := o.f.segment(ctx, first, num)
		switch {
		case err != nil:
			return nil, err
		case s == nil:
			return list, nil
		case s.err != nil:
			return nil, s.err
		}
		from := uint32(0)
		if num == skip/segmentClusters {
			from = skip % segmentClusters
		}
		for i, r := range s.runs {
			end := s.clusters
			if i+1 < len(s.runs) {
				end = s.runs[i+1].at
			}
			if end <= from {
				continue
			}
			cut := max(from, r.at)
			run := clusterRun{r.cluster + cut - r.at, end - cut}
			if k := len(list) - 1; k >= 0 && list[k].first+list[k].n == run.first {
				list[k].n += run.n
			} else {
				list = append(list, run)
			}
		}
		if s.next == 0 {
			return list, nil
		}
	}
}

// release notes that the chain of these runs is to be freed when the operation
// has succeeded. They must not belong to a directory that stays.
func (o *op) release(runs []clusterRun, dir bool) error {
	for _, r := range runs {
		if cluster, ok := o.f.claims.anyIn(r); ok && !dir {
			return vfs.Corruptf(o.f.entryOff(cluster), "file allocation table",
				"a file has cluster %d, which belongs to a directory", cluster)
		}
	}
	for i, r := range runs {
		next := o.w.end()
		if i+1 < len(runs) {
			next = runs[i+1].first
		}
		o.frees = append(o.frees, freeRun{r, next})
	}
	return nil
}

// A freeRun is clusters to be freed, and what the last of them leads to.
type freeRun struct {
	clusterRun
	next uint32
}

// rawNext returns the entry of a cluster as it is.
func (w *Writer) rawNext(cluster uint32) (uint32, error) {
	t := table{f: w.FS}
	return t.get(cluster)
}

// checkStart makes sure that a chain may begin in a cluster.
func (w *Writer) checkStart(off int64, d *ondisk.Dirent) error {
	first := w.firstCluster(d)
	bad := func(format string, args ...any) error {
		return vfs.Corruptf(off, "directory entry", format, args...)
	}
	switch {
	case first == 0 && d.Size == 0:
		return nil
	case !w.holds(first):
		return bad("begins in cluster %d (clusters %d to %d exist)", first, ondisk.FirstCluster, w.clusters+ondisk.FirstCluster-1)
	case !w.space.used.has(first):
		return bad("begins in cluster %d, which is free", first)
	case w.space.linked.has(first):
		return bad("begins in cluster %d, which is in the middle of a chain", first)
	}
	return nil
}
