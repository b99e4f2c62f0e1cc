package ext4

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// packMost is how many extents a tree may have to be packed. Of the entries and
// of the nodes before there are copies in memory while that is done.
const packMost = 1 << 20

var errTooLarge = errors.New("extent tree is too large to be packed")

// treesKept is of how many extent trees the counts are kept from one commit to
// the next. The others are counted again.
const treesKept = 1024

// extentCounts sum up the nodes of an extent tree below the inode, by their
// height above the leaves, as e2fsck does: a node that is not full has room for
// one less than it has, so that one that others were appended behind, when it
// was about to be full, is not thought wasteful.
type extentCounts struct {
	entries, room [ondisk.MaxExtentDepth]int64
	anew          bool // in an operation: these are not changes, the tree was empty
}

// add counts a node, or with a sign of -1 counts it no more.
func (c *extentCounts) add(h ondisk.ExtentHeader, sign int64) {
	room := int64(h.Max)
	if h.Entries < h.Max {
		room--
	}
	c.entries[h.Depth] += sign * int64(h.Entries)
	c.room[h.Depth] += sign * room
}

// loose reports whether a tree is larger than e2fsck finds right
// (e2fsck_should_rebuild_extents). It is wider if the nodes of one level have
// together more room left than one of them has in all; and higher if the entries
// of one level had room in the nodes of a level above.
func (c *extentCounts) loose(depth int, perNode int64) bool {
	for h := range depth {
		if c.room[h]-c.entries[h] > perNode || c.entries[h] < extentMaxRoot {
			return true
		}
		for up := h + 1; up < depth; up++ {
			if c.entries[h] < c.room[up] {
				return true
			}
		}
	}
	return false
}

// A knownTree is an extent tree that was changed since the file system was
// opened.
type knownTree struct {
	extentCounts
	counted bool // or else they are only of what was changed
	changed bool // since the last commit
}

// noteTree remembers what an operation has changed in the extent tree of an
// inode.
func (w *Writer) noteTree(in *inode) {
	c := &in.counts
	if *c == (extentCounts{}) {
		return
	}
	if c.anew {
		delete(w.trees, in.num)
		c.anew = false
		if *c == (extentCounts{}) {
			return
		}
	}
	t := w.trees[in.num]
	for h := range c.entries {
		t.entries[h] += c.entries[h]
		t.room[h] += c.room[h]
	}
	t.changed = true
	w.trees[in.num] = t
	*c = extentCounts{}
}

// packTrees is the last thing before a commit: the extent trees that have become
// loose are packed. In between they may be as they come, which makes it one
// rewrite for many changes. None of it needs space. A tree that it fails for
// stays as it is, which is as good as before. Requires w.mu.
func (w *Writer) packTrees(ctx context.Context) {
	var nums []uint32
	for num, t := range w.trees {
		if t.changed {
			nums = append(nums, num)
		}
	}
	slices.Sort(nums) // the same operations make the same image
	for _, num := range nums {
		o := w.begin(context.WithoutCancel(ctx))
		err := o.packIfLoose(num)
		if err == nil {
			err = o.finish()
		}
		if err != nil {
			o.rollback(opMark{total: o.total})
			delete(w.trees, num)
		} else if t, ok := w.trees[num]; ok {
			t.changed = false
			w.trees[num] = t
		}
	}
	if len(w.trees) > treesKept {
		clear(w.trees)
	}
}

// packIfLoose packs the extent tree of an inode if e2fsck would offer to.
func (o *op) packIfLoose(num uint32) error {
	in, err := o.load(vfs.Ino(num))
	if err != nil {
		return err
	}
	depth := int(ondisk.DecodeExtentHeader(in.Block[:]).Depth)
	if !in.has(ondisk.FlExtents) || in.has(ondisk.FlInlineData) || depth == 0 {
		delete(o.w.trees, num)
		return nil
	}
	t := o.w.trees[num]
	if !t.counted {
		t = knownTree{counted: true}
		err := o.eachNode(in, func(n *extentNode) error {
			t.add(n.ExtentHeader, 1)
			if t.entries[0] > packMost {
				return errTooLarge
			}
			return nil
		})
		if err != nil {
			return err
		}
		o.w.trees[num] = t
	}
	if t.entries[0] > packMost || !t.loose(depth, int64(o.blockMaxExtents())) {
		return nil
	}
	return o.packTree(in)
}

// eachNode calls fn for all nodes of an extent tree below the inode, from left
// to right. Of leaves that are well filled, which most are, only the header has
// been looked at.
func (o *op) eachNode(in *inode, fn func(n *extentNode) error) error {
	path, err := o.extentPath(in, 0)
	if err != nil {
		return err
	}
	root := path[0]
	return o.eachBelow(in, &root, fn)
}

