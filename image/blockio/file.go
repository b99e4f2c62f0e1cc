package blockio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A File is an image file or a block device of the host.
type File struct {
	f      *os.File
	size   int64
	sector int
	block  bool // a block device
}

// OpenFile opens an image file or block device for reading. The sector size of
// a block device is the one the host reports; that of a file is 512.
func OpenFile(name string) (*File, error) { return openFile(name, os.O_RDONLY) }

func openFile(name string, flag int) (*File, error) {
	// O_NONBLOCK: opening a FIFO by mistake must not wait for a writer.
	f, err := os.OpenFile(name, flag|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	d, err := newFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return d, nil
}

func newFile(f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	switch {
	case mode.IsRegular():
		return &File{f: f, size: info.Size(), sector: DefaultSectorSize}, nil
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		return newBlockDevice(f)
	case mode.IsDir():
		return nil, &os.PathError{Op: "open", Path: f.Name(), Err: syscall.EISDIR}
	}
	return nil, &os.PathError{Op: "open", Path: f.Name(), Err: errors.New("neither a regular file nor a block device")}
}

// newBlockDevice asks the kernel for what stat does not tell of a device.
func newBlockDevice(f *os.File) (*File, error) {
	fail := func(what string, err error) (*File, error) {
		return nil, &os.PathError{Op: what, Path: f.Name(), Err: err}
	}
	size, err := ioctlUint64(f, unix.BLKGETSIZE64)
	if err != nil {
		return fail("get size of", err)
	}
	if size > 1<<62 {
		return fail("get size of", fmt.Errorf("implausible size of %d bytes", size))
	}
	sector, err := ioctlInt(f, unix.BLKSSZGET)
	if err != nil {
		return fail("get sector size of", err)
	}
	return &File{f: f, size: int64(size), sector: sector, block: true}, nil
}

// WithSectorSize returns d with another sector size: an image file of a disk
// with 4096-byte sectors does not say so itself.
func (d *File) WithSectorSize(n int) *File {
	c := *d
	c.sector = n
	return &c
}

// Name is the path the file was opened by.
func (d *File) Name() string { return d.f.Name() }

// Size is the length in bytes.
func (d *File) Size() int64 { return d.size }

// SectorSize is the logical sector size in bytes.
func (d *File) SectorSize() int { return d.sector }

// IsBlockDevice reports whether d is a block device rather than a file.
func (d *File) IsBlockDevice() bool { return d.block }

// Mode is the mode of the file.
func (d *File) Mode() os.FileMode {
	info, err := d.f.Stat()
	if err != nil {
		return 0
	}
	return info.Mode()
}

// Close closes the file.
func (d *File) Close() error { return d.f.Close() }

// ReadAt implements [io.ReaderAt].
func (d *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &RangeError{Off: off, Len: int64(len(p)), Size: d.size}
	}
	if off >= d.size {
		return 0, io.EOF
	}
	if max := d.size - off; int64(len(p)) > max {
		n, err := d.f.ReadAt(p[:max], off)
		if err == nil {
			err = io.EOF
		}
		return n, err
	}
	return d.f.ReadAt(p, off)
}

// FileRange implements [FileBacked].
func (d *File) FileRange(off, n int64) (*os.File, int64, bool) {
	if off < 0 || n < 0 || off > d.size || n > d.size-off {
		return nil, 0, false
	}
	return d.f, off, true
}

// SeekData implements [HoleSeeker] by lseek(2). A host file system without
// SEEK_DATA, and a block device, are all data.
func (d *File) SeekData(off int64) (int64, error) {
	if off < 0 || off >= d.size {
		return 0, io.EOF
	}
	if d.block {
		return off, nil
	}
	at, err := unix.Seek(int(d.f.Fd()), off, unix.SEEK_DATA)
	switch {
	case err == nil:
		return min(at, d.size), nil
	case errors.Is(err, unix.ENXIO):
		return 0, io.EOF
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return off, nil
	}
	return 0, &os.PathError{Op: "seek", Path: d.Name(), Err: err}
}

// SeekHole implements [HoleSeeker] by lseek(2).
func (d *File) SeekHole(off int64) (int64, error) {
	if off < 0 || off >= d.size {
		return 0, io.EOF
	}
	if d.block {
		return d.size, nil
	}
	at, err := unix.Seek(int(d.f.Fd()), off, unix.SEEK_HOLE)
	switch {
	case err == nil:
		return min(at, d.size), nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return d.size, nil
	}
	return 0, &os.PathError{Op: "seek", Path: d.Name(), Err: err}
}
