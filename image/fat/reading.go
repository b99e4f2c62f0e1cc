package fat

import (
	"context"
	"io"
	"iter"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// The reading half of a [Writer]: what [FS] does, under the lock, and with the
// files that have no name any more.

// Info implements [vfs.FS].
func (w *Writer) Info() vfs.Info {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.FS.Info()
}

// Statfs implements [vfs.FS], with the counts as they are now.
func (w *Writer) Statfs(context.Context) (vfs.Statfs, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	free := uint64(w.space.free - w.space.nheld)
	return vfs.Statfs{
		BlockSize: w.clusterSize, Blocks: uint64(w.clusters), Free: free, Avail: free, NameMax: nameBytes,
	}, nil
}

// Getattr implements [vfs.FS].
func (w *Writer) Getattr(ctx context.Context, ino vfs.Ino) (vfs.Attr, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if or := w.orphans[ino]; or != nil {
		return w.orphanAttr(or), nil
	}
	return w.FS.Getattr(ctx, ino)
}

// Lookup implements [vfs.FS]. A directory that was removed has no names but
// its own.
func (w *Writer) Lookup(ctx context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	or := w.orphans[dir]
	switch {
	case or == nil:
		return w.FS.Lookup(ctx, dir, name)
	case !or.isDir():
		return vfs.Attr{}, syscall.ENOTDIR
	case name == ".":
		return w.orphanAttr(or), nil
	}
	return vfs.Attr{}, noName(name)
}

// ReadDir implements [vfs.FS]. The directory may be changed between two
// entries: what is there from beginning to end, by one name, is seen once.
func (w *Writer) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return vfs.InBatches(cookie, func(cookie uint64, batch []vfs.DirEntry) ([]vfs.DirEntry, error) {
		return w.readBatch(ctx, dir, cookie, batch)
	})
}

func (w *Writer) readBatch(ctx context.Context, dir vfs.Ino, cookie uint64, batch []vfs.DirEntry) ([]vfs.DirEntry, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if or := w.orphans[dir]; or != nil {
		if !or.isDir() {
			return batch, syscall.ENOTDIR
		}
		return batch, nil
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
	if or := w.orphans[ino]; or != nil {
		return w.readOrphan(or, p, off)
	}
	return w.FS.ReadAt(ctx, ino, p, off)
}

// Readlink implements [vfs.FS].
func (w *Writer) Readlink(ctx context.Context, ino vfs.Ino) (string, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.orphans[ino] != nil {
		return "", syscall.EINVAL
	}
	return w.FS.Readlink(ctx, ino)
}

// Map implements [vfs.Mapper]. What was written since the last commit may not
// be there yet: it is for reports.
func (w *Writer) Map(ctx context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	or := w.orphans[ino]
	switch {
	case or == nil:
		return w.FS.Map(ctx, ino, off)
	case or.isDir():
		return 0, 0, syscall.EISDIR
	case off < 0:
		return 0, 0, syscall.EINVAL
	case off >= or.size():
		return 0, 0, io.EOF
	}
	return -1, or.size() - off, nil
}
