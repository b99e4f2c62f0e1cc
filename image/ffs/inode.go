package ffs

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An inode is a decoded inode and where it came from.
type inode struct {
	ondisk.Inode
	num   uint64
	off   int64 // byte offset in the volume
	size  int64 // checked
	dirty bool  // changed by the operation that runs
}

func (in *inode) mode() vfs.Mode { return vfs.Mode(in.Mode) }

// corrupt reports damage of the inode itself.
func (in *inode) corrupt(format string, args ...any) error {
	return vfs.Corruptf(in.off, fmt.Sprintf("inode %d", in.num), format, args...)
}

// read decodes inode num into in. One that is out of range or free is ENOENT.
func (f *FS) read(num vfs.Ino, in *inode) error {
	g := &f.geo
	n := uint64(num)
	if n < ondisk.RootIno || n >= g.inodes() {
		return syscall.ENOENT
	}
	if g.version == ondisk.V2 && !f.isInited(n) {
		return syscall.ENOENT
	}
	b, off, err := f.inodeBytes(n)
	if err != nil {
		return err
	}
	in.num, in.off = n, off
	in.Decode(b, g.order, g.version)
	if in.Mode == 0 {
		return syscall.ENOENT
	}
	switch in.mode().Type() {
	case vfs.Regular, vfs.Dir, vfs.Symlink, vfs.Char, vfs.Block, vfs.FIFO, vfs.Socket, vfs.Whiteout:
	default:
		return in.corrupt("mode %#o has no file type", in.Mode)
	}
	in.size = int64(in.Size)
	if in.size < 0 || in.size > g.maxFileSize() {
		return in.corrupt("size of %d bytes", in.Size)
	}
	return nil
}

// inodeBytes returns the bytes of inode n, which is within range.
func (f *FS) inodeBytes(n uint64) ([]byte, int64, error) {
	off := f.geo.inodeOffset(n)
	size := f.geo.version.InodeSize()
	if off < 0 || off > f.cache.Size()-int64(size) {
		return nil, 0, vfs.Corruptf(off, fmt.Sprintf("inode %d", n), "lies beyond the end of the device")
	}
	b, err := f.cache.Bytes(off, size)
	if err != nil {
		return nil, 0, fmt.Errorf("read inode %d at byte %d: %w", n, off, err)
	}
	return b, off, nil
}

// isInited reports whether inode n has ever been written. FFS2 initialises the
// inode table as it goes along; behind cg_initediblk lies whatever the disk had
// before. A group header that is damaged does not take its files with it: the
// kernels do not look at it either.
func (f *FS) isInited(n uint64) bool {
	c, i := n/f.geo.inodesPerGroup, n%f.geo.inodesPerGroup
	const set = 1 << 63
	if memo := f.inited.Load(); memo>>32 == set>>32|c {
		return i < memo&(1<<32-1)
	}
	limit := uint64(1<<32 - 1)
	off := (f.geo.groupStart(c) + f.geo.groupHeader) << f.geo.fragShift
	if b, err := f.cache.Bytes(off, ondisk.GroupSize); err == nil {
		if inited, ok := ondisk.GroupInited(b, f.geo.order, uint32(c)); ok {
			limit = uint64(inited)
		}
	}
	if c < 1<<31 { // the memo has 31 bits for the group
		f.inited.Store(set | c<<32 | limit)
	}
	return i < limit
}

// Getattr implements [vfs.FS].
func (f *FS) Getattr(_ context.Context, ino vfs.Ino) (vfs.Attr, error) {
	var in inode
	if err := f.read(ino, &in); err != nil {
		return vfs.Attr{}, err
	}
	return f.attr(&in), nil
}

func (f *FS) attr(in *inode) vfs.Attr {
	a := vfs.Attr{
		Ino: vfs.Ino(in.num), Gen: in.Gen, Mode: in.mode(), Nlink: uint32(in.Nlink),
		UID: in.UID, GID: in.GID, Size: in.size, Blocks: int64(in.Blocks &^ (1 << 63)),
		Flags: vfs.Flags(in.Flags),
		Atime: goTime(in.Atime), Mtime: goTime(in.Mtime), Ctime: goTime(in.Ctime),
	}
	if f.geo.oldIDs {
		a.UID, a.GID = uint32(in.OldUID), uint32(in.OldGID)
	}
	if in.Btime != (ondisk.Time{}) { // OpenBSD has the field and does not fill it
		a.Btime = goTime(in.Btime)
	}
	if a.Mode.IsDevice() {
		a.Rdev.Major, a.Rdev.Minor = f.geo.flavour.Device(in.RawDevice(f.geo.version))
	}
	return a
}

// goTime converts a time; nanoseconds that are none are dropped rather than
// carried into the seconds.
func goTime(t ondisk.Time) time.Time {
	if t.Nsec < 0 || t.Nsec >= 1e9 {
		t.Nsec = 0
	}
	return time.Unix(t.Sec, int64(t.Nsec)).UTC()
}
