package manifest

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapMin is the size from which [Options].Quick looks for holes.
const mapMin = 64 << 20

// readMapped digests f without reading holes. It returns false, and has done
// nothing, if the file system tells nothing of where its blocks are.
func (d *digest) readMapped(f *os.File, size int64) (bool, error) {
	blockSize, err := unix.IoctlGetInt(int(f.Fd()), figetbsz)
	if err != nil || blockSize <= 0 || quickBlock%blockSize != 0 {
		return false, nil
	}
	if _, ok := blockAt(f, 0); !ok {
		return false, nil
	}
	buf := make([]byte, quickBlock)
	for off := int64(0); off < size; off += quickBlock {
		at, ok := blockAt(f, off/int64(blockSize))
		if !ok {
			return false, unix.EIO
		}
		n := min(quickBlock, size-off)
		if at == 0 {
			d.off += uint64(n)
			continue
		}
		if _, err := f.ReadAt(buf[:n], off); err != nil && err != io.EOF {
			return false, err
		}
		d.Write(buf[:n])
	}
	return true, nil
}

// From linux/fs.h; x/sys does not have them.
const (
	fibmap   = 1 // FIBMAP
	figetbsz = 2 // FIGETBSZ
)

// blockAt returns where a block of the file lies, 0 for a hole. Blocks of FFS and
// ext4 are never smaller than the step between the calls, fragments may be.
func blockAt(f *os.File, block int64) (int32, bool) {
	n := int32(block)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fibmap, uintptr(unsafe.Pointer(&n)))
	return n, e == 0
}
