package ext4

import (
	"math"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// A piece is what a file has from some block on: n blocks that lie together from
// start on, or a hole if start is 0.
type piece struct {
	start, n  uint64
	unwritten bool
}

// pieceAt returns what the file has from block lbn on, up to limit blocks.
func (o *op) pieceAt(in *inode, lbn, limit uint64) (piece, error) {
	if !in.has(ondisk.FlExtents) {
		m := o.f.mapper(in)
		r, err := m.run(lbn, limit)
		return piece{start: r.start, n: r.n}, err
	}
	x, ok, next, err := o.extentAt(in, lbn)
	if err != nil || !ok {
		return piece{n: min(next-lbn, limit)}, err
	}
	skip := lbn - uint64(x.Block)
	return piece{x.Start + skip, min(uint64(x.Len)-skip, limit), x.Unwritten}, nil
}

// maxFileBlocks is how many blocks a file can have.
func (fs *FS) maxFileBlocks(extents bool) uint64 {
	if extents {
		return fileBlocks - 1
	}
	p := uint64(fs.blockSize / 4)
	return min(directBlocks+p+p*p+p*p*p, fileBlocks)
}

// maxSize is the largest size of a file (ext4_max_size, ext4_max_bitmap_size).
// Without extents, i_blocks bounds it too, and without huge_file that is in
// units of 512 bytes and has 32 bits.
func (fs *FS) maxSize(in *inode) int64 {
	extents := in.has(ondisk.FlExtents) ||
		in.has(ondisk.FlInlineData) && fs.sb.FeatureIncompat&ondisk.IncompatExtents != 0
	blocks := fs.maxFileBlocks(extents)
	if fs.sb.FeatureROCompat&ondisk.ROCompatHugeFile == 0 {
		most := uint64(1<<32-1) * 512 / uint64(fs.blockSize)
		if !extents { // with its pointer blocks
			p := uint64(fs.blockSize / 4)
			most -= min(most, most/p+most/p/p+4)
		}
		blocks = min(blocks, most)
	}
	if blocks > math.MaxInt64/uint64(fs.blockSize) {
		return math.MaxInt64
	}
	return int64(blocks) * fs.blockSize
}

// inodeGoal is where the first block of a file should go: in the group of its
// inode (ext4_inode_to_goal_block).
func (o *op) inodeGoal(in *inode) uint64 {
	return o.f.groupStart(uint64((in.num - 1) / o.f.inodesPerGroup))
}

// goal is where block lbn of a file should go: behind what lies in front of it
// in the file (ext4_ext_find_goal).
func (o *op) goal(in *inode, lbn uint64) uint64 {
	if in.has(ondisk.FlExtents) {
		path, err := o.extentPath(in, lbn)
		if err != nil {
			return o.inodeGoal(in)
		}
		leaf := path.leaf()
		switch {
		case leaf.i > 0:
			x := leaf.extent(leaf.i - 1)
			return x.Start + lbn - uint64(x.Block)
		case leaf.Entries > 0:
			if x := leaf.extent(0); x.Start > uint64(x.Block)-lbn {
				return x.Start - (uint64(x.Block) - lbn)
			}
		case leaf.addr != 0:
			return leaf.addr
		}
		return o.inodeGoal(in)
	}
	if lbn > 0 {
		m := o.f.mapper(in)
		if r, err := m.run(lbn-1, 1); err == nil && r.start != 0 {
			return r.start + 1
		}
	}
	return o.inodeGoal(in)
}

// addBlocks allocates up to want adjacent blocks for the hole at lbn, which is at
// least that long, and has the file point to them.
func (o *op) addBlocks(in *inode, lbn, want uint64, unwritten bool) (start, n uint64, err error) {
	if lbn >= o.f.maxFileBlocks(in.has(ondisk.FlExtents)) {
		return 0, 0, syscall.EFBIG
	}
	goal := o.goal(in, lbn)
	if !in.has(ondisk.FlExtents) {
		s, err := o.slotFor(in, lbn, goal)
		if err != nil {
			return 0, 0, err
		}
		if start, n, err = o.takeBlocks(in, goal, min(want, s.room)); err != nil {
			return 0, 0, err
		}
		if (start+n-1)>>32 != 0 { // pointers have 32 bits
			return 0, 0, syscall.ENOSPC
		}
		return start, n, o.point(in, s, start, n)
	}
	want = min(want, ondisk.MaxUnwrittenLen)
	if o.f.clusterShift > 0 {
		start, n, err = o.takeClusters(in, lbn, goal, want)
	} else {
		start, n, err = o.takeBlocks(in, goal, want)
	}
	if err != nil {
		return 0, 0, err
	}
	return start, n, o.insertExtent(in, ondisk.Extent{Block: uint32(lbn), Len: uint32(n), Start: start, Unwritten: unwritten})
}

// takeBlocks allocates blocks and counts them as the file's.
func (o *op) takeBlocks(in *inode, goal, want uint64) (start, n uint64, err error) {
	start, got, err := o.allocBlocks(goal, int64(want))
	if err != nil {
		return 0, 0, err
	}
	return start, uint64(got), o.hold(in, got>>o.f.clusterShift)
}

// takeClusters is takeBlocks where clusters have several blocks: those of the
// cluster that the file has already at lbn, or new ones.
func (o *op) takeClusters(in *inode, lbn, goal, want uint64) (start, n uint64, err error) {
	shift := o.f.clusterShift
	mask := uint64(1)<<shift - 1
	cluster, skip := lbn&^mask, lbn&mask
	x, mapped, next, err := o.extentAt(in, cluster)
	if err == nil && !mapped && next < fileBlocks {
		x, mapped, _, err = o.extentAt(in, next)
	}
	if err != nil {
		return 0, 0, err
	}
	if mapped && uint64(x.Block) <= cluster|mask {
		at := max(uint64(x.Block), cluster)
		first := x.Start + at - uint64(x.Block) - at&mask
		_, _, next, err := o.extentAt(in, lbn)
		return first + skip, min(want, cluster+mask+1-lbn, next-lbn), err
	}
	// The cluster at the end of the hole may be the file's already.
	if _, _, next, err = o.extentAt(in, lbn); err != nil {
		return 0, 0, err
	}
	if end := next &^ mask; lbn+want > end {
		want = end - lbn
	}
	start, n, err = o.takeBlocks(in, goal&^mask|o.f.firstBlock&mask, want+skip)
	return start + skip, min(n-skip, want), err
}

// removeBlocks makes a hole of the blocks [from, to) of a file.
func (o *op) removeBlocks(in *inode, from, to uint64, meta bool) error {
	if in.has(ondisk.FlExtents) {
		return o.removeExtents(in, from, to, meta)
	}
	return o.removePointers(in, from, to, meta)
}

// appendDirBlock adds a block of zeros at the end of a directory, in the cache,
// where the caller fills it. It returns its number in the directory.
func (o *op) appendDirBlock(in *inode) (lbn uint64, b []byte, err error) {
	lbn = uint64((in.size + o.f.blockSize - 1) / o.f.blockSize)
	start, _, err := o.addBlocks(in, lbn, 1, false)
	if err != nil {
		return 0, nil, err
	}
	if b, err = o.freshBlock(start); err != nil {
		return 0, nil, err
	}
	in.size = int64(lbn+1) * o.f.blockSize
	in.dirty = true
	return lbn, b, nil
}

// dirBlock returns block lbn of a directory, to be looked at, having verified
// its checksum; and its offset in the volume, to change it by [op.modify].
func (o *op) dirBlock(in *inode, lbn uint64) (b []byte, off int64, err error) {
	m := o.f.mapper(in)
	return o.f.dirBlock(&m, lbn)
}
