package fsck

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A group is the descriptor of a group, and what is known about it.
type group struct {
	ondisk.GroupDesc
	// distrusted: the descriptor was damaged, so that its counts and flags say
	// nothing.
	distrusted bool
	dirty      bool
	dirs       uint32 // directories found
}

// scan is how many inodes of the group may be in use.
func (c *checker) scanned(g uint32) uint32 {
	d := &c.desc[g]
	switch {
	case !c.groupCsum || d.distrusted || d.ItableUnused > c.ipg:
		return c.ipg
	case d.Flags&ondisk.GroupInodeUninit != 0:
		return 0
	}
	return c.ipg - d.ItableUnused
}

// A span is a range of blocks.
type span struct {
	from, to uint64
	group    uint32
	static   bool // the superblock alone says so
}

func (c *checker) rawDesc(g uint32) []byte {
	return c.gdt[int64(g)*int64(c.descSize):][:c.descSize]
}

// descOff is where the descriptor of a group lies.
func (c *checker) descOff(g uint32) int64 {
	b, _ := c.descBlock(g/c.descPer, 0)
	return c.off(b) + int64(g%c.descPer)*int64(c.descSize)
}

// loadDescs reads the descriptors. Those that make no sense are taken from a
// copy.
func (c *checker) loadDescs() error {
	c.gdt = buffer(c.gdt, int64(c.descBlocks)*int64(c.descPer)*int64(c.descSize))
	c.desc = make([]group, c.groups)
	perBlock := int64(c.descPer) * int64(c.descSize)
	for nr := range c.descBlocks {
		b, _ := c.descBlock(nr, 0)
		if !c.fits(b, 1) {
			return superCorrupt(0x104, "descriptors at block %d of %d", b, c.blocks)
		}
		if err := c.read(c.gdt[int64(nr)*perBlock:][:perBlock], c.off(b)); err != nil {
			return err
		}
	}
	for g := range c.groups {
		ondisk.DecodeGroupDesc(c.rawDesc(g), &c.desc[g].GroupDesc)
		if err := c.checkDesc(g); err != nil {
			return err
		}
	}
	return c.layMetadata()
}

// descProblem says what is wrong with a descriptor: that its checksum is, that
// it leads outside the file system, or "".
func (c *checker) descProblem(g uint32, raw []byte) (sum bool, place string) {
	var d ondisk.GroupDesc
	ondisk.DecodeGroupDesc(raw, &d)
	lo, hi := c.firstBlock, c.blocks
	if !c.hasIncompat(ondisk.IncompatFlexBg) {
		lo, hi = c.start(g), c.end(g)
	}
	in := func(b, n uint64) bool { return b >= max(lo, 1) && b < hi && n <= hi-b }
	switch {
	case !in(d.BlockBitmap, 1):
		place = fmt.Sprintf("block bitmap at block %d", d.BlockBitmap)
	case !in(d.InodeBitmap, 1):
		place = fmt.Sprintf("inode bitmap at block %d", d.InodeBitmap)
	case !in(d.InodeTable, c.tableBlocks):
		place = fmt.Sprintf("inode table of %d blocks at block %d", c.tableBlocks, d.InodeTable)
	}
	return c.groupCsum && d.Checksum != c.descSum(g, raw), place
}

// descSum is what the checksum of a descriptor should be.
func (c *checker) descSum(g uint32, raw []byte) uint16 {
	if c.csum {
		return ondisk.GroupChecksum(c.seed, g, raw)
	}
	return ondisk.GroupChecksum16(c.sb.UUID, g, raw)
}

// checkDesc looks at one descriptor for itself.
func (c *checker) checkDesc(g uint32) error {
	raw, d := c.rawDesc(g), &c.desc[g]
	sum, place := c.descProblem(g, raw)
	if sum || place != "" {
		return c.replaceDesc(g, sum, place)
	}
	field := func(set func(), format string, args ...any) {
		f := c.aboutGroup(codeGroupFlags, g, c.descOff(g)+0x12, format, args...).preen()
		if _, mend := c.problem(f); mend {
			set()
			d.dirty = true
		}
	}
	switch {
	case !c.groupCsum:
		d.Flags, d.ItableUnused = 0, 0 // they mean nothing
	case d.ItableUnused > c.ipg:
		field(func() { d.ItableUnused = 0 }, "%d inodes never used of %d", d.ItableUnused, c.ipg)
		d.distrusted = true
	}
	if g == c.groups-1 && d.Flags&ondisk.GroupBlockUninit != 0 {
		field(func() { d.Flags &^= ondisk.GroupBlockUninit }, "the block bitmap of the last group is marked as never written")
	}
	return nil
}

// replaceDesc deals with a descriptor that is damaged: where things are is
// taken from a copy; the rest is counted.
func (c *checker) replaceDesc(g uint32, sum bool, place string) error {
	raw, d := c.rawDesc(g), &c.desc[g]
	d.distrusted = true
	detail := place + ", outside of where it may be"
	if place == "" {
		detail = fmt.Sprintf("checksum %#04x, want %#04x", d.Checksum, c.descSum(g, raw))
	}
	good, at, err := c.copyOfDesc(g)
	if err != nil {
		return err
	}
	f := c.aboutGroup(codeGroupDesc, g, c.descOff(g), "descriptor: %s", detail)
	switch {
	case good != nil:
		var other ondisk.GroupDesc
		ondisk.DecodeGroupDesc(good, &other)
		same := other.BlockBitmap == d.BlockBitmap && other.InodeBitmap == d.InodeBitmap && other.InodeTable == d.InodeTable
		if !same {
			f.Detail += fmt.Sprintf("; the copy at byte %d is good", at)
		}
		f.Preen = same
		copy(raw, good)
		d.GroupDesc = other
	case place == "":
		// The places may be right all the same; what they hold will tell.
	case c.guessDesc(g):
		f.Detail += "; guessed from its neighbours"
	default:
		return vfs.Corruptf(c.descOff(g), fmt.Sprintf("group %d descriptor", g), "%s, and there is no copy", detail)
	}
	_, mend := c.problem(f)
	d.Flags &^= ondisk.GroupInodeUninit | ondisk.GroupBlockUninit
	d.ItableUnused = 0
	d.dirty = mend
	return nil
}

