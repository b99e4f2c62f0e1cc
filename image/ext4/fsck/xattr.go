package fsck

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// An eaBlock is a block of attributes, which several inodes may share.
type eaBlock struct {
	refs  uint32 // as its header says
	found uint32
	first uint32 // inode
	extra uint64 // clusters of values in inodes of their own
}

// claim notes that bytes [from, to) of the attributes are taken; false if they
// were already.
func (s *scan) claimBytes(from, to int) bool {
	for _, sp := range s.spans {
		if from < sp[1] && sp[0] < to {
			return false
		}
	}
	s.spans = append(s.spans, [2]int{from, to})
	return true
}

// An attribute is one entry of a list of attributes.
type attribute struct {
	ondisk.XattrEntry
	name  []byte
	value []byte // in the list itself
}

// eachAttribute goes over a list of attributes at byte at of area, whose values
// lie at offsets from byte base. It returns what is wrong with the list, or "".
// inodes says that names must have a part before the dot: in blocks they must.
func (c *checker) eachAttribute(area []byte, at, base int, block bool, visit func(a attribute) string) string {
	s := &c.scan
	s.spans = s.spans[:0]
	s.spans = append(s.spans, [2]int{0, at})
	for {
		if at+4 > len(area) {
			return "the list has no end"
		}
		if le.Uint32(area[at:]) == 0 {
			if !s.claimBytes(at, at+4) {
				return "the end of the list lies in a value"
			}
			return ""
		}
		if at+ondisk.XattrEntryHeader > len(area) {
			return "an entry crosses the end"
		}
		a := attribute{XattrEntry: ondisk.DecodeXattrEntry(area[at:])}
		size := a.Size()
		if at+size > len(area) {
			return fmt.Sprintf("a name of %d bytes crosses the end", a.NameLen)
		}
		if !s.claimBytes(at, at+size) {
			return "an entry lies in a value"
		}
		if block && a.NameIndex == 0 {
			return "a name of no kind"
		}
		a.name = area[at+ondisk.XattrEntryHeader:][:a.NameLen]
		if a.ValueIno == 0 {
			if uint64(a.ValueSize)+uint64(a.ValueOff)+uint64(base) > uint64(len(area)) {
				return fmt.Sprintf("the value of %q, %d bytes, crosses the end", a.name, a.ValueSize)
			}
			from := base + a.ValueOff
			if n := (int(a.ValueSize) + 3) &^ 3; n > 0 && (from+n > len(area) || !s.claimBytes(from, from+n)) {
				return fmt.Sprintf("the value of %q lies on something else", a.name)
			}
			a.value = area[from : from+int(a.ValueSize)]
			if a.Hash != 0 && a.Hash != ondisk.XattrHash(a.name, a.value, false) && a.Hash != ondisk.XattrHash(a.name, a.value, true) {
				return fmt.Sprintf("the value of %q has another hash than %#08x", a.name, a.Hash)
			}
		}
		if why := visit(a); why != "" {
			return why
		}
		at += size
	}
}

// valueProblem judges an attribute whose value lies in an inode of its own.
func (c *checker) valueProblem(in *inode, a attribute) (string, error) {
	if a.ValueIno == 0 {
		return "", nil
	}
	if !c.hasIncompat(ondisk.IncompatEAInode) {
		return fmt.Sprintf("the value of %q is in inode %d, but there is no feature ea_inode", a.name, a.ValueIno), nil
	}
	if a.ValueIno < c.firstIno || a.ValueIno > c.inodes {
		return fmt.Sprintf("the value of %q is in inode %d of %d", a.name, a.ValueIno, c.inodes), nil
	}
	var v inode
	if err := c.load(a.ValueIno, &v); err != nil {
		return "", err
	}
	lustre := v.Mtime.Sec == in.num && v.Generation == in.Generation
	hash := v.Atime.Sec
	good := a.Hash == ondisk.XattrInodeHash(a.name, hash, false) || a.Hash == ondisk.XattrInodeHash(a.name, hash, true)
	switch {
	case !v.has(ondisk.FlEAInode) || !v.isReg() || v.Links == 0 && !lustre:
		return fmt.Sprintf("the value of %q is in inode %d, which holds none", a.name, a.ValueIno), nil
	case !good && !lustre:
		return fmt.Sprintf("the value of %q in inode %d has another hash than %#08x", a.name, a.ValueIno, a.Hash), nil
	}
	return "", nil
}

// valueClusters is how many clusters of a value in an inode of its own the file
// counts as its own.
func (c *checker) valueClusters(a attribute) uint64 {
	size := uint64(c.bsize) << c.clusterShift
	return (uint64(a.ValueSize) + size - 1) / size
}

// inodeXattrs is where the attributes in an inode begin: behind their magic
// number; -1 if there are none.
func (c *checker) inodeXattrs(in *inode) int {
	at := ondisk.InodeSizeOld + int(in.ExtraIsize)
	if c.isize == ondisk.InodeSizeOld || at+8 > len(in.raw) || le.Uint32(in.raw[at:]) != ondisk.XattrMagic {
		return -1
	}
	return at + ondisk.XattrInodeHeader
}

