package fsck

import (
	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// geometry is where everything lies on a volume.
type geometry struct {
	bpb   ondisk.BPB
	bpb32 ondisk.BPB32 // zero unless FAT32
	ext   ondisk.Ext   // zero if there is none

	bits        ondisk.Bits
	sectorSize  int64
	clusterSize int64
	clusters    uint32
	end         uint32 // behind the last cluster
	fatStart    int64
	fatBytes    int64
	active      int // the table that counts
	mirrored    bool
	rootOff     int64 // of the fixed root directory
	rootBytes   int64 // 0 on FAT32
	dataOff     int64
	volumeBytes int64
}

const bootName = "boot sector"

// parseBoot validates a boot sector of a device of so many bytes. Errors are *vfs.CorruptError, with offsets
// in the sector.
func parseBoot(sector []byte, deviceBytes int64) (g geometry, err error) {
	bad := func(off int64, format string, args ...any) (geometry, error) {
		return geometry{}, vfs.Corruptf(off, bootName, format, args...)
	}
	b := ondisk.DecodeBPB(sector)
	g.bpb = b
	if b.Jump[0] != 0xeb && b.Jump[0] != 0xe9 {
		return bad(0, "does not begin with a jump")
	}
	switch b.BytesPerSector {
	case 512, 1024, 2048, 4096:
	default:
		return bad(0x0b, "%d bytes in a sector", b.BytesPerSector)
	}
	if n := b.SectorsPerCluster; n == 0 || n&(n-1) != 0 {
		return bad(0x0d, "%d sectors in a cluster", n)
	}
	switch {
	case b.ReservedSectors == 0:
		return bad(0x0e, "no reserved sectors")
	case b.FATs == 0:
		return bad(0x10, "no file allocation table")
	case b.Media != 0xf0 && b.Media < 0xf8:
		return bad(0x15, "media byte %#02x", b.Media)
	}
	is32 := b.FATSectors16 == 0
	fatSectors := int64(b.FATSectors16)
	extOff := ondisk.Ext16Offset
	g.mirrored = true
	if is32 {
		extOff = ondisk.Ext32Offset
		g.bpb32 = ondisk.DecodeBPB32(sector)
		if fatSectors = int64(g.bpb32.FATSectors); fatSectors == 0 {
			return bad(0x24, "the file allocation table has no sectors")
		}
		if g.bpb32.Version != 0 {
			return g, &vfs.NotSupportedError{What: "FAT32 version other than 0.0", Off: 0x2a}
		}
		if g.bpb32.Flags&ondisk.FlagNoMirroring != 0 {
			g.mirrored = false
			if g.active = int(g.bpb32.Flags & ondisk.FlagActiveMask); g.active >= int(b.FATs) {
				return bad(0x28, "FAT %d is the active one of %d", g.active, b.FATs)
			}
		}
	} else if b.RootEntries == 0 {
		return bad(0x11, "no entries in the root directory")
	}
	if e := ondisk.DecodeExt(sector, extOff); e.Signature == ondisk.SignatureID || e.Signature == ondisk.SignatureLabel {
		g.ext = e
	}
	total := int64(b.TotalSectors16)
	if total == 0 {
		total = int64(b.TotalSectors32)
	}
	g.sectorSize = int64(b.BytesPerSector)
	g.clusterSize = g.sectorSize * int64(b.SectorsPerCluster)
	rootSectors := (int64(b.RootEntries)*ondisk.DirentSize + g.sectorSize - 1) / g.sectorSize
	g.fatStart = int64(b.ReservedSectors) * g.sectorSize
	g.fatBytes = fatSectors * g.sectorSize
	g.rootOff = g.fatStart + g.fatBytes*int64(b.FATs)
	g.dataOff = g.rootOff + rootSectors*g.sectorSize
	g.volumeBytes = total * g.sectorSize
	clusters := (g.volumeBytes - g.dataOff) / g.clusterSize
	if clusters <= 0 {
		return bad(0x13, "%d sectors leave no room for files behind byte %d", total, g.dataOff)
	}
	switch {
	case is32:
		g.bits = 32
	case clusters < ondisk.MinClusters16:
		g.bits = 12
	default:
		g.bits = 16
	}
	if g.volumeBytes > deviceBytes {
		return bad(0x13, "the volume has %d bytes, the device only %d", g.volumeBytes, deviceBytes)
	}
	if !is32 {
		g.rootBytes = int64(b.RootEntries) * ondisk.DirentSize
	}
	clusters = min(clusters, g.bits.Entries(g.fatBytes)-ondisk.FirstCluster)
	if limit := int64(g.bits.Bad()) - ondisk.FirstCluster; clusters < 1 || clusters > limit {
		return bad(0x13, "%d clusters on a FAT%d volume", clusters, g.bits)
	}
	g.clusters = uint32(clusters)
	g.end = g.clusters + ondisk.FirstCluster
	if is32 && !g.holds(g.bpb32.RootCluster) {
		return bad(0x2c, "root directory in cluster %d of %d", g.bpb32.RootCluster, g.clusters)
	}
	return g, nil
}

// holds reports whether cluster is the number of a cluster of the data area.
func (g *geometry) holds(cluster uint32) bool {
	return cluster >= ondisk.FirstCluster && cluster < g.end
}

// clusterOff is the byte offset of a cluster.
func (g *geometry) clusterOff(cluster uint32) int64 {
	return g.dataOff + int64(cluster-ondisk.FirstCluster)*g.clusterSize
}

// tableOff is the byte offset of a table.
func (g *geometry) tableOff(n int) int64 { return g.fatStart + int64(n)*g.fatBytes }

// entryOff is the byte offset of an entry of the active table.
func (g *geometry) entryOff(cluster uint32) int64 {
	return g.tableOff(g.active) + g.bits.Offset(cluster)
}

// extOff is where the extended boot record lies in the boot sector.
func (g *geometry) extOff() int {
	if g.bits == 32 {
		return ondisk.Ext32Offset
	}
	return ondisk.Ext16Offset
}

// rootCluster is where the root directory begins, 0 where it is fixed.
func (g *geometry) rootCluster() uint32 { return g.bpb32.RootCluster }

// start is the first cluster of an entry. The upper half belongs to something
// else on FAT12 and FAT16.
func (g *geometry) start(d *ondisk.Dirent) uint32 {
	if g.bits != 32 {
		return uint32(d.ClusterLo)
	}
	return uint32(d.ClusterHi)<<16 | uint32(d.ClusterLo)
}

func (g *geometry) setStart(d *ondisk.Dirent, cluster uint32) {
	d.ClusterLo = uint16(cluster)
	if g.bits == 32 {
		d.ClusterHi = uint16(cluster >> 16)
	}
}

// end mark of a chain: what mkfs.fat and Windows write.
func (g *geometry) endMark() uint32 { return g.bits.Mask() }
