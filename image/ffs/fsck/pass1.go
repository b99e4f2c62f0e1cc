package fsck

import (
	"bytes"
	"encoding/binary"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Pass 1 looks at every initialised inode, each for itself. When it is done,
//
//   - every inode is known to be free, a file, or a directory;
//   - used has every fragment that belongs to metadata or to a file;
//   - links has the link count of every inode, for pass 2 to count down;
//   - in a repair: every pointer leads to a block that is its alone, and every
//     inode is sound by itself.

// The issues of an inode.
const (
	issueFree     = 1 << iota // free, but not zero
	issueType                 // of no type
	issueSize                 // of impossible size
	issueBeyond               // pointers behind the end, in the inode …
	issueIndirect             // … and in indirect blocks
	issuePointer              // pointers to nowhere
	issuePadding              // not zero behind an inline target
	issueTarget               // the target lies in a block, and should not
	issueNoTarget             // no legible target
	issueBlocks               // di_blocks is wrong
)

// A suspect is an inode with issues.
type suspect struct {
	ino    uint32
	issues uint16
	frags  int64 // that it has
	size   int64 // that it should have, with issueSize
}

// maxSuspects bounds their memory. Those that do not fit are met in the next
// round.
const maxSuspects = 1 << 20

// A scan is the state of looking at one inode.
type scan struct {
	in     inode
	issues uint16
	frags  int64
	above  [ondisk.NIndirect]int64 // the indirect blocks that are being walked
	visit  visitor
}

func (c *checker) pass1() error {
	if c.scan.visit.pointer == nil {
		c.scan.visit = visitor{pointer: c.claim, beyond: c.noteBeyond}
	}
	for {
		if err := c.layOut(); err != nil {
			return err
		}
		for g := range c.ncg {
			if err := c.scanGroup(g); err != nil {
				return err
			}
		}
		again, err := c.pass1b()
		if err != nil {
			return err
		}
		if !again {
			break
		}
	}
	for i := range c.suspects {
		if err := c.examine(&c.suspects[i]); err != nil {
			return err
		}
	}
	return nil
}

// layOut makes room for what the passes find out, and reserves the metadata.
func (c *checker) layOut() error {
	c.used = grow(c.used, c.size/64+1)
	c.groups = grow(c.groups, c.ncg)
	c.suspects, c.dups, c.dirs, c.displaced = c.suspects[:0], c.dups[:0], c.dirs[:0], c.displaced[:0]
	c.lost, c.allocAt, c.inodeAt = lostFound{}, 0, 0
	places := int64(0)
	for i := range c.groups {
		g := &c.groups[i]
		g.first, g.inited, g.guess = places, c.ipg, ""
		if c.ffs2() {
			if err := c.findInited(int64(i), g); err != nil {
				return err
			}
		}
		g.room = g.inited
		if c.tx != nil {
			g.room = min(c.ipg, roundUp(g.inited, c.inopb)+c.inopb)
		}
		places += g.room
		from, to := c.metadata(int64(i))
		c.used.setRange(from, to)
	}
	c.used.setRange(c.csaddr, c.csaddr+c.cssize>>c.fshift)
	c.state, c.links = grow(c.state, places), grow(c.links, places)
	return c.ctx.Err()
}

// findInited finds how many inodes of a group are initialised. Its header says
// so. If it cannot be right, or if the map of inodes knows of sound ones behind,
// the inodes themselves tell.
func (c *checker) findInited(i int64, g *group) error {
	c.cg = buffer(c.cg, c.cgsize)
	if err := c.read(c.cg, (c.start(i)+c.cblkno)<<c.fshift); err != nil {
		return err
	}
	n, ok := ondisk.GroupInited(c.cg, c.order, uint32(i))
	if !ok {
		n = 0
		g.guess = "the header is lost"
	} else if int64(n) > c.ipg || int64(n)%c.inopb != 0 && c.openBSD() {
		n = 0
		g.guess = "the header cannot be right"
	}
	g.inited = int64(n)
	if g.inited >= c.ipg {
		return nil
	}
	// The highest inode that the map has in use.
	top := int64(-1)
	m := c.cgMaps(c.cg, ok)
	for k := int64(len(m.inodes)) - 1; k >= 0 && top < 0; k-- {
		if m.inodes[k] != 0 {
			top = k*8 + log2High(m.inodes[k])
		}
	}
	if ok && top < g.inited && g.guess == "" {
		return nil
	}
	// Blocks of inodes that all make sense, up to the last that has one which
	// is in use.
	from := g.inited &^ (c.inopb - 1)
	end := max(g.inited, 0)
	if g.guess != "" {
		end = min(c.ipg, 2*c.inopb)
	}
	c.block = buffer(c.block, c.bsize)
	for k := from; k < c.ipg && k <= max(top, end-1, c.guessTo(ok)); k += c.inopb {
		if err := c.read(c.block, (c.start(i)+c.iblkno)<<c.fshift+k*c.isize); err != nil {
			return err
		}
		sane, inUse := c.saneInodes(c.block, k, m.inodes, ok)
		if !sane && k >= end {
			break
		}
		if inUse && k+c.inopb > end {
			end = k + c.inopb
			if g.guess == "" {
				g.guess = "inodes behind are in use"
			}
		}
	}
	g.inited = min(end, c.ipg)
	return nil
}

// guessTo is the last inode of a group to be tried if there is no header that
// says which are in use.
func (c *checker) guessTo(header bool) int64 {
	if header {
		return -1
	}
	return c.ipg - 1
}

func log2High(b byte) int64 {
	n := int64(-1)
	for ; b != 0; b >>= 1 {
		n++
	}
	return n
}

// saneInodes looks at a block of inodes, of which the first is number first of
// its group: whether all of them could be inodes, and whether some are in use,
// as the map says if it can be trusted.
func (c *checker) saneInodes(b []byte, first int64, inodeMap []byte, trust bool) (sane, inUse bool) {
	var in inode
	for i := range c.inopb {
		p := b[i*c.isize:][:c.isize]
		if c.order.U16(p) == 0 {
			if !c.isZeroInode(p) {
				return false, inUse
			}
			continue
		}
		in.Decode(p, c.order, c.version)
		if !knownType(in.mode()) || in.Nlink == 0 || in.Nlink > 1<<15 || in.Size > uint64(c.maxFile) {
			return false, inUse
		}
		if !in.isSymlink() && !in.isDevice() {
			for k, addr := range append(in.Direct[:], in.Indirect[:]...) {
				if addr != 0 && !c.fits(addr, 1) || addr == 0 && k == 0 && in.isDir() {
					return false, inUse
				}
			}
		}
		k := first + i
		if !trust || inodeMap[k/8]>>(k%8)&1 != 0 {
			inUse = true
		}
	}
	return true, inUse
}

// tableBytes is how much of an inode table is read at a time.
const tableBytes = 128 << 10

// scanGroup scans the initialised inodes of a group.
func (c *checker) scanGroup(g int64) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	grp := &c.groups[g]
	off := (c.start(g) + c.iblkno) << c.fshift
	c.table = buffer(c.table, tableBytes)
	for i := int64(0); i < grp.inited; {
		n := min(tableBytes/c.isize, grp.inited-i)
		b := c.table[:n*c.isize]
		if err := c.read(b, off+i*c.isize); err != nil {
			return err
		}
		for k := range n {
			p := b[k*c.isize:][:c.isize]
			ino := uint32(g*c.ipg + i + k)
			if c.order.U16(p) != 0 {
				if ino < ondisk.RootIno {
					continue // 0 and 1 are not looked at
				}
				if err := c.scanInode(ino, grp.first+i+k, p); err != nil {
					return err
				}
			} else if !c.isZeroInode(p) && ino >= ondisk.RootIno {
				c.suspect(suspect{ino: ino, issues: issueFree})
			}
		}
		i += n
	}
	return nil
}

