package fsck

import "github.com/resflash/resflash/image/ext4/ondisk"

// scanDir compares the size of the directory that is being scanned with its
// blocks, which have no holes.
func (c *checker) scanDir(in *inode) error {
	s := &c.scan
	if in.has(ondisk.FlInlineData) {
		n, ok := c.inlineSize(in)
		if !ok || n == in.Size {
			return nil
		}
		if _, mend := c.fault(c.aboutInode(codeInodeSize, in.num, "inline directory of %d bytes, want %d", in.Size, n).preen()); mend {
			ondisk.SetInodeSize(in.raw, n)
			in.decode()
			s.dirty = true
		}
		return nil
	}
	if s.w.last < 0 && s.w.issues&^(issueSum|issueIndex) == 0 {
		f, mend := c.fault(c.aboutInode(codeDirEmpty, in.num, "a directory without any blocks"))
		if !mend {
			return nil
		}
		f.lose("directory %d, of which there was nothing left", in.num)
		c.again, s.sumBad, s.dirty = true, false, false
		return c.clearInode(in.num)
	}
	blocks := uint64(s.w.last + 1)
	have := in.Size >> c.bshift
	wrong := in.Size&uint64(c.bsize-1) != 0 || have > blocks || have < blocks && blocks-have > uint64(c.sb.PreallocDirBlocks)
	if !wrong || s.w.issues != 0 {
		return nil
	}
	if _, mend := c.fault(c.aboutInode(codeInodeSize, in.num, "directory of %d bytes, want %d", in.Size, blocks<<c.bshift).preen()); mend {
		ondisk.SetInodeSize(in.raw, blocks<<c.bshift)
		in.decode()
		s.dirty = true
	}
	return nil
}
