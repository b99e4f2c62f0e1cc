package fat

import (
	"cmp"
	"math"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// mkfsLayout is what a new volume looks like. Lengths are in sectors.
type mkfsLayout struct {
	bits        ondisk.Bits
	sectorSize  int64 // bytes
	sectors     int64
	cluster     int64
	reserved    int64
	fats        int64
	fatSectors  int64
	rootEntries int64 // of FAT12 and FAT16
	clusters    int64
	aligned     bool  // everything begins at a multiple of cluster
	least32     int64 // clusters of FAT32: few are made only for who asks for FAT32
}

// Limits of what is made. Windows takes a volume with fewer than 4087 clusters
// for FAT12, Linux and the specification one with fewer than 4085: those in
// between are not made.
const (
	maxMade12 = ondisk.MinClusters16 - 1
	minMade16 = 4087
	maxMade16 = ondisk.MinClusters32 - 1
	maxMade32 = 1<<28 - 10

	autoFAT32      = 512 << 20 // bytes from which on "fat" is FAT32
	maxUnaligned   = 8192      // sectors of a volume in which nothing is aligned
	minDataBytes   = 32 << 10  // that mkfs.fat asks for behind the tables, in whole KiB
	maxClusterSize = 128       // sectors
	newReserved32  = 32
)

// layoutFor chooses the layout of a volume of size bytes.
func layoutFor(size int64, deviceSector int, opt vfs.FormatOptions) (l mkfsLayout, d mkfsDisk, err error) {
	l = mkfsLayout{fats: 2, reserved: 1, sectorSize: int64(max(deviceSector, ondisk.BootSectorSize))}
	switch l.sectorSize {
	case 512, 1024, 2048, 4096:
	default:
		return l, d, cannotMake("sectors of %d bytes are not 512, 1024, 2048 or 4096", l.sectorSize)
	}
	if opt.FATs != 0 {
		if l.fats = int64(opt.FATs); l.fats < 1 || l.fats > 4 {
			return l, d, cannotMake("%d file allocation tables are not 1 to 4", opt.FATs)
		}
	}
	switch opt.Type {
	case "", "fat":
		if size >= autoFAT32 {
			l.bits, l.least32 = 32, ondisk.MinClusters32
		}
	case "fat12":
		l.bits = 12
	case "fat16":
		l.bits = 16
	case "fat32", "vfat":
		l.bits = 32
	default:
		return l, d, cannotMake("type %q is not fat, fat12, fat16, fat32 or vfat", opt.Type)
	}
	d = diskFor(size, l.sectorSize)
	l.cluster = d.cluster
	l.rootEntries = d.rootEntries
	if opt.RootEntries != 0 {
		if l.rootEntries = int64(opt.RootEntries); l.rootEntries < 1 || l.rootEntries > math.MaxUint16 {
			return l, d, cannotMake("%d entries in the root directory are not 1 to %d", opt.RootEntries, math.MaxUint16)
		}
	}
	if l.bits == 32 {
		l.reserved, l.rootEntries, l.cluster = newReserved32, 0, clusterFor32(size/l.sectorSize)
	}
	limit := int64(maxClusterSize)
	if bytes := int64(cmp.Or(opt.ClusterSize, opt.BlockSize)); bytes != 0 {
		c := bytes / l.sectorSize
		if c < 1 || c > maxClusterSize || c&(c-1) != 0 || c*l.sectorSize != bytes {
			return l, d, cannotMake("clusters of %d bytes are not 1, 2, 4 … 128 sectors of %d bytes", bytes, l.sectorSize)
		}
		l.cluster, limit = c, c
	}
	// DOS and mtools want whole tracks.
	l.sectors = min(size/l.sectorSize, math.MaxUint32) / d.sectorsPerTrack * d.sectorsPerTrack
	l.aligned = l.sectors > maxUnaligned
	if err := l.fit(limit); err != nil {
		return l, d, err
	}
	if size/1024-ceilDiv(l.dataSector()*l.sectorSize, 1024) < minDataBytes/1024 {
		return l, d, cannotMake("%d bytes are too few for a FAT volume: there is no room for files", size)
	}
	return l, d, nil
}

// fit finds the smallest cluster, from l.cluster up to limit, with which the
// width of the table can number all clusters.
func (l *mkfsLayout) fit(limit int64) error {
	for ; l.cluster <= limit; l.cluster *= 2 {
		var best mkfsLayout
		for _, bits := range []ondisk.Bits{12, 16, 32} {
			if l.bits != bits && (l.bits != 0 || bits == 32) {
				continue
			}
			if t := l.with(bits); t.clusters > best.clusters {
				best = t
			}
		}
		if best.clusters > 0 {
			*l = best
			return nil
		}
	}
	name := "FAT"
	if l.bits != 0 {
		name = map[ondisk.Bits]string{12: "FAT12", 16: "FAT16", 32: "FAT32"}[l.bits]
	}
	if limit < maxClusterSize {
		return cannotMake("a volume of %d sectors cannot be %s with clusters of %d sectors", l.sectors, name, limit)
	}
	least, most := l.clusterRange(l.bits)
	return cannotMake("a volume of %d sectors is too small or too large for %s, which has %d to %d clusters of 1 to %d sectors", l.sectors, name, least, most, maxClusterSize)
}

// with computes the lengths of everything for a width of the table. There are
// no clusters if they are too many for it, or so few that it would be taken for
// another.
func (l *mkfsLayout) with(bits ondisk.Bits) mkfsLayout {
	t := *l
	t.bits, t.clusters = bits, 0
	root := l.align(l.rootSectors())
	t.reserved = l.align(l.reserved)
	if l.aligned && bits != 32 {
		t.rootEntries = root * l.sectorSize / ondisk.DirentSize
	}
	space := l.sectors - t.reserved - root // of the tables and the clusters
	if space <= 0 {
		return t
	}
	// A cluster needs its own space and, in each table, bits of an entry; the
	// first two entries belong to none.
	b := int64(bits)
	estimate := (8*space*l.sectorSize + 2*b*l.fats) / (8*l.cluster*l.sectorSize + b*l.fats)
	t.fatSectors = l.align(ceilDiv(ceilDiv((estimate+2)*b, 8), l.sectorSize))
	// Rounding up the tables takes space from the clusters, or leaves some.
	n := (space - l.fats*t.fatSectors) / l.cluster
	least, most := l.clusterRange(bits)
	if n >= least && n <= min(most, bits.Entries(t.fatSectors*l.sectorSize)-ondisk.FirstCluster) {
		t.clusters = n
	}
	return t
}

// clusterRange returns how few and how many clusters are made with a width of
// the table; of any width, if it is 0.
func (l *mkfsLayout) clusterRange(bits ondisk.Bits) (least, most int64) {
	switch bits {
	case 12:
		return max(1, l.least32), maxMade12
	case 16:
		return minMade16, maxMade16
	case 0:
		return 1, maxMade16 // FAT32 has to be asked for
	}
	return max(1, l.least32), maxMade32
}

func (l *mkfsLayout) align(n int64) int64 {
	if !l.aligned {
		return n
	}
	return ceilDiv(n, l.cluster) * l.cluster
}

func (l *mkfsLayout) rootSectors() int64 {
	return ceilDiv(l.rootEntries*ondisk.DirentSize, l.sectorSize)
}

// dataSector is where cluster 2 begins.
func (l *mkfsLayout) dataSector() int64 {
	return l.reserved + l.fats*l.fatSectors + l.rootSectors()
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }
