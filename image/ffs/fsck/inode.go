package fsck

import (
	"bytes"
	"encoding/binary"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// isZeroInode reports whether an inode whose mode is 0 has neither size nor
// pointers.
func (c *checker) isZeroInode(p []byte) bool {
	le := binary.LittleEndian
	var v uint64
	if c.ffs2() {
		v = le.Uint64(p[16:])
		for q := p[112:232]; len(q) > 0; q = q[8:] {
			v |= le.Uint64(q)
		}
		return v == 0
	}
	v = le.Uint64(p[8:]) | uint64(le.Uint32(p[96:]))
	for q := p[40:96]; len(q) > 0; q = q[8:] {
		v |= le.Uint64(q)
	}
	return v == 0
}

func knownType(m vfs.Mode) bool {
	switch m.Type() {
	case vfs.Regular, vfs.Dir, vfs.Symlink, vfs.Char, vfs.Block, vfs.FIFO, vfs.Socket:
		return true
	}
	return false
}

// maxDirSize is the most that a directory may have.
const maxDirSize = 1<<31 - 1

// inlineIssues looks at a symbolic link whose target is in its inode.
func (c *checker) inlineIssues(in *inode, p []byte) (issues uint16) {
	slots := divUp(int64(in.Size), int64(c.version.PointerSize()))
	for i := range int64(ondisk.NDirect + ondisk.NIndirect) {
		addr := int64(0)
		if i < ondisk.NDirect {
			addr = in.Direct[i]
		} else {
			addr = in.Indirect[i-ondisk.NDirect]
		}
		if i >= slots && addr != 0 {
			issues |= issuePadding
		}
	}
	if hasNUL(c.version.Inline(p)[:in.Size]) {
		if in.Blocks != 0 && c.fits(in.Direct[0], 1) {
			return issues | issueTarget
		}
		return issues | issueNoTarget
	}
	return issues
}

// checkTarget looks at a symbolic link whose target is in blocks. fsck_ffs does
// not, but a target that is a hole, or has a NUL, is none.
func (c *checker) checkTarget(in *inode) error {
	s := &c.scan
	if s.issues != 0 || in.Size == 0 {
		return nil
	}
	if in.Direct[0] == 0 {
		s.issues |= issueNoTarget
		return nil
	}
	c.block = buffer(c.block, c.bsize)
	b := c.block[:min(int64(in.Size), c.bsize)]
	if err := c.read(b, in.Direct[0]<<c.fshift); err != nil {
		return err
	}
	if hasNUL(b) {
		s.issues |= issueNoTarget
	}
	return nil
}

func hasNUL(b []byte) bool { return bytes.IndexByte(b, 0) >= 0 }

// soundSize returns the size of a file, if it can be, or else the one that its
// pointers and its count of blocks suggest: one that is too large, and, for a
// directory, one that leaves out some of its direct blocks.
func (c *checker) soundSize(in *inode) (int64, bool) {
	limit := uint64(c.maxFile)
	if in.isDir() {
		limit = maxDirSize
	} else if in.isSymlink() {
		limit = ondisk.MaxBlockSize // the kernels stop at 1024
	}
	last, mapped := -1, 0
	for i, addr := range in.Direct {
		if addr != 0 {
			last = i
			mapped++
		}
	}
	tooLarge := in.Size > limit
	short := in.isDir() && last >= 0 && in.Size <= uint64(int64(last)*c.bsize) && in.Size <= ondisk.NDirect*uint64(c.bsize)
	if !tooLarge && !short {
		return int64(in.Size), true
	}
	if end := c.lastBlock(in) + 1; end > ondisk.NDirect {
		return min(end*c.bsize, int64(limit)&^(c.bsize-1)), false
	}
	if last < 0 {
		return 0, false
	}
	tail := int64(in.Blocks<<9>>c.fshift) - int64(mapped-1)*c.frag
	if tail < 1 || tail > c.frag || !c.fits(in.Direct[last], tail) {
		tail = c.frag
	}
	return int64(last)*c.bsize + tail<<c.fshift, false
}

// maxGuess bounds the indirect blocks that are read for a guess.
const maxGuess = 1024

// lastBlock returns the last block that a file has behind its indirect
// pointers, or -1.
func (c *checker) lastBlock(in *inode) int64 {
	whole := *in
	whole.Size = uint64(c.maxFile)
	last, reads := int64(-1), 0
	err := c.walk(&whole, &visitor{
		beyond: func(pointer, int64) {},
		pointer: func(p pointer) bool {
			if p.level < 0 || p.lbn < ondisk.NDirect || !c.fits(p.addr, p.n) || c.loops(&whole, p) {
				return false
			}
			if p.level == 0 {
				last = p.lbn
				return false
			}
			reads++
			return reads <= maxGuess
		},
	})
	if err != nil && c.failed == nil {
		c.failed = err
	}
	return last
}
