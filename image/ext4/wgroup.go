package ext4

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A group is what the writer knows of a block group beside its descriptor, and
// beside its bitmaps, which stay in the cache: they are the truth.
//
// Three maps decide what may be allocated, a bit for every cluster: the block
// bitmap as it is now, as it was in the last commit (what is free now but was
// not then must stay as it is until the next commit), and what files without a
// name still hold.
type group struct {
	num      uint64
	start    uint64 // first block
	clusters int64  // in it: all groups have the same but for the last one

	haveBlocks, haveInodes bool // the bitmaps have been checked
	stale                  bool // the descriptor has to be written
	newBlocks, newInodes   bool // so have the checksums of the bitmaps

	committed []byte // the block bitmap of the last commit; nil: no change since
	waiting   bool   // something that was in use then is free now
	held      []byte // nil: nothing
	nheld     int64

	rotor     int64 // where the last allocation ended
	inodeHint int   // no inode in front of it is free
}

// A flexGroup has the counts of groups that share the place of their tables:
// directories are spread over these.
type flexGroup struct {
	freeInodes, freeClusters, dirs int64
}

// maxGroups bounds what is kept in memory for every group: some 60 bytes. It
// is 64 TiB with blocks of 4 KiB.
const maxGroups = 1 << 19

// readGroups reads all descriptors, and finds out which blocks are the file
// system's own.
func (w *Writer) readGroups() error {
	if w.FS.groups > maxGroups {
		return &vfs.NotSupportedError{What: fmt.Sprintf("writing to %d block groups", w.FS.groups), Off: ondisk.SuperOff + 4}
	}
	live := make([]ondisk.GroupDesc, w.FS.groups)
	var system []span
	w.flex = make([]flexGroup, (w.FS.groups+w.flexSize()-1)/w.flexSize())
	for n := range w.FS.groups {
		d, err := w.FS.group(n)
		if err != nil {
			return err
		}
		bad := func(format string, args ...any) error {
			return vfs.Corruptf(w.offset(w.descBlock(n/w.descPerBlock()))+int64(n%w.descPerBlock())*int64(w.descSize),
				fmt.Sprintf("group %d descriptor", n), format, args...)
		}
		switch {
		case !w.validBlocks(d.BlockBitmap, 1):
			return bad("block bitmap at block %d", d.BlockBitmap)
		case !w.validBlocks(d.InodeBitmap, 1):
			return bad("inode bitmap at block %d", d.InodeBitmap)
		case int64(d.FreeBlocks) > w.clustersIn(n):
			return bad("%d free clusters of %d", d.FreeBlocks, w.clustersIn(n))
		case d.FreeInodes > w.inodesPerGroup || d.UsedDirs > w.inodesPerGroup-d.FreeInodes:
			return bad("%d free inodes and %d directories of %d", d.FreeInodes, d.UsedDirs, w.inodesPerGroup)
		case d.ItableUnused > w.inodesPerGroup:
			return bad("%d unused inodes of %d", d.ItableUnused, w.inodesPerGroup)
		}
		live[n] = d
		w.total.freeClusters += int64(d.FreeBlocks)
		w.total.freeInodes += int64(d.FreeInodes)
		w.addFlex(n, &d, 1)
		system = append(system, w.ownBlocks(n, &d)...)
	}
	w.system = mergeSpans(system)
	w.live = live
	return nil
}

// flexSize is how many groups share the place of their tables.
func (w *Writer) flexSize() uint64 {
	if w.sb.FeatureIncompat&ondisk.IncompatFlexBg == 0 || w.sb.LogGroupsPerFlex == 0 || w.sb.LogGroupsPerFlex > 31 {
		return 1
	}
	return 1 << w.sb.LogGroupsPerFlex
}

func (w *Writer) addFlex(n uint64, d *ondisk.GroupDesc, sign int64) {
	f := &w.flex[n/w.flexSize()]
	f.freeInodes += sign * int64(d.FreeInodes)
	f.freeClusters += sign * int64(d.FreeBlocks)
	f.dirs += sign * int64(d.UsedDirs)
}

// baseBlocks are the blocks at the start of a group that hold copies of the
// superblock and of group descriptors, or are kept for more of these
// (ext4_num_base_meta_blocks).
func (fs *FS) baseBlocks(n uint64) span {
	blocks := fs.groupDescBlocks(n)
	if fs.sb.HasSuper(n) {
		blocks++
		if fs.sb.FeatureIncompat&ondisk.IncompatMetaBg == 0 || n/fs.descPerBlock() < uint64(fs.sb.FirstMetaBg) {
			blocks += uint64(fs.sb.ReservedGDTBlocks)
		}
		if n == 0 && fs.blockSize == 1024 && fs.firstBlock == 0 {
			blocks++ // the boot block
		}
	}
	start := fs.groupStart(n)
	return span{start, min(start+blocks, fs.blocks)}
}

