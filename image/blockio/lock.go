package blockio

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrLocked reports that another process is writing to the image.
var ErrLocked = errors.New("another process is writing to the image")

// A Lock is the advisory lock on an image that a writer holds, so that there
// is one writer at a time. Readers take none: they see the last commit. It is
// an open-file-description lock (fcntl(2), F_OFD_SETLK) on the whole image: it
// is released when the process ends, however it ends, and works on block
// devices and network file systems too.
type Lock struct {
	f *os.File
}

// LockFile locks the image at name for writing. It does not wait: if another
// writer holds the lock, the error wraps [ErrLocked].
func LockFile(name string) (*Lock, error) { return lockFile(name, os.O_RDWR, unix.F_WRLCK) }

// ShareFile keeps writers away from the image at name, as long as it is copied,
// or looked at by someone who could not bear it to change. The error wraps
// [ErrLocked] if there is a writer.
func ShareFile(name string) (*Lock, error) { return lockFile(name, os.O_RDONLY, unix.F_RDLCK) }

func lockFile(name string, flag int, kind int16) (*Lock, error) {
	f, err := os.OpenFile(name, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) {
		lockErr = unix.FcntlFlock(fd, unix.F_OFD_SETLK, &unix.Flock_t{Type: kind})
	})
	if err == nil {
		err = lockErr
	}
	switch {
	case err == nil:
		return &Lock{f}, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		f.Close()
		return nil, &LockedError{Name: name, reader: kind == unix.F_RDLCK}
	}
	f.Close()
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

// A LockedError says that an image is locked. It is [ErrLocked].
type LockedError struct {
	Name   string
	reader bool // wanted only to keep writers away
}

func (e *LockedError) Error() string {
	if e.reader {
		return fmt.Sprintf("%s: %v: wait until it is done, or unmount the image there", e.Name, ErrLocked)
	}
	return fmt.Sprintf("%s: %v, or copying it: wait until it is done, or unmount the image there; reading it is possible meanwhile",
		e.Name, ErrLocked)
}

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Unlock releases the lock.
func (l *Lock) Unlock() error { return l.f.Close() }
