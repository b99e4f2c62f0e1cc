// Package ffs reads and writes the fast file systems of the BSDs: FFS1 and FFS2, alias
// UFS1 and UFS2, as OpenBSD, FreeBSD and NetBSD write them, in either byte
// order and with any legal block and fragment size. What 4.2BSD and 4.3BSD
// left behind is read as well.
//
// The nouns: a file system is a row of cylinder groups, each with its part of
// the inode table. A fragment is the unit of addresses; a block is 1 to 8 of
// them. A file is a list of blocks, direct or behind up to three levels of
// indirect blocks; only the end of a small file is a run of fragments shorter
// than a block. FORMAT.md has the byte tables, and the package ondisk the
// structures.
//
// An [FS] only reads; a [Writer] is an FS that can be changed, by the rules and
// with the policies of the BSD kernels: what belongs together lies together,
// and every count is exact after every operation.
//
// What it does not do: it replays no journal (NetBSD's WAPBL, FreeBSD's SUJ)
// and checks nothing beyond what it needs to read and write safely; that is the
// business of the package fsck. It writes to no file system that keeps
// something up to date which it does not: journals, snapshots, check hashes,
// and nothing in the other byte order or of before 4.4BSD. UFS of Solaris and of Apple are other formats
// under the same magic number and are refused where they can be told.
package ffs

import (
	"context"
	"sync/atomic"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Driver is the entry of this package in the table of file systems.
var Driver = vfs.Driver{
	Name: "ffs", Probe: Probe, Open: Open, OpenWritable: OpenWritable,
	Formats: []string{"ffs1", "ffs2"}, Format: Format,
}

// cacheBytes bounds the metadata kept in memory: the inodes and directories of
// a whole base system.
const cacheBytes = 8 << 20

// FS is an open file system. All methods are safe for concurrent use: apart
// from the caches nothing changes after Open.
type FS struct {
	dev   blockio.Device
	cache *blockio.Cache
	geo   geometry
	info  vfs.Info
	stat  vfs.Statfs
	index dirIndexCache

	// inited remembers the answer for the group that was asked for last:
	// group << 32 | inodes, plus 1 << 63 once it is set.
	inited atomic.Uint64
}

var (
	_ vfs.FS         = (*FS)(nil)
	_ vfs.Mapper     = (*FS)(nil)
	_ vfs.HoleSeeker = (*FS)(nil)
	_ vfs.Xattrer    = (*FS)(nil)
	_ vfs.Remnants   = (*FS)(nil)
)

// Probe reports whether a superblock with a known magic number lies at one of
// the places for primary superblocks. It does not look for backups: those
// survive when a volume is formatted with something else. A wiped superblock
// does not count either; Open tells of it.
func Probe(dev blockio.Device) (bool, error) {
	found, err := candidates(dev)
	for _, c := range found {
		if c.magic != ondisk.MagicBad {
			return true, err
		}
	}
	return false, err
}

// Open opens the file system on dev. A primary superblock that is damaged is a
// [*vfs.CorruptError], which says where a usable backup lies if there is one;
// the backup is not used in its place.
func Open(_ context.Context, dev blockio.Device) (vfs.FS, error) {
	at, super, order, geo, err := findSuper(dev)
	if err != nil {
		return nil, err
	}
	f := &FS{
		dev:   dev,
		cache: blockio.NewCache(dev, int(geo.blockSize), cacheBytes),
		geo:   *geo,
	}
	f.info = describe(super, order, geo, at, dev.Size())
	f.stat = count(super, geo)
	return f, nil
}

// Info implements [vfs.FS].
func (f *FS) Info() vfs.Info {
	info := f.info
	info.Features = append([]string(nil), info.Features...)
	return info
}

// Root implements [vfs.FS].
func (f *FS) Root() vfs.Ino { return ondisk.RootIno }

// Statfs implements [vfs.FS]: the counts of the superblock, as OpenBSD's
// ffs_statfs reports them, in fragments.
func (f *FS) Statfs(context.Context) (vfs.Statfs, error) { return f.stat, nil }

// Close implements [vfs.FS].
func (f *FS) Close() error { return nil }
