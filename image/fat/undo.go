package fat

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// An op is one operation on a [Writer]: everything or nothing. It remembers
// what it changes, and puts it back if it fails. What it frees is freed when it
// has succeeded, so that nothing in it can be overwritten before.
type op struct {
	w   *Writer
	f   *FS
	ctx context.Context
	now time.Time

	undone []undoBytes
	saved  []byte // what undone points into
	tables []undoTable
	undos  []func() // of what is kept in memory
	dirs   []uint64 // whose indexes and maps were changed
	zeroed []clusterRun
	frees  []freeRun
	dead   []deadFile

	// blocked says that space was passed over because it is in use in the last
	// commit. reuse takes it all the same.
	blocked bool
	reuse   bool
}

type undoBytes struct {
	dst []byte
	at  int
}

// A deadFile is one whose name is gone, and its clusters.
type deadFile struct {
	file
	runs []clusterRun
}

// begin starts an operation. Requires w.mu.
func (w *Writer) begin(ctx context.Context) *op {
	o := &w.op
	o.w, o.f = w, w.FS
	o.ctx, o.now = ctx, w.now()
	o.blocked, o.reuse = false, false
	if cap(o.saved) > 4<<20 {
		o.saved, o.undone = nil, nil
	}
	if cap(o.tables) > 1<<16 {
		o.tables = nil
	}
	o.reset()
	return o
}

// reset forgets how to undo what was done: it is done.
func (o *op) reset() {
	o.undone, o.saved, o.tables, o.undos = o.undone[:0], o.saved[:0], o.tables[:0], o.undos[:0]
	o.dirs, o.zeroed, o.frees, o.dead = o.dirs[:0], o.zeroed[:0], o.frees[:0], o.dead[:0]
}

// do runs fn as one operation. If space is short only because what was freed
// since the last commit must stay as it is, it makes that commit and tries
// again; in an atomic transaction, it takes that space.
func (w *Writer) do(ctx context.Context, fn func(o *op) error) error {
	err, blocked := w.try(ctx, false, fn)
	if !blocked {
		return err
	}
	if !w.tx.Atomic() {
		if err := w.tx.Commit(ctx); err != nil {
			return err
		}
	}
	err, _ = w.try(ctx, w.tx.Atomic(), fn)
	return err
}

func (w *Writer) try(ctx context.Context, reuse bool, fn func(o *op) error) (err error, blocked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.makeRoom(); err != nil {
		return err, false
	}
	o := w.begin(ctx)
	o.reuse = reuse
	err = fn(o)
	if err == nil {
		err = o.finish()
	}
	if err != nil {
		o.rollback()
		return err, o.blocked && !reuse && errors.Is(err, syscall.ENOSPC)
	}
	return nil, false
}

// modify returns the n bytes at off of a directory, to be changed in place.
func (o *op) modify(off int64, n int) ([]byte, error) {
	b, err := o.f.cache.Modify(off, n)
	if err != nil {
		return nil, err
	}
	o.undone = append(o.undone, undoBytes{b, len(o.saved)})
	o.saved = append(o.saved, b...)
	return b, nil
}

// touched notes that what is kept of a directory in memory was changed.
func (o *op) touched(dir vfs.Ino) { o.dirs = append(o.dirs, uint64(dir)) }

// rollback undoes everything.
func (o *op) rollback() {
	for i := len(o.undone) - 1; i >= 0; i-- {
		u := o.undone[i]
		copy(u.dst, o.saved[u.at:])
	}
	o.undoTables(0)
	for i := len(o.undos) - 1; i >= 0; i-- {
		o.undos[i]()
	}
	for _, r := range o.zeroed {
		o.dropCached(r)
	}
	for _, dir := range o.dirs {
		o.w.forgetDir(vfs.Ino(dir))
	}
	o.reset()
}

// finish frees what is to be freed, and makes the operation irrevocable.
func (o *op) finish() error {
	for _, r := range o.frees {
		if err := o.unchain(r.clusterRun, r.next); err != nil {
			return err
		}
	}
	o.w.changed = o.w.changed || len(o.undone)+len(o.tables) > 0
	for i := range o.dead {
		o.bury(&o.dead[i])
	}
	return nil
}

// bury forgets a file that is gone, or keeps what is left of it for those who
// have it open.
func (o *op) bury(d *deadFile) {
	w := o.w
	if d.isDir() {
		o.f.claims.release(o.f.firstCluster(&d.dirent), d.runs)
		w.forgetDir(d.ino)
		for _, r := range d.runs {
			o.dropCached(r)
		}
	}
	if len(d.runs) > 0 {
		w.forgetChain(d.runs[0].first)
	}
	w.inos.drop(d.ino)
	w.tails.forget(d.ino)
	if w.isPinned(d.ino) {
		w.addOrphan(d)
	}
}

// dropCached has the cache forget clusters that are no directory any more, or
// have not become one.
func (o *op) dropCached(r clusterRun) {
	o.f.cache.Drop(o.f.clusterOff(r.first), int64(r.n)*o.f.clusterSize)
}

// forgetDir forgets what is kept of a directory in memory.
func (w *Writer) forgetDir(dir vfs.Ino) {
	w.dirs.forget(dir)
	w.indexes.forget(dir)
	w.slotMaps.forget(dir)
}

// forgetChain forgets where the clusters of a chain lie.
func (f *FS) forgetChain(first uint32) {
	ch, ok := f.chains.get(first)
	if !ok {
		return
	}
	for i := range ch.marks {
		f.segments.forget(segmentKey{first, uint32(i)})
	}
	f.chains.forget(first)
}

// forgetTail forgets the last segment of a chain that has become longer, and
// had n clusters before.
func (f *FS) forgetTail(first, n uint32) {
	f.segments.forget(segmentKey{first, (n - 1) / segmentClusters})
}
