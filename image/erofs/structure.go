package erofs

import (
	"fmt"
	"io"

	"github.com/resflash/resflash/image/vfs"
)

// A structure is what errors call something. It is put into words only when
// there is an error.
type structure struct {
	what string
	num  uint64 // with what it is told from others; 0: there is but one
	more string
}

func (s structure) String() string {
	if s.num == 0 {
		return s.what
	}
	return fmt.Sprintf("%s %d%s", s.what, s.num, s.more)
}

func (s structure) corrupt(off int64, format string, args ...any) error {
	return vfs.Corruptf(off, s.String(), format, args...)
}

// inside checks that n bytes at off lie in the file system.
func (f *FS) inside(s structure, off, n int64) error {
	if off < 0 || n < 0 || off > f.size || n > f.size-off {
		return s.corrupt(off, "%d bytes do not lie in the file system, which has %d", n, f.size)
	}
	return nil
}

// bytes returns metadata. It is not to be changed.
func (f *FS) bytes(s structure, off int64, n int) ([]byte, error) {
	if err := f.inside(s, off, int64(n)); err != nil {
		return nil, err
	}
	b, err := f.cache.Bytes(off, n)
	if err != nil {
		return nil, fmt.Errorf("read %s at byte %d: %w", s, off, err)
	}
	return b, nil
}

// readRaw reads contents, which are inside.
func (f *FS) readRaw(s structure, r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s at byte %d: %w", s, off, err)
}
