package fsck

import (
	"fmt"
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// A dirIndex is the hash tree of the directory that is being read: which blocks
// are nodes of it, and which hashes the names in the others may have.
type dirIndex struct {
	why      string // what is wrong with it, or ""
	reported bool
	version  uint8
	seed     [4]uint32
	hashed   bool // the hash is one that is known here
	blocks   []dxBlock
}

// A dxBlock is a block of an indexed directory.
type dxBlock struct {
	lo, hi uint32 // of the hashes below it
	leaf   bool
	node   bool
}

// isNode reports whether block lblk belongs to the tree itself.
func (x *dirIndex) isNode(lblk uint64) bool {
	return lblk < uint64(len(x.blocks)) && x.blocks[lblk].node
}

func (x *dirIndex) bad(format string, args ...any) {
	if x.why == "" {
		x.why = fmt.Sprintf(format, args...)
	}
}

// see looks at a name in block lblk.
func (x *dirIndex) see(lblk uint64, name []byte) {
	if x.why != "" || !x.hashed || lblk >= uint64(len(x.blocks)) || !x.blocks[lblk].leaf {
		return
	}
	h, _ := ondisk.NameHash(string(name), x.version, x.seed)
	if b := &x.blocks[lblk]; h < b.lo || h > b.hi {
		x.bad("%q with the hash %#08x is in block %d, which is for %#08x to %#08x", name, h, lblk, b.lo, b.hi)
	}
}

// physical is where block lblk of a file lies, or 0.
func physical(runs []run, lblk uint64) uint64 {
	i, ok := slices.BinarySearchFunc(runs, lblk, func(r run, b uint64) int {
		switch {
		case r.lblk+r.n <= b:
			return -1
		case r.lblk > b:
			return 1
		}
		return 0
	})
	if !ok {
		return 0
	}
	return runs[i].start + lblk - runs[i].lblk
}

// readIndex reads the hash tree of a directory. If it is damaged, a repair
// makes the directory one without: that is as good, only slower.
func (c *checker) readIndex(r *dirRead, runs []run) error {
	n := r.in.Size >> c.bshift
	if len(runs) > 0 {
		last := runs[len(runs)-1]
		n = min(n, last.lblk+last.n)
	} else {
		n = 0
	}
	x := &dirIndex{blocks: make([]dxBlock, n), seed: c.sb.HashSeed}
	r.index = x
	if err := c.readIndexRoot(r, x, runs); err != nil {
		return err
	}
	if x.why == "" {
		return nil
	}
	return c.reportIndex(r, runs)
}

// reportIndex reports a damaged index, and mends it.
func (c *checker) reportIndex(r *dirRead, runs []run) error {
	r.index.reported = true
	at := int64(-1)
	if b := physical(runs, 0); b != 0 {
		at = c.off(b)
	}
	if _, mend := c.problem(c.aboutDir(codeIndex, r.d.ino, at, "the hash tree: %s", r.index.why)); !mend {
		return nil
	}
	if err := c.unindex(r, runs); err != nil {
		return err
	}
	r.index = nil
	return nil
}

// readIndexRoot reads the first block and what is below it.
func (c *checker) readIndexRoot(r *dirRead, x *dirIndex, runs []run) error {
	at := physical(runs, 0)
	if !c.hasCompat(ondisk.CompatDirIndex) {
		x.bad("there is no feature dir_index")
	}
	if at == 0 {
		x.bad("the directory has no first block")
		return nil
	}
	b := make([]byte, c.bsize)
	if err := c.readBlock(b, at); err != nil {
		return err
	}
	x.blocks[0].node = true
	root := ondisk.DecodeDxRoot(b)
	levels := uint8(ondisk.MaxDxLevelsOld)
	if c.hasIncompat(ondisk.IncompatLargeDir) {
		levels = ondisk.MaxDxLevels
	}
	d := c.dirBlockOf(b, 0, at)
	d.limit = len(b)
	e, why := d.entryAt(0, -1)
	if why == "" && e.recLen == ondisk.DirEntryMin {
		e, why = d.entryAt(e.recLen, 0)
	}
	switch {
	case why != "" || e.at != ondisk.DirEntryMin || e.recLen != len(b)-ondisk.DirEntryMin:
		x.bad("its root has other entries than \".\" and \"..\"")
	case root.Reserved != 0 || root.InfoLength != 8:
		x.bad("its root has %d bytes of information, reserved %#x", root.InfoLength, root.Reserved)
	case root.HashVersion > ondisk.HashTEA && root.HashVersion != ondisk.HashSip:
		x.bad("hash version %d", root.HashVersion)
	case root.UnusedFlags&1 != 0:
		x.bad("flags %#x", root.UnusedFlags)
	case root.IndirectLevels >= levels:
		x.bad("%d levels, want less than %d", root.IndirectLevels, levels)
	}
	if x.why != "" {
		return nil
	}
	x.version = root.HashVersion
	if x.version <= ondisk.HashTEA && c.sb.Flags&ondisk.FlagUnsignedHash != 0 {
		x.version += ondisk.HashLegacyUnsigned
	}
	x.hashed = x.version != ondisk.HashSip && !r.in.has(ondisk.FlCasefold)
	return c.readIndexNode(r, x, runs, b, 0, int(root.IndirectLevels), 0, ^uint32(0))
}

// readIndexNode reads the entries of a node, which lead to levels more of
// nodes, for hashes from lo to hi.
func (c *checker) readIndexNode(r *dirRead, x *dirIndex, runs []run, b []byte, lblk uint32, levels int, lo, hi uint32) error {
	off := ondisk.DxNodeEntries
	if lblk == 0 {
		off = ondisk.DxRootEntries
	}
	e := ondisk.DxEntries(b[off:])
	room := len(b) - off
	if c.csum {
		room -= 8 // struct dx_tail
	}
	if e.Limit() != room/ondisk.DxEntrySize || e.Count() > e.Limit() || e.Count() == 0 {
		x.bad("block %d has %d entries in room for %d, want room for %d", lblk, e.Count(), e.Limit(), room/ondisk.DxEntrySize)
		return nil
	}
	if c.csum {
		if got, want, ok := ondisk.DxTail(r.in.seed, b, off); ok && got != want {
			at := c.off(physical(runs, uint64(lblk)))
			f := c.aboutDir(codeIndexSum, r.d.ino, at, "block %d of the hash tree: checksum %#08x, want %#08x", lblk, got, want)
			if _, mend := c.problem(f.preen()); mend {
				ondisk.SealDx(r.in.seed, b, off)
				if err := c.write(b, at); err != nil {
					return err
				}
			}
		}
	}
	from := lo
	for i := range e.Count() {
		to := hi
		if i+1 < e.Count() {
			to = e.Hash(i+1) &^ 1
		}
		child := e.Block(i)
		switch {
		case to < from || from < lo || to > hi:
			x.bad("the hashes in block %d are out of order at entry %d", lblk, i)
			return nil
		case child == 0 || uint64(child) >= uint64(len(x.blocks)) || physical(runs, uint64(child)) == 0:
			x.bad("entry %d of block %d leads to block %d of %d", i, lblk, child, len(x.blocks))
			return nil
		case x.blocks[child].leaf || x.blocks[child].node:
			x.bad("block %d is there twice", child)
			return nil
		}
		if levels == 0 {
			x.blocks[child] = dxBlock{lo: from, hi: to, leaf: true}
			from = to
			continue
		}
		n := make([]byte, c.bsize)
		if err := c.readBlock(n, physical(runs, uint64(child))); err != nil {
			return err
		}
		h := ondisk.DecodeDirEntry(n, int(c.bsize))
		if h.Ino != 0 || h.RecLen != len(n) || h.NameLen != 0 {
			x.bad("block %d is no node", child)
			return nil
		}
		x.blocks[child].node = true
		if err := c.readIndexNode(r, x, runs, n, child, levels-1, from, to); err != nil || x.why != "" {
			return err
		}
		from = to
	}
	return c.ctx.Err()
}

// judgeIndex looks at what reading the blocks of the directory has told about
// its index.
func (c *checker) judgeIndex(r *dirRead) error {
	x := r.index
	for lblk := range x.blocks {
		if b := &x.blocks[lblk]; !b.leaf && !b.node {
			x.bad("block %d is not in it", lblk)
			break
		}
	}
	if x.why == "" || x.reported {
		return nil
	}
	runs, err := c.runs(&r.in, 1<<24)
	if err != nil {
		return err
	}
	return c.reportIndex(r, runs)
}

// unindex makes a directory one without a hash tree: its blocks become empty
// ones.
func (c *checker) unindex(r *dirRead, runs []run) error {
	b := make([]byte, c.bsize)
	for lblk := range r.index.blocks {
		at := physical(runs, uint64(lblk))
		if at == 0 || r.index.blocks[lblk].leaf {
			continue
		}
		if err := c.readBlock(b, at); err != nil {
			return err
		}
		d := c.dirBlockOf(b, uint64(lblk), at)
		h := ondisk.DecodeDirEntry(b, int(c.bsize))
		switch {
		case lblk == 0:
			first, why := d.entryAt(0, -1)
			parent := ondisk.DecodeDirEntry(b[ondisk.DirEntryMin:], int(c.bsize))
			if why != "" || !first.isDot() || parent.NameLen != 2 || string(b[20:22]) != ".." {
				continue // readDots finds its way
			}
			d.put(0, ondisk.DirEntryMin, r.d.ino, entryType[inoDir], dot)
			d.put(ondisk.DirEntryMin, d.limit-ondisk.DirEntryMin, parent.Ino, entryType[inoDir], dotDot)
		case h.Ino == 0 && h.RecLen == len(b):
			d.put(0, d.limit, 0, 0, nil)
		default:
			continue
		}
		if err := c.storeDirBlock(&r.in, d); err != nil {
			return err
		}
	}
	if err := c.load(r.d.ino, &r.in); err != nil {
		return err
	}
	ondisk.SetInodeFlags(r.in.raw, r.in.Flags&^ondisk.FlIndex)
	return c.store(&r.in)
}
