package ext4

import (
	"cmp"
	"context"
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Statfs counts as Linux does (ext4_statfs, without the option minixdf): what
// the file system needs for itself is not counted as blocks, and what is kept
// for root or for delayed allocation is not available.
func (fs *FS) Statfs(ctx context.Context) (vfs.Statfs, error) {
	var freeClusters, freeInodes uint64
	for n := range fs.groups {
		if err := checkpoint(ctx, int(n)); err != nil {
			return vfs.Statfs{}, err
		}
		d, err := fs.group(n)
		if err != nil {
			return vfs.Statfs{}, err
		}
		freeClusters += uint64(d.FreeBlocks)
		freeInodes += uint64(d.FreeInodes)
	}
	overhead, err := fs.overhead()
	return fs.statfs(overhead, freeClusters, freeInodes, false), err
}

// statfs is what Statfs says, with the reserved blocks available if all is.
func (fs *FS) statfs(overhead, freeClusters, freeInodes uint64, all bool) vfs.Statfs {
	st := vfs.Statfs{
		BlockSize: fs.blockSize,
		Blocks:    fs.blocks - min(overhead<<fs.clusterShift, fs.blocks),
		Free:      freeClusters << fs.clusterShift,
		Files:     uint64(fs.sb.InodesCount),
		FilesFree: freeInodes,
		NameMax:   ondisk.NameMax,
	}
	if reserved := fs.reservedBlocks(); all {
		st.Avail = st.Free
	} else if st.Free > reserved {
		st.Avail = st.Free - reserved
	}
	return st
}

// reservedBlocks is what Linux keeps for root, and for delayed allocation
// (ext4_calculate_resv_clusters).
func (fs *FS) reservedBlocks() uint64 {
	reserved := fs.sb.ReservedBlocks()
	if fs.sb.FeatureIncompat&ondisk.IncompatExtents != 0 {
		reserved += min(fs.blocks>>fs.clusterShift/50, 4096) << fs.clusterShift
	}
	return reserved
}

// overhead is what the file system needs for itself, in clusters
// (ext4_calculate_overhead). The superblock may know it.
func (fs *FS) overhead() (uint64, error) {
	if known := uint64(fs.sb.OverheadClusters); known != 0 && known<<fs.clusterShift < fs.blocks {
		return known, nil
	}
	n := fs.firstBlock >> fs.clusterShift
	if fs.clusterShift > 0 {
		var own []span
		for g := range fs.groups {
			d, err := fs.group(g)
			if err != nil {
				return 0, err
			}
			own = append(own, fs.groupSpans(g, &d)...)
		}
		n += countClusters(own)
	} else {
		for g := range fs.groups {
			n += fs.tableBlocks + 2
			if fs.sb.HasSuper(g) {
				n++
			}
			n += fs.groupDescBlocks(g)
		}
	}
	var in inode
	if fs.sb.JournalIno != 0 && fs.readAnyInode(vfs.Ino(fs.sb.JournalIno), &in) == nil {
		n += uint64(in.size/fs.blockSize) >> fs.clusterShift
	}
	return n, nil
}

// groupDescBlocks is how many blocks of group descriptors group n holds
// (ext4_bg_num_gdb).
func (fs *FS) groupDescBlocks(n uint64) uint64 {
	metaGroup := n / fs.descPerBlock()
	if fs.sb.FeatureIncompat&ondisk.IncompatMetaBg != 0 {
		if metaGroup >= uint64(fs.sb.FirstMetaBg) {
			first := metaGroup * fs.descPerBlock()
			if n == first || n == first+1 || n == first+fs.descPerBlock()-1 {
				return 1
			}
			return 0
		}
		if fs.sb.HasSuper(n) {
			return uint64(fs.sb.FirstMetaBg)
		}
		return 0
	}
	if fs.sb.HasSuper(n) {
		return fs.descBlocks()
	}
	return 0
}

// span is a run of clusters.
type span struct{ start, end uint64 }

// groupSpans are the clusters that group n needs for itself: with clusters of
// several blocks, tables of several groups may share one.
func (fs *FS) groupSpans(n uint64, d *ondisk.GroupDesc) []span {
	cluster := func(b uint64) uint64 { return (b - fs.firstBlock) >> fs.clusterShift }
	one := func(b, n uint64) span { return span{cluster(b), cluster(b+n-1) + 1} }
	var out []span
	for _, b := range [...]uint64{d.BlockBitmap, d.InodeBitmap} {
		if fs.validBlocks(b, 1) {
			out = append(out, one(b, 1))
		}
	}
	out = append(out, one(d.InodeTable, fs.tableBlocks))
	head := fs.groupDescBlocks(n)
	if fs.sb.HasSuper(n) {
		head++
	}
	if head > 0 {
		// Linux takes a cluster for each of these blocks.
		first := cluster(fs.groupStart(n))
		out = append(out, span{first, first + (head+1<<fs.clusterShift-1)>>fs.clusterShift})
	}
	return out
}

// countClusters counts the clusters in spans once each.
func countClusters(spans []span) (n uint64) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	var end uint64
	for _, s := range spans {
		if s.start = max(s.start, end); s.end > s.start {
			n += s.end - s.start
			end = s.end
		}
	}
	return n
}
