package fsck

import (
	"errors"
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// What repairs do to directories. All of this runs in passes 2 to 4 of a
// repair, when every block has one owner and all chunks are legal.

// lostFound is the directory for what has no name.
type lostFound struct {
	ino   uint32
	tried int  // how many names
	none  bool // there is none, and no space for one
}

// lostFoundMode is the mode of a new lost+found: nobody else's business.
const lostFoundMode = 0o041700

// linkUp gives an inode a name in lost+found, and returns that directory and
// the name, or 0 if that cannot be done.
func (c *checker) linkUp(ino uint32, typ uint8) (dir uint32, name string, err error) {
	name = fmt.Sprintf("#%d", ino)
	for {
		if c.lost.ino == 0 {
			if err := c.openLostFound(); err != nil || c.lost.none {
				return 0, "", err
			}
		}
		ok, err := c.addName(c.lost.ino, ino, typ, name)
		if err != nil {
			return 0, "", err
		}
		if ok {
			if d := c.dir(c.lost.ino); d != nil {
				d.flags |= dirHasNames
			}
			c.named(ino)
			return c.lost.ino, name, nil
		}
		c.lost.ino = 0 // full: another one
	}
}

// openLostFound finds or makes the next directory for what was found: lost+found,
// lost+found.1, and so on.
func (c *checker) openLostFound() error {
	const most = 1 << 10
	for c.lost.tried < most {
		name := "lost+found"
		if c.lost.tried > 0 {
			name = fmt.Sprintf("lost+found.%d", c.lost.tried)
		}
		c.lost.tried++
		ino, err := c.findName(ondisk.RootIno, name)
		if err != nil {
			return err
		}
		if ino != 0 {
			if d := c.dir(ino); d != nil && d.parent == ondisk.RootIno {
				c.lost.ino = ino
				return nil
			}
			continue
		}
		ino, ok, err := c.makeDir(ondisk.RootIno, lostFoundMode)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if ok, err = c.addName(ondisk.RootIno, ino, dirType, name); err != nil {
			return err
		}
		if !ok {
			if err := c.discard(ino); err != nil {
				return err
			}
			c.forgetDir(ino)
			break
		}
		// Counted: its "." and its name, and for the root its "..".
		i := c.at(ino)
		c.links[i] = 0
		d := c.dir(ino)
		d.parent, d.dotdot = ondisk.RootIno, ondisk.RootIno
		d.flags |= dirReached
		if err := c.changeLinks(ondisk.RootIno, 1); err != nil {
			return err
		}
		c.lost.ino = ino
		return nil
	}
	c.lost.none = true
	return nil
}

// now is the time that new directories get: that of the superblock, so that a
// repair of the same damage gives the same bytes.
func (c *checker) now() ondisk.Time {
	if c.ffs2() {
		return ondisk.Time{Sec: c.super.Time}
	}
	return ondisk.Time{Sec: int64(c.super.OldTime)}
}

// makeDir makes a directory without a name.
func (c *checker) makeDir(parent uint32, mode uint16) (ino uint32, ok bool, err error) {
	addr, ok := c.allocate(1, c.start(int64(parent)/c.ipg))
	if !ok {
		return 0, false, nil
	}
	ino, ok, err = c.allocateInode()
	if err != nil || !ok {
		c.used.clear(addr, 1)
		return 0, false, err
	}
	return ino, true, c.writeDir(ino, parent, mode, addr)
}

// writeDir makes an inode an empty directory of one fragment.
func (c *checker) writeDir(ino, parent uint32, mode uint16, addr int64) error {
	b := make([]byte, c.fsize)
	c.emptyChunks(b)
	c.newDir(b, ino, parent)
	if err := c.write(b, addr<<c.fshift); err != nil {
		return err
	}
	if err := c.clearInode(ino); err != nil {
		return err
	}
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	t := c.now()
	in.Mode, in.Nlink, in.Size = mode, 2, ondisk.DirChunk
	in.Blocks = uint64(c.fsize) / 512
	in.Atime, in.Mtime, in.Ctime = t, t, t
	in.Direct[0] = addr
	if err := c.store(&in); err != nil {
		return err
	}
	c.setKind(ino, mode, inoDir)
	c.links[c.at(ino)] = 2
	if c.dir(ino) == nil {
		c.rememberDir(ino)
	}
	return nil
}

// rememberDir adds a directory to those that are known.
func (c *checker) rememberDir(ino uint32) {
	c.dirs = append(c.dirs, dirInfo{ino: ino})
	for i := len(c.dirs) - 1; i > 0 && c.dirs[i-1].ino > ino; i-- {
		c.dirs[i], c.dirs[i-1] = c.dirs[i-1], c.dirs[i]
	}
}

func (c *checker) forgetDir(ino uint32) {
	for i := range c.dirs {
		if c.dirs[i].ino == ino {
			c.dirs = append(c.dirs[:i], c.dirs[i+1:]...)
			return
		}
	}
}

// makeRoot makes inode 2 a directory. What it was, if it was a file, moves to
// another inode, and will be found there.
func (c *checker) makeRoot() error {
	if c.kind(ondisk.RootIno) != inoFree {
		to, ok, err := c.allocateInode()
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("make a root directory: no free inode to move inode 2 to")
		}
		b := make([]byte, c.isize)
		if err := c.read(b, c.inodeOff(ondisk.RootIno)); err != nil {
			return err
		}
		if err := c.write(b, c.inodeOff(to)); err != nil {
			return err
		}
		i, j := c.at(to), c.at(ondisk.RootIno)
		c.state[i], c.links[i] = c.state[j], c.links[j]
	}
	addr, ok := c.allocate(1, 0)
	if !ok {
		return fmt.Errorf("make a root directory: %w", errNoSpace)
	}
	return c.writeDir(ondisk.RootIno, ondisk.RootIno, 0o040755, addr)
}

