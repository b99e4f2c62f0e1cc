package fsck

import (
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// maxLinks is how many links an inode can count (EXT4_LINK_MAX). A directory
// with more of them counts 1, with the feature dir_nlink.
const maxLinks = 65000

// Pass 4 compares link counts with the names that were found. When it is done,
// in a repair, every inode in use has as many names as it counts.

func (c *checker) pass4() error {
	if c.again || c.dir(ondisk.RootIno) == nil {
		return nil
	}
	for i := range c.dirs {
		if d := &c.dirs[i]; d.ino != ondisk.RootIno && d.parent != 0 {
			if p := c.dir(d.parent); p != nil {
				p.subdirs++
			}
		}
	}
	for i := range c.dirs {
		if err := c.dirLinks(&c.dirs[i]); err != nil {
			return err
		}
	}
	for i, pair := range c.kind {
		if i%(1<<16) == 0 {
			if err := c.ctx.Err(); err != nil {
				return err
			}
		}
		if pair&(inoKind|inoKind<<4) == 0 {
			continue
		}
		for ino := uint32(i) * 2; ino <= uint32(i)*2+1; ino++ {
			if k := c.kind.get(ino) & inoKind; k != inoFree && k != inoDir && !c.isHidden(ino) && !c.orphans[ino] && !c.mangled[ino] {
				if err := c.fileLinks(ino); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// dirLinks compares the link count of a directory: its name, its ".", and the
// ".." of those in it.
func (c *checker) dirLinks(d *dirInfo) error {
	if d.parent == 0 || d.flags&dirUnmended != 0 && c.tx == nil || c.orphans[d.ino] {
		return nil // not attached, which has been reported
	}
	want := 2 + d.subdirs
	if want > maxLinks {
		want = 1
	}
	if uint32(d.links) == want {
		return nil
	}
	_, mend := c.problem(c.aboutInode(codeLinkCount, d.ino, "link count %d, counted %d", d.links, want).preen())
	if !mend {
		return nil
	}
	return c.setLinks(d.ino, want)
}

func (c *checker) setLinks(ino, n uint32) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	ondisk.SetLinks(in.raw, uint16(n))
	return c.store(&in)
}

// fileLinks compares the link count of a file.
func (c *checker) fileLinks(ino uint32) error {
	found, has := c.names(ino)
	if c.eaInodes[ino] {
		return c.valueLinks(ino, found, has)
	}
	if found == has {
		return nil
	}
	if found > 0 {
		_, mend := c.problem(c.aboutInode(codeLinkCount, ino, "link count %d, counted %d", has, found).preen())
		if !mend {
			return nil
		}
		return c.setLinks(ino, min(found, 1<<16-1))
	}
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	f, mend := c.problem(c.aboutInode(codeUnreferenced, ino, "no name, but a link count of %d: a file of %d bytes", in.Links, in.Size))
	if !mend {
		return nil
	}
	dir, name, err := c.linkUp(ino, c.kind.get(ino)&inoKind)
	if err != nil {
		return err
	}
	if dir == 0 {
		f.lose("inode %d of %d bytes, because there is no space in lost+found", ino, in.Size)
		return c.discard(ino)
	}
	f.Detail += "; now in lost+found as " + name
	if in.Links != 1 {
		return c.setLinks(ino, 1)
	}
	return nil
}

// valueLinks looks at an inode that holds the value of an attribute: it counts
// how many attributes refer to it, and has one link if any does.
func (c *checker) valueLinks(ino, found, has uint32) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	refs := c.eaRefs[ino]
	if refs == 0 {
		f, mend := c.problem(c.aboutInode(codeXattrRefs, ino, "the value of an attribute, %d bytes, that no file has", in.Size))
		if !mend {
			return nil
		}
		if found == 0 {
			f.lose("the value of an attribute, %d bytes", in.Size)
			return c.discard(ino)
		}
		ondisk.SetInodeFlags(in.raw, in.Flags&^ondisk.FlEAInode)
		return c.store(&in)
	}
	lustre := ondisk.XattrRefs(in.raw) == 0 && in.Links > 0
	if got := ondisk.XattrRefs(in.raw); got != refs && !lustre {
		if _, mend := c.problem(c.aboutInode(codeXattrRefs, ino, "the value of %d attributes, counted %d", got, refs).preen()); mend {
			ondisk.SetXattrRefs(in.raw, refs)
			if err := c.store(&in); err != nil {
				return err
			}
		}
	}
	if want := found + 1; has != want {
		if _, mend := c.problem(c.aboutInode(codeLinkCount, ino, "link count %d, want %d", has, want).preen()); mend {
			return c.setLinks(ino, want)
		}
	}
	return nil
}
