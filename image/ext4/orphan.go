package ext4

import (
	"context"
	"math"
	"slices"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/spool"
)

// An orphan is a file whose last name has been taken away while it was pinned.
// On the medium it is gone, so that no commit can leave one behind. Here it
// lives on until it is unpinned: nothing that it held is allocated to others,
// so that it reads as before; before it is changed it is copied to a spool.
//
// (What Linux calls orphans are such files on the medium, which the next mount
// cleans up: see [op.cleanOrphans].)
type orphan struct {
	in     inode
	runs   []blockRun // held
	spool  *spool.File
	xattrs map[string][]byte
}

// Pin implements [vfs.WritableFS].
func (w *Writer) Pin(ino vfs.Ino) {
	w.pinMu.Lock()
	defer w.pinMu.Unlock()
	w.pins[ino]++
}

// Unpin implements [vfs.WritableFS].
func (w *Writer) Unpin(_ context.Context, ino vfs.Ino) error {
	w.pinMu.Lock()
	switch n := w.pins[ino]; {
	case n > 1:
		w.pins[ino] = n - 1
		w.pinMu.Unlock()
		return nil
	case n == 0:
		w.pinMu.Unlock()
		return syscall.EINVAL
	}
	delete(w.pins, ino)
	w.pinMu.Unlock()

	w.mu.Lock()
	defer w.mu.Unlock()
	or := w.orphans[ino]
	if or == nil || w.isPinned(or.in.num) {
		return nil
	}
	delete(w.orphans, ino)
	w.letGo(or)
	return or.close()
}

func (w *Writer) isPinned(num uint32) bool {
	w.pinMu.Lock()
	defer w.pinMu.Unlock()
	return w.pins[vfs.Ino(num)] > 0
}

// destroy frees a file whose last name is gone: its blocks and its inode, when
// the operation has succeeded. If it is pinned it lives on as an [orphan]. What
// else it refers to (attributes) is the caller's, and is released before.
func (o *op) destroy(in *inode) error {
	from := len(o.frees)
	o.barrier = from
	kept := *in // as it reads on
	kept.raw = slices.Clone(in.raw)
	if in.hasBlocks(o.f) {
		meta := in.mode().IsDir()
		if err := o.releaseAll(in, meta); err != nil {
			return err
		}
	}
	o.dead = append(o.dead, deadInode{in: &kept, from: from, to: len(o.frees)})
	o.barrier = len(o.frees)
	in.Links = 0
	return o.freeInode(in)
}

// hasBlocks reports whether i_block of an inode leads to blocks.
func (in *inode) hasBlocks(fs *FS) bool {
	switch in.mode().Type() {
	case vfs.Regular, vfs.Dir:
		return !in.has(ondisk.FlInlineData)
	case vfs.Symlink:
		return !in.has(ondisk.FlInlineData) && !fs.fastSymlink(in)
	}
	return false
}

// releaseAll releases the blocks of a file and what leads to them, all of which
// stays as it is: a file that is still open reads it.
func (o *op) releaseAll(in *inode, meta bool) error {
	if !in.has(ondisk.FlExtents) {
		kept := in.Block
		err := o.removePointers(in, 0, math.MaxUint64, meta)
		in.Block = kept
		return err
	}
	free, err := o.extentFreer(in, 0, fileBlocks, meta)
	if err != nil {
		return err
	}
	m := o.f.mapper(in)
	return o.releaseNode(&m, free, in.Block[:], in.off+0x28, ondisk.DecodeExtentHeader(in.Block[:]).Depth, 0, fileBlocks, true)
}

// releaseNode releases what is below a node of an extent tree.
func (o *op) releaseNode(m *mapper, free *extentFreer, b []byte, off int64, depth uint16, lo, hi uint64, root bool) error {
	if depth > ondisk.MaxExtentDepth {
		return m.corrupt(off, "depth %d", depth)
	}
	if err := o.ctx.Err(); err != nil {
		return err
	}
	if err := m.checkNode(b, off, depth, lo, hi, root); err != nil {
		return err
	}
	n := int(ondisk.DecodeExtentHeader(b).Entries)
	for i := range n {
		if depth == 0 {
			if err := free.release(ondisk.DecodeExtent(b, i)); err != nil {
				return err
			}
			continue
		}
		first, addr := ondisk.DecodeExtentIndex(b, i)
		end := hi
		if i+1 < n {
			end = uint64(ondisk.ExtentEntryBlock(b, i+1))
		}
		child, err := o.f.block(addr, m.nodeName())
		if err != nil {
			return err
		}
		if err := o.releaseNode(m, free, child, o.f.offset(addr), depth-1, uint64(first), end, false); err != nil {
			return err
		}
		if err := o.release(m.in, addr, 1<<o.f.clusterShift, true); err != nil {
			return err
		}
	}
	return nil
}

