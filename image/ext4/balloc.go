package ext4

import (
	"fmt"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// room says ENOSPC if an ordinary user cannot have n more clusters, and how
// many there are (ext4_has_free_clusters).
func (o *op) room(n int64) (int64, error) {
	w := o.w
	left := w.total.freeClusters - w.held
	if !w.reserve {
		left -= int64(w.reservedBlocks() >> w.clusterShift)
	}
	if left < n {
		return 0, syscall.ENOSPC
	}
	return left, nil
}

// allocBlocks allocates up to want adjacent blocks, whole clusters of them, at
// least one: at goal if that is free, or else near it.
func (o *op) allocBlocks(goal uint64, want int64) (start uint64, n int64, err error) {
	shift := o.f.clusterShift
	left, err := o.room(1)
	if err != nil {
		return 0, 0, err
	}
	start, n, err = o.allocNear(goal, min((want+1<<shift-1)>>shift, left))
	return start, n << shift, err
}

// searchGroups is in how many groups a run that is long enough is looked for,
// before a shorter one is taken.
const searchGroups = 16

// allocNear is allocBlocks for clusters, without regard to what is reserved.
func (o *op) allocNear(goal uint64, want int64) (start uint64, n int64, err error) {
	f := o.f
	if goal < f.firstBlock || goal >= f.blocks {
		goal = f.firstBlock
	}
	first := (goal - f.firstBlock) / f.blocksPerGroup
	try := func(g uint64, least int64) (bool, error) {
		gr, err := o.blockMap(g)
		if err != nil {
			return false, err
		}
		at := gr.rotor
		if g == first && goal > gr.start {
			at = int64((goal - gr.start) >> f.clusterShift)
		}
		start, n, err = o.allocIn(gr, at, want, least)
		return n > 0, err
	}
	if o.w.live[first].FreeBlocks > 0 {
		if ok, err := try(first, want); ok || err != nil {
			return start, n, err
		}
	}
	searched := 0
	err = o.eachGroup(first, func(g uint64) (bool, error) {
		if int64(o.w.live[g].FreeBlocks) < want || g == first || searched == searchGroups {
			return false, nil
		}
		searched++
		return try(g, want)
	})
	if err == syscall.ENOSPC {
		err = o.eachGroup(first, func(g uint64) (bool, error) {
			if o.w.live[g].FreeBlocks == 0 {
				return false, nil
			}
			return try(g, 1)
		})
	}
	return start, n, err
}

// allocIn allocates up to want adjacent clusters in a group, at cluster at if
// that is free, or else near it, if there are at least that many.
func (o *op) allocIn(gr *group, at, want, least int64) (start uint64, n int64, err error) {
	b, err := o.f.cache.Bytes(o.f.offset(o.w.live[gr.num].BlockBitmap), int(o.f.blockSize))
	if err != nil {
		return 0, 0, err
	}
	v := view{bitmap: b, held: gr.held, n: gr.clusters}
	if gr.waiting && !o.reuse {
		v.committed = gr.committed
	}
	i, n := v.find(at, want)
	if n < want && gr.waiting && !o.reuse {
		o.blocked = true
	}
	if n == 0 || n < least && i != at {
		return 0, 0, nil
	}
	if err := o.setClusters(gr, i, n, true); err != nil {
		return 0, 0, err
	}
	gr.rotor = i + n
	return o.blockAt(gr, i), n, nil
}

// setClusters marks n clusters of a group, from its cluster i on, as used or as
// free. All were the opposite before, or the file system is damaged.
func (o *op) setClusters(gr *group, i, n int64, used bool) error {
	d := o.w.live[gr.num]
	off := o.f.offset(d.BlockBitmap)
	corrupt := func(format string, args ...any) error {
		return vfs.Corruptf(off+max(i, 0)/8, fmt.Sprintf("group %d block bitmap", gr.num), format, args...)
	}
	if i < 0 || n <= 0 || n > gr.clusters-i {
		return corrupt("clusters %d to %d are not in the group", i, i+n-1)
	}
	if o.w.isSystem(o.blockAt(gr, i), uint64(n)<<o.f.clusterShift) {
		return corrupt("blocks %d to %d are not for files", o.blockAt(gr, i), o.blockAt(gr, i+n)-1)
	}
	b, err := o.f.cache.Bytes(off, int(o.f.blockSize))
	if err != nil {
		return err
	}
	o.keepCommitted(gr, b)
	if !used && !gr.waiting && !gr.isFresh(i, n) {
		gr.waiting = true
	}
	first, last := i/8, (i+n-1)/8
	m, err := o.modify(off+first, int(last-first+1))
	if err != nil {
		return err
	}
	if !flipBits(m, i-first*8, n, used) {
		return corrupt("blocks %d to %d are not all %s in it", o.blockAt(gr, i), o.blockAt(gr, i+n)-1, usedOrFree(!used))
	}
	gr.newBlocks = true
	if used {
		n = -n
	}
	o.count(gr, n, 0, 0)
	if d.Flags&ondisk.GroupBlockUninit != 0 {
		o.change(gr).Flags &^= ondisk.GroupBlockUninit
	}
	return nil
}

// isFresh reports whether n clusters of a group were all free in the last
// commit. Without a bitmap of then, nothing has been allocated since.
func (gr *group) isFresh(i, n int64) bool {
	if gr.committed == nil {
		return false
	}
	for ; n > 0; i, n = i+1, n-1 {
		if hasBit(gr.committed, i) {
			return false
		}
	}
	return true
}

// flipBits sets or clears n bits from i on. It says false, having changed
// nothing that is not undone, if any of them was that already.
func flipBits(m []byte, i, n int64, set bool) bool {
	for n > 0 {
		k := min(8-i%8, n)
		mask := uint8(1<<k-1) << (i % 8)
		if set {
			if m[i/8]&mask != 0 {
				return false
			}
			m[i/8] |= mask
		} else {
			if m[i/8]&mask != mask {
				return false
			}
			m[i/8] &^= mask
		}
		i, n = i+k, n-k
	}
	return true
}

// release has n blocks of a file freed when the operation has succeeded: whole
// clusters. With meta, the cache knows them.
func (o *op) release(in *inode, start, n uint64, meta bool) error {
	if !o.f.validBlocks(start, n) {
		return in.corrupt("%d blocks at block %d lie outside the file system", n, start)
	}
	if o.freed += n; o.freed > o.f.blocks {
		return in.corrupt("it holds more blocks than the file system has")
	}
	if k := len(o.frees) - 1; k >= o.barrier && o.frees[k].meta == meta && o.frees[k].start+o.frees[k].n == start {
		o.frees[k].n += n
		return nil
	}
	o.frees = append(o.frees, blockRun{start, n, meta})
	return nil
}

// freeRun gives blocks back.
func (o *op) freeRun(r blockRun) error {
	for r.n > 0 {
		gr, i, err := o.groupOf(r.start)
		if err != nil {
			return err
		}
		room := uint64(gr.clusters-i) << o.f.clusterShift
		n := min(r.n, room)
		if n == 0 {
			return vfs.Corruptf(o.f.offset(r.start), "block bitmap", "block %d is beyond the end of its group", r.start)
		}
		clusters := int64((n + 1<<o.f.clusterShift - 1) >> o.f.clusterShift)
		if err := o.setClusters(gr, i, clusters, false); err != nil {
			return err
		}
		r.start, r.n = r.start+n, r.n-n
	}
	return nil
}

// hold counts n clusters more (or less) as the file's (i_blocks).
func (o *op) hold(in *inode, n int64) error {
	return o.f.setSectors(in, max(o.f.sectors(in)+n<<o.f.clusterShift*(o.f.blockSize/512), 0))
}

// setSectors sets i_blocks, in units of 512 bytes as long as they fit
// (ext4_inode_blocks_set).
func (fs *FS) setSectors(in *inode, n int64) error {
	huge := fs.sb.FeatureROCompat&ondisk.ROCompatHugeFile != 0
	switch {
	case n < 1<<32:
		in.Flags &^= ondisk.FlHugeFile
	case !huge:
		return syscall.EFBIG
	case n < 1<<48:
		in.Flags &^= ondisk.FlHugeFile
	default:
		in.Flags |= ondisk.FlHugeFile
		n /= fs.blockSize / 512
	}
	in.Blocks, in.BlocksLo = uint64(n), uint32(n)
	in.dirty = true
	return nil
}

// allocMeta allocates a block for metadata of a file, near another: zeros in the
// cache, where the caller fills it. It may take what is kept for delayed
// allocation on Linux, as metadata does there.
func (o *op) allocMeta(in *inode, near uint64) (addr uint64, b []byte, err error) {
	if o.w.total.freeClusters-o.w.held <= 0 {
		return 0, nil, syscall.ENOSPC
	}
	addr, _, err = o.allocNear(near, 1)
	if err != nil {
		return 0, nil, err
	}
	if err := o.hold(in, 1); err != nil {
		return 0, nil, err
	}
	b, err = o.freshBlock(addr)
	return addr, b, err
}

// freshBlock puts a block of zeros into the cache.
func (o *op) freshBlock(addr uint64) ([]byte, error) { return o.f.cache.Fresh(o.f.offset(addr)) }

// freeMeta gives a block of metadata back that [op.allocMeta] allocated.
func (o *op) freeMeta(in *inode, addr uint64) error {
	if err := o.release(in, addr, 1<<o.f.clusterShift, true); err != nil {
		return err
	}
	return o.hold(in, -1)
}
