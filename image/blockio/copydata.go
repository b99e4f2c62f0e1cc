package blockio

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A DataCopier is a transaction that can have the host copy contents from a file
// of the host to their place.
type DataCopier interface {
	// CopyData is WriteData of the n bytes that lie at from in the file fd. It
	// says how many it has copied; the rest is to be written, from none to all
	// of it.
	CopyData(fd int, from, n, off int64, fresh bool) (copied int64, err error)
}

// hostBuffer is how much passes through memory at once where the host cannot
// copy.
const hostBuffer = 256 << 10

// A HostCopier copies contents from files of the host into a transaction. The
// zero value is ready.
type HostCopier struct{ buf []byte }

// Copy is tx.WriteData of the n bytes that lie at from in the file fd: the host
// copies them if it can, and otherwise they are read and written.
// io.ErrUnexpectedEOF if there are not so many.
func (c *HostCopier) Copy(tx Transaction, fd int, from, n, off int64, fresh bool) error {
	if d, ok := tx.(DataCopier); ok {
		k, err := d.CopyData(fd, from, n, off, fresh)
		if err != nil {
			return err
		}
		from, off, n = from+k, off+k, n-k
	}
	if n > 0 && c.buf == nil {
		c.buf = make([]byte, hostBuffer)
	}
	for n > 0 {
		p := c.buf[:min(n, hostBuffer)]
		k, err := unix.Pread(fd, p, from)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case k == 0:
			return io.ErrUnexpectedEOF
		}
		if err := tx.WriteData(p[:k], off, fresh); err != nil {
			return fmt.Errorf("write contents at byte %d: %w", off, err)
		}
		from, off, n = from+int64(k), off+int64(k), n-int64(k)
	}
	return nil
}

// A fileCopier is a device that can have the host do so.
type fileCopier interface {
	copyFrom(fd int, from, n, off int64) (copied int64, err error)
}

// CopyData implements [DataCopier], for space that nothing else is known of.
func (s *Session) CopyData(fd int, from, n, off int64, fresh bool) (int64, error) {
	base, ok := s.base.(fileCopier)
	if !ok || n <= 0 {
		return 0, nil
	}
	if off < 0 || off > s.Size() || n > s.Size()-off {
		return 0, &RangeError{Off: off, Len: n, Size: s.Size()}
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.opt.Atomic && !fresh && !s.private {
		return 0, nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	end := off + n
	if s.broken != nil || s.collected.overlaps(off, end) || touches(s.named, off, end) {
		return 0, nil
	}
	if s.held.overlaps(off, end) {
		if err := s.held.flush(s.writeBase); err != nil {
			return 0, err
		}
	}
	copied, err := base.copyFrom(fd, from, n, off)
	s.unsynced.Store(true)
	s.recent.Add(copied)
	s.dataBytes.Add(copied)
	return copied, err
}

// CopyData implements [DataCopier] where the transaction does.
func (s *TransactionSection) CopyData(fd int, from, n, off int64, fresh bool) (int64, error) {
	c, ok := s.tx.(DataCopier)
	if !ok {
		return 0, nil
	}
	if off < 0 || n < 0 || off > s.size || n > s.size-off {
		return 0, &RangeError{Off: off, Len: n, Size: s.size}
	}
	return c.CopyData(fd, from, n, s.off+off, fresh)
}

// copyFrom implements [fileCopier] by copy_file_range(2).
func (d *WritableFile) copyFrom(fd int, from, n, off int64) (copied int64, err error) {
	if d.block {
		return 0, nil
	}
	for copied < n {
		src, dst := from+copied, off+copied
		k, err := unix.CopyFileRange(fd, &src, int(d.f.Fd()), &dst, int(n-copied), 0)
		switch {
		case err == unix.EINTR:
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EIO):
			return copied, &os.PathError{Op: "copy", Path: d.Name(), Err: err}
		case err != nil, k == 0:
			return copied, nil // other file systems, perhaps, or the end
		}
		copied += int64(k)
	}
	return copied, nil
}

var (
	_ DataCopier = (*Session)(nil)
	_ DataCopier = (*TransactionSection)(nil)
)
