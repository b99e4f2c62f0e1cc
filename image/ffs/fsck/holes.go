package fsck

import (
	"errors"
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// fillDir gives a directory that has no contents its first fragment.
func (c *checker) fillDir(d *dirInfo) error {
	var in inode
	if err := c.load(d.ino, &in); err != nil {
		return err
	}
	addr, ok := c.allocate(1, c.start(int64(d.ino)/c.ipg))
	if !ok {
		return c.noSpaceFor(d)
	}
	b := make([]byte, c.fsize)
	c.emptyChunks(b)
	c.newDir(b, d.ino, d.parent)
	if err := c.write(b, addr<<c.fshift); err != nil {
		return err
	}
	in.Direct[0], in.Size, in.Blocks = addr, ondisk.DirChunk, uint64(c.fsize)/512
	d.flags &^= dirNoSize
	return c.store(&in)
}

// fillHoles reports the holes of a directory, and closes them: those at its end
// are cut off, the others become empty chunks.
func (c *checker) fillHoles(d *dirInfo, in *inode) error {
	holes := c.read2.holes
	total := int64(0)
	for _, h := range holes {
		total += h[1]
	}
	if holes[0][0] == 0 {
		// The first block is one of them: it will be made anew.
		c.named(d.ino)
		d.flags |= dirNewDotDot
		d.dotdot = ondisk.RootIno
		c.named(d.dotdot)
	}
	f, mend := c.problem(c.aboutInode(codeDirHole, d.ino, false,
		"directory of %d bytes with %d blocks that are holes, the first is block %d", in.Size, total, holes[0][0]))
	if !mend {
		return nil
	}
	f.lose("names in %d blocks of directory %d", total, d.ino)
	blocks := divUp(int64(in.Size), c.bsize)
	for _, h := range holes {
		lbn, n := h[0], h[1]
		if lbn == 0 {
			err := c.fillHole(d, in, 0, c.holeFrags(in, 0, blocks))
			if err == errNoSpace {
				f.lose("all of the directory, because there is no space for a block")
				return c.noSpaceFor(d)
			}
			if err != nil {
				return err
			}
			lbn, n = 1, n-1
		}
		if n == 0 {
			continue
		}
		if lbn+n < blocks && n <= 16 {
			filled := true
			for k := range n {
				err := c.fillHole(d, in, lbn+k, c.frag)
				if err == errNoSpace {
					filled = false
					break
				}
				if err != nil {
					return err
				}
			}
			if filled {
				continue
			}
		}
		return c.cutDir(in, lbn)
	}
	return nil
}

// noSpaceFor clears a directory that cannot have its first block. Its name goes
// in the next round.
func (c *checker) noSpaceFor(d *dirInfo) error {
	if d.ino == ondisk.RootIno {
		return fmt.Errorf("give the root directory a block: %w", errNoSpace)
	}
	return c.discard(d.ino)
}

// holeFrags is how many fragments a block of a directory should have.
func (c *checker) holeFrags(in *inode, lbn, blocks int64) int64 {
	if lbn == blocks-1 && blocks <= ondisk.NDirect {
		return c.tail(in.Size)
	}
	return c.frag
}

var errNoSpace = errors.New("no space")

// fillHole puts empty chunks where a directory has a hole.
func (c *checker) fillHole(d *dirInfo, in *inode, lbn, n int64) error {
	s, err := c.slot(in, lbn, 0, 0)
	if err != nil {
		return err
	}
	if s.at < 0 {
		return errNoSpace // its indirect block is not there
	}
	addr, ok := c.allocate(n, c.start(int64(d.ino)/c.ipg))
	if !ok {
		return errNoSpace
	}
	b := make([]byte, n<<c.fshift)
	c.emptyChunks(b)
	if lbn == 0 {
		c.newDir(b, d.ino, d.dotdot)
	}
	if err := c.write(b, addr<<c.fshift); err != nil {
		return err
	}
	if err := c.setSlot(s, addr, n); err != nil {
		return err
	}
	return c.load(d.ino, in)
}

// cutDir ends a directory before block lbn, which is a hole.
func (c *checker) cutDir(in *inode, lbn int64) error {
	keep := lbn * c.bsize
	cut := false
	if err := c.walk(in, &visitor{
		beyond: func(pointer, int64) {},
		pointer: func(p pointer) bool {
			if p.level < 0 || !c.fits(p.addr, p.n) || c.loops(in, p) {
				return false
			}
			if p.lbn >= lbn {
				c.used.clear(p.addr, p.n)
				in.Blocks -= uint64(p.n) << c.fshift >> 9
				cut = true
			}
			return true
		},
	}); err != nil {
		return err
	}
	in.Size = uint64(keep)
	if cut {
		c.cutBeyond(in)
		if err := c.zeroPointers(in, false, true); err != nil {
			return err
		}
	}
	return c.store(in)
}
