package fsck

import (
	"bytes"
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// Pass 5 computes bitmaps, descriptors and totals from what the passes before
// have found, and compares. When it is done, in a repair, all of them are
// right.

func (c *checker) pass5() error {
	if c.again {
		return nil
	}
	is, want := make([]byte, c.bsize), make([]byte, c.bsize)
	var freeBlocks, freeInodes uint64
	for g := range c.groups {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		blocks, err := c.groupBlocks(g, is, want)
		if err != nil {
			return err
		}
		inodes, err := c.groupInodes(g, is, want)
		if err != nil {
			return err
		}
		c.groupCounts(g, blocks, inodes)
		freeBlocks += uint64(blocks)
		freeInodes += uint64(inodes)
	}
	return c.totals(freeBlocks, freeInodes)
}

// compareBitmap compares a bitmap of n bits, and writes it if it is mended. It
// returns whether it is what it should be now.
func (c *checker) compareBitmap(g uint32, code string, block uint64, is, want []byte, n uint64, first uint64, what string) (bool, error) {
	if bytes.Equal(is, want) {
		return true, nil
	}
	used := (n + 7) / 8
	extra, missing, at := differences(is[:used], want[:used])
	f := c.aboutGroup(code, g, c.off(block)+max(at, 0)/8, "")
	switch {
	case at >= 0:
		f.Detail = fmt.Sprintf("%d %ss that are free are marked as used, %d that are used as free; the first is %s %d",
			extra, what, missing, what, first+uint64(at))
	default:
		_, _, at = differences(is, want)
		f.Off = c.off(block) + at/8
		f.Detail = fmt.Sprintf("behind the last %s of the group, the bitmap has bits that are not set", what)
	}
	f.Preen = true
	_, mend := c.problem(f)
	if !mend {
		return false, nil
	}
	return true, c.writeBlock(want, block)
}

// groupBlocks compares the block bitmap of a group, and returns how many of its
// clusters are free.
func (c *checker) groupBlocks(g uint32, is, want []byte) (free uint32, err error) {
	d := &c.desc[g]
	n, first := c.groupClusters(g), uint64(g)*c.clustersPer
	fill(want)
	c.used.bytes(want, first, n)
	if n%8 != 0 {
		want[n/8] |= 0xFF << (n % 8)
	}
	free = uint32(n) - uint32(countBits(want, n))
	if c.groupCsum && d.Flags&ondisk.GroupBlockUninit != 0 {
		return free, c.uninitBlocks(g, is, want)
	}
	if err := c.readBlock(is, d.BlockBitmap); err != nil {
		return 0, err
	}
	good, err := c.compareBitmap(g, codeBlockMap, d.BlockBitmap, is, want, n, c.start(g), "block")
	if err != nil || !c.csum {
		return free, err
	}
	c.bitmapSum(g, good, is, want, true)
	return free, nil
}

// uninitBlocks looks at a group whose block bitmap was never written: nothing
// of it is in use but what follows from its descriptor.
func (c *checker) uninitBlocks(g uint32, expect, want []byte) error {
	d := &c.desc[g]
	n := c.groupClusters(g)
	base := newBitmap(c.clustersPer)
	mark := func(from, to uint64) {
		from, to = max(from, c.start(g)), min(to, c.end(g))
		if from < to {
			base.setRange((from-c.start(g))>>c.clusterShift, (to-1-c.start(g))>>c.clusterShift+1)
		}
	}
	c.static(g, mark)
	mark(d.BlockBitmap, d.BlockBitmap+1)
	mark(d.InodeBitmap, d.InodeBitmap+1)
	mark(d.InodeTable, d.InodeTable+c.tableBlocks)
	fill(expect)
	base.bytes(expect, 0, n)
	if n%8 != 0 {
		expect[n/8] |= 0xFF << (n % 8)
	}
	if bytes.Equal(expect, want) {
		return nil
	}
	_, missing, at := differences(expect, want)
	f := c.aboutGroup(codeBlockMap, g, c.descOff(g)+0x12, "the block bitmap is marked as never written, but %d blocks are in use, the first is block %d",
		missing, c.start(g)+uint64(max(at, 0))<<c.clusterShift).preen()
	if _, mend := c.problem(f); !mend {
		return nil
	}
	d.Flags &^= ondisk.GroupBlockUninit
	d.dirty = true
	if c.csum {
		c.setBitmapSum(g, want, true)
	}
	return c.writeBlock(want, d.BlockBitmap)
}

// groupInodes compares the inode bitmap of a group, and returns how many of its
// inodes are free.
func (c *checker) groupInodes(g uint32, is, want []byte) (free uint32, err error) {
	d := &c.desc[g]
	fill(want)
	clear(want[:c.ipg/8])
	used, last := uint32(0), uint32(0)
	first := g * c.ipg
	for i := range c.scanned(g) {
		ino := first + i + 1
		if c.kind.get(ino)&inoKind != inoFree || ino < c.firstIno {
			want[i/8] |= 1 << (i % 8)
			used++
			last = i + 1
		}
	}
	if g == 0 && c.scanned(0) == 0 {
		for i := range c.firstIno - 1 {
			want[i/8] |= 1 << (i % 8)
		}
		used, last = c.firstIno-1, c.firstIno-1
	}
	free = c.ipg - used
	if d.distrusted && c.groupCsum {
		d.ItableUnused = min(d.ItableUnused, c.ipg-last)
	}
	if c.groupCsum && d.Flags&ondisk.GroupInodeUninit != 0 {
		if used == 0 {
			return free, nil
		}
		f := c.aboutGroup(codeInodeMap, g, c.descOff(g)+0x12, "the inode bitmap is marked as never written, but %d inodes are in use", used).preen()
		if _, mend := c.problem(f); !mend {
			return free, nil
		}
		d.Flags &^= ondisk.GroupInodeUninit
		d.dirty = true
		if c.csum {
			c.setBitmapSum(g, want, false)
		}
		return free, c.writeBlock(want, d.InodeBitmap)
	}
	if err := c.readBlock(is, d.InodeBitmap); err != nil {
		return 0, err
	}
	good, err := c.compareBitmap(g, codeInodeMap, d.InodeBitmap, is, want, uint64(c.ipg), uint64(first)+1, "inode")
	if err != nil || !c.csum {
		return free, err
	}
	c.bitmapSum(g, good, is, want, false)
	return free, nil
}

// bitmapSum compares the checksum of a bitmap in the descriptor: that of what
// is on the medium now, good saying that it is as it should be.
func (c *checker) bitmapSum(g uint32, good bool, is, want []byte, block bool) {
	now := is
	if good {
		now = want
	}
	n := c.ipg / 8
	code, what := codeInodeMapSum, "inode"
	if block {
		n = uint32(c.clustersPer / 8)
		code, what = codeBlockMapSum, "block"
	}
	sum := ondisk.BitmapChecksum(c.sb, now[:n])
	got := c.desc[g].InodeBitmapSum
	if block {
		got = c.desc[g].BlockBitmapSum
	}
	if got == sum {
		return
	}
	if !bytes.Equal(is, want) && good {
		c.setBitmapSum(g, now, block) // follows from the bitmap, which was reported
		return
	}
	f := c.aboutGroup(code, g, c.descOff(g), "checksum of the %s bitmap %#08x, want %#08x", what, got, sum).preen()
	if _, mend := c.problem(f); mend {
		c.setBitmapSum(g, now, block)
	}
}

// setBitmapSum puts the checksum of a bitmap into the descriptor.
func (c *checker) setBitmapSum(g uint32, b []byte, block bool) {
	if block {
		c.desc[g].BlockBitmapSum = ondisk.BitmapChecksum(c.sb, b[:c.clustersPer/8])
	} else {
		c.desc[g].InodeBitmapSum = ondisk.BitmapChecksum(c.sb, b[:c.ipg/8])
	}
	c.desc[g].dirty = true
}

// groupCounts compares what a descriptor counts.
func (c *checker) groupCounts(g, freeBlocks, freeInodes uint32) {
	d := &c.desc[g]
	if d.FreeBlocks == freeBlocks && d.FreeInodes == freeInodes && d.UsedDirs == d.dirs {
		return
	}
	if !d.distrusted {
		f := c.aboutGroup(codeGroupCounts, g, c.descOff(g)+0x0C, "%d blocks and %d inodes free, %d directories; counted %d, %d and %d",
			d.FreeBlocks, d.FreeInodes, d.UsedDirs, freeBlocks, freeInodes, d.dirs).preen()
		if _, mend := c.problem(f); !mend {
			return
		}
	} else if c.tx == nil || c.stopped {
		return
	}
	d.FreeBlocks, d.FreeInodes, d.UsedDirs, d.dirty = freeBlocks, freeInodes, d.dirs, true
}

// totals compares what the superblock counts.
func (c *checker) totals(freeBlocks, freeInodes uint64) error {
	free := uint64(c.sb.FreeBlocksCountLo)
	if c.hasIncompat(ondisk.Incompat64Bit) {
		free |= uint64(c.sb.FreeBlocksCountHi) << 32
	}
	// The groups count clusters, the superblock blocks.
	if want := freeBlocks << c.clusterShift; free != want {
		if !c.fromCopy && !c.replayed {
			f := aboutSuper(codeTotals, 0x0C, "%d blocks free in all, counted %d", free, want).preen()
			if _, mend := c.problem(f); !mend {
				return nil
			}
		} else if c.tx == nil {
			return nil
		}
		c.superDirty = true
		le.PutUint32(c.super[0x0C:], uint32(want))
		if c.hasIncompat(ondisk.Incompat64Bit) {
			le.PutUint32(c.super[0x158:], uint32(want>>32))
		}
	}
	if got := uint64(c.sb.FreeInodesCount); got != freeInodes {
		if !c.fromCopy && !c.replayed {
			f := aboutSuper(codeTotals, 0x10, "%d inodes free in all, counted %d", got, freeInodes).preen()
			if _, mend := c.problem(f); !mend {
				return nil
			}
		} else if c.tx == nil {
			return nil
		}
		c.superDirty = true
		le.PutUint32(c.super[0x10:], uint32(freeInodes))
	}
	return nil
}

func fill(b []byte) {
	for i := range b {
		b[i] = 0xFF
	}
}

// countBits counts the bits set among the first n.
func countBits(b []byte, n uint64) int {
	zero := make([]byte, (n+7)/8)
	count, _, _ := differences(b[:len(zero)], zero)
	if n%8 != 0 {
		pad, _, _ := differences([]byte{b[n/8] & (0xFF << (n % 8))}, []byte{0})
		count -= pad
	}
	return count
}
