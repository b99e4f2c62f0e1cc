package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// badBlocksIno is the file of bad blocks (EXT4_BAD_INO), the next two are those
// of quotas (EXT4_USR_QUOTA_INO, EXT4_GRP_QUOTA_INO), bootLoaderIno that of a
// boot loader.
const (
	badBlocksIno  = 1
	userQuotaIno  = 3
	groupQuotaIno = 4
	bootLoaderIno = 5
)

// scanBadBlocks takes the blocks that mke2fs -c has found to be bad.
func (c *checker) scanBadBlocks(in *inode) error {
	if blockio.IsZero(in.Block[:]) {
		return nil
	}
	w := &c.scan.w
	w.reset(in)
	w.run, w.node = c.claimRun, c.claimNode
	if err := c.walk(w); err != nil {
		return err
	}
	if w.issues != 0 {
		_, err := c.mendBlocks(in)
		return err
	}
	return nil
}

// scanHidden looks at a file that only the superblock names.
func (c *checker) scanHidden(in *inode, what string) error {
	c.kind.put(in.num, inoReg)
	if !in.isReg() {
		_, mend := c.fault(c.aboutInode(codeReserved, in.num, "the %s has mode %#o, want that of a file", what, in.Mode))
		if !mend {
			return nil
		}
		ondisk.SetInodeMode(in.raw, typeReg|0o600)
		in.decode()
		c.scan.dirty = true
	}
	c.scanFlags(in)
	if err := c.scanExtra(in); err != nil {
		return err
	}
	return c.scanBlocks(in)
}

// scanReserved looks at an inode that has no use of its own.
func (c *checker) scanReserved(in *inode) error {
	used := in.Mode != 0
	if in.num == bootLoaderIno {
		used = in.Mode != 0 && !in.isReg()
	}
	switch in.num {
	case userQuotaIno, groupQuotaIno, ondisk.JournalIno:
		used = used || in.Links != 0 || in.BlocksLo != 0 || le.Uint32(in.Block[:]) != 0
	}
	if !used {
		c.scanFlags(in)
		if in.Mode != 0 {
			c.kind.put(in.num, inoReg)
		} else if in.Size != 0 || c.fileACL(in) != 0 || !blockio.IsZero(in.Block[:]) || in.BlocksLo != 0 {
			used = true
		}
	}
	if !used {
		return c.scanBlocks(in)
	}
	f, mend := c.fault(c.aboutInode(codeReserved, in.num, "reserved, but in use: mode %#o, %d bytes", in.Mode, in.Size))
	if mend {
		f.lose("what was in reserved inode %d: %d bytes", in.num, in.Size)
		c.again, c.scan.sumBad, c.scan.dirty = true, false, false
		return c.clearInode(in.num)
	}
	return nil
}

// resizeProblem compares the inode for online resizing with what follows from
// the superblock: one block of pointers to the blocks that are reserved for
// descriptors behind the first, each of which has pointers to those behind the
// copies. It returns what is wrong, and how many blocks there are.
func (c *checker) resizeProblem(in *inode) (why string, blocks uint64, err error) {
	const second = 4 * (directPointers + 1)
	p := uint64(le.Uint32(in.Block[second:]))
	switch {
	case !in.isReg() || in.Links == 0:
		return fmt.Sprintf("mode %#o, %d links", in.Mode, in.Links), 0, nil
	case in.has(ondisk.FlExtents | ondisk.FlInlineData):
		return fmt.Sprintf("flags %#x", in.Flags), 0, nil
	case in.Size > c.maxIndirectSize():
		return fmt.Sprintf("%d bytes, and %d is the most", in.Size, c.maxIndirectSize()), 0, nil
	case !blockio.IsZero(in.Block[:second]) || !blockio.IsZero(in.Block[second+4:]):
		return "it has other pointers than the one", 0, nil
	case !c.fits(p, 1) || c.isMeta(p, 1):
		return fmt.Sprintf("its pointer leads to block %d", p), 0, nil
	}
	outer, inner := make([]byte, c.bsize), make([]byte, c.bsize)
	if err := c.readBlock(outer, p); err != nil {
		return "", 0, err
	}
	blocks = 1
	for i := range uint64(c.sb.ReservedGDTBlocks) {
		slot := (uint64(c.descBlocks) + i) % c.ptrs
		want := c.superBlockOf(0) + 1 + uint64(c.descBlocks) + i
		if got := uint64(le.Uint32(outer[slot*4:])); got != want {
			return fmt.Sprintf("pointer %d leads to block %d, want %d", slot, got, want), 0, nil
		}
		le.PutUint32(outer[slot*4:], 0)
		if want >= c.blocks {
			return "blocks reserved for descriptors behind the end", 0, nil
		}
		if err := c.readBlock(inner, want); err != nil {
			return "", 0, err
		}
		blocks++
		n := 0
		for g := uint32(1); g < c.groups; g++ {
			if !c.sb.HasSuper(uint64(g)) {
				continue
			}
			copyAt := want + uint64(g)*c.perGroup
			if got := uint64(le.Uint32(inner[n*4:])); got != copyAt {
				return fmt.Sprintf("pointer %d of block %d leads to block %d, want %d", n, want, got, copyAt), 0, nil
			}
			n++
			blocks++
		}
		if !blockio.IsZero(inner[n*4:]) {
			return fmt.Sprintf("block %d has more pointers than there are copies", want), 0, nil
		}
	}
	if !blockio.IsZero(outer) {
		return "it has more pointers than blocks are reserved", 0, nil
	}
	return "", blocks, nil
}

