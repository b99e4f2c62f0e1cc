package ffs

import (
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A group is what the writer knows of a cylinder group beside its header, which
// stays in the cache: the maps there are the truth.
//
// Three maps decide what may be allocated, a bit for every fragment: the free
// map as it is now, as it was in the last commit (what is free now but was not
// then must stay as it is until the next commit), and what files without a name
// still hold.
type group struct {
	num    uint64
	off    int64 // byte offset of the header
	start  int64 // first fragment
	frags  int64 // cg_ndblk
	inodes int   // offset of the inode map in the header: cg_iusedoff
	free   int   // offset of the free map: cg_freeoff
	// Cluster summaries, if the file system keeps them.
	clusterSum, clusters int
	clusterBlocks        int64

	committed []byte // the free map of the last commit; nil: no change since
	waiting   bool   // something that was in use then is free now
	held      []byte // nil: nothing
	nheld     int64

	newDirs uint8 // fs_contigdirs: directories made here in a row
}

// Offsets in the header of a group.
const (
	cgOldTime   = 8
	cgDirs      = 24
	cgFreeBlk   = 28
	cgFreeIno   = 32
	cgFreeFrag  = 36
	cgRotor     = 40
	cgFragRotor = 44
	cgInoRotor  = 48
	cgFreeRuns  = 52
	cgBtotOff   = 84
	cgBOff      = 88
	cgInited    = 120
	cgTime      = 136
)

// group returns group c, having checked its header.
func (o *op) group(c uint64) (*group, error) {
	if gr := o.w.groups[c]; gr != nil {
		return gr, nil
	}
	gr, err := o.w.readGroup(c)
	if err == nil {
		o.w.groups[c] = gr
	}
	return gr, err
}

// groupOf returns the group of a fragment, and which of its fragments that is.
func (o *op) groupOf(addr int64) (*group, int64, error) {
	// Groups shifted by cgoffset still map their fragments by number.
	gr, err := o.group(uint64(addr / o.g.fragsPerGroup))
	return gr, addr % o.g.fragsPerGroup, err
}

func (w *Writer) readGroup(c uint64) (*group, error) {
	g := &w.geo
	off := (g.groupStart(c) + g.groupHeader) << g.fragShift
	bad := func(field int64, format string, args ...any) (*group, error) {
		return nil, vfs.Corruptf(off+field, fmt.Sprintf("cylinder group %d", c), format, args...)
	}
	if off > w.cache.Size()-g.blockSize {
		return bad(0, "its header lies beyond the end of the device")
	}
	b, err := w.cache.Bytes(off, int(g.blockSize))
	if err != nil {
		return nil, fmt.Errorf("read cylinder group %d at byte %d: %w", c, off, err)
	}
	h, err := ondisk.DecodeGroup(b, g.order)
	if err != nil {
		return nil, err
	}
	size := g.blockSize
	frags := min(g.fragsPerGroup, g.frags-int64(c)*g.fragsPerGroup)
	inodeBytes, freeBytes := int64(g.inodesPerGroup+7)/8, (frags+7)/8
	gr := &group{
		num: c, off: off, start: int64(c) * g.fragsPerGroup, frags: frags,
		inodes: int(h.InodeMapOff), free: int(h.FreeMapOff),
		clusterSum: int(h.ClusterSumOff), clusters: int(h.ClusterOff), clusterBlocks: int64(h.ClusterBlocks),
	}
	switch {
	case h.Magic != ondisk.GroupMagic:
		return bad(4, "magic %#x", h.Magic)
	case h.Index != uint32(c):
		return bad(12, "it says that it is group %d", h.Index)
	case int64(h.Frags) != frags:
		return bad(20, "%d fragments, want %d", h.Frags, frags)
	case h.InodeMapOff < ondisk.GroupSize || int64(h.InodeMapOff) > size-inodeBytes:
		return bad(92, "inode map at %d", h.InodeMapOff)
	case int64(h.FreeMapOff) < int64(h.InodeMapOff)+inodeBytes || int64(h.FreeMapOff) > size-freeBytes:
		return bad(96, "free map at %d", h.FreeMapOff)
	}
	if g.version == ondisk.V2 && (uint64(h.Inodes) != g.inodesPerGroup || uint64(h.InitedInodes) > g.inodesPerGroup ||
		uint64(h.InitedInodes)%g.inopb != 0) {
		return bad(116, "%d of %d inodes initialised, want %d", h.InitedInodes, h.Inodes, g.inodesPerGroup)
	}
	if w.super.clusters > 0 {
		sum, end := int64(h.ClusterSumOff), int64(h.ClusterSumOff)+4*(w.super.clusters+1)
		switch {
		case sum < int64(h.FreeMapOff)+freeBytes-4 || end > int64(h.ClusterOff):
			return bad(104, "cluster summary at %d", sum)
		case int64(h.ClusterBlocks) > frags/g.frag || int64(h.ClusterOff) > size-(int64(h.ClusterBlocks)+7)/8:
			return bad(108, "cluster map at %d for %d blocks", h.ClusterOff, h.ClusterBlocks)
		}
	}
	for _, v := range []int32{h.Summary.Dirs, h.Summary.FreeBlocks, h.Summary.FreeInodes, h.Summary.FreeFrags} {
		if v < 0 {
			return bad(24, "negative count %d", v)
		}
	}
	return gr, nil
}

// block returns the bytes of a group's header, to be looked at.
func (o *op) block(gr *group) ([]byte, error) {
	if o.edit == gr {
		return o.editBlock, nil
	}
	b, err := o.f.cache.Bytes(gr.off, int(o.g.blockSize))
	if err != nil {
		return nil, fmt.Errorf("read cylinder group %d at byte %d: %w", gr.num, gr.off, err)
	}
	return b, nil
}

// change returns the bytes of a group's header, the fixed part of which may be
// changed; the maps by [op.mapBytes].
func (o *op) change(gr *group) ([]byte, error) {
	if o.edit == gr {
		return o.editBlock, nil
	}
	b, err := o.modify(gr.off, ondisk.GroupSize)
	if err != nil {
		return nil, fmt.Errorf("cylinder group %d at byte %d: %w", gr.num, gr.off, err)
	}
	if o.g.version == ondisk.V1 {
		o.g.order.PutU32(b[cgOldTime:], uint32(o.now.Sec))
	} else {
		o.g.order.PutU64(b[cgTime:], uint64(o.now.Sec))
	}
	// The page stays in memory now that it is modified, so this is the same one.
	b, err = o.f.cache.Bytes(gr.off, int(o.g.blockSize))
	if err != nil {
		return nil, err
	}
	o.edit, o.editBlock = gr, b
	return b, nil
}

// mapBytes makes bytes of a group's header changeable in place.
func (o *op) mapBytes(gr *group, off, n int) ([]byte, error) {
	return o.modify(gr.off+int64(off), n)
}

// keepCommitted remembers the free map of the last commit before it is changed.
func (o *op) keepCommitted(gr *group, b []byte) {
	if gr.committed == nil {
		gr.committed = append([]byte(nil), b[gr.free:gr.free+int(gr.frags+7)/8]...)
		o.w.touched = append(o.w.touched, gr)
	}
}

// count adds to the counts of a group, in all three places.
func (o *op) count(gr *group, b []byte, d ondisk.Summary) {
	add := func(off int, v int32) {
		if v != 0 {
			o.g.order.PutU32(b[off:], o.g.order.U32(b[off:])+uint32(v))
		}
	}
	add(cgDirs, d.Dirs)
	add(cgFreeBlk, d.FreeBlocks)
	add(cgFreeIno, d.FreeInodes)
	add(cgFreeFrag, d.FreeFrags)
	s := &o.w.sums[gr.num]
	o.sums = append(o.sums, undoSum{gr.num, *s})
	s.Dirs += d.Dirs
	s.FreeBlocks += d.FreeBlocks
	s.FreeInodes += d.FreeInodes
	s.FreeFrags += d.FreeFrags
	o.w.sumsNew[gr.num/64] |= 1 << (gr.num % 64)
	t := &o.w.total
	t.Dirs += int64(d.Dirs)
	t.FreeBlocks += int64(d.FreeBlocks)
	t.FreeInodes += int64(d.FreeInodes)
	t.FreeFrags += int64(d.FreeFrags)
}