// scanInodeXattrs looks at the attributes in the inode that is being scanned.
func (c *checker) scanInodeXattrs(in *inode) error {
	at := c.inodeXattrs(in)
	if at < 0 {
		return nil
	}
	var failed error
	refs := []uint32(nil)
	extra := uint64(0)
	why := c.eachAttribute(in.raw, at, at, false, func(a attribute) string {
		why, err := c.valueProblem(in, a)
		if err != nil {
			failed = err
		}
		if a.ValueIno != 0 {
			refs = append(refs, a.ValueIno)
			extra += c.valueClusters(a)
		}
		return why
	})
	if failed != nil {
		return failed
	}
	if why != "" {
		f, mend := c.fault(c.aboutInode(codeXattr, in.num, "attributes in the inode: %s", why))
		if mend {
			if in.has(ondisk.FlInlineData) {
				f.lose("attributes of inode %d, and what of its contents lies in them", in.num)
			} else {
				f.lose("attributes of inode %d", in.num)
			}
			clear(in.raw[at-ondisk.XattrInodeHeader:])
			in.decode()
			c.scan.dirty = true
			c.again = true // without them the inline data may be gone
		}
		return nil
	}
	for _, v := range refs {
		c.eaRefs[v]++
	}
	c.scan.clusters += extra
	return nil
}

// inlineSize is how many bytes of inline data an inode has room for in use; ok
// is false if it lacks the attribute for them.
func (c *checker) inlineSize(in *inode) (n uint64, ok bool) {
	v, ok := c.inlineValue(in)
	return ondisk.BlockLen + uint64(len(v)), ok
}

// inlineValue is the part of the inline data that lies in an attribute.
func (c *checker) inlineValue(in *inode) (value []byte, ok bool) {
	at := c.inodeXattrs(in)
	if at < 0 {
		return nil, false
	}
	c.eachAttribute(in.raw, at, at, false, func(a attribute) string {
		if a.NameIndex == ondisk.XattrSystem && string(a.name) == "data" && a.ValueIno == 0 {
			value, ok = a.value, true
		}
		return ""
	})
	return value, ok
}

// scanXattrBlock looks at the block of attributes of the inode that is being
// scanned.
func (c *checker) scanXattrBlock(in *inode) error {
	block := c.fileACL(in)
	if block == 0 {
		return nil
	}
	drop := func(code, format string, args ...any) {
		f, mend := c.fault(c.aboutInode(code, in.num, format, args...))
		if !mend {
			return
		}
		f.lose("attributes of inode %d", in.num)
		ondisk.SetInodeFileACL(in.raw, 0)
		in.decode()
		c.scan.dirty, c.again = true, true
	}
	switch {
	case !c.hasCompat(ondisk.CompatExtAttr):
		// The inode proves that there are attributes, if the block has some.
		drop(codeXattr, "a block of attributes, %d, without the feature ext_attr", block)
		return nil
	case !c.fits(block, 1) || c.isMeta(block, 1):
		drop(codeXattr, "attributes at block %d, where no file may be", block)
		return nil
	}
	if e := c.eaBlocks[block]; e != nil {
		e.found++
		c.scan.clusters += 1 + e.extra
		return nil
	}
	b := buffer(c.scan.block, c.bsize)
	c.scan.block = b
	if err := c.readBlock(b, block); err != nil {
		return err
	}
	h := ondisk.DecodeXattrHeader(b)
	why := ""
	var failed error
	var values []uint32
	extra := uint64(0)
	switch {
	case h.Magic != ondisk.XattrMagic:
		why = fmt.Sprintf("bad magic %#08x", h.Magic)
	case h.Blocks != 1:
		why = fmt.Sprintf("%d blocks of them", h.Blocks)
	default:
		why = c.eachAttribute(b, ondisk.XattrBlockHeader, 0, true, func(a attribute) string {
			why, err := c.valueProblem(in, a)
			if err != nil {
				failed = err
			}
			if a.ValueIno != 0 {
				values = append(values, a.ValueIno)
				extra += c.valueClusters(a)
			}
			return why
		})
	}
	if failed != nil {
		return failed
	}
	if why != "" {
		drop(codeXattr, "attributes at block %d: %s", block, why)
		return nil
	}
	if c.csum {
		if got, want := ondisk.XattrChecksum(c.seed, block, b); got != want {
			f := c.aboutInode(codeXattrSum, in.num, "attributes at block %d: checksum %#08x, want %#08x", block, got, want)
			f.Off = c.off(block)
			if _, mend := c.problem(f.preen()); mend {
				ondisk.SealXattrs(c.seed, block, b)
				if err := c.writeBlock(b, block); err != nil {
					return err
				}
			}
		}
	}
	for _, v := range values {
		c.eaRefs[v]++
	}
	c.eaBlocks[block] = &eaBlock{refs: h.RefCount, found: 1, first: in.num, extra: extra}
	c.scan.clusters += 1 + extra
	at := c.cluster(block)
	if c.used.has(at) {
		c.duplicate(dup{ino: in.num, start: block, n: 1, kind: dupXattr})
	}
	c.used.set(at)
	return nil
}

// checkXattrRefs compares how many inodes share each block of attributes.
func (c *checker) checkXattrRefs() error {
	var wrong []uint64
	for block, e := range c.eaBlocks {
		if e.refs != e.found {
			wrong = append(wrong, block)
		}
	}
	slices.SortFunc(wrong, cmp.Compare[uint64])
	b := make([]byte, c.bsize)
	for _, block := range wrong {
		e := c.eaBlocks[block]
		f := c.aboutInode(codeXattrRefs, e.first, "attributes at block %d: %d inodes share them, counted %d", block, e.refs, e.found).preen()
		f.Off = c.off(block)
		if _, mend := c.problem(f); !mend {
			continue
		}
		if err := c.readBlock(b, block); err != nil {
			return err
		}
		if err := c.writeXattrRefs(b, block, e.found); err != nil {
			return err
		}
	}
	return nil
}

// writeXattrRefs writes the block of attributes b with another number of
// inodes that share it.
func (c *checker) writeXattrRefs(b []byte, block uint64, refs uint32) error {
	h := ondisk.DecodeXattrHeader(b)
	h.RefCount = refs
	ondisk.EncodeXattrHeader(b, h)
	if c.csum {
		ondisk.SealXattrs(c.seed, block, b)
	}
	return c.writeBlock(b, block)
}
