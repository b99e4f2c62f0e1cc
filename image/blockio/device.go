package blockio

import (
	"errors"
	"io"
	"os"
)

// A Device is a range of bytes that can be read at any offset. All methods are
// safe for concurrent use. ReadAt follows [io.ReaderAt]: it returns an error
// when it reads less than len(p), and io.EOF at the end of the device.
type Device interface {
	io.ReaderAt
	// Size is the length of the device in bytes.
	Size() int64
	// SectorSize is the logical sector size in bytes: 512 or 4096. Partition
	// tables count in it.
	SectorSize() int
}

// A Writable device can be written to as well. Writes are durable once Sync
// has returned.
type Writable interface {
	Device
	io.WriterAt
	Sync() error
}

// FileBacked is a device whose bytes lie unchanged in a host file.
type FileBacked interface {
	// FileRange returns the file and the offset in it at which the n bytes at
	// off lie, or false if they do not lie there in one piece.
	FileRange(off, n int64) (f *os.File, fileOff int64, ok bool)
}

// A HoleSeeker knows which of its bytes were never written and so read as
// zeros. Both methods follow lseek(2): SEEK_DATA and SEEK_HOLE. At the end of
// the device SeekData returns io.EOF; SeekHole always finds the implicit hole
// at the end.
type HoleSeeker interface {
	SeekData(off int64) (int64, error)
	SeekHole(off int64) (int64, error)
}

// ErrReadOnly reports a write to a device that cannot be written to.
var ErrReadOnly = errors.New("device is read-only")

// DefaultSectorSize is the sector size assumed for image files.
const DefaultSectorSize = 512

// ReadFull reads exactly n bytes at off, or returns an error. It allocates at
// most what the device can hold, whatever n says.
func ReadFull(d Device, off int64, n int) ([]byte, error) {
	if n < 0 || off < 0 || off > d.Size() || int64(n) > d.Size()-off {
		return nil, &RangeError{Off: off, Len: int64(n), Size: d.Size()}
	}
	p := make([]byte, n)
	if _, err := d.ReadAt(p, off); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return p, nil
}
