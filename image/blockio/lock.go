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
func LockFile(name string) (*Lock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK, 0)
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
		lockErr = unix.FcntlFlock(fd, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	})
	if err == nil {
		err = lockErr
	}
	switch {
	case err == nil:
		return &Lock{f}, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		err = ErrLocked
	}
	f.Close()
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

// Unlock releases the lock.
func (l *Lock) Unlock() error { return l.f.Close() }
