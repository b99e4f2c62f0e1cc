package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// inode is an inode as it was read, and where from.
type inode struct {
	ondisk.Inode
	num  uint32
	off  int64  // byte offset of the inode on the device
	raw  []byte // all of it, with the attributes behind the fields
	seed uint32 // of the checksums of its directory and extent blocks
	size int64  // bytes

	dirty  bool         // in an operation: it has to be written
	counts extentCounts // in an operation: what has changed in its extent tree
}

func (in *inode) mode() vfs.Mode     { return vfs.Mode(in.Mode) }
func (in *inode) has(fl uint32) bool { return in.Flags&fl != 0 }
func (in *inode) name() string       { return fmt.Sprintf("inode %d", in.num) }

func (in *inode) corrupt(format string, args ...any) error {
	return vfs.Corruptf(in.off, in.name(), format, args...)
}

// readInode reads a file's inode: ENOENT if the number is out of range,
// reserved for the file system's own use, or not in use.
func (fs *FS) readInode(ino vfs.Ino, in *inode) error {
	sb := fs.sb
	switch {
	case ino == ondisk.RootIno:
	case ino < vfs.Ino(fs.firstIno),
		ino == vfs.Ino(sb.UsrQuotaIno), ino == vfs.Ino(sb.GrpQuotaIno), ino == vfs.Ino(sb.PrjQuotaIno),
		sb.FeatureCompat&ondisk.CompatOrphanFile != 0 && ino == vfs.Ino(sb.OrphanFileIno):
		return syscall.ENOENT
	}
	return fs.readAnyInode(ino, in)
}

// readAnyInode is [FS.readInode] for reserved inodes as well.
func (fs *FS) readAnyInode(ino vfs.Ino, in *inode) error {
	err := fs.fetchInode(ino, in)
	if err == nil && in.Links == 0 {
		err = syscall.ENOENT // deleted, or still open when the system stopped
	}
	return err
}

// fetchInode reads an inode, whether it has names or not.
func (fs *FS) fetchInode(ino vfs.Ino, in *inode) error {
	if ino == 0 || ino > vfs.Ino(fs.sb.InodesCount) {
		return syscall.ENOENT
	}
	at, err := fs.locateInode(uint32(ino))
	if err != nil {
		return err
	}
	*in = inode{num: uint32(ino), off: at.off}
	if raw, ok := fs.fast.inode(in.num); ok {
		if raw == nil {
			return syscall.ENOENT // deleted
		}
		in.raw = raw
		ondisk.DecodeInode(in.raw, &in.Inode)
		return fs.checkInode(in, false) // the fast commit had a checksum of its own
	}
	if at.unwritten {
		return syscall.ENOENT
	}
	if in.raw, err = fs.cache.Bytes(in.off, int(fs.inodeSize)); err != nil {
		return fmt.Errorf("read %s at byte %d: %w", in.name(), in.off, err)
	}
	ondisk.DecodeInode(in.raw, &in.Inode)
	return fs.checkInode(in, fs.metadataCsum)
}

// inodePlace is where an inode lies.
type inodePlace struct {
	off       int64 // bytes
	unwritten bool  // the table has never been written there: nothing is in use
}

// locateInode finds the inode num.
//
// Requires 0 < num <= s_inodes_count.
func (fs *FS) locateInode(num uint32) (inodePlace, error) {
	group, index := (num-1)/fs.inodesPerGroup, (num-1)%fs.inodesPerGroup
	d, err := fs.group(uint64(group))
	if err != nil {
		return inodePlace{}, err
	}
	return inodePlace{
		off: fs.offset(d.InodeTable) + int64(index)*fs.inodeSize,
		unwritten: fs.unwrittenBg && (d.Flags&ondisk.GroupInodeUninit != 0 ||
			uint64(index)+uint64(d.ItableUnused) >= uint64(fs.inodesPerGroup)),
	}, nil
}