// mergeSpans sorts spans and joins those that touch.
func mergeSpans(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	var out []span
	for _, s := range spans {
		if k := len(out) - 1; k >= 0 && s.start <= out[k].end {
			out[k].end = max(out[k].end, s.end)
			continue
		}
		out = append(out, s)
	}
	return slices.Clip(out)
}

// isSystem reports whether any of n blocks is the file system's own.
func (w *Writer) isSystem(start, n uint64) bool {
	i := sort.Search(len(w.system), func(i int) bool { return w.system[i].end > start })
	return i < len(w.system) && w.system[i].start < start+n
}

// clustersIn is how many clusters group n has.
func (g *geometry) clustersIn(n uint64) int64 {
	blocks := min(g.blocksPerGroup, g.blocks-g.groupStart(n))
	return int64((blocks + 1<<g.clusterShift - 1) >> g.clusterShift)
}

// groupOf returns the group of a block, and which of its clusters that is in.
func (o *op) groupOf(block uint64) (*group, int64, error) {
	rel := block - o.f.firstBlock
	gr, err := o.blockMap(rel / o.f.blocksPerGroup)
	return gr, int64(rel%o.f.blocksPerGroup) >> o.f.clusterShift, err
}

// blockAt is the first block of cluster i of a group.
func (o *op) blockAt(gr *group, i int64) uint64 { return gr.start + uint64(i)<<o.f.clusterShift }

// groupState returns group n, whose bitmaps may not have been looked at yet.
func (w *Writer) groupState(n uint64) *group {
	gr := w.groups[n]
	if gr == nil {
		gr = &group{num: n, start: w.groupStart(n), clusters: w.clustersIn(n)}
		w.groups[n] = gr
	}
	return gr
}

// blockMap returns group n, having checked its block bitmap, or made it if the
// group has never been used.
func (o *op) blockMap(n uint64) (*group, error) {
	w := o.w
	gr := w.groupState(n)
	if gr.haveBlocks {
		return gr, nil
	}
	d := w.live[n]
	if w.unwrittenBg && d.Flags&ondisk.GroupBlockUninit != 0 {
		if err := o.initBlockMap(gr); err != nil {
			return nil, err
		}
		gr.haveBlocks = true
		return gr, nil
	}
	b, err := w.block(d.BlockBitmap, fmt.Sprintf("group %d block bitmap", n))
	if err != nil {
		return nil, err
	}
	bad := func(format string, args ...any) (*group, error) {
		return nil, vfs.Corruptf(w.offset(d.BlockBitmap), fmt.Sprintf("group %d block bitmap", n), format, args...)
	}
	if w.metadataCsum {
		if want := ondisk.BitmapChecksum(w.sb, b[:w.blocksPerGroup>>w.clusterShift/8]); d.BlockBitmapSum != want {
			return bad("checksum %#08x, want %#08x", d.BlockBitmapSum, want)
		}
	}
	if free := countFree(b, gr.clusters); free != int64(d.FreeBlocks) {
		return bad("%d clusters are free in it, but the descriptor counts %d", free, d.FreeBlocks)
	}
	var own error
	w.eachSystem(gr, func(from, to int64) {
		for i := from; i < to; i++ {
			if !hasBit(b, i) {
				_, own = bad("block %d, which the file system needs itself, is free in it", o.blockAt(gr, i))
			}
		}
	})
	if own != nil {
		return nil, own
	}
	gr.haveBlocks = true
	return gr, nil
}

// eachSystem calls fn for the runs of clusters of a group that are the file
// system's own.
func (w *Writer) eachSystem(gr *group, fn func(from, to int64)) {
	end := min(gr.start+w.blocksPerGroup, w.blocks)
	i := sort.Search(len(w.system), func(i int) bool { return w.system[i].end > gr.start })
	for ; i < len(w.system) && w.system[i].start < end; i++ {
		from, to := max(w.system[i].start, gr.start)-gr.start, min(w.system[i].end, end)-gr.start
		fn(int64(from>>w.clusterShift), int64((to-1)>>w.clusterShift)+1)
	}
}

