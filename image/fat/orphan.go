package fat

import (
	"context"
	"io"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/spool"
)

// An orphan is a file whose name has been taken away while it was pinned. On
// the medium it is gone, so that no commit can leave one behind. Here it lives
// on until it is unpinned: nothing that it held is allocated to others, so that
// it reads as before; before it is changed it is copied to a spool.
type orphan struct {
	file
	runs  []clusterRun // held
	ends  []int64      // bytes of the file up to the end of each run
	spool *spool.File
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
	if or == nil || w.isPinned(ino) {
		return nil
	}
	delete(w.orphans, ino)
	w.space.letGo(or.runs)
	return or.close()
}

func (w *Writer) isPinned(ino vfs.Ino) bool {
	w.pinMu.Lock()
	defer w.pinMu.Unlock()
	return w.pins[ino] > 0
}

// isHeld reports whether an inode number must stay what it is.
func (w *Writer) isHeld(ino vfs.Ino) bool { return w.orphans[ino] != nil || w.isPinned(ino) }

// addOrphan keeps a file that has just been freed. Requires w.mu.
func (w *Writer) addOrphan(d *deadFile) {
	or := &orphan{file: d.file}
	if !d.isDir() {
		or.runs = append([]clusterRun(nil), d.runs...)
		end := int64(0)
		for _, r := range or.runs {
			end += int64(r.n) * w.clusterSize
			or.ends = append(or.ends, end)
		}
		w.space.hold(or.runs)
	}
	w.orphans[d.ino] = or
}

func (or *orphan) close() error {
	if or.spool == nil {
		return nil
	}
	return or.spool.Close()
}

func (w *Writer) orphanAttr(or *orphan) vfs.Attr {
	a := w.fileAttr(&or.dirent)
	if or.isDir() {
		a.Mode, a.Size, a.Blocks = vfs.Dir|0o755, 0, 0
	}
	a.Ino, a.Nlink = or.ino, 0
	return a
}

// orphanExtent is where the byte off of an orphan without a spool lies.
func (w *Writer) orphanExtent(or *orphan, off int64) (extent, error) {
	i := sort.Search(len(or.ends), func(i int) bool { return or.ends[i] > off })
	if i == len(or.ends) {
		return extent{}, vfs.Corruptf(-1, "file without a name", "the chain ends before byte %d", off)
	}
	left := min(or.ends[i], or.size()) - off
	at := w.clusterOff(or.runs[i].first) + int64(or.runs[i].n)*w.clusterSize - (or.ends[i] - off)
	return extent{at, left}, nil
}

func (w *Writer) readOrphan(or *orphan, p []byte, off int64) (int, error) {
	switch {
	case or.isDir():
		return 0, syscall.EISDIR
	case off < 0:
		return 0, syscall.EINVAL
	case or.spool != nil && len(p) > 0:
		return or.spool.ReadAt(p, off)
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= or.size() {
			return n, io.EOF
		}
		x, err := w.orphanExtent(or, at)
		if err != nil {
			return n, err
		}
		k, err := w.dev.ReadAt(p[n:n+int(min(x.n, int64(len(p)-n)))], x.off)
		if n += k; err != nil {
			return n, err
		}
	}
	return n, nil
}

// orphanReader is the contents of an orphan, for a spool: there are no holes.
type orphanReader struct {
	w  *Writer
	or *orphan
}

func (r orphanReader) ReadAt(p []byte, off int64) (int, error) { return r.w.readOrphan(r.or, p, off) }

func (r orphanReader) SeekData(off int64) (int64, error) { return off, nil }

func (r orphanReader) SeekHole(int64) (int64, error) { return r.or.size(), nil }

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
	if err := s.Fill(orphanReader{o.w, or}, or.size()); err != nil {
		s.Close()
		return err
	}
	or.spool = s
	o.w.space.letGo(or.runs)
	or.runs, or.ends = nil, nil
	return nil
}

func (o *op) writeOrphan(or *orphan, p []byte, off int64) (int, error) {
	if err := o.mayWrite(&or.file, int64(len(p)), off); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := o.spoolOrphan(or); err != nil {
		return 0, err
	}
	n, err := or.spool.WriteAt(p, off)
	if n > 0 {
		or.changed(o.now)
		or.dirent.Size = uint32(max(or.size(), off+int64(n)))
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
	or.dirent.Size = uint32(size)
	return nil
}
