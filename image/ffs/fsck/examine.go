package fsck

import (
	"bytes"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// A tally is what a second look at an inode counts.
type tally struct {
	frags    int64
	bad      int     // pointers to nowhere …
	badAt    pointer // … the first of them
	badBytes int64
	beyond   int // pointers behind the end, in the inode …
	indirect int // … and in indirect blocks
}

// count looks at the pointers of an inode again, by themselves.
func (c *checker) countPointers(in *inode) (t tally, err error) {
	if in.isDevice() || c.isInline(in) {
		return t, nil
	}
	err = c.walk(in, &visitor{
		pointer: func(p pointer) bool {
			if c.fits(p.addr, p.n) && !c.loops(in, p) {
				t.frags += p.n
				return true
			}
			if t.bad == 0 {
				t.badAt = p
			}
			t.bad++
			t.badBytes += c.spanBytes(in, p)
			return false
		},
		beyond: func(_ pointer, at int64) {
			if at == 0 {
				t.beyond++
			} else {
				t.indirect++
			}
		},
	})
	return t, err
}

// loops repeats for one inode the test for indirect blocks that contain
// themselves.
func (c *checker) loops(in *inode, p pointer) bool {
	if c.isAbove(p) {
		return true
	}
	if p.level > 0 {
		c.scan.above[p.level-1] = p.addr
	}
	return false
}

// spanBytes is how much of a file is reached through a pointer.
func (c *checker) spanBytes(in *inode, p pointer) int64 {
	if p.level < 0 {
		return 0
	}
	n := c.bsize
	for range p.level {
		n *= c.nindir
	}
	return max(0, min(n, int64(in.Size)-p.lbn*c.bsize))
}

// examine reports the issues of an inode, and mends them.
func (c *checker) examine(sus *suspect) error {
	var in inode
	if err := c.load(sus.ino, &in); err != nil {
		return err
	}
	switch {
	case sus.issues&issueFree != 0:
		f, mend := c.problem(c.aboutInode(codeInodeFree, sus.ino, false,
			"not in use (mode %#o), but with a size of %d bytes or block pointers", in.Mode, in.Size))
		if mend {
			f.lose("what inode %d was, if it was a file: %d bytes", sus.ino, in.Size)
			return c.clearInode(sus.ino)
		}
		return nil
	case sus.issues&issueType != 0:
		f, mend := c.problem(c.aboutInode(codeInodeType, sus.ino, false, "mode %#o has no type of file", in.Mode))
		if mend {
			f.lose("inode %d, %d bytes", sus.ino, in.Size)
			c.setKind(sus.ino, 0, inoFree)
			return c.clearInode(sus.ino)
		}
		return nil
	}

	if in.isSymlink() && sus.issues&(issueSize|issuePointer|issueNoTarget) != 0 {
		f, mend := c.problem(c.aboutInode(codeTarget, sus.ino, false, "symbolic link of %d bytes without a legible target", in.Size))
		if mend {
			f.lose("symbolic link %d", sus.ino)
			return c.discard(sus.ino)
		}
		return nil
	}

	blocksBefore := in.Blocks
	var mended, zeroBad, zeroIndirect bool
	if sus.issues&issueSize != 0 {
		f, mend := c.problem(c.aboutInode(codeInodeSize, sus.ino, false, "size of %d bytes, its pointers suggest %d", in.Size, sus.size))
		if mend {
			f.lose("the exact length of the file: it is now %d bytes", sus.size)
			mended = true
		}
		in.Size = uint64(sus.size)
	}
	t, err := c.countPointers(&in)
	if err != nil {
		return err
	}
	if sus.issues&issuePointer != 0 && t.bad > 0 {
		where := "block"
		switch {
		case t.badAt.level < 0:
			where = "extended attributes, block"
		case t.badAt.level > 0:
			where = "indirect block for block"
		}
		f, mend := c.problem(c.aboutInode(codeInodePointer, sus.ino, false,
			"%d bad pointers, the first is fragment %d (%d of them) for %s %d",
			t.bad, t.badAt.addr, t.badAt.n, where, t.badAt.lbn))
		if mend {
			f.lose("up to %d bytes that read as zeros now", t.badBytes)
			mended, zeroBad = true, true
		}
	}
	if sus.issues&issueBeyond != 0 {
		n := t.beyond
		if in.isDevice() {
			n = 1
		}
		f, mend := c.problem(c.aboutInode(codeInodeBeyond, sus.ino, false, "%d pointers behind its end at byte %d", max(n, 1), in.Size))
		if mend {
			f.lose("blocks behind the end of the file")
			c.cutBeyond(&in)
			mended = true
		}
	}
	if sus.issues&issueIndirect != 0 && t.indirect > 0 {
		if _, mend := c.problem(c.aboutInode(codeIndirBeyond, sus.ino, true,
			"%d pointers in indirect blocks behind its end at byte %d", t.indirect, in.Size)); mend {
			mended, zeroIndirect = true, true
		}
	}
	if sus.issues&issueTarget != 0 {
		f, mend := c.problem(c.aboutInode(codeSymlink, sus.ino, false, "the target of %d bytes lies in a block, want it in the inode", in.Size))
		if mend {
			if err := c.inlineTarget(&in, f); err != nil {
				return err
			}
			mended = true
		}
	} else if sus.issues&issuePadding != 0 {
		if _, mend := c.problem(c.aboutInode(codeSymlink, sus.ino, false,
			"behind the target of %d bytes is something else than zeros", in.Size)); mend {
			c.cutPadding(&in)
			mended = true
		}
	}
	if sus.issues == issueBlocks {
		if _, mend := c.problem(c.aboutInode(codeInodeBlocks, sus.ino, true,
			"%d blocks, counted %d", in.Blocks, uint64(sus.frags)<<c.fshift>>9)); mend {
			mended = true
		}
	}
	if !mended {
		return nil
	}
	if zeroBad || zeroIndirect {
		if err := c.zeroPointers(&in, zeroBad, zeroIndirect); err != nil {
			return err
		}
	}
	if t, err = c.countPointers(&in); err != nil {
		return err
	}
	if in.Blocks = uint64(t.frags) << c.fshift >> 9; sus.issues != issueBlocks && t.bad > 0 {
		in.Blocks = blocksBefore // not all was mended
	}
	return c.store(&in)
}

// cutBeyond takes away the pointers of an inode behind the end of its file.
func (c *checker) cutBeyond(in *inode) {
	if in.isDevice() {
		clear(in.Direct[1:])
		clear(in.Indirect[:])
		return
	}
	blocks := int64((in.Size + uint64(c.bsize) - 1) / uint64(c.bsize))
	for i := range in.Direct {
		if int64(i) >= blocks {
			in.Direct[i] = 0
		}
	}
	lbn, span := int64(ondisk.NDirect), int64(1)
	for i := range in.Indirect {
		if lbn >= blocks {
			in.Indirect[i] = 0
		}
		span *= c.nindir
		lbn += span
	}
	if c.hasExt(in) && int64(in.ExtSize) <= c.bsize {
		in.Ext[1] = 0
	}
}

// cutPadding makes zeros of all behind an inline target.
func (c *checker) cutPadding(in *inode) {
	slots := int(divUp(int64(in.Size), int64(c.version.PointerSize())))
	for i := slots; i < ondisk.NDirect+ondisk.NIndirect; i++ {
		if i < ondisk.NDirect {
			in.Direct[i] = 0
		} else {
			in.Indirect[i-ondisk.NDirect] = 0
		}
	}
}

// inlineTarget moves the target of a symbolic link from its block to where
// OpenBSD looks for it.
func (c *checker) inlineTarget(in *inode, f *finding) error {
	target := make([]byte, in.Size)
	if err := c.read(target, in.Direct[0]<<c.fshift); err != nil {
		return err
	}
	if i := bytes.IndexByte(target, 0); i >= 0 {
		f.lose("the target of symbolic link %d, which is damaged", in.num)
		target = target[:i]
		in.Size = uint64(i)
	}
	clear(in.Direct[:])
	clear(in.Indirect[:])
	p := c.ibuf[:c.isize]
	in.Encode(p, c.order, c.version)
	copy(c.version.Inline(p), target)
	num := in.num
	in.Decode(p, c.order, c.version)
	in.num = num
	return nil
}

// zeroPointers makes holes of pointers to nowhere, and cuts off those behind
// the end in indirect blocks.
func (c *checker) zeroPointers(in *inode, bad, beyond bool) error {
	blocks := int64((in.Size + uint64(c.bsize) - 1) / uint64(c.bsize))
	if bad {
		for i, addr := range in.Direct {
			n := c.frag
			if int64(i) == blocks-1 {
				n = c.tail(in.Size)
			}
			if int64(i) < blocks && addr != 0 && !c.fits(addr, n) {
				in.Direct[i] = 0
			}
		}
		for i, addr := range in.Indirect {
			if addr != 0 && !c.fits(addr, c.frag) {
				in.Indirect[i] = 0
			}
		}
		left := int64(in.ExtSize)
		for i, addr := range in.Ext {
			if n := divUp(min(left, c.bsize), c.fsize); c.hasExt(in) && addr != 0 && n > 0 && !c.fits(addr, n) {
				in.Ext[i] = 0
			}
			left -= c.bsize
		}
	}
	size := int64(c.version.PointerSize())
	usable := func(p pointer) bool { return c.fits(p.addr, p.n) && !c.loops(in, p) }
	return c.walk(in, &visitor{
		pointer: usable,
		beyond:  func(pointer, int64) {},
		leave: func(p pointer, b []byte) (changed bool) {
			span := int64(1)
			for range p.level - 1 {
				span *= c.nindir
			}
			for i := range c.nindir {
				at := b[i*size:][:size]
				child := pointer{addr: c.version.Pointer(c.order, at), n: c.frag, lbn: p.lbn + i*span, level: p.level - 1, index: int(i)}
				if child.addr == 0 {
					continue
				}
				cut := beyond
				if child.lbn < blocks {
					cut = bad && !usable(child)
				}
				if cut {
					clear(at)
					changed = true
				}
			}
			return changed
		},
	})
}
