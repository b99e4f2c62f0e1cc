package blockio

import (
	"os"

	"golang.org/x/sys/unix"
)

// A WritableFile is a [File] that can be written to. It never grows.
type WritableFile struct{ *File }

// OpenWritableFile opens an image file or block device for reading and
// writing.
func OpenWritableFile(name string) (*WritableFile, error) {
	f, err := openFile(name, unix.O_RDWR)
	if err != nil {
		return nil, err
	}
	return &WritableFile{f}, nil
}

// WithSectorSize returns d with another sector size.
func (d *WritableFile) WithSectorSize(n int) *WritableFile {
	return &WritableFile{d.File.WithSectorSize(n)}
}

// WriteAt implements [io.WriterAt]. It writes nothing beyond the end.
func (d *WritableFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > d.size || int64(len(p)) > d.size-off {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: d.size}
	}
	return d.f.WriteAt(p, off)
}

// Sync makes what was written durable: fdatasync(2).
func (d *WritableFile) Sync() error { return unix.Fdatasync(int(d.f.Fd())) }

// Preallocate implements [Preallocator] by fallocate(2). Where the host has no
// such thing, and on block devices, it does nothing.
func (d *WritableFile) Preallocate(off, n int64) error {
	if d.block || n <= 0 {
		return nil
	}
	err := unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
	switch err {
	case unix.EOPNOTSUPP, unix.ENOSYS:
		return nil
	case nil:
		return nil
	}
	return &os.PathError{Op: "fallocate", Path: d.Name(), Err: err}
}
