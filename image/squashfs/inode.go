package squashfs

import (
	"context"
	"math"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An inode is the fixed part of one, and where it lies.
type inode struct {
	ondisk.Inode
	ino  vfs.Ino
	at   int64 // its metadata block on the device
	tail place // what follows the fixed part
}

func (in *inode) name() structure { return structure{what: "inode", num: uint64(in.Number)} }

func dirName(ino vfs.Ino) structure { return structure{what: "directory", num: uint64(ino)} }

// types are the file types by those of inodes and directory entries.
var types = [...]vfs.Mode{
	ondisk.TypeDir: vfs.Dir, ondisk.TypeFile: vfs.Regular, ondisk.TypeSymlink: vfs.Symlink,
	ondisk.TypeBlock: vfs.Block, ondisk.TypeChar: vfs.Char, ondisk.TypeFIFO: vfs.FIFO, ondisk.TypeSocket: vfs.Socket,
}

func (in *inode) mode() vfs.Mode { return types[in.Type] | vfs.Mode(in.Mode).Perm() }

// Without an export table an inode number is a reference, packed so that it
// leaves room for the number of a volume above it, and never 0.
const refOffsetBits = 13

func packRef(r ondisk.Ref) vfs.Ino {
	return vfs.Ino(r.Block())<<refOffsetBits + vfs.Ino(r.Offset()) + 1
}

func unpackRef(ino vfs.Ino) ondisk.Ref {
	ino--
	return ondisk.Ref(ino>>refOffsetBits)<<16 | ondisk.Ref(ino&(1<<refOffsetBits-1))
}

// export returns what the export table says of an inode number, and where it
// says so.
func (f *FS) export(num uint64) (ondisk.Ref, int64, error) {
	if num == 0 || num > f.exports.count {
		return 0, -1, syscall.ENOENT
	}
	b, off, err := f.get(&f.exports, num-1, nil)
	if err != nil {
		return 0, off, err
	}
	return ondisk.DecodeExport(b), off, nil
}

// number returns the inode number of the inode at ref, which a directory calls
// num. dir and off are that directory, and where it says so.
func (f *FS) number(dir vfs.Ino, off int64, num uint32, ref ondisk.Ref) (vfs.Ino, error) {
	if !f.exported {
		return packRef(ref), nil
	}
	there, _, err := f.export(uint64(num))
	if err == nil && there == ref {
		return vfs.Ino(num), nil
	}
	// One of the two is wrong: the table, unless there is such an inode where it
	// says.
	var in inode
	if err == nil && f.decodeInode(there, &in) == nil && in.Number == num {
		return 0, dirName(dir).corrupt(off, "inode %d is at reference %#x, by the export table at %#x", num, uint64(ref), uint64(there))
	}
	if num == 0 || !f.strays.add(num, ref) {
		return 0, dirName(dir).corrupt(off, "inode %d at reference %#x is not in the export table", num, uint64(ref))
	}
	return vfs.Ino(num), nil
}

// readInode reads the inode with a number: ENOENT if there is none.
func (f *FS) readInode(ino vfs.Ino, in *inode) error {
	if !f.exported {
		if ino == 0 {
			return syscall.ENOENT
		}
		ref := unpackRef(ino)
		if ref.Block() >= int64(f.sb.DirectoryTable-f.sb.InodeTable) {
			return syscall.ENOENT
		}
		err := f.decodeInode(ref, in)
		in.ino = ino
		return err
	}
	if ino > math.MaxUint32 {
		return syscall.ENOENT
	}
	ref, ok := f.strays.get(uint32(ino))
	off := int64(-1)
	if !ok {
		var err error
		if ref, off, err = f.export(uint64(ino)); err != nil {
			return err
		}
	}
	if err := f.decodeInode(ref, in); err != nil {
		return err
	}
	if in.ino = ino; vfs.Ino(in.Number) != ino {
		return structure{what: "export table"}.corrupt(off, "inode %d is said to be where inode %d is", ino, in.Number)
	}
	return nil
}

// decodeInode reads the inode at a reference.
func (f *FS) decodeInode(ref ondisk.Ref, in *inode) error {
	of := structure{what: "inode table"}
	if ref.Block() > math.MaxUint32 || ref.Offset() >= ondisk.MetadataSize {
		return of.corrupt(int64(f.sb.InodeTable), "a bad reference %#x", uint64(ref))
	}
	c, err := f.cursor(of, place{int64(f.sb.InodeTable) + ref.Block(), ref.Offset()}, int64(f.sb.DirectoryTable))
	if err != nil {
		return err
	}
	in.at = c.at
	var buf [ondisk.MaxInodeSize]byte
	head, err := c.bytes(ondisk.InodeHeaderSize, buf[:])
	if err != nil {
		return err
	}
	n, ok := ondisk.InodeSize(head)
	if !ok {
		return of.corrupt(in.at, "no inode at byte %d of what the metadata block holds: type %d", ref.Offset(), uint16(head[0])|uint16(head[1])<<8)
	}
	copy(buf[:], head)
	rest, err := c.bytes(n-ondisk.InodeHeaderSize, nil)
	if err != nil {
		return err
	}
	copy(buf[ondisk.InodeHeaderSize:], rest)
	in.Inode = ondisk.DecodeInode(buf[:n])
	in.tail = c.place()
	if in.Type == ondisk.TypeFile && in.Size > math.MaxInt64 {
		return in.name().corrupt(in.at, "a size of %d bytes", in.Size)
	}
	if in.Type == ondisk.TypeSymlink && in.Size > maxTarget {
		return in.name().corrupt(in.at, "a target of %d bytes", in.Size)
	}
	return nil
}

// maxTarget is the longest target of a symbolic link that mksquashfs stores.
const maxTarget = 65535

// tailCursor begins to read behind the fixed part of an inode.
func (f *FS) tailCursor(in *inode) (cursor, error) {
	return f.cursor(in.name(), in.tail, int64(f.sb.DirectoryTable))
}

// Getattr implements [vfs.FS].
func (f *FS) Getattr(_ context.Context, ino vfs.Ino) (vfs.Attr, error) {
	var in inode
	if err := f.readInode(ino, &in); err != nil {
		return vfs.Attr{}, err
	}
	return f.attr(&in)
}

func (f *FS) attr(in *inode) (vfs.Attr, error) {
	a := vfs.Attr{
		Ino:   in.ino,
		Mode:  in.mode(),
		Nlink: in.Nlink,
		Mtime: time.Unix(int64(in.Mtime), 0).UTC(),
	}
	var err error
	if a.UID, err = f.id(in, in.UID); err != nil {
		return a, err
	}
	if a.GID, err = f.id(in, in.GID); err != nil {
		return a, err
	}
	switch in.Type {
	case ondisk.TypeFile:
		a.Size = int64(in.Size)
		if in.Sparse < in.Size {
			a.Blocks = int64((in.Size-in.Sparse-1)/512 + 1)
		}
	case ondisk.TypeSymlink, ondisk.TypeDir:
		a.Size = int64(in.Size)
	case ondisk.TypeBlock, ondisk.TypeChar:
		a.Rdev.Major, a.Rdev.Minor = in.Device()
	}
	return a, nil
}

// id looks up an owner or group.
func (f *FS) id(in *inode, index uint16) (uint32, error) {
	if uint64(index) >= f.ids.count {
		return 0, in.name().corrupt(in.at, "owner number %d of %d", index, f.ids.count)
	}
	b, _, err := f.get(&f.ids, uint64(index), nil)
	if err != nil {
		return 0, err
	}
	return ondisk.DecodeID(b), nil
}

// Readlink implements [vfs.FS].
func (f *FS) Readlink(_ context.Context, ino vfs.Ino) (string, error) {
	var in inode
	if err := f.readInode(ino, &in); err != nil {
		return "", err
	}
	if in.Type != ondisk.TypeSymlink {
		return "", syscall.EINVAL
	}
	c, err := f.tailCursor(&in)
	if err != nil {
		return "", err
	}
	b, err := c.bytes(int(in.Size), nil)
	return string(b), err
}
