// Package squashfs reads squashfs 4.0, the compressed read-only file system of
// live systems, packages and firmware.
//
// Two kinds of blocks make it up. Metadata blocks hold 8 KiB each, behind a
// header that says how long they are when compressed; inodes, directories and
// the small tables are sequences of bytes cut into such blocks, and a place in
// them is a pair of the block's offset and a byte of what it holds. Data blocks
// hold 4 KiB to 1 MiB of one file each, or as a fragment the ends of many; how
// long they are is told by the inode, in a list with a word for each.
//
// Whatever is decompressed stays in one of two caches of fixed size that all
// readers share, and is decompressed once even if many ask for it at the same
// time. Files that are read from front to end have their next blocks
// decompressed ahead, on all processors.
//
// Where the file system has an export table, which leads from inode numbers to
// inodes, the numbers are those on disk, as the kernel shows them. Without one
// the inode number is made of the place of the inode, so that it can be found,
// and hard links still are one file.
//
// Versions before 4.0, lzo and rare filters of xz are refused by name. File
// systems of big-endian machines, which only those versions had, are not
// recognised.
package squashfs

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Driver is the entry of the driver table.
var Driver = vfs.Driver{Name: "squashfs", Probe: Probe, Open: Open}

// The sizes of the caches, in bytes.
const (
	rawPage   = 16 << 10
	rawCache  = 2 << 20
	metaCache = 8 << 20
	dataCache = 24 << 20
)

// FS is an open squashfs file system.
type FS struct {
	dev   blockio.Device
	raw   *blockio.Cache // what metadata is read through, as it is stored
	sb    ondisk.Super
	size  int64 // bytes used
	codec codec
	meta  *blockCache // metadata blocks
	data  *blockCache // data and fragment blocks
	info  vfs.Info
	root  vfs.Ino

	ids       table
	fragments table
	exports   table
	exported  bool // there is an export table, so inode numbers are those on disk
	xattrIDs  table
	xattrs    int64 // where names and values begin; 0: there are none

	parents vfs.Parents
	strays  strays
	spots   spots
	streams streams
	ahead   ahead
}

// Probe reports whether there is a superblock, of whatever version.
func Probe(dev blockio.Device) (bool, error) {
	if dev.Size() < ondisk.SuperSize {
		return false, nil
	}
	b, err := blockio.ReadFull(dev, 0, ondisk.SuperSize)
	if err != nil {
		return false, err
	}
	sb := ondisk.DecodeSuper(b)
	return string(sb.Magic[:]) == ondisk.Magic && sb.Major <= ondisk.Major, nil
}

// Open opens the file system on dev.
func Open(ctx context.Context, dev blockio.Device) (vfs.FS, error) {
	b, err := blockio.ReadFull(dev, 0, ondisk.SuperSize)
	if err != nil {
		return nil, err
	}
	f := &FS{dev: dev, sb: ondisk.DecodeSuper(b)}
	if err := f.checkSuper(); err != nil {
		return nil, err
	}
	if f.codec, err = newCodec(f.sb.Compression); err != nil {
		return nil, err
	}
	f.raw = blockio.NewCache(dev, rawPage, rawCache)
	f.meta, f.data = newBlockCache(metaCache), newBlockCache(dataCache)
	f.ahead.init(f, runtime.GOMAXPROCS(0))
	if err := f.checkOptions(); err != nil {
		return nil, err
	}
	if err := f.findTables(); err != nil {
		return nil, err
	}
	if err := f.findRoot(ctx); err != nil {
		return nil, err
	}
	f.info.Type = "squashfs"
	f.info.BlockSize, f.info.FragSize = int(f.sb.BlockSize), int(f.sb.BlockSize)
	f.info.Features = append([]string{f.sb.Compression.String()}, f.sb.Flags.Names()...)
	return f, nil
}

var superblock = structure{what: "superblock"}

// The offsets of what checkSuper finds wrong.
const (
	blockSizeOff = 12
	idsOff       = 26
	majorOff     = 28
	rootOff      = 32
	bytesUsedOff = 40
	inodesOff    = 64
)

// checkSuper checks what can be checked in the superblock alone.
func (f *FS) checkSuper() error {
	sb := &f.sb
	switch {
	case string(sb.Magic[:]) != ondisk.Magic:
		return superblock.corrupt(0, "bad magic %q", sb.Magic[:])
	case sb.Major != ondisk.Major || sb.Minor != ondisk.Minor:
		return &vfs.NotSupportedError{What: fmt.Sprintf("squashfs version %d.%d", sb.Major, sb.Minor), Off: majorOff}
	case sb.BlockSize < ondisk.MinBlockSize || sb.BlockSize > ondisk.MaxBlockSize || sb.BlockLog > 31 || sb.BlockSize != 1<<sb.BlockLog:
		return superblock.corrupt(blockSizeOff, "blocks of %d bytes, with a logarithm of %d", sb.BlockSize, sb.BlockLog)
	case sb.BytesUsed < ondisk.SuperSize || sb.BytesUsed > math.MaxInt64:
		return superblock.corrupt(bytesUsedOff, "a size of %d bytes", sb.BytesUsed)
	case sb.IDs == 0:
		return superblock.corrupt(idsOff, "there are no ids")
	}
	f.size = int64(sb.BytesUsed)
	if f.size > f.dev.Size() {
		return superblock.corrupt(bytesUsedOff, "the file system has %d bytes, the device only %d: is the image truncated?", f.size, f.dev.Size())
	}
	if !(sb.InodeTable >= ondisk.SuperSize && sb.InodeTable < sb.DirectoryTable && sb.DirectoryTable < sb.BytesUsed) {
		return superblock.corrupt(inodesOff, "inodes from byte %d, directories from byte %d, %d bytes in all",
			sb.InodeTable, sb.DirectoryTable, sb.BytesUsed)
	}
	return nil
}

