package fsck

import (
	"errors"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

var errDone = errors.New("done")

// editDir shows the blocks of a directory to fn, until it says that it is done;
// changed says that it has changed the block.
func (c *checker) editDir(ino uint32, fn func(b *dirBlock) (changed, done bool)) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	if in.has(ondisk.FlInlineData) {
		any := false
		for _, d := range c.inlineParts(&in) {
			changed, done := fn(d)
			any = any || changed
			if done {
				break
			}
		}
		if any && c.tx != nil {
			return c.storeInline(&in)
		}
		return nil
	}
	if !c.hasBlocks(&in) {
		return nil
	}
	var w walk
	w.reset(&in)
	buf := make([]byte, c.bsize)
	w.run = func(r run) error {
		for i := range r.n {
			if err := c.readBlock(buf, r.start+i); err != nil {
				return err
			}
			d := c.dirBlockOf(buf, r.lblk+i, r.start+i)
			if in.has(ondisk.FlIndex) && c.looksLikeNode(d) {
				continue
			}
			if _, ok := ondisk.DirTail(buf); !ok {
				d.limit = len(buf)
			}
			changed, done := fn(d)
			if changed && c.tx != nil {
				if err := c.storeDirBlock(&in, d); err != nil {
					return err
				}
			}
			if done {
				return errDone
			}
		}
		return c.ctx.Err()
	}
	if err := c.walk(&w); err != errDone {
		return err
	}
	return nil
}

// looksLikeNode tells the nodes of a hash tree from other blocks of a
// directory.
func (c *checker) looksLikeNode(d *dirBlock) bool {
	if d.lblk == 0 {
		return true
	}
	h := ondisk.DecodeDirEntry(d.b, d.bsize)
	return h.Ino == 0 && h.RecLen == len(d.b) && h.NameLen == 0
}

// findName returns what a name in a directory leads to, or 0.
func (c *checker) findName(dir uint32, name string) (ino uint32, err error) {
	err = c.editDir(dir, func(b *dirBlock) (bool, bool) {
		for e := range b.entries() {
			if e.ino != 0 && string(e.name) == name {
				ino = e.ino
				return false, true
			}
		}
		return false, false
	})
	return ino, err
}

// removeName takes the first name of an inode out of a directory.
func (c *checker) removeName(dir, ino uint32) error {
	return c.editDir(dir, func(b *dirBlock) (changed, done bool) {
		for e := range b.entries() {
			if e.ino == ino && !e.isDot() && !e.isDotDot() {
				b.drop(e)
				return true, true
			}
		}
		return false, false
	})
}

// setDotDot makes the ".." of a directory lead to parent. In an indexed
// directory it lies in the root of the index.
func (c *checker) setDotDot(dir, parent uint32) error {
	var in inode
	if err := c.load(dir, &in); err != nil {
		return err
	}
	if in.has(ondisk.FlInlineData) {
		return c.setInlineParent(&in, parent)
	}
	runs, err := c.runs(&in, 1)
	if err != nil || len(runs) == 0 || runs[0].lblk != 0 {
		return err
	}
	b := make([]byte, c.bsize)
	if err := c.readBlock(b, runs[0].start); err != nil {
		return err
	}
	d := c.dirBlockOf(b, 0, runs[0].start)
	d.limit = len(b)
	for e := range d.entries() {
		if e.ino != 0 && e.isDotDot() {
			le.PutUint32(b[e.at:], parent)
			d.index = in.has(ondisk.FlIndex)
			return c.storeDirBlock(&in, d)
		}
	}
	return nil
}

