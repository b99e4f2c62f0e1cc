package fsck

import (
	"github.com/resflash/resflash/image/ffs/ondisk"
)

// readChunk goes through the 512 bytes at byte off of a directory, which lie at
// byte at of the volume, and reports whether it has changed them.
func (c *checker) readChunk(d *dirInfo, b []byte, off, at int64) (changed bool) {
	limit, prev, why := c.legal(b)
	if why != "" {
		f, mend := c.problem(c.aboutDir(codeDirChunk, d.ino, at+int64(limit), off+int64(limit), "%s", why))
		if mend {
			c.salvage(d, b, limit, prev)
			f.lose("names in %d bytes of directory %d, as far as they could not be told", ondisk.DirChunk-limit, d.ino)
			limit, changed = ondisk.DirChunk, true
		}
	}
	if off == 0 {
		if c.readDots(d, b, limit, at) {
			limit, changed = ondisk.DirChunk, true
		}
	}
	prev = -1
	for i, n := 0, 0; i < limit; n++ {
		e, _ := c.entryAt(b, i)
		i += int(e.Len)
		if e.Ino == 0 || off == 0 && (n == 0 && e.isDot() || n == 1 && e.isDotDot()) {
			prev = e.at
			continue
		}
		switch c.readEntry(d, &e, off, at) {
		case entryDrop:
			c.drop(b, prev, &e)
			changed = true
			if prev >= 0 {
				continue
			}
		case entryRetype:
			b[e.at+6] = c.typeOf(e.Ino)
			changed = true
		}
		prev = e.at
	}
	return changed
}

// What is to be done to an entry.
const (
	entryKeep = iota
	entryDrop
	entryRetype
)

// typeOf is the d_type that an inode has.
func (c *checker) typeOf(ino uint32) uint8 {
	if i := c.at(ino); i >= 0 {
		return c.state[i] >> 4
	}
	return 0
}

// readEntry judges an entry other than "." and "..", and counts it. Like
// pass2check.
func (c *checker) readEntry(d *dirInfo, e *entry, off, at int64) int {
	about := func(code, format string, args ...any) (*finding, bool) {
		f := c.aboutDir(code, d.ino, at+int64(e.at), off+int64(e.at), format, args...)
		return c.problem(f)
	}
	result := func(mend bool, what int) int {
		if mend {
			return what
		}
		return entryKeep
	}
	if e.isWhiteout() {
		return entryKeep
	}
	if e.isDot() || e.isDotDot() {
		_, mend := about(codeDirExtraDot, "another %q", e.name)
		return result(mend, entryDrop)
	}
	d.flags |= dirHasNames
	if int64(e.Ino) >= c.inodes() || e.Ino < ondisk.RootIno || e.Type == 14 {
		f, mend := about(codeEntryInode, "name %q refers to inode %d of %d (type %d)", e.name, e.Ino, c.inodes(), e.Type)
		if mend {
			f.lose("name %q", e.name)
		}
		return result(mend, entryDrop)
	}
	switch c.kind(e.Ino) {
	case inoFree:
		f, mend := about(codeEntryFree, "name %q refers to inode %d, which is not in use", e.name, e.Ino)
		if mend {
			f.lose("name %q", e.name)
		}
		return result(mend, entryDrop)
	case inoClear:
		return entryKeep // the inode has been reported
	case inoDir:
		if child := c.dir(e.Ino); child != nil {
			if child.parent != 0 {
				return c.secondName(d, child, e, about)
			}
			child.parent = d.ino
		}
	}
	c.named(e.Ino)
	if e.Type != c.typeOf(e.Ino) {
		_, mend := about(codeEntryType, "name %q says type %d, inode %d has %d", e.name, e.Type, e.Ino, c.typeOf(e.Ino))
		return result(mend, entryRetype)
	}
	return entryKeep
}

// secondName decides which of two names of a directory is the right one: that
// in the directory to which its ".." leads.
func (c *checker) secondName(d, child *dirInfo, e *entry, about func(code, format string, args ...any) (*finding, bool)) int {
	first := child.parent
	if first != d.ino && child.ino != ondisk.RootIno && c.readDotDot(child.ino) == d.ino {
		f := c.aboutDir(codeDirExtraLink, first, -1, -1, "a second name of directory %d, which is in directory %d", child.ino, d.ino)
		if p, mend := c.problem(f); mend {
			c.read2.removals = append(c.read2.removals, removal{first, child.ino})
			p.lose("a second name of directory %d", child.ino)
		}
		child.parent = d.ino
		return entryKeep
	}
	f, mend := about(codeDirExtraLink, "%q is a second name of directory %d, which is in directory %d", e.name, child.ino, first)
	if mend {
		f.lose("name %q", e.name)
		return entryDrop
	}
	return entryKeep
}
