package fsck

import (
	"github.com/resflash/resflash/image/ffs/ondisk"
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
