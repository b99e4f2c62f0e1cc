package fsck

import (
	"bytes"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// foreign tells the first block of a directory that belongs to another one: that
// is who its "." is, and that one has it too. This is what a wrong pointer, and
// the copy that pass 1b has made, leave.
func (c *checker) foreign(d *dirInfo, p pointer, b []byte) (other uint32) {
	if p.lbn != 0 || len(b) < ondisk.DirChunk {
		return 0
	}
	e, why := c.entryAt(b, 0)
	if why != "" || e.Ino == 0 || !e.isDot() || e.Ino == d.ino || c.kind(e.Ino) != inoDir {
		return 0
	}
	var in inode
	if !c.tryLoad(e.Ino, &in) || in.Size < ondisk.DirChunk || !c.fits(in.Direct[0], 1) {
		return 0
	}
	theirs := make([]byte, ondisk.DirChunk)
	if !c.tryRead(theirs, in.Direct[0]<<c.fshift) || !bytes.Equal(theirs, b[:ondisk.DirChunk]) {
		return 0
	}
	return e.Ino
}

// disown empties the first block of a directory, which is that of another. The
// names in it are not lost, as the other has them; those that should be here
// are.
func (c *checker) disown(d *dirInfo, b []byte, at int64, other uint32) error {
	f, mend := c.problem(c.aboutDir(codeDirDot, d.ino, at, 0, "this is the beginning of directory %d", other))
	d.flags |= dirNewDotDot
	d.dotdot = ondisk.RootIno
	c.named(d.ino)
	c.named(d.dotdot)
	if !mend {
		return nil
	}
	f.lose("names in the first %d bytes of directory %d", len(b), d.ino)
	c.emptyChunks(b)
	c.newDir(b, d.ino, d.dotdot)
	return c.write(b, at)
}

// readDotDot returns what the ".." of a directory says, or 0.
func (c *checker) readDotDot(ino uint32) uint32 {
	var in inode
	if !c.tryLoad(ino, &in) || in.Size < ondisk.DirChunk || !c.fits(in.Direct[0], 1) {
		return 0
	}
	b := make([]byte, ondisk.DirChunk)
	if !c.tryRead(b, in.Direct[0]<<c.fshift) {
		return 0
	}
	if e, why := c.entryAt(b, 0); why == "" && e.Ino != 0 && e.isDot() {
		if e, why = c.entryAt(b, int(e.Len)); why == "" && e.isDotDot() {
			return e.Ino
		}
	}
	return 0
}

// readDots judges "." and "..", which are the first entries of a directory,
// and counts them. It reports whether it has changed the chunk.
func (c *checker) readDots(d *dirInfo, b []byte, limit int, at int64) (changed bool) {
	var e [2]entry
	for i, k := 0, 0; i < limit && k < 2; k++ {
		e[k], _ = c.entryAt(b, i)
		i += int(e[k].Len)
	}
	self, up := &e[0], &e[1]
	hasSelf := self.Ino != 0 && self.isDot()
	hasUp := hasSelf && up.Ino != 0 && up.isDotDot()
	rebuild := false
	c.named(d.ino)
	switch {
	case !hasSelf:
		_, rebuild = c.problem(c.aboutDir(codeDirDot, d.ino, at, 0, "\".\" is missing"))
	case self.Ino != d.ino || self.Type != dirType:
		_, mend := c.problem(c.aboutDir(codeDirDot, d.ino, at, 0, "\".\" is inode %d (type %d), want %d (type %d)", self.Ino, self.Type, d.ino, dirType))
		if mend {
			c.order.PutU32(b[self.at:], d.ino)
			b[self.at+6] = dirType
			changed = true
		}
	}
	if hasUp {
		d.dotdot = up.Ino
		if up.Type != dirType {
			_, mend := c.problem(c.aboutDir(codeDirDotDot, d.ino, at+int64(up.at), int64(up.at), "\"..\" has type %d, want %d", up.Type, dirType))
			if mend {
				b[up.at+6] = dirType
				changed = true
			}
		}
	} else {
		// It may lie elsewhere in the chunk.
		for i := 0; i < limit; {
			x, _ := c.entryAt(b, i)
			if x.Ino != 0 && x.isDotDot() {
				d.dotdot = x.Ino
			}
			i += int(x.Len)
		}
		if hasSelf {
			_, rebuild = c.problem(c.aboutDir(codeDirDotDot, d.ino, at, 0, "\"..\" is missing"))
		}
		if d.dotdot == 0 {
			d.flags |= dirNewDotDot
			d.dotdot = ondisk.RootIno
		}
	}
	c.named(d.dotdot)
	if rebuild {
		list := []entry{
			{Dirent: ondisk.Dirent{Ino: d.ino, Type: dirType}, name: dot},
			{Dirent: ondisk.Dirent{Ino: d.dotdot, Type: dirType}, name: dotDot},
		}
		for i := 0; i < limit; {
			x, _ := c.entryAt(b, i)
			if x.Ino != 0 && !x.isDot() && !x.isDotDot() {
				list = append(list, x)
			}
			i += int(x.Len)
		}
		for _, x := range c.pack(b, list) {
			c.displaced = append(c.displaced, displaced{d.ino, x.Ino, x.Type, string(x.name), true})
		}
		changed = true
	}
	return changed
}

// checkParent holds the ".." of a directory against the directory that has a
// name for it.
func (c *checker) checkParent(d *dirInfo) error {
	if d.parent == 0 {
		return nil // pass 3 sees to it
	}
	if d.flags&dirNoSize != 0 {
		_, mend := c.problem(c.aboutInode(codeDirEmpty, d.ino, false, "directory of 0 bytes, want 512"))
		d.dotdot = d.parent
		c.named(d.ino)
		c.named(d.parent)
		if mend {
			return c.fillDir(d)
		}
		return nil
	}
	if d.dotdot == d.parent {
		return nil
	}
	mend := c.mode == vfs.RepairAll // of one that has been made anew
	if d.flags&dirNewDotDot == 0 {
		_, mend = c.problem(c.aboutDir(codeDirDotDot, d.ino, -1, -1, "\"..\" is inode %d, want %d", d.dotdot, d.parent))
	}
	c.unnamed(d.dotdot)
	c.named(d.parent)
	d.dotdot = d.parent
	if mend {
		return c.setDotDot(d.ino, d.parent)
	}
	return nil
}