// initBlockMap makes the block bitmap of a group that has none yet
// (ext4_init_block_bitmap). The flag that says so goes with the first change.
func (o *op) initBlockMap(gr *group) error {
	w := o.w
	d := &w.live[gr.num]
	b, err := o.f.cache.Fresh(w.offset(d.BlockBitmap))
	if err != nil {
		return fmt.Errorf("initialise block bitmap of group %d: %w", gr.num, err)
	}
	w.eachSystem(gr, func(from, to int64) { setBits(b, from, to-from) })
	setBits(b, gr.clusters, int64(len(b))*8-gr.clusters)
	if free := countFree(b, gr.clusters); free != int64(d.FreeBlocks) {
		return vfs.Corruptf(w.offset(w.descBlock(gr.num/w.descPerBlock())), fmt.Sprintf("group %d descriptor", gr.num),
			"%d free clusters in a group that was never used, want %d", d.FreeBlocks, free)
	}
	return nil
}

// inodeMap returns group n, having checked its inode bitmap, or made it if the
// group has never been used.
func (o *op) inodeMap(n uint64) (*group, error) {
	w := o.w
	gr := w.groupState(n)
	if gr.haveInodes {
		return gr, nil
	}
	d := w.live[n]
	count := int64(w.inodesPerGroup)
	what := fmt.Sprintf("group %d inode bitmap", n)
	if w.unwrittenBg && d.Flags&ondisk.GroupInodeUninit != 0 {
		b, err := o.f.cache.Fresh(w.offset(d.InodeBitmap))
		if err != nil {
			return nil, fmt.Errorf("initialise %s: %w", what, err)
		}
		setBits(b, count, int64(len(b))*8-count)
		if d.FreeInodes != w.inodesPerGroup {
			return nil, vfs.Corruptf(w.offset(d.InodeBitmap), what, "%d of %d inodes are free in a group that was never used",
				d.FreeInodes, count)
		}
		gr.haveInodes = true
		return gr, nil
	}
	b, err := w.block(d.InodeBitmap, what)
	if err != nil {
		return nil, err
	}
	if w.metadataCsum {
		if want := ondisk.BitmapChecksum(w.sb, b[:count/8]); d.InodeBitmapSum != want {
			return nil, vfs.Corruptf(w.offset(d.InodeBitmap), what, "checksum %#08x, want %#08x", d.InodeBitmapSum, want)
		}
	}
	if free := countFree(b, count); free != int64(d.FreeInodes) {
		return nil, vfs.Corruptf(w.offset(d.InodeBitmap), what, "%d inodes are free in it, but the descriptor counts %d",
			free, d.FreeInodes)
	}
	gr.haveInodes = true
	return gr, nil
}

// count adds to the counts of a group, and says that its descriptor has to be
// written.
func (o *op) count(gr *group, clusters, inodes, dirs int64) {
	d := o.change(gr)
	n := *d
	n.FreeBlocks = uint32(int64(n.FreeBlocks) + clusters)
	n.FreeInodes = uint32(int64(n.FreeInodes) + inodes)
	n.UsedDirs = uint32(int64(n.UsedDirs) + dirs)
	o.w.setDesc(gr.num, n)
	o.w.total.freeClusters += clusters
	o.w.total.freeInodes += inodes
}

// change returns the descriptor of a group, whose flags and unused inodes may
// be changed.
func (o *op) change(gr *group) *ondisk.GroupDesc {
	d := &o.w.live[gr.num]
	o.counts = append(o.counts, undoCounts{gr.num, *d})
	if !gr.stale {
		gr.stale = true
		o.w.stale = append(o.w.stale, gr)
	}
	return d
}

// setDesc replaces a descriptor in memory.
func (w *Writer) setDesc(n uint64, d ondisk.GroupDesc) {
	w.addFlex(n, &w.live[n], -1)
	w.live[n] = d
	w.addFlex(n, &d, 1)
}

// keepCommitted remembers the block bitmap b of the last commit before it is
// changed.
func (o *op) keepCommitted(gr *group, b []byte) {
	if gr.committed == nil {
		gr.committed = slices.Clone(b)
		o.w.touched = append(o.w.touched, gr)
	}
}

func hasBit(b []byte, i int64) bool { return b[i/8]>>(i%8)&1 != 0 }

// setBits sets n bits from i on.
func setBits(b []byte, i, n int64) {
	for ; n > 0 && i%8 != 0; i, n = i+1, n-1 {
		b[i/8] |= 1 << (i % 8)
	}
	for ; n >= 8; i, n = i+8, n-8 {
		b[i/8] = 0xFF
	}
	for ; n > 0; i, n = i+1, n-1 {
		b[i/8] |= 1 << (i % 8)
	}
}

// countFree counts the zeros among the first n bits of a bitmap.
func countFree(b []byte, n int64) int64 {
	used := int64(0)
	for at := int64(0); at < n; at += 64 {
		x := binary.LittleEndian.Uint64(b[at/8:])
		if n-at < 64 {
			x &= 1<<(n-at) - 1
		}
		used += int64(bits.OnesCount64(x))
	}
	return n - used
}
