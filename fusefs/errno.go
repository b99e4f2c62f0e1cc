package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// inode names an inode as the drivers do.
func inode(ino vfs.Ino) string { return fmt.Sprintf("inode %d", ino) }

// status returns the errno for an error, and logs what a person must know:
// damage and failed reads, each once. ENOSYS never leaves here: the kernel
// would not ask for that operation again.
func (r *raw) status(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	errno, plain := err.(syscall.Errno)
	if !plain {
		errno = toErrno(err)
	}
	switch {
	case errno == 0 || errno == syscall.ENOSYS:
		errno = syscall.EIO
		r.logOnce(err.Error(), "%v", err)
	case errno == syscall.EIO || errno == syscall.EOVERFLOW || errno == syscall.EOPNOTSUPP && !plain:
		key := err.Error()
		if e := (*vfs.CorruptError)(nil); errors.As(err, &e) {
			key = e.Structure // however many ways there are to say it
		}
		r.logOnce(key, "%v", err)
	}
	return fuse.Status(errno)
}

// toErrno looks for the errno in an error; what has none is EIO.
func toErrno(err error) syscall.Errno {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return syscall.EINTR
	}
	// Damage first: what it wraps may be anything.
	if e := (*vfs.CorruptError)(nil); errors.As(err, &e) {
		return syscall.EIO
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, fs.ErrExist):
		return syscall.EEXIST
	case errors.Is(err, fs.ErrPermission):
		return syscall.EACCES
	case errors.Is(err, fs.ErrInvalid):
		return syscall.EINVAL
	}
	return syscall.EIO
}

func (r *raw) logOnce(key, format string, args ...any) {
	log, last := r.logged.first(key)
	if log {
		r.logf(format, args...)
	}
	if last {
		r.logf("%d different errors so far: more are not reported", onceMax)
	}
}

// logOnceWriter returns where go-fuse logs: all of it when debugging, and else
// every message once, since some come with every request.
func (r *raw) logOnceWriter(all bool) func(string, ...any) {
	if all {
		return r.logf
	}
	return func(format string, args ...any) {
		r.logOnce(fmt.Sprintf(format, args...), format, args...)
	}
}

// panicked turns a panic below into EIO: one bad file must not take the mount
// down.
func (r *raw) panicked(v any) fuse.Status {
	r.logOnce(fmt.Sprint(v), "bug: panic while answering a request: %v\n%s", v, debug.Stack())
	return fuse.EIO
}