// addOrphan keeps a file that has just been freed. Requires w.mu.
func (w *Writer) addOrphan(d *deadInode, runs []blockRun) {
	or := &orphan{in: *d.in, runs: slices.Clone(runs), xattrs: d.xattrs}
	or.in.Links = 0
	w.orphans[vfs.Ino(or.in.num)] = or
	w.hold(or, true)
}

// letGo gives the space of an orphan back. Requires w.mu.
func (w *Writer) letGo(or *orphan) {
	w.hold(or, false)
	for _, r := range or.runs {
		if r.meta {
			w.cache.Drop(int64(r.start)*w.blockSize, int64(r.n)*w.blockSize)
		}
	}
	or.runs = nil
}

// hold marks the clusters of an orphan as held, or not. Its groups are all
// known, since the clusters were freed.
func (w *Writer) hold(or *orphan, held bool) {
	for _, r := range or.runs {
		for r.n > 0 {
			rel := r.start - w.firstBlock
			gr, i := w.groups[rel/w.blocksPerGroup], int64(rel%w.blocksPerGroup)>>w.clusterShift
			n := min(int64((r.n+1<<w.clusterShift-1)>>w.clusterShift), gr.clusters-i)
			if gr.held == nil {
				gr.held = make([]byte, w.blockSize)
			}
			flipBits(gr.held, i, n, held)
			if held {
				gr.nheld += n
				w.held += n
			} else {
				gr.nheld -= n
				w.held -= n
			}
			if gr.nheld == 0 {
				gr.held = nil
			}
			blocks := min(uint64(n)<<w.clusterShift, r.n)
			r.start, r.n = r.start+blocks, r.n-blocks
		}
	}
}

func (or *orphan) close() error {
	if or.spool == nil {
		return nil
	}
	return or.spool.Close()
}

// isFile reports EISDIR or EINVAL for what has no contents.
func (or *orphan) isFile() error {
	switch or.in.mode().Type() {
	case vfs.Regular:
		return nil
	case vfs.Dir:
		return syscall.EISDIR
	}
	return syscall.EINVAL
}

func (w *Writer) readOrphan(ctx context.Context, or *orphan, p []byte, off int64) (int, error) {
	if or.spool == nil {
		return w.readFile(ctx, &or.in, p, off)
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if len(p) == 0 {
		return 0, nil
	}
	return or.spool.ReadAt(p, off)
}

// spoolOrphan moves the contents of an orphan to a spool, where they can be
// changed.
func (o *op) spoolOrphan(or *orphan) error {
	if or.spool != nil {
		return nil
	}
	s, err := spool.New()
	if err != nil {
		return err
	}
	if err := s.Fill(orphanReader{o, or}, or.in.size); err != nil {
		s.Close()
		return err
	}
	or.spool = s
	o.w.letGo(or)
	return nil
}

type orphanReader struct {
	o  *op
	or *orphan
}

func (r orphanReader) ReadAt(p []byte, off int64) (int, error) {
	return r.o.w.readOrphan(r.o.ctx, r.or, p, off)
}

func (r orphanReader) SeekData(off int64) (int64, error) {
	at, err := r.o.f.seekIn(r.o.ctx, &r.or.in, off, true)
	if err == syscall.ENXIO {
		return r.or.in.size, nil
	}
	return min(at, r.or.in.size), err
}

func (r orphanReader) SeekHole(off int64) (int64, error) {
	at, err := r.o.f.seekIn(r.o.ctx, &r.or.in, off, false)
	return min(at, r.or.in.size), err
}

// resizeOrphan changes the length of an orphan.
func (o *op) resizeOrphan(or *orphan, size int64) error {
	if err := o.spoolOrphan(or); err != nil {
		return err
	}
	if err := or.spool.Truncate(size); err != nil {
		return err
	}
	or.in.size = size
	return o.f.setSectors(&or.in, or.spool.Blocks())
}
