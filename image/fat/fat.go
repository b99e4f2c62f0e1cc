// Package fat reads and writes FAT12, FAT16 and FAT32 volumes with VFAT long
// names.
//
// A volume is a boot sector, one or more copies of the file allocation table
// (the [table]), on FAT12 and FAT16 a root directory of fixed size, and an area
// of clusters. Every file is a [chain] of clusters linked in the table, and
// every directory is a file of 32-byte slots. There are no inodes, owners or
// permissions.
//
// What FAT does not have is made up here as Linux's vfat driver does it, so
// that an image looks the same through both:
//
//   - An inode number is the position of the file's directory entry on the
//     volume in units of 32 bytes: it needs no table, and does not change while
//     the file keeps its entry. A [Writer] remembers those of entries that it
//     moved. The root directory is inode 1 (there is no entry in the boot
//     sector).
//   - Everything belongs to 0:0; files are 0644, or 0444 with the read-only
//     attribute; directories are 0755. The attributes are also in Attr.Flags.
//   - Times are local times of an unknown place; they are taken as UTC, as
//     mtools does under TZ=UTC. The change time is the modification time. The
//     root directory has none: 1970. A file without a date is from 1980-01-01.
//   - A directory has 2 links and one for each subdirectory, and the size of
//     its clusters.
//   - Bytes above 0x7f of a short name are read as code page 437.
//
// Names are looked up without regard to case and also by their short alias
// (FOOBAR~1.TXT), but a directory lists each file once, under its long name if
// it has one. Halves of surrogate pairs, NUL and "/" in a name are shown as
// U+FFFD, and found under that name. Unlike Linux, a trailing dot of a name
// asked for is not dropped.
//
// The width of the table follows Linux where it departs from the letter of
// Microsoft's specification, which counts clusters: see [geometry].
// Volumes without a BIOS parameter block (floppies of DOS 1) are not read.
//
// What a [Writer] relies on, what it keeps, and what FAT cannot hold is in
// FORMAT.md.
package fat

import (
	"context"
	"sync"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Driver is the entry of the driver table.
var Driver = vfs.Driver{Name: "fat", Probe: Probe, Open: Open, OpenWritable: OpenWritable, Formats: formats, Format: Format}

const (
	pageSize  = 16 << 10 // of the metadata cache
	cacheSize = 8 << 20
	maxNames  = 512 << 10 // entries in all the name indexes that are kept
	maxRuns   = 256 << 10 // cluster runs in all the segments that are kept
	maxChains = 4096
	maxPieces = 64 << 10 // extents of all the directories that are kept
)

// FS is an open FAT volume.
type FS struct {
	geometry
	dev   blockio.Device
	cache *blockio.Cache // directories and the table
	boot  bootRecord

	chains   bounded[uint32, *chain]       // by first cluster
	segments bounded[segmentKey, *segment] // parts of chains
	dirs     bounded[vfs.Ino, *dir]
	indexes  bounded[vfs.Ino, *index]
	claims   claims
	inos     *inos // nil: every inode number is a position

	freeMu  sync.Mutex // held while counting, so that it is done once
	counted bool
	free    uint64 // clusters; valid if counted

	infoOnce sync.Once
	info     vfs.Info
}

// Open opens the volume on dev. A volume that claims to be larger than dev can
// be opened as long as its tables lie in dev: what is there can be read.
func Open(ctx context.Context, dev blockio.Device) (vfs.FS, error) {
	boot, err := readBoot(dev)
	if err != nil {
		return nil, err
	}
	geo, err := newGeometry(boot, dev.Size())
	if err != nil {
		return nil, err
	}
	f := &FS{
		geometry: geo,
		dev:      dev,
		cache:    blockio.NewCache(dev, pageSize, cacheSize),
		boot:     boot,
		chains:   newBounded[uint32, *chain](maxChains),
		segments: newBounded[segmentKey, *segment](maxRuns),
		dirs:     newBounded[vfs.Ino, *dir](maxPieces),
		indexes:  newBounded[vfs.Ino, *index](maxNames),
		claims:   newClaims(),
	}
	// The root directory is loaded now, so that no other directory can claim
	// its clusters, and so that a volume without one is refused.
	if _, err := f.dir(ctx, rootIno); err != nil {
		return nil, err
	}
	return f, nil
}

// Root is the inode number of the root directory.
func (f *FS) Root() vfs.Ino { return rootIno }

// Close does nothing: the caches go with the last reference.
func (f *FS) Close() error { return nil }

var (
	_ vfs.FS       = (*FS)(nil)
	_ vfs.Mapper   = (*FS)(nil)
	_ vfs.Remnants = (*FS)(nil)
)

// Probe reports whether dev is a FAT volume. The signature 55 AA says little:
// partition tables have it too, and some old floppies do not. So the BIOS
// parameter block must make sense, which those of NTFS, exFAT and the boot
// blocks of the BSDs do not: they have no FATs. Then
// the table must begin as a table does, with the media byte and ones; a volume
// in which that is damaged needs the words "FAT" in its boot sector instead.
//
// A sector that also holds a partition table in use is not a volume: fdisk
// leaves the parameter block of an earlier volume in place. The table that
// mkfs.fat --mbr writes begins at sector 0, and so is none.
func Probe(dev blockio.Device) (bool, error) {
	if dev.Size() < ondisk.BootSectorSize {
		return false, nil
	}
	sector, err := blockio.ReadFull(dev, 0, ondisk.BootSectorSize)
	if err != nil {
		return false, err
	}
	boot := decodeBoot(sector)
	if !boot.jumps() {
		return false, nil
	}
	geo, err := newGeometry(boot, dev.Size())
	if err != nil {
		return false, nil //nolint:nilerr // "no" is the answer, not a failure
	}
	if holdsPartitions(sector, dev) {
		return false, nil
	}
	for i := range int64(geo.fats) {
		off := geo.fatStart + i*geo.fatBytes
		if off > dev.Size()-8 {
			break
		}
		p, err := blockio.ReadFull(dev, off, 8)
		if err != nil {
			return false, err
		}
		// FAT[0] is the media byte, extended with ones.
		if geo.bits.Entry(p, 0) == geo.bits.Mask()&^0xff|uint32(boot.Media) {
			return true, nil
		}
	}
	return boot.namesFAT(), nil
}
