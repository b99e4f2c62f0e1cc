package ext4

import (
	"encoding/binary"
	"math/bits"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// allocInode takes a free inode for a file of the given mode in directory dir
// (__ext4_new_inode): empty, with times, generation, flags and project as a new
// file in dir has them, no owner, and no link yet. The caller sets the rest.
func (o *op) allocInode(dir *inode, mode vfs.Mode) (*inode, error) {
	if o.w.total.freeInodes <= 0 {
		return nil, syscall.ENOSPC
	}
	first := uint64((dir.num - 1) / o.f.inodesPerGroup)
	if mode.IsDir() {
		first = o.groupForDir(dir)
	}
	var num uint32
	err := o.eachGroup(first, func(n uint64) (bool, error) {
		if o.w.live[n].FreeInodes == 0 {
			return false, nil
		}
		gr, err := o.inodeMap(n)
		if err != nil {
			return false, err
		}
		num, err = o.inodeIn(gr, mode.IsDir())
		return num != 0, err
	})
	if err != nil {
		return nil, err
	}
	return o.takeInode(num, dir, mode)
}

// takeInode makes inode num, which was free, one of this operation.
func (o *op) takeInode(num uint32, dir *inode, mode vfs.Mode) (*inode, error) {
	at, err := o.f.locateInode(num)
	if err != nil {
		return nil, err
	}
	b, err := o.f.cache.Bytes(at.off, int(o.f.inodeSize))
	if err != nil {
		return nil, err
	}
	old := binary.LittleEndian.Uint32(b[0x64:])
	in := o.newInode()
	in.num, in.off = num, at.off
	clear(in.raw)
	now := ondisk.MakeTime(o.now, o.w.extraIsize >= 24)
	in.Inode = ondisk.Inode{
		Mode: uint16(mode), Generation: o.newGeneration(old), ExtraIsize: o.w.extraIsize, HasCrtime: o.w.extraIsize >= 20,
		Atime: now, Mtime: now, Ctime: now, Crtime: now,
		Flags: dir.Flags & ondisk.FlInherited,
	}
	switch mode.Type() {
	case vfs.Dir:
	case vfs.Regular:
		in.Flags &= ondisk.FlRegularMask
	default:
		in.Flags &= ondisk.FlOtherMask
	}
	if dir.has(ondisk.FlProjInherit) && o.f.sb.FeatureROCompat&ondisk.ROCompatProject != 0 {
		in.ProjID = dir.ProjID
	}
	if o.f.sb.FeatureIncompat&ondisk.IncompatExtents != 0 {
		switch mode.Type() {
		case vfs.Dir, vfs.Regular, vfs.Symlink:
			in.Flags |= ondisk.FlExtents
			in.initExtents()
		}
	}
	if o.f.metadataCsum {
		in.seed = ondisk.InodeSeed(o.f.seed, num, in.Generation)
	}
	in.dirty = true
	return in, nil
}

// newGeneration is a random generation other than the one before; 0 is none.
func (o *op) newGeneration(old uint32) uint32 {
	for {
		if gen := o.w.rnd.Uint32(); gen != 0 && gen != old {
			return gen
		}
	}
}

// inodeIn takes the first free inode of a group, or 0.
func (o *op) inodeIn(gr *group, dir bool) (uint32, error) {
	d := o.w.live[gr.num]
	off := o.f.offset(d.InodeBitmap)
	b, err := o.f.cache.Bytes(off, int(o.f.blockSize))
	if err != nil {
		return 0, err
	}
	i, ok := o.findInode(gr, b)
	if !ok {
		return 0, nil // what is free is held by files that are still open
	}
	if err := o.useInodeTable(gr, uint32(i)); err != nil {
		return 0, err
	}
	if err := o.setInode(gr, i, true, dir); err != nil {
		return 0, err
	}
	gr.inodeHint = i
	return uint32(gr.num)*o.f.inodesPerGroup + uint32(i) + 1, nil
}

// findInode finds the first inode of a group that is free, that files may have,
// and that no open file without a name has.
func (o *op) findInode(gr *group, b []byte) (int, bool) {
	n := int(o.f.inodesPerGroup)
	for i := gr.inodeHint; i < n; {
		free := ^binary.LittleEndian.Uint64(b[i/64*8:]) >> (i % 64)
		if free == 0 {
			i += 64 - i%64
			continue
		}
		if i += bits.TrailingZeros64(free); i >= n {
			break
		}
		num := gr.num*uint64(n) + uint64(i) + 1
		if num >= uint64(o.f.firstIno) && (len(o.w.orphans) == 0 || o.w.orphans[vfs.Ino(num)] == nil) {
			return i, true
		}
		i++
	}
	return 0, false
}

// setInode marks inode i of a group as in use or as free, and counts it.
func (o *op) setInode(gr *group, i int, used, dir bool) error {
	d := o.w.live[gr.num]
	off := o.f.offset(d.InodeBitmap) + int64(i/8)
	m, err := o.modify(off, 1)
	if err != nil {
		return err
	}
	if hasBit(m, int64(i%8)) == used {
		return vfs.Corruptf(off, "inode bitmap", "inode %d is not %s in it",
			gr.num*uint64(o.f.inodesPerGroup)+uint64(i)+1, usedOrFree(!used))
	}
	m[0] ^= 1 << (i % 8)
	gr.newInodes = true
	inodes, dirs := int64(1), int64(0)
	if used {
		inodes = -1
	}
	if dir {
		dirs = -inodes
	}
	o.count(gr, 0, inodes, dirs)
	return nil
}

func usedOrFree(used bool) string {
	if used {
		return "in use"
	}
	return "free"
}

// useInodeTable makes sure that inode i of a group lies in the part of its table
// that counts as written (bg_itable_unused, and the flag that the whole group
// is unused). What has never been written becomes zeros.
func (o *op) useInodeTable(gr *group, i uint32) error {
	f := o.f
	if !f.unwrittenBg {
		return nil
	}
	d := o.w.live[gr.num]
	used := f.inodesPerGroup - d.ItableUnused
	if d.Flags&ondisk.GroupInodeUninit != 0 {
		used = 0
	}
	if i < used && d.Flags&ondisk.GroupInodeUninit == 0 {
		return nil
	}
	perBlock := uint32(f.blockSize / f.inodeSize)
	blk, last := (used+perBlock-1)/perBlock, i/perBlock
	if d.Flags&ondisk.GroupInodeZeroed != 0 {
		blk = max(blk, last) // zeros already, and not even read
	}
	for ; blk <= last; blk++ {
		if _, err := f.cache.Fresh(f.offset(d.InodeTable + uint64(blk))); err != nil {
			return err
		}
	}
	c := o.change(gr)
	c.Flags &^= ondisk.GroupInodeUninit
	c.ItableUnused = f.inodesPerGroup - i - 1
	return nil
}

// freeInode gives an inode back. Like Linux it leaves the mode, and says when
// it was deleted.
func (o *op) freeInode(in *inode) error {
	gr, err := o.inodeMap(uint64((in.num - 1) / o.f.inodesPerGroup))
	if err != nil {
		return err
	}
	i := int((in.num - 1) % o.f.inodesPerGroup)
	if err := o.setInode(gr, i, false, in.mode().IsDir()); err != nil {
		return err
	}
	gr.inodeHint = min(gr.inodeHint, i)
	dead := *in
	dead.Inode = ondisk.Inode{
		Mode: in.Mode, UID: in.UID, GID: in.GID, Generation: in.Generation, ExtraIsize: in.ExtraIsize,
		Dtime: uint32(o.now.Unix()), Ctime: in.time(o.now), Mtime: in.Mtime, Atime: in.Atime, Crtime: in.Crtime,
	}
	if dead.Dtime == 0 {
		dead.Dtime = 1 // which would mean that it is not deleted
	}
	dead.size, dead.raw = 0, make([]byte, o.f.inodeSize)
	if err := o.store(&dead); err != nil {
		return err
	}
	in.dirty = false
	return nil
}

// groupForDir chooses the group of a new directory (find_group_orlov). Those at
// the top are spread over the flex groups. Others stay near their parent, as
// long as there is room there for the files that they will get.
func (o *op) groupForDir(dir *inode) uint64 {
	w := o.w
	n := uint64(len(w.flex))
	size := w.flexSize()
	parent := uint64((dir.num - 1) / o.f.inodesPerGroup)
	var dirs int64
	for i := range w.flex {
		dirs += w.flex[i].dirs
	}
	avgInodes, avgClusters := w.total.freeInodes/int64(n), w.total.freeClusters/int64(n)
	top := dir.num == ondisk.RootIno || dir.has(ondisk.FlTopDir)
	from := parent / size
	best, least := from, int64(1<<62)
	if top {
		from = w.rnd.Uint64N(n)
		best = from
	}
	inodes, clusters := int64(size)*int64(o.f.inodesPerGroup), int64(size)*int64(o.f.blocksPerGroup>>o.f.clusterShift)
	maxDirs := dirs/int64(n) + inodes/16
	minInodes, minClusters := max(avgInodes-inodes/4, 1), avgClusters-clusters/4
	for i := range n {
		c := (from + i) % n
		f := &w.flex[c]
		if top {
			if f.dirs < least && f.freeInodes > 0 && f.freeInodes >= avgInodes && f.freeClusters >= avgClusters {
				best, least = c, f.dirs
			}
		} else if f.dirs < maxDirs && f.freeInodes >= minInodes && f.freeClusters >= minClusters {
			if c == parent/size {
				return parent
			}
			return c * size
		}
	}
	if best == parent/size {
		return parent
	}
	return best * size
}

// eachGroup calls fn for group n, and then for others, the near ones by rising
// distance, until one says that it had what was wanted; ENOSPC if none has.
func (o *op) eachGroup(n uint64, fn func(n uint64) (bool, error)) error {
	for i := range o.f.groups {
		if ok, err := fn((n + i) % o.f.groups); ok || err != nil {
			return err
		}
	}
	return syscall.ENOSPC
}
