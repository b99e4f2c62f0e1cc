package fsck

import (
	"bytes"
	"sort"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Pass 2 reads every directory that pass 1 has found, in the order of their
// inodes, whether it hangs in the tree or not. When it is done,
//
//   - links has, for every inode, its link count minus the names that it has;
//   - every directory knows its parent, unless nobody has a name for it;
//   - in a repair: all chunks are legal, all entries lead to inodes in use and
//     tell their types, "." and ".." are first and right, and no directory
//     has two names.
//
// What is not mended is counted as if it were, so that one thing that is wrong
// is not reported as three.

// dirInfo is what is remembered of a directory.
type dirInfo struct {
	ino    uint32
	parent uint32 // the directory that has a name for it, or 0
	dotdot uint32 // what its ".." says, or 0
	flags  uint8
}

const (
	dirNoSize    = 1 << iota // has a size of 0
	dirHasNames              // more than "." and ".."
	dirNewDotDot             // its ".." is not known yet, without being reported
	dirReached               // hangs in the tree
	dirVisiting
)

// displaced is an entry that has to find a new place in its directory.
type displaced struct {
	dir, ino uint32
	typ      uint8
	name     string
	// sure: it was legal. Otherwise it was found in the debris of a torn chunk,
	// where removed entries lie as well, and counts only if its inode lacks a
	// name.
	sure bool
}

// A removal is the name of a directory that has another one.
type removal struct {
	dir, child uint32
}

// A dirScan is the state of reading one directory.
type dirScan struct {
	in       inode
	d        *dirInfo
	holes    [][2]int64 // first block, count
	visit    visitor
	err      error
	removals []removal
}

// dir returns what is known of a directory, or nil.
func (c *checker) dir(ino uint32) *dirInfo {
	i := sort.Search(len(c.dirs), func(i int) bool { return c.dirs[i].ino >= ino })
	if i < len(c.dirs) && c.dirs[i].ino == ino {
		return &c.dirs[i]
	}
	return nil
}

// named counts a name of an inode, and unnamed takes it back.
func (c *checker) named(ino uint32) {
	if i := c.at(ino); i >= 0 && c.links[i] > -1<<31 {
		c.links[i]--
	}
}

func (c *checker) unnamed(ino uint32) {
	if i := c.at(ino); i >= 0 && c.links[i] < 1<<31-1 {
		c.links[i]++
	}
}

func (c *checker) pass2() error {
	if c.read2.visit.pointer == nil {
		c.read2.visit = visitor{
			pointer: c.readDirBlock,
			beyond:  func(pointer, int64) {},
			hole: func(lbn, n int64) {
				if h := c.read2.holes; len(h) > 0 && h[len(h)-1][0]+h[len(h)-1][1] == lbn {
					h[len(h)-1][1] += n
					return
				}
				c.read2.holes = append(c.read2.holes, [2]int64{lbn, n})
			},
		}
	}
	c.read2.removals = c.read2.removals[:0]
	if c.kind(ondisk.RootIno) != inoDir {
		what := "inode 2 is not in use"
		if c.kind(ondisk.RootIno) != inoFree {
			what = "inode 2 is no directory"
		}
		if _, mend := c.problem(c.aboutInode(codeRoot, ondisk.RootIno, false, "%s", what)); mend {
			if err := c.makeRoot(); err != nil {
				return err
			}
		}
	}
	if root := c.dir(ondisk.RootIno); root != nil {
		root.parent = ondisk.RootIno
	}
	for i := range c.dirs {
		if err := c.readDir(&c.dirs[i]); err != nil {
			return err
		}
	}
	for _, r := range c.read2.removals {
		if err := c.removeName(r.dir, r.child); err != nil {
			return err
		}
	}
	if err := c.settle(); err != nil {
		return err
	}
	for i := range c.dirs {
		if err := c.checkParent(&c.dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// readDir reads one directory.
func (c *checker) readDir(d *dirInfo) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	r := &c.read2
	if err := c.load(d.ino, &r.in); err != nil {
		return err
	}
	in := &r.in
	if size, ok := c.soundSize(in); !ok {
		in.Size = uint64(size) // reported by pass 1
	}
	if in.Size == 0 {
		d.flags |= dirNoSize
		return nil // see checkParent
	}
	if in.Size < 24 || in.Size%ondisk.DirChunk != 0 {
		want := uint64(roundUp(int64(in.Size), ondisk.DirChunk))
		f := c.aboutInode(codeDirSize, d.ino, in.Size >= 24, "directory of %d bytes, want %d", in.Size, want)
		_, mend := c.problem(f)
		in.Size = want
		if mend {
			if err := c.store(in); err != nil {
				return err
			}
		}
	}
	r.d, r.err, r.holes = d, nil, r.holes[:0]
	if err := c.walk(in, &r.visit); err != nil {
		return err
	}
	if r.err != nil {
		return r.err
	}
	if len(r.holes) > 0 {
		return c.fillHoles(d, in)
	}
	return nil
}

// readDirBlock reads one block of the directory that is being read.
func (c *checker) readDirBlock(p pointer) bool {
	r := &c.read2
	if r.err != nil || p.level < 0 {
		return false
	}
	if !c.fits(p.addr, p.n) || c.loops(&r.in, p) {
		// Reported by pass 1; it will be a hole.
		r.visit.hole(p.lbn, max(1, divUp(c.spanBytes(&r.in, p), c.bsize)))
		return false
	}
	if p.level > 0 {
		return true
	}
	start := p.lbn * c.bsize
	n := min(p.n<<c.fshift, int64(r.in.Size)-start)
	c.block = buffer(c.block, c.bsize)
	b := c.block[:n]
	at := p.addr << c.fshift
	if r.err = c.read(b, at); r.err != nil {
		return false
	}
	if other := c.foreign(r.d, p, b); other != 0 {
		r.err = c.disown(r.d, b, at, other)
		return r.err == nil
	}
	for i := int64(0); i+ondisk.DirChunk <= n; i += ondisk.DirChunk {
		chunk := b[i : i+ondisk.DirChunk]
		if c.readChunk(r.d, chunk, start+i, at+i) {
			if r.err = c.write(chunk, at+i); r.err != nil {
				return false
			}
		}
	}
	return true
}

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

// salvage makes a chunk legal whose entries can be followed for limit bytes
// only; prev is the last of them. What looks like entries behind is kept for
// [checker.settle].
func (c *checker) salvage(d *dirInfo, b []byte, limit, prev int) {
	for i := limit; i+ondisk.DirentHeader < ondisk.DirChunk; i += 4 {
		// The length of the entry may be what is damaged: only the name has to
		// be one, and the inode in use and of that type.
		e := entry{Dirent: ondisk.DecodeDirent(b[i:], c.order, false), at: i}
		n := int(e.NameLen)
		if e.Ino < ondisk.RootIno || n == 0 || i+ondisk.DirentSize(n) > ondisk.DirChunk {
			continue
		}
		tail := b[i+ondisk.DirentHeader:][:ondisk.DirentSize(n)-ondisk.DirentHeader]
		name := tail[:n]
		if k := c.kind(e.Ino); k != inoFile && k != inoDir || e.Type != c.typeOf(e.Ino) {
			continue
		}
		if bytes.IndexByte(name, 0) >= 0 || bytes.IndexByte(name, '/') >= 0 || tail[n] != 0 ||
			bytes.Equal(name, dot) || bytes.Equal(name, dotDot) {
			continue
		}
		c.displaced = append(c.displaced, displaced{d.ino, e.Ino, e.Type, string(name), false})
	}
	if prev < 0 {
		c.emptyChunks(b)
		return
	}
	clear(b[limit:])
	c.setLen(b, prev, ondisk.DirChunk-prev)
}

// settle puts displaced entries back into their directories.
func (c *checker) settle() error {
	for _, x := range c.displaced {
		i := c.at(x.ino)
		if i < 0 || c.state[i]&inoKind != inoFile && c.state[i]&inoKind != inoDir {
			continue
		}
		child := c.dir(x.ino)
		if !x.sure {
			if c.links[i] <= 0 || child != nil && (child.parent != 0 || c.readDotDot(x.ino) != x.dir) {
				continue
			}
		} else if child != nil && child.parent != 0 {
			continue // it has a name
		}
		ok, err := c.addName(x.dir, x.ino, c.typeOf(x.ino), x.name)
		if err != nil {
			return err
		}
		if !ok {
			continue // pass 4 sees to it
		}
		if d := c.dir(x.dir); d != nil {
			d.flags |= dirHasNames
		}
		c.named(x.ino)
		if child != nil {
			child.parent = x.dir
		}
	}
	c.displaced = c.displaced[:0]
	return nil
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
