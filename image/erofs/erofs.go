// Package erofs reads erofs, the read-only file system of Android, of container
// images and of live systems.
//
// There is no table of inodes. An inode number (nid) is a place: so many times
// 32 bytes behind the start of the metadata, anywhere in the image. Extended
// attributes follow the inode, and then comes what the layout of the file asks
// for: the end of its contents, a table of chunks, or the index of its
// compressed blocks. Directories are blocks of entries that are sorted by name,
// within a block and from block to block, so that a name is found in few steps.
//
// Contents that are stored as they are can be read: in one piece, with the end
// behind the inode, and in chunks. Compressed files are listed with all their
// attributes; reading one says by what it is compressed. Chunks on further
// devices, blocks with addresses of 48 bits and compressed metadata are refused
// by name.
//
// Inode numbers are those that the kernel shows. What needs care is that any
// number may be asked for, and any place may look like an inode: what is read
// there is checked like the rest, and a directory that two entries lead to is
// damage (see [vfs.Parents]).
//
// The module go-erofs reads the same layouts by path, through io/fs. It has no
// inode numbers, no cookies and no places on the device, and loses the set-id
// and sticky bits, so there was nothing that this package could have taken from
// it.
package erofs

import (
	"context"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Driver is the entry of the driver table.
var Driver = vfs.Driver{Name: "erofs", Probe: Probe, Open: Open}

const (
	pageSize  = 64 << 10 // of the metadata cache; at least a block
	cacheSize = 8 << 20
)

// FS is an open erofs file system.
type FS struct {
	dev       blockio.Device
	cache     *blockio.Cache // inodes, directories, attributes, and the ends of files
	sb        ondisk.Super
	blockSize int64
	size      int64 // bytes
	meta      int64 // where nids count from
	info      vfs.Info
	root      vfs.Ino

	prefixes  []ondisk.LongPrefix
	prefixErr error // why they are not known

	parents vfs.Parents
}

// Probe reports whether there is a superblock.
func Probe(dev blockio.Device) (bool, error) {
	if dev.Size() < ondisk.SuperOffset+ondisk.SuperSize {
		return false, nil
	}
	b, err := blockio.ReadFull(dev, ondisk.SuperOffset, ondisk.SuperSize)
	if err != nil {
		return false, err
	}
	sb := ondisk.DecodeSuper(b)
	return sb.Magic == ondisk.Magic, nil
}

// Open opens the file system on dev.
func Open(ctx context.Context, dev blockio.Device) (vfs.FS, error) {
	b, err := blockio.ReadFull(dev, ondisk.SuperOffset, ondisk.SuperSize)
	if err != nil {
		return nil, err
	}
	f := &FS{dev: dev, sb: ondisk.DecodeSuper(b), cache: blockio.NewCache(dev, pageSize, cacheSize)}
	if err := f.checkSuper(); err != nil {
		return nil, err
	}
	if err := f.findRoot(); err != nil {
		return nil, err
	}
	f.prefixes, f.prefixErr = f.longPrefixes(ctx)
	f.describe()
	return f, ctx.Err()
}

// findRoot reads the root directory: a file system without one is refused.
func (f *FS) findRoot() error {
	var in inode
	if err := f.decodeInode(uint64(f.sb.Root), &in); err != nil {
		return err
	}
	if !in.mode().IsDir() {
		return superblock.corrupt(rootOff, "the root is no directory: inode %d has the mode %#o", f.sb.Root, in.Mode)
	}
	f.root = in.ino
	return nil
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
	return vfs.Statfs{
		BlockSize: f.blockSize,
		Blocks:    uint64(f.sb.Blocks),
		Files:     f.sb.Inodes,
		NameMax:   ondisk.MaxName,
	}, nil
}

// Close implements [vfs.FS]. The cache goes with the last reference.
func (f *FS) Close() error { return nil }

var (
	_ vfs.FS         = (*FS)(nil)
	_ vfs.Mapper     = (*FS)(nil)
	_ vfs.Xattrer    = (*FS)(nil)
	_ vfs.HoleSeeker = (*FS)(nil)
)