// checkInode makes sure of what the rest relies on.
func (fs *FS) checkInode(in *inode, csum bool) error {
	if in.Links == 0 && in.Mode == 0 {
		return syscall.ENOENT
	}
	if fs.inodeSize > ondisk.InodeSizeOld &&
		(int64(in.ExtraIsize) > fs.inodeSize-ondisk.InodeSizeOld || in.ExtraIsize%4 != 0) {
		return in.corrupt("%d extra bytes in an inode of %d", in.ExtraIsize, fs.inodeSize)
	}
	if fs.metadataCsum {
		in.seed = ondisk.InodeSeed(fs.seed, in.num, in.Generation)
	}
	if csum {
		if want := ondisk.InodeChecksum(in.seed, in.raw, in.HasHi); in.Checksum != want {
			return in.corrupt("checksum %#08x, want %#08x", in.Checksum, want)
		}
	}
	if fs.sb.CreatorOS == ondisk.OSHurd {
		in.FileACL = uint64(in.FileACLLo) // the upper half is more mode bits there
	}

	// i_size_high was something else in directories before large_dir.
	size := uint64(in.SizeLo)
	if in.mode().IsRegular() || in.mode().IsDir() && fs.sb.FeatureIncompat&ondisk.IncompatLargeDir != 0 {
		size = in.Size
	}
	// Blocks of a file are numbered in 32 bits.
	if size > uint64(fs.blockSize)<<32 {
		return in.corrupt("size of %d bytes", size)
	}
	in.size = int64(size)

	switch in.mode().Type() {
	case vfs.Regular, vfs.Symlink, vfs.FIFO, vfs.Socket, vfs.Char, vfs.Block:
	case vfs.Dir:
		// Directories have no holes, so none is larger than the device. This
		// bounds every walk through one.
		if size > fs.blocks*uint64(fs.blockSize) {
			return in.corrupt("directory of %d bytes in a file system of %d", size, fs.blocks*uint64(fs.blockSize))
		}
	default:
		return in.corrupt("unknown file type, mode %#o", in.Mode)
	}
	return nil
}

// Getattr returns the attributes of ino.
func (fs *FS) Getattr(ctx context.Context, ino vfs.Ino) (vfs.Attr, error) {
	var in inode
	if err := fs.readInode(ino, &in); err != nil {
		return vfs.Attr{}, err
	}
	return fs.attr(&in), nil
}

func (fs *FS) attr(in *inode) vfs.Attr {
	a := vfs.Attr{
		Ino:    vfs.Ino(in.num),
		Gen:    in.Generation,
		Mode:   in.mode(),
		Nlink:  uint32(in.Links),
		UID:    in.UID,
		GID:    in.GID,
		Size:   in.size,
		Blocks: fs.sectors(in),
		Atime:  in.Atime.Time(),
		Mtime:  in.Mtime.Time(),
		Ctime:  in.Ctime.Time(),
	}
	if in.HasCrtime && in.Crtime != (ondisk.Time{}) {
		a.Btime = in.Crtime.Time()
	}
	if in.mode().IsDevice() {
		a.Rdev = device(&in.Inode)
	}
	for _, f := range [...]struct {
		on  uint32
		set vfs.Flags
	}{
		{ondisk.FlImmutable, vfs.SystemImmutable},
		{ondisk.FlAppend, vfs.SystemAppend},
		{ondisk.FlNoDump, vfs.UserNoDump},
	} {
		if in.has(f.on) {
			a.Flags |= f.set
		}
	}
	return a
}

// sectors is what the inode takes, in units of 512 bytes (ext4_inode_blocks).
func (fs *FS) sectors(in *inode) int64 {
	if fs.sb.FeatureROCompat&ondisk.ROCompatHugeFile == 0 {
		return int64(in.BlocksLo)
	}
	if in.has(ondisk.FlHugeFile) {
		return int64(in.Blocks) * (fs.blockSize / 512)
	}
	return int64(in.Blocks)
}

// device decodes a device number: in the first word as old kernels packed it,
// in 16 bits, or in the second in 32.
func device(in *ondisk.Inode) vfs.Dev {
	if old := binary.LittleEndian.Uint32(in.Block[0:]); old != 0 {
		return vfs.Dev{Major: old >> 8 & 0xFF, Minor: old & 0xFF}
	}
	v := binary.LittleEndian.Uint32(in.Block[4:])
	return vfs.Dev{Major: v >> 8 & 0xFFF, Minor: v&0xFF | v>>12&0xFFF00}
}
