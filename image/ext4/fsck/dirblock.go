package fsck

import (
	"bytes"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// readDirBlock reads block lblk of a directory.
func (c *checker) readDirBlock(r *dirRead, b []byte, lblk, block uint64) error {
	d := c.dirBlockOf(b, lblk, block)
	if r.index != nil && r.index.isNode(lblk) {
		d.index, d.limit = true, len(b)
		if lblk > 0 {
			return nil // read with the index
		}
	}
	changed := false
	fresh := false
	if c.csum && !d.index {
		sum, ok := ondisk.DirTail(b)
		if !ok {
			whole := *d
			whole.limit = len(b)
			f, mend := c.problem(c.aboutDir(codeDirTail, r.d.ino, d.at+int64(d.limit), "block %d has no checksum", lblk))
			if mend {
				n, prev, why := whole.legal()
				if why == "" && n == len(b) && prev >= 0 && len(b)-prev >= ondisk.DirTailSize+ondisk.DirEntryMin {
					e, _ := whole.entryAt(prev, -1)
					if e.ino == 0 || len(b)-prev-ondisk.DirTailSize >= ondisk.DirEntrySize(len(e.name)) {
						ondisk.SetRecLen(b[prev:], d.limit-prev, d.bsize)
					}
				}
				f.lose("names at the end of the block, where the checksum has to be, if there were any")
				changed, fresh = true, true
			} else {
				d.limit = len(b)
			}
		} else if want := ondisk.DirChecksum(r.in.seed, b); sum != want {
			_, _, why := d.legal()
			f := c.aboutDir(codeDirSum, r.d.ino, d.at+int64(d.limit), "block %d: checksum %#08x, want %#08x", lblk, sum, want)
			f.Preen = why == ""
			_, mend := c.problem(f)
			changed = mend
		}
	}
	if n, prev, why := d.legal(); why != "" {
		f := c.aboutDir(codeDirBlock, r.d.ino, d.at+int64(n), "block %d: %s", lblk, why)
		p, mend := c.problem(f)
		if mend {
			if lost := c.salvage(d, n, prev); lost > 0 || fresh {
				p.lose("names in %d bytes of directory %d, as far as they could not be told", lost, r.d.ino)
			}
			changed = true
		} else {
			r.d.flags |= dirUnmended
			d.limit = n
		}
	}
	if lblk == 0 {
		if c.readDots(r, d) {
			changed = true
		}
	}
	if c.readEntries(r, d) {
		changed = true
	}
	if changed && c.tx != nil {
		return c.storeDirBlock(&r.in, d)
	}
	return nil
}

// salvage makes a block legal again, of which the entries before byte n are,
// the last of them at prev. It looks for a place behind from which on the
// entries can be followed to the end, and returns how many bytes there are
// before that.
func (c *checker) salvage(d *dirBlock, n, prev int) (lost int) {
	at := d.limit
	for i := (n + 4) &^ 3; i+ondisk.DirEntryMin <= d.limit; i += 4 {
		if c.plausible(d, i) {
			at = i
			break
		}
	}
	if prev < 0 {
		if at < ondisk.DirEntryMin {
			at = d.limit
		}
		d.put(0, at, 0, 0, nil)
	} else {
		ondisk.SetRecLen(d.b[prev:], at-prev, d.bsize)
	}
	return at - n
}

// plausible reports whether entries can be followed from byte i to the end, and
// the first leads to an inode in use of its type.
func (c *checker) plausible(d *dirBlock, i int) bool {
	first := true
	for i < d.limit {
		e, why := d.entryAt(i, -1)
		if why != "" {
			return false
		}
		if first && (e.ino == 0 || e.ino > c.inodes || len(e.name) == 0 || !goodName(e.name) ||
			c.kind.get(e.ino)&inoKind == inoFree || d.types && e.typ != entryType[c.kind.get(e.ino)&inoKind]) {
			return false
		}
		first = false
		i += e.recLen
	}
	return i == d.limit
}

func goodName(name []byte) bool {
	return bytes.IndexByte(name, 0) < 0 && bytes.IndexByte(name, '/') < 0
}

// readDots looks at the first two entries of a directory.
func (c *checker) readDots(r *dirRead, d *dirBlock) (changed bool) {
	var first, second entry
	n := 0
	for e := range d.entries() {
		if n == 0 {
			first = *e
		} else {
			second = *e
		}
		if n++; n == 2 {
			break
		}
	}
	problem := func(code, format string, args ...any) bool {
		_, mend := c.problem(c.aboutDir(code, r.d.ino, d.at, format, args...))
		return mend
	}
	rebuild := n < 2 || first.ino == 0 || !first.isDot() || second.ino == 0 || !second.isDotDot()
	if rebuild {
		code, what := codeDirDot, "the first entry is not \".\""
		if n > 0 && first.ino != 0 && first.isDot() {
			code, what = codeDirDotDot, "the second entry is not \"..\""
		}
		r.d.flags |= dirNoDotDot
		if !problem(code, "%s", what) {
			return false
		}
		return c.rebuildDots(r, d)
	}
	r.d.dotdot = second.ino
	if first.ino != r.d.ino {
		if problem(codeDirDot, "\".\" leads to inode %d", first.ino) {
			le.PutUint32(d.b[first.at:], r.d.ino)
			changed = true
		}
	}
	if first.recLen > 2*ondisk.DirEntryMin {
		if problem(codeDirDot, "\".\" takes %d bytes, want %d", first.recLen, ondisk.DirEntryMin) {
			d.put(first.at+ondisk.DirEntryMin, first.recLen-ondisk.DirEntryMin, 0, 0, nil)
			ondisk.SetRecLen(d.b[first.at:], ondisk.DirEntryMin, d.bsize)
			// ".." has to be the second entry.
			return c.rebuildDots(r, d)
		}
	}
	for _, e := range []*entry{&first, &second} {
		if end := e.at + ondisk.DirEntryHeader + len(e.name); d.b[end] != 0 {
			if problem(codeDirDot, "there is no zero behind %q", e.name) {
				d.b[end] = 0
				changed = true
			}
		}
	}
	if d.types {
		for _, e := range []*entry{&first, &second} {
			if e.typ != entryType[inoDir] {
				if problem(codeEntryType, "%q says type %d", e.name, e.typ) {
					d.b[e.at+7] = entryType[inoDir]
					changed = true
				}
			}
		}
	}
	return changed
}

// rebuildDots writes the block anew, with "." and ".." first.
func (c *checker) rebuildDots(r *dirRead, d *dirBlock) bool {
	parent := uint32(0)
	var list []entry
	for e := range d.entries() {
		switch {
		case e.ino == 0 || e.isDot():
		case e.isDotDot():
			if parent == 0 {
				parent = e.ino
			}
		default:
			list = append(list, *e)
		}
	}
	if r.d.ino == ondisk.RootIno {
		parent = ondisk.RootIno
	}
	r.d.dotdot = parent
	if parent == 0 {
		parent = ondisk.RootIno // pass 3 puts it right
		r.d.dotdot = ondisk.RootIno
	}
	list = append([]entry{
		{ino: r.d.ino, typ: entryType[inoDir], name: dot},
		{ino: parent, typ: entryType[inoDir], name: dotDot},
	}, list...)
	if d.index {
		// What the block holds behind is the root of the index.
		r.index.why = "its root is damaged"
		return false
	}
	// What does not fit finds its way to lost+found.
	d.pack(list)
	return true
}

// What is to be done to an entry.
const (
	entryKeep = iota
	entryDrop
	entryRetype
)

// readEntries looks at the entries other than "." and "..", and reports whether
// it has changed them.
func (c *checker) readEntries(r *dirRead, d *dirBlock) (changed bool) {
	n := 0
	for e := range d.entries() {
		n++
		if d.lblk == 0 && n <= 2 && (e.isDot() || e.isDotDot()) || e.ino == 0 {
			continue
		}
		switch c.readEntry(r, d, e) {
		case entryDrop:
			d.drop(e)
			changed = true
		case entryRetype:
			d.b[e.at+7] = entryType[c.kind.get(e.ino)&inoKind]
			if !d.types {
				d.b[e.at+7] = 0
			}
			changed = true
		}
	}
	return changed
}

// readEntry judges an entry, and counts it.
func (c *checker) readEntry(r *dirRead, d *dirBlock, e *entry) int {
	about := func(code, format string, args ...any) (*finding, bool) {
		return c.problem(c.aboutDir(code, r.d.ino, d.at+int64(e.at), format, args...))
	}
	dropped := func(f *finding, mend bool) int {
		if !mend {
			return entryKeep
		}
		f.lose("the name %q", e.name)
		return entryDrop
	}
	encrypted := r.in.has(ondisk.FlEncrypt)
	switch {
	case len(e.name) == 0:
		return dropped(about(codeEntryName, "an empty name for inode %d", e.ino))
	case e.isDot() || e.isDotDot():
		_, mend := about(codeDirExtraDot, "another %q", e.name)
		if mend {
			return entryDrop
		}
		return entryKeep
	case !goodName(e.name) && !encrypted:
		return dropped(about(codeEntryName, "the name %q for inode %d", e.name, e.ino))
	case e.ino > c.inodes || e.ino == ondisk.RootIno || c.isHidden(e.ino) || e.ino < c.firstIno:
		return dropped(about(codeEntryInode, "the name %q leads to inode %d", e.name, e.ino))
	}
	if len(r.hashes) < maxNames {
		r.hashes = append(r.hashes, nameHash(e.name))
	}
	if r.index != nil {
		r.index.see(d.lblk, e.name)
	}
	kind := c.kind.get(e.ino) & inoKind
	if c.mangled[e.ino] {
		return entryKeep // the inode has been reported
	}
	if kind == inoFree {
		if keep, known := c.neverScanned(e.ino); known {
			if keep {
				return entryKeep
			}
		}
		return dropped(about(codeEntryFree, "the name %q leads to inode %d, which is not in use", e.name, e.ino))
	}
	if kind == inoDir {
		if child := c.dir(e.ino); child != nil {
			if first := child.parent; first != 0 && first != r.d.ino && c.dotDotOf(e.ino) == r.d.ino {
				// The directory says itself which of the two names is right.
				f := c.aboutDir(codeDirExtraLink, first, -1, "a second name of directory %d, which is in directory %d", e.ino, r.d.ino)
				if p, mend := c.problem(f); mend {
					p.lose("a second name of directory %d", e.ino)
					if c.removeName(first, e.ino) != nil {
						return entryKeep
					}
				}
				child.parent = r.d.ino
			} else if child.parent != 0 {
				f, mend := about(codeDirExtraLink, "%q is a second name of directory %d, which is in directory %d", e.name, e.ino, child.parent)
				return dropped(f, mend)
			}
			child.parent = r.d.ino
		}
	} else {
		c.named(e.ino)
	}
	want := entryType[kind]
	if !d.types {
		want = 0
	}
	if e.typ != want && !c.mangled[e.ino] {
		f := c.aboutDir(codeEntryType, r.d.ino, d.at+int64(e.at), "the name %q says type %d, inode %d has %d", e.name, e.typ, e.ino, want)
		if _, mend := c.problem(f.preen()); mend {
			return entryRetype
		}
	}
	return entryKeep
}

// neverScanned deals with a name of an inode that was not looked at because its
// group says that it was never in use. keep says that it is in use all the
// same; then everything has to be looked at again.
func (c *checker) neverScanned(ino uint32) (keep, known bool) {
	g, i := c.inodePlace(ino)
	if i < c.scanned(g) {
		return false, false
	}
	var in inode
	if c.load(ino, &in) != nil || in.Links == 0 || kindOf(in.Mode) == inoFree || !c.sumGood(&in) {
		return false, true
	}
	d := &c.desc[g]
	f := c.aboutGroup(codeGroupUnused, g, c.descOff(g), "inode %d is in use, but among those that were never used", ino)
	if _, mend := c.problem(f); mend {
		d.Flags &^= ondisk.GroupInodeUninit
		d.ItableUnused = 0
		d.distrusted, d.dirty = true, true
		c.again = true
	}
	return true, true
}

// dotDotOf reads the ".." of a directory; 0 if there is none.
func (c *checker) dotDotOf(ino uint32) uint32 {
	var in inode
	if c.load(ino, &in) != nil {
		return 0
	}
	if in.has(ondisk.FlInlineData) {
		return le.Uint32(in.Block[:])
	}
	runs, err := c.runs(&in, 1)
	if err != nil || len(runs) == 0 || runs[0].lblk != 0 {
		return 0
	}
	b := make([]byte, 2*ondisk.DirEntryMin)
	if c.read(b, c.off(runs[0].start)) != nil || le.Uint32(b) != ino || string(b[20:22]) != ".." || b[18] != 2 {
		return 0
	}
	return le.Uint32(b[ondisk.DirEntryMin:])
}