// resizeSize is how large the inode for online resizing is made, in bytes: up to
// where its one pointer reaches.
func (c *checker) resizeSize() uint64 { return (directPointers + c.ptrs + c.ptrs*c.ptrs) << c.bshift }

// checkResizeInode looks at the inode for online resizing as a whole. It comes
// after the inodes have been scanned, because a repair needs a block that is
// nobody's.
func (c *checker) checkResizeInode() error {
	var in inode
	if err := c.load(ondisk.ResizeIno, &in); err != nil {
		return err
	}
	if !c.hasCompat(ondisk.CompatResizeInode) {
		return nil // see scanResize
	}
	why, _, err := c.resizeProblem(&in)
	if err != nil || why == "" {
		return err
	}
	if _, mend := c.problem(c.aboutInode(codeResize, ondisk.ResizeIno, "the inode for online resizing: %s", why)); mend {
		c.again = true
		return c.buildResizeInode(&in)
	}
	return nil
}

// buildResizeInode writes the inode for online resizing anew. Its block of
// pointers stays where it is if nothing else claims it, or is another, or else
// the feature is given up.
func (c *checker) buildResizeInode(in *inode) error {
	const second = 4 * (directPointers + 1)
	p := uint64(le.Uint32(in.Block[second:]))
	if !c.fits(p, 1) || c.used.has(c.cluster(p)) {
		var ok bool
		if p, ok = c.allocate(1, c.firstBlock); !ok {
			c.setCompat(ondisk.CompatResizeInode, false)
			c.sb.ReservedGDTBlocks = 0
			le.PutUint16(c.super[0xCE:], 0)
			return c.clearInode(ondisk.ResizeIno)
		}
	}
	blocks := uint64(1)
	outer, inner := make([]byte, c.bsize), make([]byte, c.bsize)
	for i := range uint64(c.sb.ReservedGDTBlocks) {
		at := c.superBlockOf(0) + 1 + uint64(c.descBlocks) + i
		le.PutUint32(outer[(uint64(c.descBlocks)+i)%c.ptrs*4:], uint32(at))
		clear(inner)
		blocks++
		n := 0
		for g := uint32(1); g < c.groups; g++ {
			if c.sb.HasSuper(uint64(g)) {
				le.PutUint32(inner[n*4:], uint32(at+uint64(g)*c.perGroup))
				n++
				blocks++
			}
		}
		if err := c.writeBlock(inner, at); err != nil {
			return err
		}
	}
	if err := c.writeBlock(outer, p); err != nil {
		return err
	}
	clear(in.raw)
	ondisk.SetInodeMode(in.raw, typeReg|0o600)
	ondisk.SetLinks(in.raw, 1)
	ondisk.SetInodeSize(in.raw, c.resizeSize())
	ondisk.SetInodeBlocks(in.raw, blocks<<c.clusterShift<<(c.bshift-9))
	le.PutUint32(ondisk.InodeBlock(in.raw)[second:], uint32(p))
	if c.isize > ondisk.InodeSizeOld {
		ondisk.SetInodeExtraIsize(in.raw, c.extraIsize())
	}
	return c.store(in)
}

// scanResize takes the one block of the inode for online resizing that is not
// among the metadata anyway.
func (c *checker) scanResize(in *inode) error {
	if !c.hasCompat(ondisk.CompatResizeInode) {
		if blockio.IsZero(in.Block[:]) && in.Mode == 0 && in.Size == 0 && in.Blocks == 0 && in.Flags == 0 && c.fileACL(in) == 0 {
			return nil
		}
		if _, mend := c.fault(c.aboutInode(codeResize, in.num, "in use without the feature resize_inode")); mend {
			c.again, c.scan.sumBad, c.scan.dirty = true, false, false
			return c.clearInode(in.num)
		}
		return nil
	}
	why, blocks, err := c.resizeProblem(in)
	if err != nil || why != "" {
		return err // reported by checkResizeInode
	}
	c.kind.put(in.num, inoReg)
	p := uint64(le.Uint32(in.Block[4*(directPointers+1):]))
	if at := c.cluster(p); c.used.has(at) {
		c.duplicate(dup{ino: in.num, start: p, n: 1, kind: dupNode})
	} else {
		c.used.set(at)
	}
	c.scan.clusters = blocks
	if err := c.scanXattrBlock(in); err != nil {
		return err
	}
	c.scanCount(in)
	return nil
}
