package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// spliceMin is the size from which on a read is spliced: setting up the pipe
// costs as much as copying this many bytes.
const spliceMin = 32 << 10

// Open implements [fuse.RawFileSystem]. ENOSYS tells the kernel to open files
// without asking, and to keep what it has cached of them.
func (r *raw) Open(cancel <-chan struct{}, input *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if v, _, err := r.find(input.NodeId); err != nil {
		return r.status(err)
	} else if input.Flags&syscall.O_ACCMODE != syscall.O_RDONLY && v.w == nil {
		return fuse.EROFS
	}
	if r.noOpen {
		return fuse.ENOSYS
	}
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// interruptible is how long a read has to take for a signal to end it.
const interruptible = time.Second

// Read implements [fuse.RawFileSystem].
func (r *raw) Read(cancel <-chan struct{}, input *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	v, ino, err := r.find(input.NodeId)
	if err != nil {
		return nil, r.status(err)
	}
	off := int64(input.Offset)
	if off < 0 {
		return nil, fuse.EINVAL
	}
	ctx := request(cancel)
	n, err := v.fs.ReadAt(ctx, ino, buf, off)
	if errors.Is(err, context.Canceled) {
		// A signal, which may be of no consequence: the timer of a program, the
		// scheduler of another. Its read(2) would end at a page that is missing,
		// and many take that for the end of the file.
		ctx, done := context.WithTimeout(background, interruptible)
		n, err = v.fs.ReadAt(ctx, ino, buf, off)
		done()
	}
	if err != nil && err != io.EOF {
		// Not what came before the error: to the kernel a short answer is the
		// end of the file. It asks again for the pages one by one.
		return nil, r.status(err)
	}
	if n < len(buf) && v.w == nil {
		// The end of the file, or of an image that has been cut short? What
		// is missing would read as zeros.
		attr, err := v.fs.Getattr(ctx, ino)
		if err == nil && off+int64(n) < attr.Size {
			err = fmt.Errorf("%s: data ends at byte %d of %d: %w", inode(ino), off+int64(n), attr.Size, syscall.EIO)
		}
		if err != nil {
			return nil, r.status(err)
		}
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// run returns where in a file of the host the bytes lie that a read asks for, if
// they do in one piece.
func (r *raw) run(in *fuse.ReadIn) (f *os.File, at int64, n int, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false // Read will meet it again
		}
	}()
	v, ino, err := r.find(in.NodeId)
	if err != nil || in.Offset > math.MaxInt64 {
		return nil, 0, 0, false
	}
	return v.run(uninterrupted, ino, int64(in.Offset), int(in.Size))
}

// run returns where the want bytes at off of a file, or those up to its end,
// lie in one piece in a file of the host.
func (v *volume) run(ctx request, ino vfs.Ino, off int64, want int) (f *os.File, at int64, n int, ok bool) {
	if v.mapper == nil || v.file == nil {
		return nil, 0, 0, false
	}
	devOff, length, err := v.mapper.Map(ctx, ino, off)
	if err != nil || devOff < 0 || length <= 0 {
		return nil, 0, 0, false
	}
	if length < int64(want) {
		// Is that the end of the file, or of the extent?
		if _, _, err := v.mapper.Map(ctx, ino, off+length); err != io.EOF {
			return nil, 0, 0, false
		}
		want = int(length)
	}
	f, at, ok = v.file.FileRange(devOff, int64(want))
	if !ok || !fitsPipe(at, want) || truncated(f, at+int64(want)) {
		return nil, 0, 0, false
	}
	return f, at, want, true
}

// fitsPipe reports whether the pipe through which an answer of n bytes at byte
// at of a file holds them all at once. A splice that does not fit ends where the
// pipe is full, and the kernel takes what is missing for the end of the file. The
// pipe is made for the bytes of the answer and one page more; but each page that
// they touch in the file takes a page of it, and so does the header.
func fitsPipe(at int64, n int) bool {
	const page, header = 4096, 16
	pages := func(n int) int { return (n + page - 1) / page }
	size := 1
	for size < pages(header+n+page) { // as fcntl(F_SETPIPE_SZ) rounds
		size *= 2
	}
	return 1+pages(int(at%page)+n) <= size
}

// truncated reports whether a file has become shorter than end. A splice would
// then send less, which the kernel takes for zeros; ReadAt makes it an error.
func truncated(f *os.File, end int64) bool {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return true
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size < end
}

// Lseek implements [fuse.RawFileSystem], for SEEK_DATA and SEEK_HOLE.
func (r *raw) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	v, ino, err := r.find(in.NodeId)
	if err != nil {
		return r.status(err)
	}
	ctx := uninterrupted
	off := int64(in.Offset)
	if off < 0 {
		return fuse.Status(syscall.ENXIO)
	}
	switch {
	case in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE:
		return fuse.EINVAL
	case v.holes == nil:
		off, err = v.seekAll(ctx, ino, off, in.Whence)
	case in.Whence == unix.SEEK_DATA:
		off, err = v.holes.SeekData(ctx, ino, off)
	default:
		off, err = v.holes.SeekHole(ctx, ino, off)
	}
	out.Offset = uint64(off)
	return r.status(err)
}

// seekAll is for file systems that know no holes: all is data.
func (v *volume) seekAll(ctx request, ino vfs.Ino, off int64, whence uint32) (int64, error) {
	attr, err := v.fs.Getattr(ctx, ino)
	switch {
	case err != nil:
		return 0, err
	case off >= attr.Size:
		return 0, syscall.ENXIO
	case whence == unix.SEEK_HOLE:
		return attr.Size, nil
	}
	return off, nil
}
