package testimage

// group is the state of one cylinder group while files are written.
type group struct {
	start  int64  // first fragment
	frags  int64  // how many it has
	free   []byte // bit set: fragment is free (cg_blksfree)
	used   []byte // bit set: inode is in use (cg_inosused)
	inode  []byte // the inodes that were initialised
	inited int64  // how many
	next   int64  // first inode that may be free
	block  int64  // first block that may be free, in fragments of the group
	dirs   int64
}

func bit(p []byte, i int64) bool { return p[i/8]>>(i%8)&1 != 0 }
func setBit(p []byte, i int64)   { p[i/8] |= 1 << (i % 8) }
func clearBit(p []byte, i int64) { p[i/8] &^= 1 << (i % 8) }

// makeGroups lays out the empty cylinder groups.
func (f *ffsWriter) makeGroups() {
	for c := range f.ncg {
		cg := &group{
			start: c * f.fpg,
			frags: min(f.fpg, f.size-c*f.fpg),
			free:  make([]byte, howmany(f.fpg, 8)),
			used:  make([]byte, howmany(f.ipg, 8)),
		}
		for i := range cg.frags {
			// The space before the superblock copy is data, except in group 0,
			// where the boot blocks are.
			if i >= f.dblkno || (c > 0 && i < f.sblkno) {
				setBit(cg.free, i)
			}
		}
		// FFS2 initialises inodes when they are needed, FFS1 all at once.
		if f.version == 1 {
			f.initInodes(cg, f.ipg)
		} else {
			f.initInodes(cg, min(f.ipg, 2*f.inopb))
		}
		f.groups = append(f.groups, cg)
	}
	first := f.groups[0]
	first.dirs = 0
	setBit(first.used, 0)
	setBit(first.used, 1)
	first.next = 2
	for i := range f.cssize / int64(f.fsize) {
		clearBit(first.free, f.dblkno+i)
	}
}

// initInodes gives the inodes up to n their generation.
func (f *ffsWriter) initInodes(cg *group, n int64) {
	size := f.inodeSize()
	gen := int64(80)
	if f.version == 1 {
		gen = 108
	}
	cg.inode = append(cg.inode, make([]byte, n*size-int64(len(cg.inode)))...)
	for ; cg.inited < n; cg.inited++ {
		le32(cg.inode[cg.inited*size+gen:], f.rng.Uint32()>>1|1)
	}
}

func (f *ffsWriter) groupOf(ino uint32) int { return int(int64(ino) / f.ipg) }

// newInode takes a free inode of the group c, or of the next one that has any.
func (f *ffsWriter) newInode(c int, dir bool) uint32 {
	for i := range f.groups {
		n := (c + i) % len(f.groups)
		cg := f.groups[n]
		if cg.next >= f.ipg {
			continue
		}
		index := cg.next
		cg.next++
		setBit(cg.used, index)
		for index+f.inopb > cg.inited && cg.inited < f.ipg {
			f.initInodes(cg, cg.inited+f.inopb)
		}
		if dir {
			cg.dirs++
		}
		return uint32(int64(n)*f.ipg + index)
	}
	f.fail("no free inode")
	return 2
}

// newBlock takes a free block near the group c and returns its address.
func (f *ffsWriter) newBlock(c int) int64 {
	frag := int64(f.frag)
	for i := range f.groups {
		cg := f.groups[(c+i)%len(f.groups)]
		for ; cg.block+frag <= cg.frags; cg.block += frag {
			if !cg.wholeFree(cg.block, frag) {
				continue
			}
			at := cg.block
			cg.block += frag
			for j := range frag {
				clearBit(cg.free, at+j)
			}
			return cg.start + at
		}
	}
	f.fail("no free block")
	return 0
}

func (cg *group) wholeFree(at, frag int64) bool {
	for i := range frag {
		if !bit(cg.free, at+i) {
			return false
		}
	}
	return true
}

// newFrags takes n fragments in one block, of the block that was opened for
// tails or of a new one.
func (f *ffsWriter) newFrags(c int, n int64) int64 {
	frag := int64(f.frag)
	if n == frag {
		return f.newBlock(c)
	}
	if f.left < n {
		f.frags, f.left = f.newBlock(c), frag
		// newBlock took all of it; give back what is not used yet.
		f.setFree(f.frags, frag)
	}
	at := f.frags + frag - f.left
	f.left -= n
	cg := f.groups[at/f.fpg]
	for i := range n {
		clearBit(cg.free, at-cg.start+i)
	}
	return at
}

func (f *ffsWriter) setFree(at, n int64) {
	cg := f.groups[at/f.fpg]
	for i := range n {
		setBit(cg.free, at-cg.start+i)
	}
}

// counts are the numbers of struct csum, and the histogram of free runs.
type counts struct {
	ndir, nbfree, nifree, nffree int64
	frsum                        [8]uint32
}

// count takes stock of a group from its maps.
func (f *ffsWriter) count(cg *group) counts {
	c := counts{ndir: cg.dirs}
	for i := range f.ipg {
		if !bit(cg.used, i) {
			c.nifree++
		}
	}
	frag := int64(f.frag)
	for at := int64(0); at < cg.frags; at += frag {
		if at+frag <= cg.frags && cg.wholeFree(at, frag) {
			c.nbfree++
			continue
		}
		run := 0
		for i := range frag + 1 {
			if i < frag && at+i < cg.frags && bit(cg.free, at+i) {
				run++
				c.nffree++
			} else if run > 0 {
				c.frsum[run]++
				run = 0
			}
		}
	}
	return c
}
