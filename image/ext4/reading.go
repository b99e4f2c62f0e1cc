package ext4

import (
	"context"
	"io"
	"iter"
	"maps"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// The reading half of a [Writer]: what [FS] does, under the lock, and with the
// files that have no name any more.

// Statfs implements [vfs.FS], with the counts as they are now.
func (w *Writer) Statfs(context.Context) (vfs.Statfs, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.statfs(w.overhead, uint64(max(w.total.freeClusters-w.held, 0)), uint64(w.total.freeInodes), w.reserve), nil
}

// Getattr implements [vfs.FS].
func (w *Writer) Getattr(ctx context.Context, ino vfs.Ino) (vfs.Attr, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if or := w.orphans[ino]; or != nil {
		return w.attr(&or.in), nil
	}
	return w.FS.Getattr(ctx, ino)
}

// Lookup implements [vfs.FS]. A directory that was removed has no names but
// its own.
func (w *Writer) Lookup(ctx context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	or := w.orphans[dir]
	if or == nil {
		return w.FS.Lookup(ctx, dir, name)
	}
	switch {
	case !or.in.mode().IsDir():
		return vfs.Attr{}, syscall.ENOTDIR
	case len(name) > ondisk.NameMax:
		return vfs.Attr{}, syscall.ENAMETOOLONG
	case name == ".":
		return w.attr(&or.in), nil
	}
	return vfs.Attr{}, syscall.ENOENT
}

// ReadDir implements [vfs.FS]. The directory may be changed between two
// entries: what is there from beginning to end is seen once.
func (w *Writer) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return vfs.InBatches(cookie, func(cookie uint64, batch []vfs.DirEntry) ([]vfs.DirEntry, error) {
		return w.readBatch(ctx, dir, cookie, batch)
	})
}

func (w *Writer) readBatch(ctx context.Context, dir vfs.Ino, cookie uint64, batch []vfs.DirEntry) ([]vfs.DirEntry, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if or := w.orphans[dir]; or != nil {
		if !or.in.mode().IsDir() {
			return batch, syscall.ENOTDIR
		}
		return batch, nil
	}
	var in inode
	if err := w.dir(dir, &in); err != nil {
		return batch, err
	}
	if w.hashOrdered(&in) {
		list, err := w.listHashed(ctx, &in, cookie, cap(batch))
		if !isIndexError(err) { // or else it cannot change
			return append(batch, list...), err
		}
	}
	for e, err := range w.FS.ReadDir(ctx, dir, cookie) {
		if err != nil {
			return batch, err
		}
		if batch = append(batch, e); len(batch) == cap(batch) {
			break
		}
	}
	return batch, nil
}

// ReadAt implements [vfs.FS].
func (w *Writer) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	or := w.orphans[ino]
	if or == nil {
		return w.FS.ReadAt(ctx, ino, p, off)
	}
	if err := or.isFile(); err != nil {
		return 0, err
	}
	return w.readOrphan(ctx, or, p, off)
}

// Readlink implements [vfs.FS].
func (w *Writer) Readlink(ctx context.Context, ino vfs.Ino) (string, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if or := w.orphans[ino]; or != nil {
		return w.target(ctx, &or.in)
	}
	return w.FS.Readlink(ctx, ino)
}

// Xattrs implements [vfs.Xattrer].
func (w *Writer) Xattrs(ctx context.Context, ino vfs.Ino) (map[string][]byte, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if or := w.orphans[ino]; or != nil {
		return maps.Clone(or.xattrs), nil
	}
	return w.FS.Xattrs(ctx, ino)
}

// Map implements [vfs.Mapper]. What was written since the last commit may not
// be there yet: it is for reports.
func (w *Writer) Map(ctx context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	or := w.orphans[ino]
	if or == nil {
		return w.FS.Map(ctx, ino, off)
	}
	if err := or.isFile(); err != nil {
		return 0, 0, err
	}
	if off < 0 {
		return 0, 0, syscall.EINVAL
	}
	if off >= or.in.size {
		return 0, 0, io.EOF
	}
	return -1, or.in.size - off, nil
}

// SeekData implements [vfs.HoleSeeker].
func (w *Writer) SeekData(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return w.seek(ctx, ino, off, true)
}

// SeekHole implements [vfs.HoleSeeker].
func (w *Writer) SeekHole(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return w.seek(ctx, ino, off, false)
}

func (w *Writer) seek(ctx context.Context, ino vfs.Ino, off int64, data bool) (int64, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	or := w.orphans[ino]
	if or == nil {
		return w.FS.seek(ctx, ino, off, data)
	}
	if err := or.isFile(); err != nil {
		return 0, err
	}
	if or.spool == nil {
		return w.seekIn(ctx, &or.in, off, data)
	}
	switch {
	case off < 0 || off >= or.in.size:
		return 0, syscall.ENXIO
	case data:
		return off, nil
	}
	return or.in.size, nil
}