func (c *checker) suspect(s suspect) {
	if len(c.suspects) < maxSuspects {
		c.suspects = append(c.suspects, s)
	}
}

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

// scanInode looks at an inode that is in use, and claims its blocks. at is its
// place in state and links.
func (c *checker) scanInode(ino uint32, at int64, p []byte) error {
	s := &c.scan
	in := &s.in
	in.num = ino
	in.Decode(p, c.order, c.version)
	s.issues, s.frags = 0, 0
	if in.Mode>>12 == 0 {
		c.suspect(suspect{ino: ino, issues: issueFree})
		return nil
	}
	if !knownType(in.mode()) {
		c.state[at] = uint8(in.Mode>>12)<<4 | inoClear
		c.suspect(suspect{ino: ino, issues: issueType})
		return nil
	}
	kind := uint8(inoFile)
	if in.isDir() {
		kind = inoDir
		c.dirs = append(c.dirs, dirInfo{ino: ino})
	}
	if in.Nlink == 0 {
		kind |= inoZeroLinks
	}
	c.state[at] = uint8(in.Mode>>12)<<4 | kind
	c.links[at] = int32(in.Nlink)

	sus := suspect{ino: ino}
	switch {
	case in.isDevice():
		if in.Size > uint64(c.maxFile) {
			s.issues |= issueSize
		}
		// The first pointer is the number of the device.
		for i, addr := range in.Direct {
			if i > 0 && addr != 0 {
				s.issues |= issueBeyond
			}
		}
		if in.Indirect != [ondisk.NIndirect]int64{} {
			s.issues |= issueBeyond
		}
	case c.isInline(in):
		s.issues |= c.inlineIssues(in, p)
	default:
		if size, ok := c.soundSize(in); !ok {
			s.issues |= issueSize
			sus.size = size
			in.Size = uint64(size)
		}
		if err := c.walk(in, &s.visit); err != nil {
			return err
		}
		if in.isSymlink() {
			if err := c.checkTarget(in); err != nil {
				return err
			}
		}
	}
	if s.issues&(issuePointer|issueBeyond|issueIndirect|issueTarget) == 0 && in.Blocks != uint64(s.frags)<<c.fshift>>9 {
		s.issues |= issueBlocks
	}
	if s.issues != 0 {
		sus.issues, sus.frags = s.issues, s.frags
		c.suspect(sus)
	}
	return nil
}

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

