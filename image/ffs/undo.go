package ffs

import (
	"context"
	"errors"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An op is one operation on a [Writer]: everything or nothing. It remembers the
// bytes that it changes, and puts them back if it fails. Space that it frees is
// free only when it has succeeded, so that nothing in it can be overwritten
// before. Its inodes are decoded once and written at the end.
type op struct {
	w   *Writer
	f   *FS
	g   *geometry
	ctx context.Context
	now ondisk.Time

	undone []undoBytes
	saved  []byte // what undone points into
	sums   []undoSum
	total  ondisk.SummaryTotal // before

	inodes  [opInodes]inode
	nInodes int
	dirs    []uint64 // whose index was changed
	moved   []uint64 // in which entries were moved
	frees   []fragRun
	barrier int   // frees below are not added to
	freed   int64 // fragments in frees
	dead    []deadInode

	// edit is the group whose header was saved last, and its block.
	edit      *group
	editBlock []byte

	// blocked says that space was passed over because it is in use in the last
	// commit. reuse takes it all the same.
	blocked bool
	reuse   bool
}

// opInodes is how many inodes one operation deals with: a rename has two
// directories and two files.
const opInodes = 6

type undoBytes struct {
	dst []byte
	at  int
}

type undoSum struct {
	group uint64
	was   ondisk.Summary
}

// A fragRun is fragments of one file.
type fragRun struct {
	addr, n int64
	meta    bool // known to the cache
}

// A deadInode is one whose last name went. Its blocks are frees[from:to].
type deadInode struct {
	in       inode
	from, to int
}

func (o *op) init(w *Writer) {
	o.w, o.f, o.g = w, w.FS, &w.geo
}

// begin starts an operation. Requires w.mu.
func (w *Writer) begin(ctx context.Context) *op {
	o := &w.op
	o.ctx = ctx
	now := w.now()
	o.now = w.diskTime(now)
	if cap(o.saved) > 4<<20 {
		o.saved, o.undone = nil, nil
	}
	o.nInodes = 0
	o.blocked, o.reuse = false, false
	o.reset()
	return o
}

// reset forgets how to undo what was done: it is done.
func (o *op) reset() {
	o.undone, o.saved, o.sums = o.undone[:0], o.saved[:0], o.sums[:0]
	o.total = o.w.total
	o.dirs, o.moved = o.dirs[:0], o.moved[:0]
	o.frees, o.barrier, o.freed, o.dead = o.frees[:0], 0, 0, o.dead[:0]
	o.edit, o.editBlock = nil, nil
}

// do runs fn as one operation. If space is short only because what was freed
// since the last commit must stay as it is, it makes that commit and tries
// again; in an atomic transaction, it takes that space.
func (w *Writer) do(ctx context.Context, fn func(o *op) error) error {
	err, blocked := w.try(ctx, false, fn)
	if !blocked {
		w.bound(ctx)
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
		o.rollback(opMark{total: o.total})
		return err, o.blocked && !reuse && errors.Is(err, syscall.ENOSPC)
	}
	return nil, false
}

// modify returns the n bytes at off of the metadata, to be changed in place.
func (o *op) modify(off int64, n int) ([]byte, error) {
	b, err := o.f.cache.Modify(off, n)
	if err != nil {
		return nil, err
	}
	o.undone = append(o.undone, undoBytes{b, len(o.saved)})
	o.saved = append(o.saved, b...)
	return b, nil
}

// An opMark is a point that an operation can be rolled back to.
type opMark struct {
	undone, sums, frees, dead int
	freed                     int64
	total                     ondisk.SummaryTotal
	inode                     inode
}

func (o *op) mark(in *inode) opMark {
	o.barrier = len(o.frees)
	o.edit, o.editBlock = nil, nil // saved anew, to be put back to what it is now
	return opMark{len(o.undone), len(o.sums), len(o.frees), len(o.dead), o.freed, o.w.total, *in}
}

// rollback undoes everything since m.
func (o *op) rollback(m opMark) {
	for i := len(o.undone) - 1; i >= m.undone; i-- {
		u := o.undone[i]
		copy(u.dst, o.saved[u.at:])
	}
	if m.undone < len(o.undone) {
		o.saved = o.saved[:o.undone[m.undone].at]
	}
	o.undone = o.undone[:m.undone]
	for i := len(o.sums) - 1; i >= m.sums; i-- {
		o.w.sums[o.sums[i].group] = o.sums[i].was
	}
	o.sums = o.sums[:m.sums]
	o.w.total = m.total
	o.frees, o.dead, o.freed = o.frees[:m.frees], o.dead[:m.dead], m.freed
	o.edit, o.editBlock = nil, nil
	for _, dir := range o.dirs {
		o.f.index.drop(dir)
	}
	o.dirs = o.dirs[:0]
	for _, dir := range o.moved {
		o.w.moves.undo(dir)
	}
	o.moved = o.moved[:0]
	o.f.inited.Store(0)
}

// finish writes the inodes, frees what is to be freed, and makes the operation
// irrevocable.
func (o *op) finish() error {
	for i := range o.inodes[:o.nInodes] {
		if in := &o.inodes[i]; in.dirty {
			if err := o.store(in); err != nil {
				return err
			}
		}
	}
	for _, r := range o.frees {
		if err := o.freeRun(r); err != nil {
			return err
		}
	}
	o.w.changed = o.w.changed || len(o.undone) > 0
	for i := range o.dead {
		d := &o.dead[i]
		o.f.index.drop(d.in.num)
		o.w.moves.drop(d.in.num)
		if o.w.isPinned(d.in.num) {
			o.w.addOrphan(d.in, o.frees[d.from:d.to])
			for j := d.from; j < d.to; j++ {
				o.frees[j].meta = false // still read
			}
		}
	}
	for _, r := range o.frees {
		if r.meta {
			o.f.cache.Drop(r.addr<<o.g.fragShift, r.n<<o.g.fragShift)
		}
	}
	return nil
}

// load returns inode num, decoded, the same one every time it is asked for in
// an operation.
func (o *op) load(num vfs.Ino) (*inode, error) {
	for i := range o.inodes[:o.nInodes] {
		if o.inodes[i].num == uint64(num) {
			return &o.inodes[i], nil
		}
	}
	in := o.newInode()
	if err := o.f.read(num, in); err != nil {
		o.nInodes--
		return nil, err
	}
	return in, nil
}

func (o *op) newInode() *inode {
	in := &o.inodes[o.nInodes]
	o.nInodes++
	*in = inode{}
	return in
}

// store writes an inode back.
func (o *op) store(in *inode) error {
	b, err := o.modify(in.off, o.g.version.InodeSize())
	if err != nil {
		return err
	}
	in.Size = uint64(in.size)
	in.Encode(b, o.g.order, o.g.version)
	in.dirty = false
	return nil
}

// touch says that an inode changed: its attributes, and with contents its data.
func (o *op) touch(in *inode, contents bool) {
	in.Ctime = o.now
	if contents {
		in.Mtime = o.now
	}
	in.dirty = true
}
