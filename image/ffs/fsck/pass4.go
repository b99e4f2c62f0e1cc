package fsck

// Pass 4 compares link counts with the names that were found. When it is done,
// in a repair, every inode in use has as many names as it counts.

func (c *checker) pass4() error {
	for g := range c.groups {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		grp := &c.groups[g]
		for i := range grp.inited {
			at := grp.first + i
			kind := c.state[at] & inoKind
			if kind != inoFile && kind != inoDir || c.links[at] == 0 && c.state[at]&inoZeroLinks == 0 {
				continue
			}
			ino := uint32(int64(g)*c.ipg + i)
			if c.isHidden(ino) {
				continue
			}
			if err := c.adjust(ino, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// adjust deals with an inode that has another number of names than it counts.
func (c *checker) adjust(ino uint32, at int64) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	names := int64(in.Nlink) - int64(c.links[at])
	if names > 0 {
		if c.links[at] == 0 {
			return nil
		}
		// Fewer names than counted is what a crash leaves; more are not.
		_, mend := c.problem(c.aboutInode(codeLinkCount, ino, int64(in.Nlink) > names, "link count %d, counted %d", in.Nlink, names))
		if mend {
			in.Nlink = uint16(min(names, 1<<16-1))
			return c.store(&in)
		}
		return nil
	}
	if c.state[at]&inoKind == inoDir {
		return nil // pass 3 has seen to it
	}
	if in.Nlink == 0 {
		_, mend := c.problem(c.aboutInode(codeUnreferenced, ino, true,
			"no name and a link count of 0: a file of %d bytes that was removed while it was open", in.Size))
		if mend {
			return c.discard(ino)
		}
		return nil
	}
	f, mend := c.problem(c.aboutInode(codeUnreferenced, ino, false, "no name, but a link count of %d: a file of %d bytes", in.Nlink, in.Size))
	if !mend {
		return nil
	}
	dir, name, err := c.linkUp(ino, c.state[at]>>4)
	if err != nil {
		return err
	}
	if dir == 0 {
		f.lose("inode %d of %d bytes, because there is no space in lost+found", ino, in.Size)
		return c.discard(ino)
	}
	f.Detail += "; now in lost+found as " + name
	if in.Nlink != 1 {
		in.Nlink = 1
		return c.store(&in)
	}
	return nil
}

// discard clears an inode that has no name, and frees its blocks.
func (c *checker) discard(ino uint32) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	if !in.isDevice() && !c.isInline(&in) {
		if size, ok := c.soundSize(&in); !ok {
			in.Size = uint64(size)
		}
		if err := c.walk(&in, &visitor{
			beyond: func(pointer, int64) {},
			pointer: func(p pointer) bool {
				if !c.fits(p.addr, p.n) || c.loops(&in, p) {
					return false
				}
				c.used.clear(p.addr, p.n)
				return true
			},
		}); err != nil {
			return err
		}
	}
	c.setKind(ino, 0, inoFree)
	return c.clearInode(ino)
}