// claim takes the fragments that a pointer leads to. Like pass1check.
func (c *checker) claim(p pointer) bool {
	s := &c.scan
	s.frags += p.n
	if !c.fits(p.addr, p.n) {
		s.issues |= issuePointer
		return false
	}
	if c.used.any(p.addr, p.n) {
		// An indirect block that contains itself has no sound reading; nor is
		// there an end to the duplicates that garbage can make of garbage.
		if c.isAbove(p) || len(c.dups) >= maxDups {
			s.issues |= issuePointer
			return false
		}
		c.dups = append(c.dups, dup{
			ino: s.in.num, addr: p.addr, n: uint8(p.n), lbn: p.lbn, level: int8(p.level), index: uint16(p.index),
		})
	}
	c.used.set(p.addr, p.n)
	if p.level > 0 {
		s.above[p.level-1] = p.addr
	}
	return true
}

// isAbove reports whether a pointer leads to an indirect block that it is
// itself reached through.
func (c *checker) isAbove(p pointer) bool {
	lbn := p.lbn - ondisk.NDirect
	if lbn < 0 {
		return false
	}
	// How deep the tree is that this block of the file belongs to.
	depth, span := 1, c.nindir
	for lbn >= span {
		lbn -= span
		span *= c.nindir
		depth++
	}
	for l := p.level + 1; l <= depth; l++ {
		if c.scan.above[l-1] == p.addr {
			return true
		}
	}
	return false
}

func (c *checker) noteBeyond(_ pointer, in int64) {
	if in == 0 {
		c.scan.issues |= issueBeyond
	} else {
		c.scan.issues |= issueIndirect
	}
}

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
