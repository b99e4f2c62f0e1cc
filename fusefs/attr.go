package fusefs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// How long the kernel may keep names and attributes, in seconds. Nothing in an
// image that is mounted for reading changes. In one that is written to all
// changes come through the kernel, which forgets what they make untrue; only if
// a directory is looked at just while a name in it is made or removed, it may
// keep the attributes of before, and so it must not do that for ever.
const (
	forever     = 365 * 24 * 3600
	dirAttrTime = 5
)

// attrValid returns how long the kernel may keep attributes.
func (v *volume) attrValid(a *vfs.Attr) uint64 {
	if v.w != nil && a.Mode.IsDir() {
		return dirAttrTime
	}
	return forever
}

// entryValid returns how long the kernel may keep names. Where a name has many
// spellings, a change to one makes the others untrue, of which the kernel knows
// nothing.
func (v *volume) entryValid() uint64 {
	if v.w != nil && v.folds {
		return 0
	}
	return forever
}

// request is the context of a request: it ends when the kernel interrupts it.
// It is the channel itself, so that a request costs no allocation.
type request <-chan struct{}

var _ context.Context = request(nil)

// uninterrupted never ends. It is for what is done at once: a program that gets
// a signal while it looks for a name, which the kernel does as a part of
// rename(2) and many others, must not be told EINTR, which POSIX does not know
// there.
var uninterrupted request

func (c request) Deadline() (time.Time, bool) { return time.Time{}, false }
func (c request) Done() <-chan struct{}       { return c }
func (c request) Value(any) any               { return nil }
func (c request) Err() error {
	select {
	case <-c:
		return context.Canceled
	default:
		return nil
	}
}

// fileMode returns the mode as Linux knows it, or 0 if it has no such file
// type: the kernel fails an inode of an unknown type, and with it everything
// in its directory that comes with it.
func fileMode(m vfs.Mode) uint32 {
	switch m.Type() {
	case vfs.FIFO, vfs.Char, vfs.Dir, vfs.Block, vfs.Regular, vfs.Symlink, vfs.Socket:
		return uint32(m & (vfs.TypeMask | 0o7777))
	case vfs.Whiteout: // Linux's own whiteouts are character devices 0:0
		return uint32(vfs.Char | m.Perm())
	}
	return 0
}

// newEncodeDev packs a device number as the kernel does towards user space in
// 32 bits: new_encode_dev of linux/kdev_t.h, 12 bits of major, 20 of minor.
func newEncodeDev(d vfs.Dev) uint32 {
	return d.Minor&0xff | d.Major&0xfff<<8 | (d.Minor&^0xff)<<12
}

// unixTime splits a time; one that is not recorded becomes that of fallback.
func unixTime(t, fallback time.Time) (sec uint64, nsec uint32) {
	if t.IsZero() {
		if t = fallback; t.IsZero() {
			return 0, 0
		}
	}
	// Before 1970 the seconds are negative, and the kernel takes them so.
	return uint64(t.Unix()), uint32(t.Nanosecond())
}

// fill converts attributes. out is zero.
func (v *volume) fill(out *fuse.Attr, a *vfs.Attr) error {
	mode := fileMode(a.Mode)
	switch {
	case uint64(a.Ino) > inoMask:
		return syscall.EOVERFLOW
	case mode == 0:
		return vfs.Corruptf(-1, inode(a.Ino), "unknown file type 0%o", uint32(a.Mode.Type()))
	case a.Size < 0:
		return vfs.Corruptf(-1, inode(a.Ino), "negative size %d", a.Size)
	}
	out.Ino = v.stIno(a.Ino)
	out.Size = uint64(a.Size)
	out.Blocks = uint64(max(a.Blocks, 0))
	out.Mtime, out.Mtimensec = unixTime(a.Mtime, time.Time{})
	out.Atime, out.Atimensec = unixTime(a.Atime, a.Mtime)
	out.Ctime, out.Ctimensec = unixTime(a.Ctime, a.Mtime)
	out.Mode = mode
	out.Nlink = a.Nlink
	out.Uid, out.Gid = a.UID, a.GID
	if a.Mode.IsDevice() {
		out.Rdev = newEncodeDev(a.Rdev)
	}
	out.Blksize = v.blksize
	return nil
}

// entry converts attributes to the answer of a lookup, which gives the kernel a
// reference to the file. out is zero, and stays so after an error. Of what is
// written to, requires v.w.names.
func (v *volume) entry(out *fuse.EntryOut, a *vfs.Attr) error {
	if err := v.fill(&out.Attr, a); err != nil {
		return err
	}
	out.NodeId = v.nodeID(a.Ino)
	out.Generation = uint64(a.Gen)
	out.EntryValid, out.AttrValid = v.entryValid(), v.attrValid(a)
	if v.w != nil {
		v.w.refs.take(a.Ino)
	}
	return nil
}

