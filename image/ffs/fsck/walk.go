package fsck

import (
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An inode is a decoded inode and its number.
type inode struct {
	ondisk.Inode
	num uint32
}

func (in *inode) mode() vfs.Mode  { return vfs.Mode(in.Mode) }
func (in *inode) isDir() bool     { return in.mode().Type() == vfs.Dir }
func (in *inode) isSymlink() bool { return in.mode().Type() == vfs.Symlink }
func (in *inode) isDevice() bool {
	t := in.mode().Type()
	return t == vfs.Char || t == vfs.Block
}

// isInline reports whether the pointers of a symbolic link are its target. For
// OpenBSD the length decides; makefs of NetBSD puts links that are just short
// enough into a block all the same.
func (c *checker) isInline(in *inode) bool {
	if !in.isSymlink() || in.Size >= uint64(c.maxSymlink) {
		return false
	}
	return c.openBSD() || in.Blocks == 0 || c.hasExt(in)
}

// hasExt reports whether the inode has blocks of extended attributes.
func (c *checker) hasExt(in *inode) bool {
	return c.ffs2() && !c.openBSD() && in.ExtSize > 0
}

// A pointer is one block pointer of an inode, and what it should lead to.
type pointer struct {
	addr  int64
	n     int64 // fragments
	lbn   int64 // first block of the file that it leads to
	level int   // 0: to data; 1 to 3: to an indirect block; -1: to attributes
	index int   // of the pointer, in the inode or in its indirect block
}

// A visitor sees the pointers of an inode.
type visitor struct {
	// pointer sees one that is not 0, and says whether to go on below it.
	pointer func(p pointer) bool
	// beyond sees a pointer behind the end of the file; in is the indirect
	// block that it is in, or 0 for the inode.
	beyond func(p pointer, in int64)
	// hole is told of every block that is not there, if it is not nil; n is
	// how many.
	hole func(lbn, n int64)
	// leave is called when all of an indirect block has been seen: b is what
	// it holds, to be changed, and the result says to write it back.
	leave func(p pointer, b []byte) bool
}

// walk shows the pointers of an inode to v, in the order of the file; indirect
// blocks come before what they lead to. The caller has seen to it that in is
// no device and no inline link. It reads only what v.pointer has let pass.
func (c *checker) walk(in *inode, v *visitor) error {
	blocks := int64((in.Size + uint64(c.bsize) - 1) / uint64(c.bsize)) // see scanInode: no overflow
	if in.Size > uint64(c.maxFile) {
		blocks = c.maxFile / c.bsize
	}
	if c.hasExt(in) {
		left := int64(in.ExtSize)
		for i, addr := range in.Ext {
			p := pointer{addr: addr, n: divUp(min(left, c.bsize), c.fsize), level: -1, index: i}
			left -= c.bsize
			if addr == 0 {
				continue
			}
			if p.n <= 0 {
				v.beyond(p, 0)
			} else {
				v.pointer(p)
			}
		}
	}
	for i := range int64(ondisk.NDirect) {
		p := pointer{addr: in.Direct[i], n: c.frag, lbn: i, index: int(i)}
		switch {
		case i >= blocks:
			if p.addr != 0 {
				v.beyond(p, 0)
			}
			continue
		case p.addr == 0:
			if v.hole != nil {
				v.hole(i, 1)
			}
			continue
		case i == blocks-1:
			p.n = c.tail(in.Size)
		}
		v.pointer(p)
	}
	lbn, span := int64(ondisk.NDirect), int64(1)
	for i := range in.Indirect {
		span *= c.nindir
		p := pointer{addr: in.Indirect[i], n: c.frag, lbn: lbn, level: i + 1, index: ondisk.NDirect + i}
		switch {
		case lbn >= blocks:
			if p.addr != 0 {
				v.beyond(p, 0)
			}
		case p.addr == 0:
			if v.hole != nil {
				v.hole(lbn, min(span, blocks-lbn))
			}
		default:
			if err := c.walkBelow(p, span, blocks, v); err != nil {
				return err
			}
		}
		lbn += span
	}
	return nil
}

// tail is the number of fragments of the last block of a file.
func (c *checker) tail(size uint64) int64 {
	if rest := int64(size % uint64(c.bsize)); rest != 0 {
		return divUp(rest, c.fsize)
	}
	return c.frag
}

// walkBelow goes on with an indirect block, through which span blocks are
// reached.
func (c *checker) walkBelow(p pointer, span, blocks int64, v *visitor) error {
	if !v.pointer(p) {
		return nil
	}
	if err := c.ctx.Err(); err != nil {
		return err
	}
	b := buffer(c.indir[p.level-1], c.bsize)
	c.indir[p.level-1] = b
	if err := c.read(b, p.addr<<c.fshift); err != nil {
		return err
	}
	span /= c.nindir
	size := int64(c.version.PointerSize())
	for i := range c.nindir {
		child := pointer{
			addr: c.version.Pointer(c.order, b[i*size:]), n: c.frag,
			lbn: p.lbn + i*span, level: p.level - 1, index: int(i),
		}
		switch {
		case child.lbn >= blocks:
			if child.addr != 0 {
				v.beyond(child, p.addr)
			}
		case child.addr == 0:
			if v.hole != nil {
				v.hole(child.lbn, min(span, blocks-child.lbn))
			}
		case child.level == 0:
			v.pointer(child)
		default:
			if err := c.walkBelow(child, span, blocks, v); err != nil {
				return err
			}
		}
	}
	if v.leave != nil && v.leave(p, b) {
		return c.write(b, p.addr<<c.fshift)
	}
	return nil
}

// load reads an inode.
func (c *checker) load(ino uint32, in *inode) error {
	p := c.ibuf[:c.isize]
	if err := c.read(p, c.inodeOff(ino)); err != nil {
		return err
	}
	in.num = ino
	in.Decode(p, c.order, c.version)
	return nil
}

// store writes an inode back; what Inode does not have stays as it is.
func (c *checker) store(in *inode) error {
	p := c.ibuf[:c.isize]
	off := c.inodeOff(in.num)
	if err := c.read(p, off); err != nil {
		return err
	}
	in.Encode(p, c.order, c.version)
	return c.write(p, off)
}

// clearInode makes an inode a free one; its generation stays.
func (c *checker) clearInode(ino uint32) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	p := c.ibuf[:c.isize]
	clear(p)
	in.Inode = ondisk.Inode{Gen: in.Gen}
	in.Encode(p, c.order, c.version)
	return c.write(p, c.inodeOff(ino))
}
