package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// Pass 1b deals with blocks that two pointers claim. The first inode keeps
// such a block; the later one gets a copy of it, so that both still have their
// contents, whichever was damaged. Only if there is no space does the later one
// get a hole.

// A dup is a pointer to something that was claimed before.
type dup struct {
	ino   uint32
	level int8
	n     uint8
	index uint16
	lbn   int64
	addr  int64
}

// maxDups bounds how many are dealt with in a round.
const maxDups = 1 << 18

// maxNamed bounds for how many of them the first claimant is looked for.
const maxNamed = 256

// pass1b reports the duplicates. If it has mended any, pass 1 has to begin
// anew: the maps are not those of what there is now.
func (c *checker) pass1b() (again bool, err error) {
	if len(c.dups) == 0 {
		return false, nil
	}
	owners, err := c.firstClaimants()
	if err != nil {
		return false, err
	}
	for i := 0; i < len(c.dups); {
		// One finding for all of an inode.
		j := i + 1
		for j < len(c.dups) && c.dups[j].ino == c.dups[i].ino {
			j++
		}
		group := c.dups[i:j]
		i = j
		d := group[0]
		who := ""
		if owner, ok := owners[d.addr]; ok {
			who = fmt.Sprintf(", which inode %d has", owner)
			if owner == d.ino {
				who = ", which it has already"
			}
		}
		f, mend := c.problem(c.aboutInode(codeDuplicate, d.ino, false,
			"%d of its blocks are not its own: the first is %d fragments at %d%s", len(group), d.n, d.addr, who))
		if !mend {
			continue
		}
		again = true
		copied, holes := 0, 0
		for _, d := range group {
			ok, err := c.unshare(d)
			if err != nil {
				return false, err
			}
			if ok {
				copied++
			} else {
				holes++
			}
		}
		if holes > 0 {
			f.lose("%d blocks of inode %d, for which there was no space: they are holes now", holes, d.ino)
		}
	}
	return again, nil
}

// firstClaimants looks for who claimed the duplicates first.
func (c *checker) firstClaimants() (map[int64]uint32, error) {
	want := map[int64]int64{} // fragment: the address by which it is asked for
	for _, d := range c.dups[:min(len(c.dups), maxNamed)] {
		for i := range int64(d.n) {
			want[d.addr+i] = d.addr
		}
	}
	owners := map[int64]uint32{}
	v := &visitor{beyond: func(pointer, int64) {}}
	var in inode
	v.pointer = func(p pointer) bool {
		if !c.fits(p.addr, p.n) || c.loops(&in, p) {
			return false
		}
		for i := range p.n {
			if addr, ok := want[p.addr+i]; ok {
				if _, known := owners[addr]; !known {
					owners[addr] = in.num
				}
				delete(want, p.addr+i)
			}
		}
		return true
	}
	last := c.dups[min(len(c.dups), maxNamed)-1].ino
	for g := range c.groups {
		for i := range c.groups[g].inited {
			ino := uint32(int64(g)*c.ipg + i)
			if k := c.kind(ino); len(want) == 0 || ino > last || k != inoFile && k != inoDir {
				continue
			}
			if err := c.load(ino, &in); err != nil {
				return nil, err
			}
			if in.isDevice() || c.isInline(&in) {
				continue
			}
			if size, ok := c.soundSize(&in); !ok {
				in.Size = uint64(size)
			}
			if err := c.walk(&in, v); err != nil {
				return nil, err
			}
		}
	}
	return owners, nil
}

// unshare gives a pointer a copy of what it shares, or makes a hole of it.
func (c *checker) unshare(d dup) (copied bool, err error) {
	var in inode
	if err := c.load(d.ino, &in); err != nil {
		return false, err
	}
	if size, ok := c.soundSize(&in); !ok {
		in.Size = uint64(size)
	}
	s, err := c.slot(&in, d.lbn, int(d.level), int(d.index))
	if err != nil || s.addr != d.addr {
		return false, err // what leads to it was made a hole
	}
	to, ok := c.allocate(int64(d.n), d.addr)
	if !ok {
		return false, c.setSlot(s, 0, -int64(d.n))
	}
	b := make([]byte, int64(d.n)<<c.fshift)
	if err := c.read(b, d.addr<<c.fshift); err != nil {
		return false, err
	}
	if err := c.write(b, to<<c.fshift); err != nil {
		return false, err
	}
	return true, c.setSlot(s, to, 0)
}

// A slot is the place of one pointer.
type slot struct {
	ino   uint32
	at    int64 // address of the indirect block that it is in, 0: the inode
	index int   // in that, or 0 to 11 direct, 12 to 14 indirect
	ext   bool  // index counts the pointers to attributes
	addr  int64 // what it holds
}

// slot finds the pointer of a level for block lbn of a file. If it is in an
// indirect block that is not there, its address is 0 and at is -1.
func (c *checker) slot(in *inode, lbn int64, level, index int) (slot, error) {
	s := slot{ino: in.num}
	if level < 0 {
		s.ext, s.index, s.addr = true, index, in.Ext[index]
		return s, nil
	}
	if lbn < ondisk.NDirect {
		s.index, s.addr = int(lbn), in.Direct[lbn]
		return s, nil
	}
	rel, depth, span := lbn-ondisk.NDirect, 1, c.nindir
	for rel >= span && depth < ondisk.NIndirect {
		rel -= span
		span *= c.nindir
		depth++
	}
	s.index, s.addr = ondisk.NDirect+depth-1, in.Indirect[depth-1]
	var b [8]byte
	size := int64(c.version.PointerSize())
	for l := depth; l > level; l-- {
		if s.addr == 0 || !c.fits(s.addr, c.frag) {
			s.at, s.addr = -1, 0
			return s, nil
		}
		span /= c.nindir
		s.at, s.index = s.addr, int(rel/span)
		rel %= span
		if err := c.read(b[:size], s.at<<c.fshift+int64(s.index)*size); err != nil {
			return s, err
		}
		s.addr = c.version.Pointer(c.order, b[:])
	}
	return s, nil
}

// setSlot changes a pointer, and the count of blocks of its inode by frags.
func (c *checker) setSlot(s slot, addr, frags int64) error {
	var in inode
	if err := c.load(s.ino, &in); err != nil {
		return err
	}
	in.Blocks = uint64(max(0, int64(in.Blocks)+frags<<c.fshift>>9))
	switch {
	case s.ext:
		in.Ext[s.index] = addr
	case s.at == 0 && s.index < ondisk.NDirect:
		in.Direct[s.index] = addr
	case s.at == 0:
		in.Indirect[s.index-ondisk.NDirect] = addr
	default:
		var b [8]byte
		size := int64(c.version.PointerSize())
		if size == 4 {
			c.order.PutU32(b[:], uint32(addr))
		} else {
			c.order.PutU64(b[:], uint64(addr))
		}
		if err := c.write(b[:size], s.at<<c.fshift+int64(s.index)*size); err != nil {
			return err
		}
		if frags == 0 {
			return nil
		}
	}
	return c.store(&in)
}
