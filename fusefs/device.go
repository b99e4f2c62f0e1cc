package fusefs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/hanwen/go-fuse/v2/splice"
	"golang.org/x/sys/unix"
)

// device is our end of a mount: the kernel's requests are read from it, each
// with one read(2), and the answers are written to it.
type device struct {
	fd int // non-blocking
}

// What has to be known of the protocol here; go-fuse knows the rest. The numbers
// are those of <linux/fuse.h>.
const (
	opRead      = 15
	opWrite     = 16
	opFsync     = 20
	opInit      = 26
	opFsyncdir  = 30
	opInterrupt = 36
	opFallocate = 43
	opLseek     = 46
	opCopyRange = 47
	opSyncfs    = 50

	requestHeader = int(unsafe.Sizeof(fuse.InHeader{}))
	writeHeader   = int(unsafe.Sizeof(fuse.WriteIn{}))
	answerHeader  = 16 // length, error, unique
)

// requestBuffer returns a buffer that holds every request. The data of a write
// begin at a page in it, so that the kernel copies them page by page.
func requestBuffer(maxWrite int) []byte {
	const page, requestMin = 4096, 8192 // the kernel refuses smaller buffers
	size := max(writeHeader+maxWrite, requestMin)
	b := make([]byte, page+size)
	at := int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) + writeHeader
	return b[(page-at%page)%page:][:size]
}

// header returns the beginning of a request.
func header(request []byte) *fuse.InHeader {
	return (*fuse.InHeader)(unsafe.Pointer(unsafe.SliceData(request)))
}

// interruption is the request by which the kernel takes back another one.
func interruption(unique uint64) []byte {
	in := fuse.InterruptIn{InHeader: fuse.InHeader{Opcode: opInterrupt}, Unique: unique}
	in.Length = uint32(unsafe.Sizeof(in))
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&in)), unsafe.Sizeof(in)))
}

// tryRead reads a request; EAGAIN: there is none. It does not block, and so Go's
// scheduler need not hear of it, which would cost as much as the call itself.
func (d device) tryRead(p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(d.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch {
		case errno == unix.EINTR || errno == unix.ENOENT: // a request was taken back
		case errno != 0:
			return 0, errno
		case int(n) < requestHeader:
			return 0, fmt.Errorf("the kernel sent a request of %d bytes", n)
		default:
			return int(n), nil
		}
	}
}

// wait blocks until there is a request, or the mount has ended.
func (d device) wait() error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			return err
		}
	}
}

// answer writes an answer. ENOENT: nobody waits for it any more.
func (d device) answer(p []byte) error {
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(d.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0, unix.ENOENT:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// answerError answers a request with nothing but an error.
func (d device) answerError(unique uint64, errno syscall.Errno) error {
	return d.answer(appendHeader(nil, answerHeader, -int32(errno), unique))
}

func appendHeader(p []byte, size int, code int32, unique uint64) []byte {
	p = binary.NativeEndian.AppendUint32(p, uint32(size))
	p = binary.NativeEndian.AppendUint32(p, uint32(code))
	return binary.NativeEndian.AppendUint64(p, unique)
}

// answerFrom answers a read with n bytes at byte at of a file, which go from
// the kernel to the kernel through a pipe. False: it could not be, and nothing
// has been answered yet.
func (d device) answerFrom(unique uint64, f *os.File, at int64, n int) (bool, error) {
	pair, err := splice.Get()
	if err != nil {
		return false, err
	}
	size := answerHeader + n
	if err := pair.Grow(size + os.Getpagesize()); err != nil {
		splice.Done(pair)
		return false, err
	}
	if _, err = pair.Write(appendHeader(nil, size, 0, unique)); err == nil {
		var loaded int
		if loaded, err = pair.LoadFromAt(f.Fd(), n, at); err == nil && loaded < n {
			err = fmt.Errorf("a splice of %d bytes ended after %d", n, loaded)
		}
	}
	if err != nil {
		splice.Drop(pair) // with what is in it
		return false, err
	}
	_, err = pair.WriteTo(uintptr(d.fd), size)
	if err != nil {
		splice.Drop(pair)
		if errors.Is(err, unix.ENOENT) {
			err = nil
		}
		return true, err
	}
	splice.Done(pair)
	return true, nil
}

// connect answers the first request of a mount, by which kernel and server
// agree on what they can do; it returns what the kernel offers.
func (d device) connect(ps *fuse.ProtocolServer, in, out []byte) (flags uint64, err error) {
	if err := unix.SetNonblock(d.fd, true); err != nil {
		return 0, err
	}
	if err := d.wait(); err != nil {
		return 0, os.NewSyscallError("poll", err)
	}
	n, err := d.tryRead(in)
	if err != nil {
		return 0, os.NewSyscallError("read", err)
	}
	var hello fuse.InitIn // older kernels send less of it
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&hello)), unsafe.Sizeof(hello)), in[:n])
	if hello.Opcode != opInit {
		return 0, fmt.Errorf("the kernel's first request is no INIT, but %d", hello.Opcode)
	}
	m, _ := ps.HandleRequest([][]byte{in[:n]}, [][]byte{out})
	if m < answerHeader {
		return 0, errors.New("no answer to the kernel's INIT")
	}
	if err := d.answer(out[:m]); err != nil {
		return 0, os.NewSyscallError("write", err)
	}
	if code := int32(binary.NativeEndian.Uint32(out[4:])); code != 0 {
		return 0, fmt.Errorf("the kernel speaks version %d.%d of the protocol: %w", hello.Major, hello.Minor, syscall.Errno(-code))
	}
	return hello.Flags64(), nil
}

// close ends the connection.
func (d device) close() { _ = unix.Close(d.fd) }