// addName puts a name into a directory: into the first space that is wide
// enough, or behind its end. It returns false if there is no space, or if the
// name is there already.
func (c *checker) addName(dir, ino uint32, kind uint8, name string) (bool, error) {
	if found, err := c.findName(dir, name); err != nil || found != 0 {
		return false, err
	}
	if err := c.dropIndex(dir); err != nil {
		return false, err
	}
	need := ondisk.DirEntrySize(len(name))
	for range 2 {
		added := false
		err := c.editDir(dir, func(b *dirBlock) (bool, bool) {
			for e := range b.entries() {
				free, at := e.recLen, e.at
				if e.ino != 0 {
					size := ondisk.DirEntrySize(len(e.name))
					free, at = e.recLen-size, e.at+size
				}
				if free < need || b.lblk == 0 && e.isDot() {
					continue
				}
				b.put(at, free, ino, entryType[kind], []byte(name))
				if at != e.at {
					ondisk.SetRecLen(b.b[e.at:], at-e.at, b.bsize)
				}
				added = true
				return true, true
			}
			return false, false
		})
		if err != nil || added {
			return added, err
		}
		if ok, err := c.growDir(dir); err != nil || !ok {
			return false, err
		}
	}
	return false, nil
}

// dropIndex makes a directory one without a hash tree.
func (c *checker) dropIndex(dir uint32) error {
	r := &dirRead{d: c.dir(dir)}
	if err := c.load(dir, &r.in); err != nil || !r.in.has(ondisk.FlIndex) || r.d == nil {
		return err
	}
	runs, err := c.runs(&r.in, 1<<24)
	if err != nil {
		return err
	}
	r.index = &dirIndex{blocks: make([]dxBlock, r.in.Size>>c.bshift)}
	return c.unindex(r, runs)
}

// growDir adds an empty block to a directory, if its mapping has room for that
// without growing itself.
func (c *checker) growDir(dir uint32) (bool, error) {
	var in inode
	if err := c.load(dir, &in); err != nil || in.has(ondisk.FlInlineData) {
		return false, err
	}
	lblk := in.Size >> c.bshift
	root := ondisk.InodeBlock(in.raw)
	h := ondisk.DecodeExtentHeader(root)
	if in.has(ondisk.FlExtents) {
		if h.Depth != 0 || h.Entries >= h.Max {
			return false, nil
		}
	} else if lblk >= directPointers {
		return false, nil
	}
	like := c.firstBlock + lblk // at its place in a cluster
	if c.clusterShift > 0 && lblk&(1<<c.clusterShift-1) != 0 {
		return false, nil
	}
	to, ok := c.allocate(1, like)
	if !ok {
		return false, nil
	}
	if in.has(ondisk.FlExtents) {
		ondisk.EncodeExtent(root, int(h.Entries), ondisk.Extent{Block: uint32(lblk), Len: 1, Start: to})
		h.Entries++
		ondisk.EncodeExtentHeader(root, h)
	} else {
		le.PutUint32(root[lblk*4:], uint32(to))
	}
	ondisk.SetInodeSize(in.raw, (lblk+1)<<c.bshift)
	ondisk.SetInodeBlocks(in.raw, in.Blocks+c.iBlocks(&in, 1))
	d := c.dirBlockOf(make([]byte, c.bsize), lblk, to)
	d.put(0, d.limit, 0, 0, nil)
	if err := c.storeDirBlock(&in, d); err != nil {
		return false, err
	}
	return true, c.store(&in)
}

// closeHoles makes a directory one without holes: with extents, the blocks
// behind move up; else the holes are filled with empty blocks.
func (c *checker) closeHoles(r *dirRead) error {
	c.again = true
	if err := c.dropIndex(r.d.ino); err != nil {
		return err
	}
	in := &r.in
	if err := c.load(r.d.ino, in); err != nil {
		return err
	}
	var w walk
	w.reset(in)
	w.edit = true
	added := uint64(0)
	if in.has(ondisk.FlExtents) {
		w.pack = true
	} else {
		w.fillTo = in.Size >> c.bshift
		w.fill = func() (uint64, error) {
			to, ok := c.allocate(1, c.firstBlock)
			if !ok {
				return 0, nil
			}
			added++
			// As a block of pointers it is empty; as one of names, the next
			// round makes it legal.
			return to, c.writeBlock(make([]byte, c.bsize), to)
		}
	}
	if err := c.walk(&w); err != nil {
		return err
	}
	blocks := w.packed
	if !w.pack {
		blocks = uint64(w.last + 1)
	}
	ondisk.SetInodeSize(in.raw, blocks<<c.bshift)
	ondisk.SetInodeBlocks(in.raw, in.Blocks+c.iBlocks(in, added))
	return c.store(in)
}