// An edit looks at the chunks of a directory until it says that it is done;
// changed says that it has changed the chunk.
type edit func(b []byte, off int64) (changed, done bool)

// editDir shows the chunks of a directory to fn.
func (c *checker) editDir(ino uint32, fn edit) (done bool, err error) {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return false, err
	}
	if size, ok := c.soundSize(&in); !ok {
		in.Size = uint64(size)
	}
	b := make([]byte, c.bsize)
	var failed error
	err = c.walk(&in, &visitor{
		beyond: func(pointer, int64) {},
		pointer: func(p pointer) bool {
			if done || failed != nil || p.level < 0 || !c.fits(p.addr, p.n) || p.level > 0 && c.loops(&in, p) {
				return false
			}
			if p.level > 0 {
				return true
			}
			start := p.lbn * c.bsize
			n := min(p.n<<c.fshift, int64(in.Size)-start)
			if failed = c.read(b[:n], p.addr<<c.fshift); failed != nil {
				return false
			}
			for i := int64(0); i+ondisk.DirChunk <= n && !done; i += ondisk.DirChunk {
				chunk := b[i : i+ondisk.DirChunk]
				var changed bool
				changed, done = fn(chunk, start+i)
				if changed {
					if failed = c.write(chunk, p.addr<<c.fshift+i); failed != nil {
						return false
					}
				}
			}
			return true
		},
	})
	if err == nil {
		err = failed
	}
	return done, err
}

// entries shows the legal entries of a chunk to fn, until it returns false.
func (c *checker) entries(b []byte, fn func(prev int, e *entry) bool) {
	prev := -1
	for i := 0; i < ondisk.DirChunk; {
		e, why := c.entryAt(b, i)
		if why != "" || !fn(prev, &e) {
			return
		}
		prev = e.at
		i += int(e.Len)
	}
}

// findName returns what a name in a directory refers to, or 0.
func (c *checker) findName(dir uint32, name string) (ino uint32, err error) {
	_, err = c.editDir(dir, func(b []byte, _ int64) (bool, bool) {
		c.entries(b, func(_ int, e *entry) bool {
			if e.Ino != 0 && string(e.name) == name {
				ino = e.Ino
			}
			return ino == 0
		})
		return false, ino != 0
	})
	return ino, err
}

// nameOf returns the name that a directory has for an inode.
func (c *checker) nameOf(dir, ino uint32) (name string, err error) {
	_, err = c.editDir(dir, func(b []byte, _ int64) (bool, bool) {
		c.entries(b, func(_ int, e *entry) bool {
			if e.Ino == ino && !e.isDot() && !e.isDotDot() {
				name = string(e.name)
			}
			return name == ""
		})
		return false, name != ""
	})
	return name, err
}

