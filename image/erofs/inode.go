package erofs

import (
	"context"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An inode is one, and where it lies.
type inode struct {
	ondisk.Inode
	ino  vfs.Ino
	at   int64 // on the device
	tail int64 // likewise: what follows inode and attributes
}

func (in *inode) name() structure { return structure{what: "inode", num: uint64(in.ino)} }

func (in *inode) mode() vfs.Mode { return vfs.Mode(in.Mode) }

// firstIno stands for the nid 0, which cannot be an inode number.
const firstIno vfs.Ino = 1 << 47

func inoOf(nid uint64) vfs.Ino {
	if nid == 0 {
		return firstIno
	}
	return vfs.Ino(nid)
}

func nidOf(ino vfs.Ino) uint64 {
	if ino == firstIno {
		return 0
	}
	return uint64(ino)
}

// place returns where the inode with a nid would be; false if that is not a
// place for an inode.
func (f *FS) place(nid uint64) (int64, bool) {
	room := f.size - ondisk.CompactSize
	if nid > uint64(room-f.meta)/ondisk.InodeSlot {
		return 0, false
	}
	at := f.meta + int64(nid)*ondisk.InodeSlot
	return at, at >= ondisk.SuperOffset+ondisk.SuperSize && at <= room
}

// readInode reads the inode with a number: ENOENT if there can be none.
func (f *FS) readInode(ino vfs.Ino, in *inode) error {
	nid := nidOf(ino)
	if _, ok := f.place(nid); ino == 0 || !ok {
		return syscall.ENOENT
	}
	return f.decodeInode(nid, in)
}

// decodeInode reads the inode with a nid.
func (f *FS) decodeInode(nid uint64, in *inode) error {
	*in = inode{ino: inoOf(nid)}
	at, ok := f.place(nid)
	if !ok {
		return in.name().corrupt(-1, "there is no place for it in a file system of %d bytes", f.size)
	}
	b, err := f.bytes(in.name(), at, ondisk.CompactSize)
	if err != nil {
		return err
	}
	if n := ondisk.InodeSize(b); n > len(b) {
		if b, err = f.bytes(in.name(), at, n); err != nil {
			return err
		}
	}
	in.at, in.Inode = at, ondisk.DecodeInode(b)
	in.tail = at + int64(len(b)) + ondisk.XattrsSize(in.Xattrs)
	return f.checkInode(in)
}

func (f *FS) checkInode(in *inode) error {
	switch {
	case in.Format&ondisk.UnknownFormat != 0 || !in.Layout.Known():
		return &vfs.NotSupportedError{What: fmt.Sprintf("erofs inode %d of the format %#x", in.ino, in.Format), Off: in.at}
	case in.Size > math.MaxInt64:
		return in.name().corrupt(in.at, "a size of %d bytes", in.Size)
	case in.Nsec >= 1e9:
		return in.name().corrupt(in.at, "%d nanoseconds", in.Nsec)
	case in.mode().IsDir() && in.Size > uint64(f.size):
		return in.name().corrupt(in.at, "a directory of %d bytes in a file system of %d", in.Size, f.size)
	}
	switch in.mode().Type() {
	case vfs.Regular, vfs.Dir, vfs.Symlink, vfs.Char, vfs.Block, vfs.FIFO, vfs.Socket:
		return f.inside(in.name(), in.at, in.tail-in.at)
	}
	return in.name().corrupt(in.at, "a mode of %#o", in.Mode)
}

// Getattr implements [vfs.FS].
func (f *FS) Getattr(_ context.Context, ino vfs.Ino) (vfs.Attr, error) {
	var in inode
	if err := f.readInode(ino, &in); err != nil {
		return vfs.Attr{}, err
	}
	return f.attr(&in), nil
}

func (f *FS) attr(in *inode) vfs.Attr {
	a := vfs.Attr{
		Ino:   in.ino,
		Mode:  in.mode(),
		Nlink: in.Nlink,
		UID:   in.UID,
		GID:   in.GID,
		Mtime: time.Unix(in.Mtime, int64(in.Nsec)).UTC(),
	}
	if !in.Extended {
		a.Mtime = time.Unix(f.sb.Epoch, int64(f.sb.FixedNsec)).UTC()
	}
	switch {
	case a.Mode.IsDevice():
		a.Rdev.Major, a.Rdev.Minor = in.Device()
	case a.Mode.IsRegular(), a.Mode.IsDir(), a.Mode.IsSymlink():
		a.Size, a.Blocks = int64(in.Size), f.blocks(in)
	}
	return a
}

// blocks is how much a file takes, in units of 512 bytes: as Linux does, chunks
// are not looked at.
func (f *FS) blocks(in *inode) int64 {
	const unit = 512
	if in.Layout.Compressed() {
		return int64(in.Where) * (f.blockSize / unit)
	}
	return int64((in.Size + uint64(f.blockSize) - 1) / uint64(f.blockSize) * uint64(f.blockSize/unit))
}

// maxTarget is the longest target of a symbolic link: PATH_MAX of Linux, with
// its NUL.
const maxTarget = 4095

// Readlink implements [vfs.FS].
func (f *FS) Readlink(ctx context.Context, ino vfs.Ino) (string, error) {
	var in inode
	if err := f.readInode(ino, &in); err != nil {
		return "", err
	}
	if !in.mode().IsSymlink() {
		return "", syscall.EINVAL
	}
	if in.Size > maxTarget {
		return "", in.name().corrupt(in.at, "a target of %d bytes", in.Size)
	}
	b := make([]byte, in.Size)
	_, err := f.read(ctx, &in, b, 0)
	return string(b), err
}
