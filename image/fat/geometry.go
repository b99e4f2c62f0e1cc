package fat

import (
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// geometry is where everything lies on a volume: the validated boot sector.
//
// Microsoft's specification takes the width of the table from the number of
// clusters alone (below 4085: 12 bits, below 65525: 16 bits, else 32). Volumes
// in use break that, and this package reads them as Linux, GRUB and fsck.fat do:
//
//   - A volume whose 16-bit table length is 0 is FAT32 however few clusters it
//     has: mkfs.fat -F 32 makes such on small media, EFI system partitions
//     among them. (mtools takes these for FAT16, and finds nothing.)
//   - With a 16-bit table length and more than 65524 clusters it is FAT16, up
//     to the 65524 that Linux accepts; beyond that it is damaged.
//   - The clusters in use are those that have both an entry in the table and
//     space in the data area, whichever is less: a table is often longer than
//     the data area.
type geometry struct {
	bits        ondisk.Bits
	sectorSize  int64 // bytes
	clusterSize int64 // bytes
	clusters    uint32
	fats        int
	fatStart    int64  // byte offset of the first table
	fatBytes    int64  // length of one table
	tableOff    int64  // byte offset of the active table
	rootOff     int64  // byte offset of the fixed root directory
	rootBytes   int64  // 0 on FAT32
	rootCluster uint32 // 0 unless FAT32
	dataOff     int64  // byte offset of cluster 2
	volumeBytes int64  // as the boot sector says; the device may have less
	deviceBytes int64
}

const bootName = "FAT boot sector"

// newGeometry validates a boot sector.
func newGeometry(b bootRecord, deviceBytes int64) (geometry, error) {
	bad := func(off int64, format string, args ...any) (geometry, error) {
		return geometry{}, vfs.Corruptf(off, bootName, format, args...)
	}
	switch b.BytesPerSector {
	case 512, 1024, 2048, 4096:
	default:
		return bad(0x0b, "%d bytes in a sector", b.BytesPerSector)
	}
	if spc := b.SectorsPerCluster; spc == 0 || spc&(spc-1) != 0 {
		return bad(0x0d, "%d sectors in a cluster", spc)
	}
	if b.ReservedSectors == 0 {
		return bad(0x0e, "no reserved sectors")
	}
	if b.FATs == 0 {
		return bad(0x10, "no file allocation table")
	}
	if b.Media != 0xf0 && b.Media < 0xf8 {
		return bad(0x15, "media byte %#02x", b.Media)
	}
	fatSectors := int64(b.FATSectors16)
	if b.is32 {
		fatSectors = int64(b.fat32.FATSectors)
		if fatSectors == 0 {
			return bad(0x24, "the file allocation table has no sectors")
		}
		if b.fat32.Version != 0 {
			return geometry{}, &vfs.NotSupportedError{What: "FAT32 version other than 0.0", Off: 0x2a}
		}
	}
	total := int64(b.TotalSectors16)
	if total == 0 {
		total = int64(b.TotalSectors32)
	}
	g := geometry{
		sectorSize:  int64(b.BytesPerSector),
		clusterSize: int64(b.BytesPerSector) * int64(b.SectorsPerCluster),
		fats:        int(b.FATs),
		deviceBytes: deviceBytes,
	}
	// The sums below stay under 2^48: 255 FATs of 2^32 sectors of 2^12 bytes.
	rootSectors := (int64(b.RootEntries)*ondisk.DirentSize + g.sectorSize - 1) / g.sectorSize
	g.fatStart = int64(b.ReservedSectors) * g.sectorSize
	g.fatBytes = fatSectors * g.sectorSize
	g.rootOff = g.fatStart + g.fatBytes*int64(g.fats)
	g.dataOff = g.rootOff + rootSectors*g.sectorSize
	g.volumeBytes = total * g.sectorSize
	if g.dataOff >= g.volumeBytes {
		return bad(0x13, "%d sectors leave no room for files behind byte %d", total, g.dataOff)
	}
	clusters := (g.volumeBytes - g.dataOff) / g.clusterSize
	if clusters == 0 {
		return bad(0x13, "%d sectors leave no room for a cluster", total)
	}
	switch {
	case b.is32:
		g.bits = 32
	case clusters < ondisk.MinClusters16:
		g.bits = 12
	default:
		g.bits = 16
	}
	clusters = min(clusters, g.bits.Entries(g.fatBytes)-ondisk.FirstCluster)
	// Cluster numbers must stay below the mark of a bad cluster.
	if limit := int64(g.bits.Bad()) - ondisk.FirstCluster; clusters < 1 || clusters > limit {
		return bad(0x13, "%d clusters on a FAT%d volume", clusters, g.bits)
	}
	g.clusters = uint32(clusters)

	g.tableOff = g.fatStart
	if b.is32 {
		if b.fat32.Flags&ondisk.FlagNoMirroring != 0 {
			active := int64(b.fat32.Flags & ondisk.FlagActiveMask)
			if active >= int64(g.fats) {
				return bad(0x28, "FAT %d is the active one of %d", active, g.fats)
			}
			g.tableOff += active * g.fatBytes
		}
		g.rootCluster = b.fat32.RootCluster
		if !g.holds(g.rootCluster) {
			return bad(0x2c, "root directory in cluster %d of %d", g.rootCluster, g.clusters)
		}
	} else {
		if b.RootEntries == 0 {
			return bad(0x11, "no entries in the root directory")
		}
		g.rootBytes = int64(b.RootEntries) * ondisk.DirentSize
		if g.rootOff+g.rootBytes > deviceBytes {
			return bad(0, "the root directory at byte %d lies beyond the end of the device", g.rootOff)
		}
	}
	if g.tableOff+g.fatBytes > deviceBytes {
		return bad(0, "the file allocation table at byte %d lies beyond the end of the device", g.tableOff)
	}
	return g, nil
}

// holds reports whether cluster is the number of a cluster of the data area.
func (g *geometry) holds(cluster uint32) bool {
	return cluster >= ondisk.FirstCluster && cluster-ondisk.FirstCluster < g.clusters
}

// clusterOff is the byte offset of a cluster that the volume holds.
func (g *geometry) clusterOff(cluster uint32) int64 {
	return g.dataOff + int64(cluster-ondisk.FirstCluster)*g.clusterSize
}

// clusterAt is the cluster that lies at a byte offset in the data area.
func (g *geometry) clusterAt(off int64) uint32 {
	return uint32((off-g.dataOff)/g.clusterSize) + ondisk.FirstCluster
}

// entryOff is the byte offset of the table entry of a cluster.
func (g *geometry) entryOff(cluster uint32) int64 { return g.tableOff + g.bits.Offset(cluster) }