// copyOfDesc finds a good copy of a descriptor.
func (c *checker) copyOfDesc(g uint32) (raw []byte, at int64, err error) {
	nr := g / c.descPer
	tried := 0
	for from := uint32(1); from < c.groups && tried < 4; from++ {
		b, ok := c.descBlock(nr, from)
		if !ok || !c.fits(b, 1) {
			continue
		}
		if nr >= c.oldDescBlocks() && from > 2 {
			break
		}
		tried++
		raw := make([]byte, c.descSize)
		at := c.off(b) + int64(g%c.descPer)*int64(c.descSize)
		if err := c.read(raw, at); err != nil {
			return nil, 0, err
		}
		if sum, place := c.descProblem(g, raw); !sum && place == "" {
			return raw, at, nil
		}
	}
	return nil, 0, nil
}

// guessDesc derives where things are in a group from the group before, as
// mke2fs lays them out.
func (c *checker) guessDesc(g uint32) bool {
	d := &c.desc[g]
	if !c.hasIncompat(ondisk.IncompatFlexBg) || c.sb.LogGroupsPerFlex == 0 {
		at := c.start(g)
		c.static(g, func(_, to uint64) { at = max(at, to) })
		d.BlockBitmap, d.InodeBitmap, d.InodeTable = at, at+1, at+2
	} else {
		if g&(1<<c.sb.LogGroupsPerFlex-1) == 0 {
			return false
		}
		p := &c.desc[g-1]
		if p.distrusted {
			return false
		}
		d.BlockBitmap, d.InodeBitmap, d.InodeTable = p.BlockBitmap+1, p.InodeBitmap+1, p.InodeTable+c.tableBlocks
	}
	ondisk.EncodeGroupDesc(c.rawDesc(g), &d.GroupDesc)
	_, place := c.descProblem(g, c.rawDesc(g))
	return place == ""
}

// layMetadata collects the blocks of the metadata, each of which should be
// there once.
func (c *checker) layMetadata() error {
	c.meta = c.meta[:0]
	for g := range c.groups {
		d := &c.desc[g]
		c.static(g, func(from, to uint64) { c.meta = append(c.meta, span{from, to, g, true}) })
		c.meta = append(c.meta, span{d.BlockBitmap, d.BlockBitmap + 1, g, false},
			span{d.InodeBitmap, d.InodeBitmap + 1, g, false},
			span{d.InodeTable, d.InodeTable + c.tableBlocks, g, false})
	}
	if b := c.sb.MMPBlock; c.hasIncompat(ondisk.IncompatMMP) && c.fits(b, 1) {
		c.meta = append(c.meta, span{b, b + 1, 0, false})
	}
	slices.SortFunc(c.meta, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := c.meta[:0]
	for _, s := range c.meta {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			last := &out[n-1]
			if s.from < last.to {
				return c.overlap(*last, s)
			}
			last.to, last.group, last.static = s.to, s.group, s.static
			continue
		}
		out = append(out, s)
	}
	c.meta = out
	return nil
}

// overlap deals with metadata that lies on other metadata: the descriptor of
// one of the groups is wrong.
func (c *checker) overlap(a, b span) error {
	for _, s := range []span{b, a} {
		d := &c.desc[s.group]
		if s.static || d.distrusted {
			continue
		}
		good, _, err := c.copyOfDesc(s.group)
		if err != nil {
			return err
		}
		if good == nil {
			continue
		}
		var other ondisk.GroupDesc
		ondisk.DecodeGroupDesc(good, &other)
		if other.BlockBitmap == d.BlockBitmap && other.InodeBitmap == d.InodeBitmap && other.InodeTable == d.InodeTable {
			continue
		}
		if err := c.replaceDesc(s.group, false, fmt.Sprintf("metadata at block %d lies on other metadata", b.from)); err != nil {
			return err
		}
		return c.layMetadata()
	}
	return vfs.Corruptf(c.descOff(b.group), fmt.Sprintf("group %d descriptor", b.group),
		"metadata at block %d lies on other metadata, and there is no copy that says better", b.from)
}

// isMeta reports whether any of n blocks from start on is metadata.
func (c *checker) isMeta(start, n uint64) bool {
	i, _ := slices.BinarySearchFunc(c.meta, start, func(s span, b uint64) int {
		if s.to <= b {
			return -1
		}
		return 1
	})
	return i < len(c.meta) && c.meta[i].from < start+n
}

// writeDescs writes the blocks of descriptors that have changed.
func (c *checker) writeDescs() error {
	perBlock := int64(c.descPer) * int64(c.descSize)
	for nr := range c.descBlocks {
		changed := false
		for g := nr * c.descPer; g < min((nr+1)*c.descPer, c.groups); g++ {
			d := &c.desc[g]
			if !d.dirty {
				continue
			}
			d.dirty, changed = false, true
			raw := c.rawDesc(g)
			ondisk.EncodeGroupDesc(raw, &d.GroupDesc)
			ondisk.SealGroupDesc(c.sb, g, raw)
		}
		if !changed {
			continue
		}
		b, _ := c.descBlock(nr, 0)
		if err := c.write(c.gdt[int64(nr)*perBlock:][:perBlock], c.off(b)); err != nil {
			return err
		}
	}
	return nil
}
