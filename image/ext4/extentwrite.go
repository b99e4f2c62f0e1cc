package ext4

import (
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// extentAt returns the extent that block lbn of a file is in, or, if it is in
// none, where the next one begins (fileBlocks: nowhere).
func (o *op) extentAt(in *inode, lbn uint64) (x ondisk.Extent, ok bool, next uint64, err error) {
	for at := lbn; ; {
		path, err := o.extentPath(in, at)
		if err != nil {
			return x, false, 0, err
		}
		leaf := path.leaf()
		if leaf.i > 0 && at == lbn {
			if x = leaf.extent(leaf.i - 1); lbn < uint64(x.Block)+uint64(x.Len) {
				return x, true, 0, nil
			}
		}
		if i := leaf.i; i < int(leaf.Entries) {
			return x, false, uint64(ondisk.ExtentEntryBlock(leaf.b, i)), nil
		}
		if leaf.hi >= fileBlocks {
			return x, false, fileBlocks, nil
		}
		// The next leaf begins there.
		at = leaf.hi
		if path, err = o.extentPath(in, at); err != nil {
			return x, false, 0, err
		}
		if leaf = path.leaf(); leaf.i > 0 {
			return x, false, uint64(leaf.extent(leaf.i - 1).Block), nil
		}
	}
}

// editLeaf changes entries of the leaf for block lbn: fn says which, and what
// comes in their place. If there is no room, it makes some, and asks again.
func (o *op) editLeaf(in *inode, lbn uint64, fn func(leaf *extentNode) (from, to int, put []byte)) error {
	for range 2 * (ondisk.MaxExtentDepth + 2) {
		path, err := o.extentPath(in, lbn)
		if err != nil {
			return err
		}
		leaf := path.leaf()
		from, to, put := fn(leaf)
		if !leaf.full(len(put)/ondisk.ExtentEntrySize - (to - from)) {
			return o.splice(in, path, len(path)-1, from, to, put)
		}
		if err := o.split(in, path, lbn); err != nil {
			return err
		}
	}
	return in.corrupt("no room in its extent tree, however often that is split")
}

// joins reports whether b follows a in the file and on the device, and both are
// of a kind and not too long for one extent.
func joins(a, b ondisk.Extent) bool {
	most := uint32(ondisk.MaxExtentLen)
	if a.Unwritten {
		most = ondisk.MaxUnwrittenLen
	}
	return uint64(a.Block)+uint64(a.Len) == uint64(b.Block) && a.Start+uint64(a.Len) == b.Start &&
		a.Unwritten == b.Unwritten && a.Len+b.Len <= most
}

// insertExtent has the hole that x covers be x, as part of its neighbours where
// possible.
func (o *op) insertExtent(in *inode, x ondisk.Extent) error {
	return o.editLeaf(in, uint64(x.Block), func(leaf *extentNode) (from, to int, put []byte) {
		return o.joined(leaf, leaf.i, leaf.i, x)
	})
}

// joined has extents stand in place of the entries [from, to) of a leaf, and of
// the neighbours of these that they join.
func (o *op) joined(leaf *extentNode, from, to int, put ...ondisk.Extent) (int, int, []byte) {
	if from > 0 {
		if prev := leaf.extent(from - 1); joins(prev, put[0]) {
			prev.Len += put[0].Len
			put[0] = prev
			from--
		}
	}
	last := &put[len(put)-1]
	if to < int(leaf.Entries) {
		if next := leaf.extent(to); joins(*last, next) {
			last.Len += next.Len
			to++
		}
	}
	b := o.entries[:0]
	for _, x := range put {
		b = appendExtent(b, x)
	}
	o.entries = b
	return from, to, b
}

// markExtent makes n blocks from lbn on, which are in one extent, written or
// not.
func (o *op) markExtent(in *inode, lbn, n uint64, unwritten bool) error {
	return o.editLeaf(in, lbn, func(leaf *extentNode) (int, int, []byte) {
		x := leaf.extent(leaf.i - 1)
		head := uint32(lbn) - x.Block
		mid := ondisk.Extent{Block: uint32(lbn), Len: uint32(n), Start: x.Start + uint64(head), Unwritten: unwritten}
		put := o.extents[:0]
		if head > 0 {
			put = append(put, ondisk.Extent{Block: x.Block, Len: head, Start: x.Start, Unwritten: x.Unwritten})
		}
		put = append(put, mid)
		if tail := x.Len - head - uint32(n); tail > 0 {
			put = append(put, ondisk.Extent{
				Block: mid.Block + mid.Len, Len: tail, Start: mid.Start + uint64(mid.Len), Unwritten: x.Unwritten,
			})
		}
		return o.joined(leaf, leaf.i-1, leaf.i, put...)
	})
}

// removeExtents makes a hole of the blocks [from, to) of a file. With meta, the
// cache knows them.
func (o *op) removeExtents(in *inode, from, to uint64, meta bool) error {
	to = min(to, fileBlocks)
	free, err := o.extentFreer(in, from, to, meta)
	if err != nil {
		return err
	}
	for at := from; at < to; {
		if err := o.ctx.Err(); err != nil {
			return err
		}
		path, err := o.extentPath(in, at)
		if err != nil {
			return err
		}
		leaf := path.leaf()
		i := leaf.i
		if i > 0 {
			if x := leaf.extent(i - 1); uint64(x.Block)+uint64(x.Len) > at {
				i--
			}
		}
		j := i
		put := o.entries[:0]
		for ; j < int(leaf.Entries); j++ {
			x := leaf.extent(j)
			first, end := uint64(x.Block), uint64(x.Block)+uint64(x.Len)
			if first >= to {
				break
			}
			if first < at {
				head := x
				head.Len = uint32(at - first)
				put = appendExtent(put, head)
			}
			if end > to {
				tail := x
				tail.Block, tail.Len, tail.Start = uint32(to), uint32(end-to), x.Start+to-first
				put = appendExtent(put, tail)
			}
			gone := x
			gone.Block = uint32(max(first, at))
			gone.Start += uint64(gone.Block) - first
			gone.Len = uint32(min(end, to) - uint64(gone.Block))
			if err := free.release(gone); err != nil {
				return err
			}
		}
		o.entries = put
		next := leaf.hi
		shrunk := j-i > len(put)/ondisk.ExtentEntrySize
		if i < j {
			if leaf.full(len(put)/ondisk.ExtentEntrySize - (j - i)) { // a hole in the middle of an extent
				copied := append([]byte(nil), put...)
				err = o.editLeaf(in, at, func(leaf *extentNode) (int, int, []byte) { return leaf.i - 1, leaf.i, copied })
			} else {
				err = o.splice(in, path, len(path)-1, i, j, put)
			}
			if err == nil && shrunk {
				err = o.mergeNodes(in, at)
			}
			if err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// An extentFreer releases the blocks of extents that are taken out of a file, in
// order. With clusters of several blocks, one is free when the last block of the
// file in it goes.
type extentFreer struct {
	o    *op
	in   *inode
	meta bool
	done uint64 // first cluster that was not dealt with
	last uint64 // first cluster that stays
}

// extentFreer prepares to take out all that lies in [from, to).
func (o *op) extentFreer(in *inode, from, to uint64, meta bool) (*extentFreer, error) {
	shift := o.f.clusterShift
	mask := uint64(1)<<shift - 1
	e := &extentFreer{o: o, in: in, meta: meta, done: from >> shift, last: (to + mask) >> shift}
	if from&mask != 0 {
		_, mapped, next, err := o.extentAt(in, from&^mask)
		if err != nil {
			return nil, err
		}
		if mapped || next < from {
			e.done++
		}
	}
	if to&mask != 0 {
		_, mapped, next, err := o.extentAt(in, to)
		if err != nil {
			return nil, err
		}
		if mapped || next < (to|mask)+1 {
			e.last--
		}
	}
	return e, nil
}

func (e *extentFreer) release(x ondisk.Extent) error {
	f := e.o.f
	shift := f.clusterShift
	if !f.validBlocks(x.Start, uint64(x.Len)) {
		return e.in.corrupt("extent of %d blocks at device block %d lies outside the file system", x.Len, x.Start)
	}
	if (x.Start-f.firstBlock^uint64(x.Block))&(1<<shift-1) != 0 {
		return e.in.corrupt("block %d is at device block %d, at another place of its cluster", x.Block, x.Start)
	}
	first := max(uint64(x.Block)>>shift, e.done)
	end := min((uint64(x.Block)+uint64(x.Len)-1)>>shift+1, e.last)
	if first >= end {
		return nil
	}
	e.done = end
	n := end - first
	if err := e.o.release(e.in, x.Start+first<<shift-uint64(x.Block), n<<shift, e.meta); err != nil {
		return err
	}
	return e.o.hold(e.in, -int64(n))
}