// removeName takes the first name of an inode out of a directory.
func (c *checker) removeName(dir, ino uint32) error {
	_, err := c.editDir(dir, func(b []byte, _ int64) (changed, done bool) {
		c.entries(b, func(prev int, e *entry) bool {
			if e.Ino == ino && !e.isDot() && !e.isDotDot() {
				c.drop(b, prev, e)
				changed = true
			}
			return !changed
		})
		return changed, changed
	})
	return err
}

// setDotDot makes the ".." of a directory lead to parent.
func (c *checker) setDotDot(dir, parent uint32) error {
	_, err := c.editDir(dir, func(b []byte, _ int64) (changed, done bool) {
		c.entries(b, func(_ int, e *entry) bool {
			if e.Ino != 0 && e.isDotDot() {
				c.order.PutU32(b[e.at:], parent)
				changed = true
			}
			return !changed
		})
		return changed, true // it is in the first chunk
	})
	return err
}

// addName puts a name into a directory: into the first space that is wide
// enough, or behind its end. It returns false if there is no space, or if the
// name is there already.
func (c *checker) addName(dir, ino uint32, typ uint8, name string) (bool, error) {
	need := ondisk.DirentSize(len(name))
	taken, room := false, false
	_, err := c.editDir(dir, func(b []byte, _ int64) (bool, bool) {
		c.entries(b, func(_ int, e *entry) bool {
			taken = taken || e.Ino != 0 && string(e.name) == name
			room = room || c.slack(e) >= need
			return !taken
		})
		return false, taken
	})
	if err != nil || taken {
		return false, err
	}
	if !room {
		ok, err := c.growDir(dir)
		if err != nil || !ok {
			return false, err
		}
	}
	return c.editDir(dir, func(b []byte, _ int64) (changed, done bool) {
		c.entries(b, func(_ int, e *entry) bool {
			free := c.slack(e)
			if free < need {
				return true
			}
			at := e.at + int(e.Len) - free
			c.put(b, at, free, ino, typ, []byte(name))
			if at != e.at {
				c.setLen(b, e.at, at-e.at)
			}
			changed = true
			return false
		})
		return changed, changed
	})
}

// slack is how much of the space of an entry it does not need.
func (c *checker) slack(e *entry) int {
	if e.Ino == 0 {
		return int(e.Len)
	}
	return int(e.Len) - ondisk.DirentSize(len(e.name))
}

// growDir adds an empty chunk to a directory.
func (c *checker) growDir(dir uint32) (bool, error) {
	var in inode
	if err := c.load(dir, &in); err != nil {
		return false, err
	}
	size := int64(in.Size)
	lbn, rest := size/c.bsize, size%c.bsize
	chunk := make([]byte, ondisk.DirChunk)
	c.emptyChunks(chunk)
	if lbn >= ondisk.NDirect || size+ondisk.DirChunk > maxDirSize {
		return false, nil // lost+found.1 is next
	}
	if size%c.fsize != 0 {
		// There is room in the last fragment.
		if err := c.write(chunk, in.Direct[lbn]<<c.fshift+rest); err != nil {
			return false, err
		}
		in.Size += ondisk.DirChunk
		return true, c.store(&in)
	}
	// One more fragment: behind those of the last block if that is free, or
	// else all of them move.
	have := rest >> c.fshift
	old := in.Direct[lbn]
	b := make([]byte, (have+1)<<c.fshift)
	if have > 0 && c.fits(old, have+1) && !c.used.any(old+have, 1) {
		c.used.set(old+have, 1)
		b = b[have<<c.fshift:]
		copy(b, chunk)
		if err := c.write(b, (old+have)<<c.fshift); err != nil {
			return false, err
		}
	} else {
		to, ok := c.allocate(have+1, c.start(int64(dir)/c.ipg))
		if !ok {
			return false, nil
		}
		if have > 0 {
			if err := c.read(b[:have<<c.fshift], old<<c.fshift); err != nil {
				return false, err
			}
			c.used.clear(old, have)
		}
		copy(b[have<<c.fshift:], chunk)
		if err := c.write(b, to<<c.fshift); err != nil {
			return false, err
		}
		in.Direct[lbn] = to
	}
	in.Size += ondisk.DirChunk
	in.Blocks += uint64(c.fsize) / 512
	return true, c.store(&in)
}

