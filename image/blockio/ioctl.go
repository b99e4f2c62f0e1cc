package blockio

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlUint64 is an ioctl(2) that stores a 64-bit number. The unix package has
// no function for that size.
func ioctlUint64(f *os.File, req uintptr) (uint64, error) {
	var v uint64
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, req, uintptr(unsafe.Pointer(&v)))
	})
	if err != nil {
		return 0, err
	}
	if errno != 0 {
		return 0, errno
	}
	return v, nil
}

// ioctlInt is an ioctl(2) that stores an int.
func ioctlInt(f *os.File, req uint) (int, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var v int
	var ioctlErr error
	err = conn.Control(func(fd uintptr) { v, ioctlErr = unix.IoctlGetInt(int(fd), req) })
	if err != nil {
		return 0, err
	}
	return v, ioctlErr
}
