package fsck

import (
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// A directory with inline data lies in its inode: the number of its parent in
// place of "." and "..", then entries in the rest of i_block, and more of them
// in an attribute.

// inlineParts are the two parts that hold entries.
func (c *checker) inlineParts(in *inode) []*dirBlock {
	off := c.inodeOff(in.num)
	types := c.hasIncompat(ondisk.IncompatFiletype)
	block := ondisk.InodeBlock(in.raw)
	parts := []*dirBlock{{b: block[4:], limit: ondisk.BlockLen - 4, bsize: int(c.bsize), at: off + 0x2C, lblk: 1, types: types}}
	if v, ok := c.inlineValue(in); ok && len(v) > 0 {
		at := 0
		for at < len(in.raw) && &in.raw[at] != &v[0] {
			at++
		}
		parts = append(parts, &dirBlock{b: v, limit: len(v), bsize: int(c.bsize), at: off + int64(at), lblk: 1, types: types})
	}
	return parts
}

// readInlineDir reads a directory that lies in its inode.
func (c *checker) readInlineDir(r *dirRead) error {
	if _, ok := c.inlineValue(&r.in); !ok {
		return nil // reported by pass 1
	}
	r.d.dotdot = le.Uint32(ondisk.InodeBlock(r.in.raw))
	changed := false
	for _, d := range c.inlineParts(&r.in) {
		if n, prev, why := d.legal(); why != "" {
			f, mend := c.problem(c.aboutDir(codeDirBlock, r.d.ino, d.at+int64(n), "inline entries: %s", why))
			if mend {
				lost := c.salvage(d, n, prev)
				f.lose("names in %d bytes of directory %d, as far as they could not be told", lost, r.d.ino)
				changed = true
			} else {
				d.limit = n
			}
		}
		if c.readEntries(r, d) {
			changed = true
		}
	}
	if changed && c.tx != nil {
		if err := c.storeInline(&r.in); err != nil {
			return err
		}
	}
	return c.findTwins(r)
}

// storeInline writes an inode whose inline data has changed, with the hash of
// the attribute that a part of it lies in.
func (c *checker) storeInline(in *inode) error {
	at := c.inodeXattrs(in)
	for at >= 0 && at+ondisk.XattrEntryHeader <= len(in.raw) && le.Uint32(in.raw[at:]) != 0 {
		e := ondisk.DecodeXattrEntry(in.raw[at:])
		if e.NameIndex == ondisk.XattrSystem && e.ValueIno == 0 && e.Hash != 0 {
			if v, ok := c.inlineBytes(in, e); ok {
				name := in.raw[at+ondisk.XattrEntryHeader:][:e.NameLen]
				le.PutUint32(in.raw[at+12:], ondisk.XattrHash(name, v, false))
			}
		}
		at += e.Size()
	}
	return c.store(in)
}

// inlineBytes are the bytes of the value of an attribute in an inode.
func (c *checker) inlineBytes(in *inode, e ondisk.XattrEntry) ([]byte, bool) {
	from := c.inodeXattrs(in) + e.ValueOff
	if from+int(e.ValueSize) > len(in.raw) {
		return nil, false
	}
	return in.raw[from : from+int(e.ValueSize)], true
}

// setInlineParent changes what stands for "..".
func (c *checker) setInlineParent(in *inode, parent uint32) error {
	le.PutUint32(ondisk.InodeBlock(in.raw), parent)
	return c.store(in)
}