// fillDir gives a directory that has no contents its first fragment.
func (c *checker) fillDir(d *dirInfo) error {
	var in inode
	if err := c.load(d.ino, &in); err != nil {
		return err
	}
	addr, ok := c.allocate(1, c.start(int64(d.ino)/c.ipg))
	if !ok {
		return c.noSpaceFor(d)
	}
	b := make([]byte, c.fsize)
	c.emptyChunks(b)
	c.newDir(b, d.ino, d.parent)
	if err := c.write(b, addr<<c.fshift); err != nil {
		return err
	}
	in.Direct[0], in.Size, in.Blocks = addr, ondisk.DirChunk, uint64(c.fsize)/512
	d.flags &^= dirNoSize
	return c.store(&in)
}

// fillHoles reports the holes of a directory, and closes them: those at its end
// are cut off, the others become empty chunks.
func (c *checker) fillHoles(d *dirInfo, in *inode) error {
	holes := c.read2.holes
	total := int64(0)
	for _, h := range holes {
		total += h[1]
	}
	if holes[0][0] == 0 {
		// The first block is one of them: it will be made anew.
		c.named(d.ino)
		d.flags |= dirNewDotDot
		d.dotdot = ondisk.RootIno
		c.named(d.dotdot)
	}
	f, mend := c.problem(c.aboutInode(codeDirHole, d.ino, false,
		"directory of %d bytes with %d blocks that are holes, the first is block %d", in.Size, total, holes[0][0]))
	if !mend {
		return nil
	}
	f.lose("names in %d blocks of directory %d", total, d.ino)
	blocks := divUp(int64(in.Size), c.bsize)
	for _, h := range holes {
		lbn, n := h[0], h[1]
		if lbn == 0 {
			err := c.fillHole(d, in, 0, c.holeFrags(in, 0, blocks))
			if err == errNoSpace {
				f.lose("all of the directory, because there is no space for a block")
				return c.noSpaceFor(d)
			}
			if err != nil {
				return err
			}
			lbn, n = 1, n-1
		}
		if n == 0 {
			continue
		}
		if lbn+n < blocks && n <= 16 {
			filled := true
			for k := range n {
				err := c.fillHole(d, in, lbn+k, c.frag)
				if err == errNoSpace {
					filled = false
					break
				}
				if err != nil {
					return err
				}
			}
			if filled {
				continue
			}
		}
		return c.cutDir(in, lbn)
	}
	return nil
}

// noSpaceFor clears a directory that cannot have its first block. Its name goes
// in the next round.
func (c *checker) noSpaceFor(d *dirInfo) error {
	if d.ino == ondisk.RootIno {
		return fmt.Errorf("give the root directory a block: %w", errNoSpace)
	}
	return c.discard(d.ino)
}

// holeFrags is how many fragments a block of a directory should have.
func (c *checker) holeFrags(in *inode, lbn, blocks int64) int64 {
	if lbn == blocks-1 && blocks <= ondisk.NDirect {
		return c.tail(in.Size)
	}
	return c.frag
}

var errNoSpace = errors.New("no space")

// fillHole puts empty chunks where a directory has a hole.
func (c *checker) fillHole(d *dirInfo, in *inode, lbn, n int64) error {
	s, err := c.slot(in, lbn, 0, 0)
	if err != nil {
		return err
	}
	if s.at < 0 {
		return errNoSpace // its indirect block is not there
	}
	addr, ok := c.allocate(n, c.start(int64(d.ino)/c.ipg))
	if !ok {
		return errNoSpace
	}
	b := make([]byte, n<<c.fshift)
	c.emptyChunks(b)
	if lbn == 0 {
		c.newDir(b, d.ino, d.dotdot)
	}
	if err := c.write(b, addr<<c.fshift); err != nil {
		return err
	}
	if err := c.setSlot(s, addr, n); err != nil {
		return err
	}
	return c.load(d.ino, in)
}

// cutDir ends a directory before block lbn, which is a hole.
func (c *checker) cutDir(in *inode, lbn int64) error {
	keep := lbn * c.bsize
	cut := false
	if err := c.walk(in, &visitor{
		beyond: func(pointer, int64) {},
		pointer: func(p pointer) bool {
			if p.level < 0 || !c.fits(p.addr, p.n) || c.loops(in, p) {
				return false
			}
			if p.lbn >= lbn {
				c.used.clear(p.addr, p.n)
				in.Blocks -= uint64(p.n) << c.fshift >> 9
				cut = true
			}
			return true
		},
	}); err != nil {
		return err
	}
	in.Size = uint64(keep)
	if cut {
		c.cutBeyond(in)
		if err := c.zeroPointers(in, false, true); err != nil {
			return err
		}
	}
	return c.store(in)
}
