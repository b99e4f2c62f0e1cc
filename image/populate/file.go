package populate

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// bufferSize is how much is read and written at once, and the size up to which
// a file is written in one go. It is a multiple of every block size, and stays in
// the cache of a processor from the one to the other.
const bufferSize = 512 << 10

// hostStep is how much of a file the host copies at once: it cannot be
// interrupted in between.
const hostStep = 8 << 20

// errShrunk is a file that ends before its size says.
var errShrunk = errors.New("became shorter while it was read")

func (c *copier) buffer() []byte {
	if c.buf == nil {
		c.buf = make([]byte, bufferSize)
	}
	return c.buf
}

// contents copies what is in a file, and says whether that was anything.
func (c *copier) contents(ctx context.Context, fd int, ino vfs.Ino, st *unix.Stat_t) (wrote bool, err error) {
	if st.Size == 0 {
		return false, nil
	}
	if st.Blocks*512 >= st.Size {
		return true, c.span(ctx, fd, ino, 0, st.Size)
	}
	for off := int64(0); off < st.Size; {
		data, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err != nil {
			// This file system cannot tell.
			return true, c.span(ctx, fd, ino, off, st.Size)
		}
		hole, err := unix.Seek(fd, data, unix.SEEK_HOLE)
		if err != nil {
			return false, err
		}
		if off = min(hole, st.Size); data < off {
			if err := c.span(ctx, fd, ino, data, off); err != nil {
				return false, err
			}
		}
		if off == st.Size {
			return true, nil
		}
	}
	// It ends with a hole.
	_, err = c.fs.Setattr(ctx, ino, vfs.SetAttr{Size: &st.Size})
	return true, err
}

// span copies the bytes from off to end.
func (c *copier) span(ctx context.Context, fd int, ino vfs.Ino, off, end int64) error {
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.breathe(4)
		if c.host != nil && end-off > bufferSize {
			n, err := c.host.WriteFile(ctx, ino, fd, off, min(end-off, hostStep), off)
			if err != nil {
				return shrunk(err)
			}
			if n > 0 {
				c.wrote(int(n))
				off += n
				continue
			}
		}
		// Later pieces begin at multiples of the buffer, and so of a block.
		p := c.buffer()[:min(end, off-off%bufferSize+bufferSize)-off]
		if err := c.read(fd, p, off); err != nil {
			return err
		}
		if err := c.write(ctx, ino, p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
}

// read fills p with what is at off.
func (c *copier) read(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(fd, p, off)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return errShrunk
		default:
			p, off = p[n:], off+int64(n)
		}
	}
	return nil
}

// shrunk says what the end of a file means that is larger by its size.
func shrunk(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errShrunk
	}
	return err
}

// write writes a piece of a file.
func (c *copier) write(ctx context.Context, ino vfs.Ino, p []byte, off int64) error {
	n, err := c.fs.WriteAt(ctx, ino, p, off)
	if err != nil {
		return err
	}
	if n < len(p) {
		return io.ErrShortWrite
	}
	c.wrote(n)
	return nil
}

// wrote counts bytes of contents.
func (c *copier) wrote(n int) {
	c.done.Bytes += int64(n)
	if c.opt.Progress != nil && n > 0 {
		c.opt.Progress(int64(n))
	}
}

// flags returns the flags of the host's file that the image can have as well.
func (c *copier) flags(fd int) (f vfs.Flags) {
	if !c.opt.Flags || c.opt.Plain {
		return 0
	}
	attrs, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return 0 // a file system without such flags
	}
	for _, m := range [...]struct {
		linux int
		flag  vfs.Flags
	}{
		{0x10, vfs.SystemImmutable}, // FS_IMMUTABLE_FL
		{0x20, vfs.SystemAppend},    // FS_APPEND_FL
		{0x40, vfs.UserNoDump},      // FS_NODUMP_FL
	} {
		if attrs&m.linux != 0 {
			f |= m.flag
		}
	}
	return f
}

func readlinkat(fd int, base string, size int64) (string, error) {
	for n := size + 1; ; n *= 2 {
		b := make([]byte, n)
		k, err := unix.Readlinkat(fd, base, b)
		if err != nil {
			return "", err
		}
		if k < len(b) {
			return string(b[:k]), nil
		}
	}
}