// Lookup implements [fuse.RawFileSystem].
func (r *raw) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	v, dir, err := r.find(header.NodeId)
	if err != nil {
		return r.status(err)
	}
	if v.w != nil {
		v.w.names.RLock()
		defer v.w.names.RUnlock()
	}
	attr, err := v.fs.Lookup(uninterrupted, dir, name)
	if err == syscall.ENOENT {
		// No node, but for a time: the kernel remembers that it is missing.
		out.EntryValid = v.entryValid()
		return fuse.OK
	}
	if err == nil {
		if over, ino := v.visible(attr.Ino); over != v {
			v = over
			attr, err = v.fs.Getattr(uninterrupted, ino)
		}
	}
	if err == nil {
		err = v.entry(out, &attr)
	}
	return r.status(err)
}

// GetAttr implements [fuse.RawFileSystem].
func (r *raw) GetAttr(cancel <-chan struct{}, input *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	v, ino, err := r.find(input.NodeId)
	if err != nil {
		return r.status(err)
	}
	attr, err := v.fs.Getattr(uninterrupted, ino)
	if err == nil {
		err = v.fill(&out.Attr, &attr)
		out.AttrValid = v.attrValid(&attr)
	}
	return r.status(err)
}

// Statx implements [fuse.RawFileSystem]. The kernel asks when a program wants
// to know the time of birth, which GetAttr does not tell.
func (r *raw) Statx(cancel <-chan struct{}, input *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	v, ino, err := r.find(input.NodeId)
	if err != nil {
		return r.status(err)
	}
	attr, err := v.fs.Getattr(uninterrupted, ino)
	var a fuse.Attr
	if err == nil {
		err = v.fill(&a, &attr)
	}
	if err != nil {
		return r.status(err)
	}
	out.AttrValid = v.attrValid(&attr)
	out.Statx = fuse.Statx{
		Mask:    unix.STATX_BASIC_STATS,
		Blksize: a.Blksize, Nlink: a.Nlink, Uid: a.Uid, Gid: a.Gid, Mode: uint16(a.Mode),
		Ino: a.Ino, Size: a.Size, Blocks: a.Blocks,
		Atime:     fuse.SxTime{Sec: a.Atime, Nsec: a.Atimensec},
		Ctime:     fuse.SxTime{Sec: a.Ctime, Nsec: a.Ctimensec},
		Mtime:     fuse.SxTime{Sec: a.Mtime, Nsec: a.Mtimensec},
		RdevMajor: attr.Rdev.Major, RdevMinor: attr.Rdev.Minor,
	}
	if !attr.Btime.IsZero() {
		out.Mask |= unix.STATX_BTIME
		out.Btime.Sec, out.Btime.Nsec = unixTime(attr.Btime, attr.Btime)
	}
	return fuse.OK
}

// Access implements [fuse.RawFileSystem], for access(2) and chdir(2). All may
// be read, and written to where that is possible at all; but a file that nobody may execute is no program, and test -x must
// say so. (Opening to execute is judged by the kernel, in the same way.)
func (r *raw) Access(cancel <-chan struct{}, input *fuse.AccessIn) fuse.Status {
	v, ino, err := r.find(input.NodeId)
	if err != nil {
		return r.status(err)
	}
	if input.Mask&fuse.W_OK != 0 && v.w == nil {
		return fuse.EROFS
	}
	if input.Mask&fuse.X_OK == 0 {
		return fuse.OK
	}
	attr, err := v.fs.Getattr(uninterrupted, ino)
	if err != nil {
		return r.status(err)
	}
	if attr.Mode.IsRegular() && attr.Mode&0o111 == 0 {
		return fuse.EACCES
	}
	return fuse.OK
}

// Readlink implements [fuse.RawFileSystem].
func (r *raw) Readlink(cancel <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	v, ino, err := r.find(header.NodeId)
	if err != nil {
		return nil, r.status(err)
	}
	target, err := v.fs.Readlink(uninterrupted, ino)
	if err != nil {
		return nil, r.status(err)
	}
	return []byte(target), fuse.OK
}

// StatFs implements [fuse.RawFileSystem]. The counts are those of the volume
// that the file is in.
func (r *raw) StatFs(cancel <-chan struct{}, header *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	v, _, err := r.find(header.NodeId)
	if err != nil {
		return r.status(err)
	}
	if v.w != nil {
		v.w.settle()
	}
	st, err := v.fs.Statfs(uninterrupted)
	if err != nil {
		return r.status(err)
	}
	out.Bsize, out.Frsize = uint32(st.BlockSize), uint32(st.BlockSize)
	out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Free, st.Avail
	out.Files, out.Ffree = st.Files, st.FilesFree
	out.NameLen = uint32(st.NameMax)
	return fuse.OK
}
