package fsck

import (
	"github.com/resflash/resflash/image/ffs/ondisk"
)

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
