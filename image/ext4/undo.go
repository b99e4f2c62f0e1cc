package ext4

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An op is one operation on a [Writer]: everything or nothing. It remembers the
// bytes that it changes, and puts them back if it fails. Space that it frees is
// free only when it has succeeded, so that nothing in it can be overwritten
// before. Its inodes are decoded once and written at the end.
//
// What changes a file system is made of these: modify for bytes of metadata in
// place; load, loadAny, allocInode, touch and destroy for inodes; addBlocks,
// removeBlocks, truncate and write for what a file holds; appendDirBlock and
// dirBlock for directories; allocMeta, freeMeta and release for other blocks.
type op struct {
	w   *Writer
	f   *FS
	ctx context.Context
	now time.Time

	undone []undoBytes
	saved  []byte // what undone points into
	counts []undoCounts
	total  totals // before

	inodes  []*inode // nInodes of them are in use
	nInodes int
	dirs    []uint32 // whose names were changed, for caches of names
	frees   []blockRun
	barrier int    // frees below are not added to
	freed   uint64 // blocks in frees
	dead    []deadInode

	// Room for what is needed for a moment.
	path    extentPath
	entries []byte
	extents []ondisk.Extent
	raw     []byte // of the mark in write

	// blocked says that space was passed over because it is in use in the last
	// commit. reuse takes it all the same.
	blocked bool
	reuse   bool
}

type undoBytes struct {
	dst []byte
	at  int
}

type undoCounts struct {
	group uint64
	was   ondisk.GroupDesc
}

// A blockRun is adjacent blocks of one file: whole clusters.
type blockRun struct {
	start, n uint64
	meta     bool // known to the cache
}

// A deadInode is one whose last name went. Its blocks are frees[from:to].
type deadInode struct {
	in       *inode
	from, to int
	xattrs   map[string][]byte
}

func (o *op) init(w *Writer) { o.w, o.f = w, w.FS }

// begin starts an operation. Requires w.mu.
func (w *Writer) begin(ctx context.Context) *op {
	o := &w.op
	o.ctx = ctx
	o.now = w.now()
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
	o.undone, o.saved, o.counts = o.undone[:0], o.saved[:0], o.counts[:0]
	o.total = o.w.total
	o.dirs = o.dirs[:0]
	o.frees, o.barrier, o.freed, o.dead = o.frees[:0], 0, 0, o.dead[:0]
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

// modify returns the n bytes at off of the metadata, which lie in one block, to
// be changed in place.
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
	undone, counts, frees, dead int
	freed                       uint64
	total                       totals
	inode                       inode
	raw                         []byte
}

// mark returns where the operation is now, and what in is, for which it uses
// room.
func (o *op) mark(in *inode, room []byte) opMark {
	o.barrier = len(o.frees)
	return opMark{len(o.undone), len(o.counts), len(o.frees), len(o.dead), o.freed, o.w.total,
		*in, append(room[:0], in.raw...)}
}

// restore is rollback that puts the inode of the mark back as well.
func (o *op) restore(m opMark, in *inode) {
	o.rollback(m)
	*in = m.inode
	copy(in.raw, m.raw)
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
	for i := len(o.counts) - 1; i >= m.counts; i-- {
		u := o.counts[i]
		o.w.setDesc(u.group, u.was)
	}
	o.counts = o.counts[:m.counts]
	o.w.total = m.total
	o.frees, o.dead, o.freed = o.frees[:m.frees], o.dead[:m.dead], m.freed
	for _, dir := range o.dirs {
		o.f.names.drop(dir)
	}
	o.dirs = o.dirs[:0]
}

// finish writes the inodes, frees what is to be freed, and makes the operation
// irrevocable.
func (o *op) finish() error {
	for _, in := range o.inodes[:o.nInodes] {
		if in.dirty {
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
	for _, in := range o.inodes[:o.nInodes] {
		o.w.noteTree(in)
	}
	for _, d := range o.dead {
		delete(o.w.trees, d.in.num)
		o.f.names.drop(d.in.num)
		if o.w.isPinned(d.in.num) {
			o.w.addOrphan(&d, o.frees[d.from:d.to])
			for j := d.from; j < d.to; j++ {
				o.frees[j].meta = false // still read
			}
		}
	}
	for _, r := range o.frees {
		if r.meta {
			o.forget(r.start, r.n)
		}
	}
	return nil
}

// forget has the cache forget what it may still hold of blocks from when they
// were metadata, now that they are not.
func (o *op) forget(start, n uint64) {
	o.f.cache.Drop(int64(start)*o.f.blockSize, int64(n)*o.f.blockSize)
}

// load returns inode num, decoded, the same one every time it is asked for in
// an operation. Reserved inodes are ENOENT.
func (o *op) load(num vfs.Ino) (*inode, error) {
	return o.loadWith(num, o.f.readInode)
}

// loadReserved is load for inodes of the file system's own as well.
func (o *op) loadReserved(num vfs.Ino) (*inode, error) {
	return o.loadWith(num, o.f.readAnyInode)
}

func (o *op) loadWith(num vfs.Ino, read func(vfs.Ino, *inode) error) (*inode, error) {
	for _, in := range o.inodes[:o.nInodes] {
		if vfs.Ino(in.num) == num {
			if in.Links == 0 {
				return nil, syscall.ENOENT
			}
			return in, nil
		}
	}
	in := o.newInode()
	own := in.raw
	if err := read(num, in); err != nil {
		o.nInodes--
		in.raw = own
		return nil, err
	}
	copy(own, in.raw)
	in.raw = own
	return in, nil
}

// loadAny is load that also finds files without a name that are still open.
// Either way in is their inode; or is nil for the others.
func (o *op) loadAny(num vfs.Ino) (in *inode, or *orphan, err error) {
	if or := o.w.orphans[num]; or != nil {
		return &or.in, or, nil
	}
	in, err = o.load(num)
	return in, nil, err
}

// newInode returns room for another inode of the operation, with a buffer of
// its own in raw.
func (o *op) newInode() *inode {
	if o.nInodes == len(o.inodes) {
		o.inodes = append(o.inodes, &inode{raw: make([]byte, o.f.inodeSize)})
	}
	in := o.inodes[o.nInodes]
	o.nInodes++
	*in = inode{raw: in.raw}
	return in
}

// store writes an inode back: its fields, and what in.raw holds behind them.
func (o *op) store(in *inode) error {
	b, err := o.modify(in.off, int(o.f.inodeSize))
	if err != nil {
		return err
	}
	in.Size = uint64(in.size)
	ondisk.EncodeInode(in.raw, &in.Inode)
	if o.f.metadataCsum {
		ondisk.SealInode(in.seed, in.raw)
	}
	copy(b, in.raw)
	in.dirty = false
	o.f.recent.drop(vfs.Ino(in.num))
	return nil
}

// touch says that an inode changed: its attributes, and with contents its data.
func (o *op) touch(in *inode, contents bool) {
	now := in.time(o.now)
	in.Ctime = now
	if contents {
		in.Mtime = now
	}
	in.dirty = true
}

// time is t as the inode can hold it.
func (in *inode) time(t time.Time) ondisk.Time {
	return ondisk.MakeTime(t, in.ExtraIsize >= 24) // up to i_crtime_extra
}
