package ffs

import (
	"fmt"
	"math/bits"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// allocInode takes a free inode for a file of the given mode in directory dir:
// ffs_inode_alloc. Its bytes are zeros but for the generation, which is new.
func (o *op) allocInode(dir *inode, mode vfs.Mode) (*inode, error) {
	if o.w.total.FreeInodes <= 0 {
		return nil, syscall.ENOSPC
	}
	first := dir.num / o.g.inodesPerGroup
	if mode.IsDir() {
		first = o.groupForDir(dir)
	}
	var num uint64
	ok, err := o.eachGroup(first, func(c uint64) (bool, error) {
		if o.w.sums[c].FreeInodes <= 0 {
			return false, nil
		}
		gr, err := o.group(c)
		if err != nil {
			return false, err
		}
		num, err = o.inodeIn(gr, mode.IsDir())
		return num != 0, err
	})
	if err == nil && !ok {
		err = syscall.ENOSPC
	}
	if err != nil {
		return nil, err
	}
	gr := o.w.groups[num/o.g.inodesPerGroup]
	switch {
	case mode.IsDir() && gr.newDirs < 255:
		gr.newDirs++
	case !mode.IsDir() && gr.newDirs > 0:
		gr.newDirs--
	}
	return o.takeInode(num)
}

// takeInode makes inode num, which was free, one of this operation.
func (o *op) takeInode(num uint64) (*inode, error) {
	b, off, err := o.f.inodeBytes(num)
	if err != nil {
		return nil, err
	}
	in := o.newInode()
	in.num, in.off = num, off
	in.Decode(b, o.g.order, o.g.version)
	if in.Mode != 0 {
		return nil, in.corrupt("it is in use, mode %#o, but free in the map", in.Mode)
	}
	gen := in.Gen
	if b, err = o.modify(off, o.g.version.InodeSize()); err != nil {
		return nil, err
	}
	clear(b)
	in.Inode = ondisk.Inode{Gen: o.newGen(gen)}
	in.dirty = true
	return in, nil
}

// newGen is a random generation other than the one before; 0 is none.
func (o *op) newGen(old uint32) uint32 {
	for {
		// The kernels print it as a signed number.
		if gen := o.w.rnd.Uint32() & (1<<31 - 1); gen != 0 && gen != old {
			return gen
		}
	}
}

// inodeIn takes the next free inode of a group, or 0: ffs_nodealloccg.
func (o *op) inodeIn(gr *group, dir bool) (uint64, error) {
	b, err := o.block(gr)
	if err != nil {
		return 0, err
	}
	n := int(o.g.inodesPerGroup)
	start := int(o.g.order.U32(b[cgInoRotor:]))
	if start < 0 || start >= n {
		start = 0
	}
	m := b[gr.inodes : gr.inodes+(n+7)/8]
	i, ok := o.findInode(gr, m, start, n)
	if !ok {
		if i, ok = o.findInode(gr, m, 0, min(start+8, n)); !ok {
			return 0, nil // what is free is held by files that are still open
		}
	}
	if b, err = o.change(gr); err != nil {
		return 0, err
	}
	if err := o.initInodes(gr, b, uint64(i)); err != nil {
		return 0, err
	}
	bit, err := o.mapBytes(gr, gr.inodes+i/8, 1)
	if err != nil {
		return 0, err
	}
	bit[0] |= 1 << (i % 8)
	o.g.order.PutU32(b[cgInoRotor:], uint32(i))
	d := ondisk.Summary{FreeInodes: -1}
	if dir {
		d.Dirs = 1
	}
	o.count(gr, b, d)
	return gr.num*o.g.inodesPerGroup + uint64(i), nil
}

// findInode finds the first inode from i on, in front of end, that is free and
// that no open file without a name has.
func (o *op) findInode(gr *group, m []byte, i, end int) (int, bool) {
	for i < end {
		free := ^m[i/8] >> (i % 8)
		if free == 0 {
			i += 8 - i%8
			continue
		}
		i += bits.TrailingZeros8(free)
		if i >= end {
			break
		}
		num := gr.num*o.g.inodesPerGroup + uint64(i)
		if num >= ondisk.RootIno && (len(o.w.orphans) == 0 || o.w.orphans[num] == nil) {
			return i, true
		}
		i++
	}
	return 0, false
}

// initInodes makes sure that inode i of a group has been written: FFS2 does
// that block by block, one block ahead, as they are needed.
func (o *op) initInodes(gr *group, b []byte, i uint64) error {
	g := o.g
	if g.version != ondisk.V2 {
		return nil
	}
	for {
		inited := uint64(g.order.U32(b[cgInited:]))
		if i+g.inopb <= inited || inited >= g.inodesPerGroup {
			return nil
		}
		blk, err := o.f.cache.Fresh(g.inodeOffset(gr.num*g.inodesPerGroup + inited))
		if err != nil {
			return fmt.Errorf("initialise inodes of group %d: %w", gr.num, err)
		}
		for at := 0; at < len(blk); at += ondisk.Dinode2Size {
			in := ondisk.Inode{Gen: o.newGen(0)}
			in.Encode(blk[at:], g.order, g.version)
		}
		g.order.PutU32(b[cgInited:], uint32(inited+g.inopb))
		o.f.inited.Store(0)
	}
}

// freeInode gives an inode back: its bytes are zeros but for the generation.
func (o *op) freeInode(in *inode) error {
	g := o.g
	gr, err := o.group(in.num / g.inodesPerGroup)
	if err != nil {
		return err
	}
	b, err := o.change(gr)
	if err != nil {
		return err
	}
	i := int(in.num % g.inodesPerGroup)
	bit, err := o.mapBytes(gr, gr.inodes+i/8, 1)
	if err != nil {
		return err
	}
	if bit[0]>>(i%8)&1 == 0 {
		return vfs.Corruptf(gr.off+int64(gr.inodes+i/8), fmt.Sprintf("cylinder group %d", gr.num),
			"inode %d is in use, but free in the map", in.num)
	}
	bit[0] &^= 1 << (i % 8)
	// Like the kernels, look there first next time.
	if rotor := int(g.order.U32(b[cgInoRotor:])); i < rotor {
		g.order.PutU32(b[cgInoRotor:], uint32(i))
	}
	d := ondisk.Summary{FreeInodes: 1}
	if in.mode().IsDir() {
		d.Dirs = -1
	}
	o.count(gr, b, d)
	if b, err = o.modify(in.off, g.version.InodeSize()); err != nil {
		return err
	}
	clear(b)
	empty := ondisk.Inode{Gen: in.Gen}
	empty.Encode(b, g.order, g.version)
	in.dirty = false
	return nil
}

// groupForDir chooses the group of a new directory: ffs_dirpref. Those at the
// top are spread over the groups. Others stay near their parent, as long as
// there is room there for the files that they will get.
func (o *op) groupForDir(dir *inode) uint64 {
	w, g := o.w, o.g
	n := int64(g.groups)
	avgInodes, avgBlocks, avgDirs := w.total.FreeInodes/n, w.total.FreeBlocks/n, w.total.Dirs/n
	first := func(from uint64, good func(c uint64, s *ondisk.Summary) bool) (uint64, bool) {
		for i := range g.groups {
			c := (from + i) % g.groups
			if good(c, &w.sums[c]) {
				return c, true
			}
		}
		return from, false
	}
	if dir.num == ondisk.RootIno {
		from := w.rnd.Uint64N(g.groups)
		best, least := from, int32(1<<31-1)
		first(from, func(c uint64, s *ondisk.Summary) bool {
			if s.Dirs < least && int64(s.FreeInodes) >= avgInodes && int64(s.FreeBlocks) >= avgBlocks {
				best, least = c, s.Dirs
			}
			return false
		})
		return best
	}
	inodes := int64(g.inodesPerGroup)
	maxDirs := min(avgDirs+inodes/16, inodes)
	minInodes := max(avgInodes-inodes/4, 0)
	minBlocks := max(avgBlocks-g.fragsPerGroup/g.frag/4, 0)
	// What a directory and its files take, by the wish of newfs or as it is here.
	dirBytes := w.super.avgFileSize * w.super.avgPerDir
	if avgDirs > 0 {
		dirBytes = max(dirBytes, (g.fragsPerGroup<<g.fragShift-avgBlocks*g.blockSize)/avgDirs)
	}
	inRow := int64(255)
	if dirBytes > 0 {
		inRow = min(avgBlocks*g.blockSize/dirBytes, 255)
	}
	inRow = max(min(inRow, inodes/w.super.avgPerDir), 1)

	from := dir.num / g.inodesPerGroup
	c, ok := first(from, func(c uint64, s *ondisk.Summary) bool {
		return int64(s.Dirs) < maxDirs && int64(s.FreeInodes) >= minInodes && int64(s.FreeBlocks) >= minBlocks &&
			(w.groups[c] == nil || int64(w.groups[c].newDirs) < inRow)
	})
	if !ok {
		c, _ = first(from, func(_ uint64, s *ondisk.Summary) bool { return int64(s.FreeInodes) >= avgInodes })
	}
	return c
}