// checkOptions looks whether the options of the compressor ask for something
// that the codec does not do.
func (f *FS) checkOptions() error {
	if f.sb.Flags&ondisk.HasOptions == 0 {
		return nil
	}
	of := structure{what: "compressor options"}
	data, _, err := f.metadata(of, ondisk.SuperSize, f.size)
	if err != nil {
		return err
	}
	o := ondisk.DecodeOptions(f.sb.Compression, data)
	if f.sb.Compression == ondisk.LZ4 && o.Version != 1 {
		return &vfs.NotSupportedError{What: fmt.Sprintf("squashfs with version %d of lz4", o.Version), Off: ondisk.SuperSize}
	}
	return nil
}

// findTables looks where the tables are.
func (f *FS) findTables() (err error) {
	sb := &f.sb
	if f.ids, err = f.table("id table", sb.IDTable, uint64(sb.IDs), ondisk.IDSize); err != nil {
		return err
	}
	if sb.Fragments > 0 && sb.FragmentTable != ondisk.NoTable {
		if f.fragments, err = f.table("fragment table", sb.FragmentTable, uint64(sb.Fragments), ondisk.FragmentSize); err != nil {
			return err
		}
	}
	if sb.ExportTable != ondisk.NoTable {
		if f.exports, err = f.table("export table", sb.ExportTable, uint64(sb.Inodes), ondisk.ExportSize); err != nil {
			return err
		}
		f.exported = true
	}
	if sb.XattrTable != ondisk.NoTable {
		return f.findXattrs()
	}
	return nil
}

// findRoot reads the root directory: a file system without one is refused.
func (f *FS) findRoot(ctx context.Context) error {
	var in inode
	if err := f.decodeInode(f.sb.Root, &in); err != nil {
		return err
	}
	if in.Type != ondisk.TypeDir {
		return superblock.corrupt(rootOff, "the root is no directory, but %s", in.mode().Type())
	}
	f.root = packRef(f.sb.Root)
	if f.exported {
		// An export table that does not even lead to the root is of no use.
		ref, _, err := f.export(uint64(in.Number))
		if err != nil || ref != f.sb.Root {
			f.exported = false
			f.info.StateNote = "the export table is damaged: inode numbers are not those on disk"
			return ctx.Err()
		}
		f.root = vfs.Ino(in.Number)
	}
	return ctx.Err()
}

// Info implements [vfs.FS].
func (f *FS) Info() vfs.Info {
	info := f.info
	info.Features = append([]string(nil), info.Features...)
	return info
}

// Root implements [vfs.FS].
func (f *FS) Root() vfs.Ino { return f.root }

// Statfs implements [vfs.FS]: nothing is free.
func (f *FS) Statfs(context.Context) (vfs.Statfs, error) {
	size := int64(f.sb.BlockSize)
	return vfs.Statfs{
		BlockSize: size,
		Blocks:    uint64((f.size + size - 1) / size),
		Files:     uint64(f.sb.Inodes),
		NameMax:   ondisk.MaxName,
	}, nil
}

// Close waits for what is being decompressed ahead. The caches go with the last
// reference.
func (f *FS) Close() error {
	f.ahead.stop()
	return nil
}

var (
	_ vfs.FS         = (*FS)(nil)
	_ vfs.Mapper     = (*FS)(nil)
	_ vfs.Xattrer    = (*FS)(nil)
	_ vfs.HoleSeeker = (*FS)(nil)
)

// strays are the inodes that the export table does not lead to, although it
// should: those that directories led to. Only damaged file systems have any.
type strays struct {
	mu   sync.Mutex
	refs map[uint32]ondisk.Ref
}

const maxStrays = 64 << 10

func (s *strays) get(num uint32) (ondisk.Ref, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ref, ok := s.refs[num]
	return ref, ok
}

// add remembers an inode; false if the number has been given to another, or
// there are too many.
func (s *strays) add(num uint32, ref ondisk.Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.refs[num]
	if ok || len(s.refs) >= maxStrays {
		return ok && old == ref
	}
	if s.refs == nil {
		s.refs = make(map[uint32]ondisk.Ref)
	}
	s.refs[num] = ref
	return true
}