func (o *op) eachBelow(in *inode, up *extentNode, fn func(n *extentNode) error) error {
	if up.Depth == 0 {
		return nil
	}
	for i := range int(up.Entries) {
		n, err := o.readChild(in, up, i)
		if err == nil && !o.isFilledLeaf(n, up.Depth-1) {
			err = o.checkChild(in, n, up.Depth-1)
		}
		if err == nil {
			err = fn(n)
		}
		if err == nil {
			err = o.eachBelow(in, n, fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isFilledLeaf reports whether a node at a height is a leaf, and full but for one
// entry at most.
func (o *op) isFilledLeaf(n *extentNode, height uint16) bool {
	most := o.blockMaxExtents()
	return height == 0 && n.Magic == ondisk.ExtentMagic && n.Depth == 0 &&
		n.Max == most && (n.Entries == most || n.Entries == most-1)
}

// packTree makes an extent tree as low and as narrow as it can be, level by level
// from the leaves up. It needs no blocks but those that the tree has.
func (o *op) packTree(in *inode) error {
	var nodes [ondisk.MaxExtentDepth + 1][]*extentNode // by height
	var held [][]byte                                  // what each of a level is to hold
	err := o.eachNode(in, func(n *extentNode) error {
		nodes[n.Depth] = append(nodes[n.Depth], n)
		if n.Depth == 0 {
			held = append(held, entries(n.b, 0, int(n.Entries)))
		}
		return nil
	})
	if err != nil {
		return err
	}
	root := extentNode{b: in.Block[:], ExtentHeader: ondisk.DecodeExtentHeader(in.Block[:])}
	nodes[root.Depth] = []*extentNode{&root}
	height := 0
	for ; height < int(root.Depth); height++ {
		size := 0
		for _, b := range held {
			size += len(b)
		}
		if size <= extentMaxRoot*ondisk.ExtentEntrySize {
			break
		}
		kept, err := o.packLevel(in, nodes[height], held)
		if err != nil {
			return err
		}
		held = held[:0]
		children := nodes[height]
		for _, up := range nodes[height+1] {
			var index []byte
			for range up.Entries {
				if kept[0] {
					index = appendExtentIndex(index, uint32(children[0].lo), children[0].addr)
				}
				kept, children = kept[1:], children[1:]
			}
			held = append(held, index)
		}
	}
	// What is left has room in the inode.
	all := bytes.Join(held, nil)
	top := extentNode{ExtentHeader: ondisk.ExtentHeader{
		Magic: ondisk.ExtentMagic, Entries: uint16(len(all) / ondisk.ExtentEntrySize), Max: extentMaxRoot, Depth: uint16(height),
	}}
	clear(entries(in.Block[:], 0, extentMaxRoot))
	copy(entries(in.Block[:], 0, extentMaxRoot), all)
	o.sealNode(in, &top, in.Block[:])
	in.dirty = true
	for ; height < int(root.Depth); height++ {
		for _, n := range nodes[height] {
			if err := o.freeNode(in, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// packLevel has the nodes of one level, from left to right, hold what they are
// told, each with as much as goes in; what one has no need of goes into the
// next, and those that are not needed are freed. All but the last are then full
// but for one entry at most.
//
// What is well filled already stays as it is, where nothing is to be moved
// through it. What is moved ends at the first node that has room for it. Only if
// there is none nearby, it goes on to the end, and leaves room for one entry
// everywhere, so that the next changes find some.
func (o *op) packLevel(in *inode, nodes []*extentNode, held [][]byte) (kept []bool, err error) {
	const nearby = 8 // nodes
	full := int(o.blockMaxExtents()) * ondisk.ExtentEntrySize
	filled := full - ondisk.ExtentEntrySize
	kept = make([]bool, len(nodes))
	var moved []byte // what has to go into the next node
	next, since := 0, 0
	// put has the first node that holds nothing now hold n bytes of these.
	put := func(n int) error {
		part := moved[:n]
		if err := o.refillNode(in, nodes[next], part); err != nil {
			return err
		}
		moved = append(moved[:0], moved[n:]...)
		kept[next] = true
		next++
		return nil
	}
	var spare []*extentNode
	leave := func(to int) { // nodes up to this one hold nothing
		spare = append(spare, nodes[next:to]...)
		next = to
	}
	for i, b := range held {
		filledLeaf := o.isFilledLeaf(nodes[i], nodes[i].Depth)
		if len(moved) == 0 {
			leave(i)
			since = 0
			if filledLeaf {
				kept[i] = true
				next++
				continue
			}
		}
		if filledLeaf {
			if err := o.checkChild(in, nodes[i], 0); err != nil {
				return nil, err
			}
		}
		moved = append(moved, b...)
		switch n := len(moved); {
		case n < filled:
			continue
		case n <= full:
			err = put(n)
		case since > nearby && n-filled < filled:
			err = put(filled)
		default:
			err = put(full)
		}
		if err != nil {
			return nil, err
		}
		since++
	}
	if len(moved) > 0 {
		if err := put(len(moved)); err != nil {
			return nil, err
		}
	}
	leave(len(nodes))
	for _, n := range spare {
		if err := o.freeNode(in, n); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// refillNode has a node hold other entries. If they are those that it has, it is
// not written.
func (o *op) refillNode(in *inode, n *extentNode, put []byte) error {
	count, most := len(put)/ondisk.ExtentEntrySize, o.blockMaxExtents()
	if n.Max == most && int(n.Entries) == count && bytes.Equal(entries(n.b, 0, count), put) {
		return nil
	}
	b, err := o.changeNode(in, n)
	if err != nil {
		return err
	}
	clear(b[ondisk.ExtentHeaderSize:])
	copy(entries(b, 0, count), put)
	n.Entries, n.Max = uint16(count), most
	o.sealNode(in, n, b)
	n.lo = uint64(ondisk.ExtentEntryBlock(b, 0))
	return nil
}
