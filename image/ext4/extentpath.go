package ext4

import (
	"sort"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// extentMaxRoot is how many entries the root of an extent tree has room for, in
// the inode.
const extentMaxRoot = (ondisk.BlockLen - ondisk.ExtentHeaderSize) / ondisk.ExtentEntrySize

// initExtents makes the file's extent tree an empty one (ext4_ext_tree_init).
func (in *inode) initExtents() {
	in.Block = [ondisk.BlockLen]byte{}
	in.counts = extentCounts{anew: true}
	ondisk.EncodeExtentHeader(in.Block[:], ondisk.ExtentHeader{Magic: ondisk.ExtentMagic, Max: extentMaxRoot})
}

// An extentNode is one node on the way from the root of an extent tree to a
// leaf.
type extentNode struct {
	addr uint64 // block; 0: the root, in the inode
	off  int64  // byte offset
	b    []byte // to be looked at
	ondisk.ExtentHeader
	// i is the entry that leads to the next node; in a leaf, how many entries
	// begin at or in front of the block that was looked for.
	i int
	// The node speaks for the blocks [lo, hi) of the file.
	lo, hi uint64
}

func (n *extentNode) extent(i int) ondisk.Extent { return ondisk.DecodeExtent(n.b, i) }

// covers reports whether block lbn is in the last extent of a leaf that begins at
// or in front of it.
func (n *extentNode) covers(lbn uint64) bool {
	if n.i == 0 {
		return false
	}
	x := n.extent(n.i - 1)
	return lbn < uint64(x.Block)+uint64(x.Len)
}

// full reports whether there is no room for k entries more.
func (n *extentNode) full(k int) bool { return int(n.Entries)+k > int(n.Max) }

// An extentPath leads from the root of an extent tree to the leaf for a block.
type extentPath []extentNode

func (p extentPath) leaf() *extentNode { return &p[len(p)-1] }

// extentPath finds the leaf for block lbn of a file. A block in front of all
// others belongs to the first leaf.
func (o *op) extentPath(in *inode, lbn uint64) (extentPath, error) {
	m := o.f.mapper(in)
	node := extentNode{off: in.off + 0x28, b: in.Block[:], hi: fileBlocks}
	depth := ondisk.DecodeExtentHeader(node.b).Depth
	if depth > ondisk.MaxExtentDepth {
		return nil, m.corrupt(node.off, "depth %d", depth)
	}
	path := o.path[:0]
	for {
		if err := m.checkNode(node.b, node.off, depth, node.lo, node.hi, node.addr == 0); err != nil {
			return nil, err
		}
		node.ExtentHeader = ondisk.DecodeExtentHeader(node.b)
		n := int(node.Entries)
		node.i = sort.Search(n, func(i int) bool { return uint64(ondisk.ExtentEntryBlock(node.b, i)) > lbn })
		if depth == 0 {
			path = append(path, node)
			o.path = path
			return path, nil
		}
		node.i = max(node.i-1, 0)
		path = append(path, node)
		first, child := ondisk.DecodeExtentIndex(node.b, node.i)
		next := extentNode{addr: child, lo: uint64(first), hi: node.hi}
		if node.i+1 < n {
			next.hi = uint64(ondisk.ExtentEntryBlock(node.b, node.i+1))
		}
		var err error
		if next.b, err = o.f.block(child, m.nodeName()); err != nil {
			return nil, err
		}
		next.off = o.f.offset(child)
		node = next
		depth--
	}
}

// change returns the bytes of a node, to be changed; see [op.sealNode].
func (o *op) changeNode(in *inode, n *extentNode) ([]byte, error) {
	if n.addr == 0 {
		in.dirty = true
		return in.Block[:], nil
	}
	return o.modify(n.off, int(o.f.blockSize))
}

// sealNode completes a node that was changed: its header, and its checksum.
func (o *op) sealNode(in *inode, n *extentNode, b []byte) {
	if n.addr != 0 {
		in.counts.add(ondisk.DecodeExtentHeader(b), -1)
		in.counts.add(n.ExtentHeader, 1)
	}
	ondisk.EncodeExtentHeader(b, n.ExtentHeader)
	if n.addr != 0 && o.f.metadataCsum {
		ondisk.SealExtentNode(in.seed, b, n.Max)
	}
	n.b = b
}

// freeNode gives the block of a node back.
func (o *op) freeNode(in *inode, n *extentNode) error {
	in.counts.add(n.ExtentHeader, -1)
	return o.freeMeta(in, n.addr)
}

// blockMaxExtents is how many entries a node in a block has room for.
func (o *op) blockMaxExtents() uint16 {
	return uint16((o.f.blockSize - ondisk.ExtentHeaderSize) / ondisk.ExtentEntrySize)
}

// entries are the bytes of the entries [from, to) of a node.
func entries(b []byte, from, to int) []byte {
	return b[ondisk.ExtentHeaderSize+from*ondisk.ExtentEntrySize : ondisk.ExtentHeaderSize+to*ondisk.ExtentEntrySize]
}

// appendExtent appends x as it lies in a leaf.
func appendExtent(b []byte, x ondisk.Extent) []byte {
	var node [ondisk.ExtentHeaderSize + ondisk.ExtentEntrySize]byte
	ondisk.EncodeExtent(node[:], 0, x)
	return append(b, entries(node[:], 0, 1)...)
}

// appendExtentIndex appends an entry as it lies in an index node.
func appendExtentIndex(b []byte, block uint32, child uint64) []byte {
	var node [ondisk.ExtentHeaderSize + ondisk.ExtentEntrySize]byte
	ondisk.EncodeExtentIndex(node[:], 0, block, child)
	return append(b, entries(node[:], 0, 1)...)
}

// splice puts entries, as they lie on disk, in place of the entries [from, to)
// of a node on a path. There is room for them. What is above is told when the
// node begins with another block now.
func (o *op) splice(in *inode, path extentPath, level, from, to int, put []byte) error {
	n := &path[level]
	b, err := o.changeNode(in, n)
	if err != nil {
		return err
	}
	count, k := int(n.Entries), len(put)/ondisk.ExtentEntrySize
	after := count - (to - from) + k
	copy(entries(b, from+k, after), entries(b, to, count))
	copy(entries(b, from, from+k), put)
	if after < count {
		clear(entries(b, after, count))
	}
	n.Entries = uint16(after)
	o.sealNode(in, n, b)
	if after == 0 {
		return o.dropNode(in, path, level)
	}
	if from > 0 {
		return nil
	}
	return o.fixKeys(in, path, level)
}

// fixKeys has the nodes above one that begins with another block now say so
// (ext4_ext_correct_indexes).
func (o *op) fixKeys(in *inode, path extentPath, level int) error {
	first := ondisk.ExtentEntryBlock(path[level].b, 0)
	for level--; level >= 0; level-- {
		up := &path[level]
		if ondisk.ExtentEntryBlock(up.b, up.i) == first {
			return nil
		}
		b, err := o.changeNode(in, up)
		if err != nil {
			return err
		}
		ondisk.SetExtentEntryBlock(b, up.i, first)
		o.sealNode(in, up, b)
		if up.i > 0 {
			return nil
		}
	}
	return nil
}

// dropNode frees a node that has become empty. An empty root is a leaf.
func (o *op) dropNode(in *inode, path extentPath, level int) error {
	n := &path[level]
	if level == 0 {
		n.Depth = 0
		o.sealNode(in, n, in.Block[:])
		return nil
	}
	if err := o.freeNode(in, n); err != nil {
		return err
	}
	up := &path[level-1]
	return o.splice(in, path, level-1, up.i, up.i+1, nil)
}

// split makes room in a path of which the leaf is full: it cuts the highest full
// node in two whose parent has room, or puts another level below a full root. The
// path is of no use then.
func (o *op) split(in *inode, path extentPath, lbn uint64) error {
	level := len(path) - 1
	for level > 0 && path[level-1].full(1) {
		level--
	}
	if level == 0 {
		return o.growTree(in, path)
	}
	n, up := &path[level], &path[level-1]
	count := int(n.Entries)
	cut := count / 2
	key := uint32(lbn)
	switch {
	case n.Depth == 0 && n.i == count && !n.covers(lbn):
		cut = count // files mostly grow at their end: leave full nodes behind
	case n.Depth > 0 && n.i == count-1:
		cut = count - 1
	}
	if cut < count {
		key = ondisk.ExtentEntryBlock(n.b, cut)
	}
	right := extentNode{ExtentHeader: ondisk.ExtentHeader{
		Magic: ondisk.ExtentMagic, Entries: uint16(count - cut), Max: o.blockMaxExtents(), Depth: n.Depth,
	}}
	addr, b, err := o.allocMeta(in, n.addr)
	if err != nil {
		return err
	}
	right.addr = addr
	copy(entries(b, 0, count-cut), entries(n.b, cut, count))
	o.sealNode(in, &right, b)
	if cut < count {
		if b, err = o.changeNode(in, n); err != nil {
			return err
		}
		clear(entries(b, cut, count))
		n.Entries = uint16(cut)
		o.sealNode(in, n, b)
	}
	var entry [ondisk.ExtentEntrySize]byte
	return o.splice(in, path, level-1, up.i+1, up.i+1, appendExtentIndex(entry[:0], key, addr))
}

// growTree moves what the root holds to a block below it (ext4_ext_grow_indepth).
func (o *op) growTree(in *inode, path extentPath) error {
	root := &path[0]
	if root.Depth >= ondisk.MaxExtentDepth {
		return vfs.Corruptf(root.off, in.name(), "an extent tree of depth %d is full", root.Depth)
	}
	count := int(root.Entries)
	near := o.inodeGoal(in)
	if root.Depth > 0 {
		_, near = ondisk.DecodeExtentIndex(root.b, 0)
	} else if count > 0 {
		near = root.extent(0).Start
	}
	addr, b, err := o.allocMeta(in, near)
	if err != nil {
		return err
	}
	below := extentNode{addr: addr, ExtentHeader: root.ExtentHeader}
	below.Max = o.blockMaxExtents()
	copy(entries(b, 0, count), entries(root.b, 0, count))
	o.sealNode(in, &below, b)

	first := ondisk.ExtentEntryBlock(root.b, 0)
	var entry [ondisk.ExtentEntrySize]byte
	clear(entries(in.Block[:], 0, extentMaxRoot))
	copy(entries(in.Block[:], 0, 1), appendExtentIndex(entry[:0], first, addr))
	root.Depth++
	root.Entries, root.Max = 1, extentMaxRoot
	o.sealNode(in, root, in.Block[:])
	in.dirty = true
	return nil
}
