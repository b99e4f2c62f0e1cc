package ffs

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/spool"
)

// An orphan is a file whose last name has been taken away while it was pinned.
// On the medium it is gone, so that no commit can leave one behind. Here it
// lives on until it is unpinned: nothing that it held is allocated to others,
// so that it reads as before; before it is changed it is copied to a spool.
type orphan struct {
	in    inode
	runs  []fragRun // held
	spool *spool.File
}

// Pin implements [vfs.WritableFS].
func (w *Writer) Pin(ino vfs.Ino) {
	w.pinMu.Lock()
	defer w.pinMu.Unlock()
	w.pins[uint64(ino)]++
}

// Unpin implements [vfs.WritableFS].
func (w *Writer) Unpin(_ context.Context, ino vfs.Ino) error {
	num := uint64(ino)
	w.pinMu.Lock()
	switch n := w.pins[num]; {
	case n > 1:
		w.pins[num] = n - 1
		w.pinMu.Unlock()
		return nil
	case n == 0:
		w.pinMu.Unlock()
		return syscall.EINVAL
	}
	delete(w.pins, num)
	w.pinMu.Unlock()

	w.mu.Lock()
	defer w.mu.Unlock()
	or := w.orphans[num]
	if or == nil || w.isPinned(num) {
		return nil
	}
	delete(w.orphans, num)
	w.letGo(or)
	return or.close()
}

func (w *Writer) isPinned(num uint64) bool {
	w.pinMu.Lock()
	defer w.pinMu.Unlock()
	return w.pins[num] > 0
}

// addOrphan keeps a file that has just been freed. Requires w.mu.
func (w *Writer) addOrphan(in inode, runs []fragRun) {
	or := &orphan{in: in, runs: append([]fragRun(nil), runs...)}
	w.orphans[in.num] = or
	w.hold(or, true)
}

// letGo gives the space of an orphan back. Requires w.mu.
func (w *Writer) letGo(or *orphan) {
	w.hold(or, false)
	for _, r := range or.runs {
		if r.meta {
			w.cache.Drop(r.addr<<w.geo.fragShift, r.n<<w.geo.fragShift)
		}
	}
	or.runs = nil
}

// hold marks the fragments of an orphan as held, or not. Its groups are all
// known, since the fragments were freed.
func (w *Writer) hold(or *orphan, held bool) {
	g := &w.geo
	for _, r := range or.runs {
		for addr := r.addr; addr < r.addr+r.n; {
			gr, i := w.groups[addr/g.fragsPerGroup], addr%g.fragsPerGroup
			n := min(r.addr+r.n-addr, gr.frags-i)
			if gr.held == nil {
				gr.held = make([]byte, (gr.frags+7)/8)
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
			addr += n
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
		return w.readAt(ctx, &or.in, p, off)
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if len(p) == 0 {
		return 0, nil
	}
	return or.spool.ReadAt(p, off)
}

func (w *Writer) orphanTarget(ctx context.Context, or *orphan) (string, error) {
	in := &or.in
	if !in.mode().IsSymlink() {
		return "", syscall.EINVAL
	}
	if !w.isInline(in) {
		p := make([]byte, min(in.size, maxTarget))
		if _, err := w.readAt(ctx, in, p, 0); err != nil {
			return "", err
		}
		return in.target(p)
	}
	var b [ondisk.Dinode2Size]byte
	in.Encode(b[:], w.geo.order, w.geo.version)
	area := w.geo.version.Inline(b[:])
	return in.target(area[:min(in.size, int64(len(area)))])
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
	or.in.Direct, or.in.Indirect = [ondisk.NDirect]int64{}, [ondisk.NIndirect]int64{}
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
	at, err := r.o.f.seekIn(r.o.ctx, &r.or.in, off, false)
	if err == syscall.ENXIO {
		return r.or.in.size, nil
	}
	return at, err
}

func (r orphanReader) SeekHole(off int64) (int64, error) {
	return r.o.f.seekIn(r.o.ctx, &r.or.in, off, true)
}

func (o *op) writeOrphan(or *orphan, p []byte, off int64) (int, error) {
	if err := or.isFile(); err != nil {
		return 0, err
	}
	if err := o.w.mayWrite(&or.in, int64(len(p)), off); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := o.spoolOrphan(or); err != nil {
		return 0, err
	}
	n, err := or.spool.WriteAt(p, off)
	if n > 0 {
		o.touch(&or.in, true)
		or.in.size = max(or.in.size, off+int64(n))
		or.in.Blocks = uint64(or.spool.Blocks())
	}
	return n, err
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
	or.in.Blocks = uint64(or.spool.Blocks())
	return nil
}
