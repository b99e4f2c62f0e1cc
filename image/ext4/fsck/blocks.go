package fsck

import (
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// scanBlocks claims the blocks of the inode that is being scanned, and compares
// its size and its count of blocks with them.
func (c *checker) scanBlocks(in *inode) error {
	s := &c.scan
	if err := c.scanXattrBlock(in); err != nil || c.again && s.dirty {
		return err
	}
	w := &s.w
	w.reset(in)
	if c.hasBlocks(in) {
		w.run, w.node = c.claimRun, c.claimNode
		if err := c.walk(w); err != nil {
			return err
		}
		if w.issues != 0 {
			mended, err := c.mendBlocks(in)
			if err != nil || mended {
				return err
			}
		}
	}
	if in.isDir() {
		if err := c.scanDir(in); err != nil {
			return err
		}
		if c.again && s.dirty {
			return nil
		}
	} else {
		c.scanSize(in)
	}
	if in.isReg() && in.Size >= 1<<31 {
		c.bigFiles = true
	}
	if w.issues&^(issueSum|issueIndex|issueUnwritten) == 0 {
		c.scanCount(in)
	}
	return nil
}

// scanCount compares i_blocks.
func (c *checker) scanCount(in *inode) {
	if c.sb.CreatorOS == ondisk.OSHurd {
		return
	}
	got := uint64(in.BlocksLo)
	if c.hasRO(ondisk.ROCompatHugeFile) {
		got = in.Blocks
	}
	want := c.iBlocks(in, c.scan.clusters)
	if got == want {
		return
	}
	if _, mend := c.fault(c.aboutInode(codeInodeBlocks, in.num, "%d blocks, counted %d", got, want).preen()); mend {
		ondisk.SetInodeBlocks(in.raw, want)
		in.decode()
		c.scan.dirty = true
	}
}

// The findings of the issues of a walk, the worst first.
var issueCodes = [...]struct {
	issue int
	code  string
}{
	{issueNode, codeExtentNode}, {issuePointer, codeInodePointer}, {issueOrder, codeExtentOrder},
	{issueUnwritten, codeExtentUnwritten}, {issueIndex, codeExtentIndex}, {issueSum, codeExtentSum},
}

// mendBlocks reports the issues of the walk, and takes away what is bad.
func (c *checker) mendBlocks(in *inode) (mended bool, err error) {
	s := &c.scan
	issues, bad := s.w.issues, s.w.bad
	first := s.w.first
	all := true
	for i, ic := range issueCodes {
		if issues&ic.issue == 0 {
			continue
		}
		f := c.aboutInode(ic.code, in.num, "%s", first[trailing(ic.issue)])
		f.Preen = ic.issue == issueSum && issues == issueSum
		p, mend := c.fault(f)
		all = all && mend
		if mend && i < 3 && bad > 0 {
			p.lose("blocks of inode %d that bad pointers were for: they read as zeros now", in.num)
			bad = 0
		}
	}
	if !all {
		return false, nil
	}
	w := &s.w
	shared, root := w.shared, in.Block
	w.reset(in)
	w.edit, w.shared = true, shared
	if err := c.walk(w); err != nil {
		return false, err
	}
	in.decode()
	if !w.wrote && in.Block == root {
		return false, nil // it is in a block that the file itself has twice: pass 1b
	}
	c.again, s.dirty = true, true
	return true, nil
}

func trailing(issue int) int {
	n := 0
	for ; issue > 1; issue >>= 1 {
		n++
	}
	return n
}

// scanSize compares the size of what is no directory.
func (c *checker) scanSize(in *inode) {
	if !in.isReg() {
		return // special files and links have been looked at
	}
	w := &c.scan.w
	size := in.Size
	want, why := size, ""
	switch {
	case in.has(ondisk.FlInlineData):
		n, ok := c.inlineSize(in)
		if !ok {
			n = 0
		}
		if n < size {
			want, why = n, "of which so much is inline"
		}
	case w.written >= 0 && size < uint64(w.written)<<c.bshift && !in.has(ondisk.FlVerity) && !c.orphans[in.num]:
		want, why = uint64(w.written+1)<<c.bshift, "its last block ends there"
	case !in.has(ondisk.FlExtents) && size > c.maxIndirectSize():
		want, why = uint64(w.last+1)<<c.bshift, "more than its pointers can reach"
	case in.has(ondisk.FlExtents) && size > maxExtentBlocks<<c.bshift-1:
		want, why = uint64(w.last+1)<<c.bshift, "more than extents can reach"
	}
	if why == "" {
		return
	}
	if _, mend := c.fault(c.aboutInode(codeInodeSize, in.num, "size of %d bytes, want %d: %s", size, want, why).preen()); mend {
		ondisk.SetInodeSize(in.raw, want)
		in.decode()
		c.scan.dirty = true
	}
}

// maxIndirectSize is how large a file without extents can be: what its pointers
// reach, and what i_blocks counts without the feature huge_file.
func (c *checker) maxIndirectSize() uint64 {
	p := c.ptrs
	n := directPointers + p + p*p + p*p*p
	limit := uint64(1)<<32 - 1 // sectors
	// What is left of that for data, when the blocks of pointers are taken off.
	meta := 1 + 1 + p + 1 + p + p*p
	most := limit>>(c.bshift-9) - min(meta, limit>>(c.bshift-9))
	if !c.hasRO(ondisk.ROCompatHugeFile) {
		n = min(n, most)
	}
	return n << c.bshift
}

// claimRun takes the clusters of a run.
func (c *checker) claimRun(r run) error {
	s := &c.scan
	from, to := c.cluster(r.start), c.cluster(r.start+r.n-1)+1
	if c.clusterShift > 0 && s.lastEnd.n > 0 {
		last := s.lastEnd
		if c.cluster(last.start+last.n-1) == from && (last.lblk+last.n-1)>>c.clusterShift == r.lblk>>c.clusterShift {
			from++ // the cluster of the run before
		}
	}
	s.lastEnd = r
	if from >= to {
		return nil
	}
	s.clusters += to - from
	if c.used.any(from, to) {
		c.duplicate(dup{ino: s.in.num, lblk: r.lblk, start: r.start, n: r.n})
	}
	c.used.setRange(from, to)
	return nil
}

// claimNode takes a block of the mapping itself.
func (c *checker) claimNode(block uint64, level int) error {
	s := &c.scan
	s.clusters++
	at := c.cluster(block)
	if c.used.has(at) {
		c.duplicate(dup{ino: s.in.num, lblk: uint64(level), start: block, n: 1, kind: dupNode})
		s.w.share(block)
	}
	c.used.set(at)
	return nil
}
