package fusefs

import (
	"errors"
	"io"
	"math"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/vfs"
)

// writeMax is the largest write the kernel may ask for, in bytes: as much as it
// puts into one request unless root has allowed more.
const writeMax = 1 << 20

// Write implements [fuse.RawFileSystem]. The kernel writes through: it keeps
// what it has written in its cache, and a write that returns has been seen
// here, so that a full disk is told to the one who fills it, and appending and
// times are simple.
func (r *raw) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	v, ino, err := r.findWritable(in.NodeId)
	if err != nil {
		return 0, r.status(err)
	}
	if in.Offset > math.MaxInt64 {
		return 0, fuse.EINVAL
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		if err := v.w.tame(ino); err != nil {
			return 0, r.status(err)
		}
	}
	n, err := v.w.write(ino, data, int64(in.Offset))
	if err != nil && (n == 0 || in.WriteFlags&fuse.WRITE_CACHE != 0) {
		// What was written through a mapping has nobody to be told that it is
		// short: it counts as failed.
		return 0, r.status(err)
	}
	return uint32(n), fuse.OK
}

// Writev implements [fuse.RawFileSystem].
func (r *raw) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if len(data) == 1 {
		return r.Write(cancel, in, data[0])
	}
	var all []byte
	for _, p := range data {
		all = append(all, p...)
	}
	return r.Write(cancel, in, all)
}

// write writes to a file, and makes room when there is none.
func (w *writer) write(ino vfs.Ino, p []byte, off int64) (int, error) {
	n, err := w.fs.WriteAt(background, ino, p, off)
	if err != nil && errors.Is(err, syscall.ENOSPC) && w.makeRoom() {
		var more int
		more, err = w.fs.WriteAt(background, ino, p[n:], off+int64(n))
		n += more
	}
	if n > 0 {
		w.changes.file(ino, int64(n))
		w.changed()
	}
	return n, err
}

// Fallocate implements [fuse.RawFileSystem].
func (r *raw) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	v, ino, err := r.findWritable(in.NodeId)
	if err != nil {
		return r.status(err)
	}
	w := v.w
	switch {
	case w.falloc == nil:
		return fuse.Status(syscall.EOPNOTSUPP)
	case in.Offset > math.MaxInt64 || in.Length > math.MaxInt64:
		return fuse.EINVAL
	}
	if in.Uid != 0 { // the kernel does not say so, as it does for writes
		if err := w.tame(ino); err != nil {
			return r.status(err)
		}
	}
	err = w.roomy(func() error {
		return w.falloc.Fallocate(background, ino, vfs.AllocMode(in.Mode), int64(in.Offset), int64(in.Length))
	})
	// Even a failed one may have done a part.
	w.changes.file(ino, 0)
	w.changed()
	if in.Mode&uint32(vfs.AllocPunchHole) != 0 {
		w.freed.Store(true)
	}
	return r.status(err)
}

// copyMax is how much one request copies: the one who asks comes again for the
// rest, and can be interrupted in between.
const copyMax = 32 << 20

var copyBuffers = sync.Pool{New: func() any { return new([1 << 20]byte) }}

// CopyFileRange implements [fuse.RawFileSystem]: copies within the mount,
// without the contents going through the kernel.
func (r *raw) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	from, src, err := r.find(in.NodeId)
	if err != nil {
		return 0, r.status(err)
	}
	to, dst, err := r.findWritable(in.NodeIdOut)
	switch {
	case err != nil:
		return 0, r.status(err)
	case in.Flags != 0 || in.OffIn > math.MaxInt64 || in.OffOut > math.MaxInt64:
		return 0, fuse.EINVAL
	}
	if in.Uid != 0 {
		if err := to.w.tame(dst); err != nil {
			return 0, r.status(err)
		}
	}
	buf := copyBuffers.Get().(*[1 << 20]byte)
	defer copyBuffers.Put(buf)
	ctx := request(cancel)
	left, done := int64(min(in.Len, copyMax)), int64(0)
	// Who is interrupted gets what has been copied; nothing would mean the end
	// of the file, and a signal may come before anything is.
	for left > 0 && (done == 0 || ctx.Err() == nil) {
		p := buf[:min(left, int64(len(buf)))]
		n, readErr := from.fs.ReadAt(background, src, p, int64(in.OffIn)+done)
		if readErr != nil && readErr != io.EOF {
			err = readErr
			break
		}
		wrote, writeErr := to.w.write(dst, p[:n], int64(in.OffOut)+done)
		done += int64(wrote)
		left -= int64(wrote)
		if writeErr != nil {
			err = writeErr
			break
		}
		if readErr == io.EOF {
			break
		}
	}
	if done > 0 {
		return uint32(done), fuse.OK
	}
	return 0, r.status(err)
}
