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

// errShrunk is a file that ends before its size says.
var errShrunk = errors.New("became shorter while it was read")

// file copies a regular file.
func (c *copier) file(ctx context.Context, fd int, at place, st *unix.Stat_t) error {
	node := c.node(st)
	flags := c.flags(fd)
	return c.once(ctx, at, hostFile{st.Dev, st.Ino}, uint64(st.Nlink), Made{Node: node, Size: st.Size}, func() (vfs.Ino, error) {
		return c.put(ctx, at, node, func(ino vfs.Ino) error {
			wrote, err := c.contents(ctx, fd, ino, st)
			if err != nil || c.opt.Plain {
				return err
			}
			if err := c.extended(ctx, hostAttrs{fd: fd}, ino); err != nil {
				return err
			}
			if !wrote && flags == 0 {
				return nil
			}
			set := vfs.SetAttr{Atime: &node.Mtime, Mtime: &node.Mtime}
			if node.Mode&(vfs.SetUID|vfs.SetGID) != 0 {
				set.Mode = &node.Mode // writing may have cleared them
			}
			if flags != 0 {
				set.Flags = &flags
			}
			return c.setattr(ctx, ino, set, uint64(st.Nlink))
		})
	})
}

// contents copies what is in a file, and says whether that was anything.
func (c *copier) contents(ctx context.Context, fd int, ino vfs.Ino, st *unix.Stat_t) (wrote bool, err error) {
	if st.Size == 0 {
		return false, nil
	}
	if c.buf == nil {
		c.buf = make([]byte, bufferSize)
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
		// Later pieces begin at multiples of the buffer, and so of a block.
		p := c.buf[:min(end, off-off%bufferSize+bufferSize)-off]
		for n := 0; n < len(p); {
			k, err := unix.Pread(fd, p[n:], off+int64(n))
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			if k == 0 {
				return errShrunk
			}
			n += k
		}
		if err := c.write(ctx, ino, p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
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
	c.done.Bytes += int64(n)
	if c.opt.Progress != nil {
		c.opt.Progress(int64(n))
	}
	return nil
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
