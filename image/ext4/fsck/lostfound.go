package fsck

import (
	"errors"
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

var errNoSpace = errors.New("no space left")

// lostFound is the directory for what has no name.
type lostFound struct {
	ino   uint32
	tried int  // how many names
	none  bool // there is none, and no space for one
}

// lostFoundMode is the mode of a new lost+found: nobody else's business.
const lostFoundMode = typeDir | 0o700

// linkUp gives an inode a name in lost+found, and returns that directory and
// the name, or 0 if that cannot be done.
func (c *checker) linkUp(ino uint32, kind uint8) (dir uint32, name string, err error) {
	name = fmt.Sprintf("#%d", ino)
	for {
		if c.lost.ino == 0 {
			if err := c.openLostFound(); err != nil || c.lost.none {
				return 0, "", err
			}
		}
		ok, err := c.addName(c.lost.ino, ino, kind, name)
		if err != nil {
			return 0, "", err
		}
		if ok {
			return c.lost.ino, name, nil
		}
		c.lost.ino = 0 // full: another one
	}
}

// openLostFound finds or makes the next directory for what was found: lost+found,
// lost+found.1, and so on.
func (c *checker) openLostFound() error {
	const most = 1 << 10
	for c.lost.tried < most {
		name := "lost+found"
		if c.lost.tried > 0 {
			name = fmt.Sprintf("lost+found.%d", c.lost.tried)
		}
		c.lost.tried++
		ino, err := c.findName(ondisk.RootIno, name)
		if err != nil {
			return err
		}
		if ino != 0 {
			if d := c.dir(ino); d != nil && d.parent == ondisk.RootIno {
				c.lost.ino = ino
				return nil
			}
			continue
		}
		ino, ok, err := c.makeDir(0, ondisk.RootIno, lostFoundMode)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if ok, err = c.addName(ondisk.RootIno, ino, inoDir, name); err != nil {
			return err
		}
		if !ok {
			if err := c.discardDir(ino); err != nil {
				return err
			}
			break
		}
		d := c.dir(ino)
		d.parent, d.dotdot, d.flags = ondisk.RootIno, ondisk.RootIno, dirReached
		// If the links of the root have been compared already, this one is
		// counted now.
		c.lost.ino = ino
		return nil
	}
	c.lost.none = true
	return nil
}

// makeDir makes inode ino, or a free one, a directory without a name.
func (c *checker) makeDir(ino, parent uint32, mode uint16) (_ uint32, ok bool, err error) {
	block, ok := c.allocate(1, c.firstBlock)
	if !ok {
		return 0, false, nil
	}
	if ino == 0 {
		if ino, ok = c.allocateInode(); !ok {
			return 0, false, nil
		}
	}
	in := inode{num: ino, base: c.seed, raw: make([]byte, c.isize)}
	ondisk.SetInodeMode(in.raw, mode)
	ondisk.SetLinks(in.raw, 2)
	ondisk.SetInodeSize(in.raw, uint64(c.bsize))
	for _, off := range []int{0x08, 0x0C, 0x10} {
		le.PutUint32(in.raw[off:], c.now())
	}
	if c.isize > ondisk.InodeSizeOld {
		ondisk.SetInodeExtraIsize(in.raw, c.extraIsize())
	}
	root := ondisk.InodeBlock(in.raw)
	if c.hasIncompat(ondisk.IncompatExtents) {
		ondisk.SetInodeFlags(in.raw, ondisk.FlExtents)
		emptyRoot(root)
		ondisk.EncodeExtent(root, 0, ondisk.Extent{Len: 1, Start: block})
		ondisk.EncodeExtentHeader(root, ondisk.ExtentHeader{Magic: ondisk.ExtentMagic, Entries: 1, Max: 4})
	} else {
		le.PutUint32(root, uint32(block))
	}
	in.decode()
	ondisk.SetInodeBlocks(in.raw, c.iBlocks(&in, 1))
	if err := c.store(&in); err != nil {
		return 0, false, err
	}
	d := c.dirBlockOf(make([]byte, c.bsize), 0, block)
	d.put(0, ondisk.DirEntryMin, ino, entryType[inoDir], dot)
	d.put(ondisk.DirEntryMin, d.limit-ondisk.DirEntryMin, parent, entryType[inoDir], dotDot)
	if err := c.storeDirBlock(&in, d); err != nil {
		return 0, false, err
	}
	c.kind.put(ino, inoDir)
	g, _ := c.inodePlace(ino)
	c.desc[g].dirs++
	c.dirs = append(c.dirs, dirInfo{ino: ino, links: 2, dotdot: parent})
	for i := len(c.dirs) - 1; i > 0 && c.dirs[i-1].ino > ino; i-- {
		c.dirs[i], c.dirs[i-1] = c.dirs[i-1], c.dirs[i]
	}
	return ino, true, nil
}

// makeRoot makes inode 2 a directory. What it was, if it was a file, is lost:
// where it was, no file can be.
func (c *checker) makeRoot() error {
	c.again = true
	_, ok, err := c.makeDir(ondisk.RootIno, ondisk.RootIno, typeDir|0o755)
	if err == nil && !ok {
		err = errNoSpace
	}
	return err
}

// discard makes an inode that has no name one that was deleted, and frees its
// blocks.
func (c *checker) discard(ino uint32) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	if c.hasBlocks(&in) {
		var w walk
		w.reset(&in)
		w.run = func(r run) error {
			c.used.clearRange(c.cluster(r.start), c.cluster(r.start+r.n-1)+1)
			return nil
		}
		w.node = func(block uint64, _ int) error {
			c.used.clearRange(c.cluster(block), c.cluster(block)+1)
			return nil
		}
		if err := c.walk(&w); err != nil {
			return err
		}
	}
	c.kind.put(ino, inoFree)
	delete(c.links, ino)
	return c.clearInode(ino)
}

// discardDir is discard for a directory.
func (c *checker) discardDir(ino uint32) error {
	g, _ := c.inodePlace(ino)
	c.desc[g].dirs--
	for i := range c.dirs {
		if c.dirs[i].parent == ino {
			c.dirs[i].parent = 0
		}
	}
	d := c.dir(ino)
	d.parent, d.flags = 0, dirUnmended
	return c.discard(ino)
}
