package ext4

import "github.com/resflash/resflash/image/ext4/ondisk"

// mergeNodes joins the nodes on the way to block lbn with their neighbours, where
// both have room in one, after entries have been taken out.
func (o *op) mergeNodes(in *inode, lbn uint64) error {
	for {
		path, err := o.extentPath(in, lbn)
		if err != nil {
			return err
		}
		merged := false
		for level := len(path) - 1; level > 0 && !merged; level-- {
			if n := &path[level]; n.Entries <= n.Max/2 {
				if merged, err = o.mergeNode(in, path, level); err != nil {
					return err
				}
			}
		}
		if !merged {
			return o.shrinkTree(in)
		}
	}
}

// mergeNode joins a node with one of its neighbours. It is false if neither has
// room.
func (o *op) mergeNode(in *inode, path extentPath, level int) (bool, error) {
	n, up := &path[level], &path[level-1]
	for _, i := range [...]int{up.i + 1, up.i - 1} {
		if i < 0 || i >= int(up.Entries) {
			continue
		}
		other, err := o.childNode(in, up, i)
		if err != nil {
			return false, err
		}
		left, right, gone := n, other, up.i+1
		if i < up.i {
			left, right, gone = other, n, up.i
		}
		have, more := int(left.Entries), int(right.Entries)
		if have+more > int(left.Max) {
			continue
		}
		b, err := o.changeNode(in, left)
		if err != nil {
			return false, err
		}
		copy(entries(b, have, have+more), entries(right.b, 0, more))
		left.Entries += right.Entries
		o.sealNode(in, left, b)
		if err := o.freeNode(in, right); err != nil {
			return false, err
		}
		return true, o.splice(in, path, level-1, gone, gone+1, nil)
	}
	return false, nil
}

// childNode reads the node that entry i of another leads to.
func (o *op) childNode(in *inode, up *extentNode, i int) (*extentNode, error) {
	n, err := o.readChild(in, up, i)
	if err != nil {
		return nil, err
	}
	return n, o.checkChild(in, n, up.Depth-1)
}

// readChild is childNode for those who look at the header first, and call
// checkChild before they look at more.
func (o *op) readChild(in *inode, up *extentNode, i int) (*extentNode, error) {
	first, addr := ondisk.DecodeExtentIndex(up.b, i)
	n := &extentNode{addr: addr, off: o.f.offset(addr), lo: uint64(first), hi: up.hi}
	if i+1 < int(up.Entries) {
		n.hi = uint64(ondisk.ExtentEntryBlock(up.b, i+1))
	}
	var err error
	if n.b, err = o.f.block(addr, in.name()+" extent node"); err != nil {
		return nil, err
	}
	n.ExtentHeader = ondisk.DecodeExtentHeader(n.b)
	return n, nil
}

func (o *op) checkChild(in *inode, n *extentNode, depth uint16) error {
	m := o.f.mapper(in)
	return m.checkNode(n.b, n.off, depth, n.lo, n.hi, false)
}

// shrinkTree takes levels away that are not needed any more: as long as the root
// leads to one node only, and what that holds has room in the root.
func (o *op) shrinkTree(in *inode) error {
	for {
		h := ondisk.DecodeExtentHeader(in.Block[:])
		if h.Depth == 0 || h.Entries != 1 {
			return nil
		}
		path, err := o.extentPath(in, 0)
		if err != nil {
			return err
		}
		n := &path[1]
		if n.Entries > extentMaxRoot {
			return nil
		}
		root := &path[0]
		copy(in.Block[ondisk.ExtentHeaderSize:], entries(n.b, 0, int(n.Entries)))
		clear(entries(in.Block[:], int(n.Entries), extentMaxRoot))
		root.Depth, root.Entries = n.Depth, n.Entries
		o.sealNode(in, root, in.Block[:])
		in.dirty = true
		if err := o.freeNode(in, n); err != nil {
			return err
		}
	}
}
