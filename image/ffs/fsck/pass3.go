package fsck

import "github.com/resflash/resflash/image/ffs/ondisk"

// Pass 3 follows the parents of every directory up to the root. When it is
// done, in a repair, all of them get there: those that did not hang in
// lost+found.

func (c *checker) pass3() error {
	for i := 0; i < len(c.dirs); i++ { // lost+found may join them
		if i%1024 == 0 {
			if err := c.ctx.Err(); err != nil {
				return err
			}
		}
		if err := c.reach(&c.dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// reach goes up from a directory, to the root or to one that has been reached.
// Those on the way are marked, so that all of them together take one step each.
func (c *checker) reach(d *dirInfo) error {
	top := d
	c.chain = c.chain[:0]
	for top.ino != ondisk.RootIno && top.flags&(dirReached|dirVisiting) == 0 {
		top.flags |= dirVisiting
		c.chain = append(c.chain, top.ino)
		up := c.dir(top.parent)
		if up == nil {
			break
		}
		top = up
	}
	if top.ino != ondisk.RootIno && top.flags&dirReached == 0 {
		// top has no parent, or is met again: a circle. Either way the tree
		// below it is cut off there.
		if err := c.unattached(top); err != nil {
			return err
		}
	}
	for _, ino := range c.chain {
		if x := c.dir(ino); x != nil {
			x.flags = x.flags&^dirVisiting | dirReached
		}
	}
	return nil
}

// unattached deals with a directory from which there is no way up.
func (c *checker) unattached(d *dirInfo) error {
	if c.isHidden(d.ino) {
		return nil
	}
	if d.parent == 0 && (d.flags&dirNoSize != 0 || c.hasNoLinks(d.ino) && d.flags&dirHasNames == 0) {
		// What a crash leaves of a directory that was being removed.
		if d.flags&dirNoSize == 0 {
			c.unnamed(d.dotdot)
		}
		_, mend := c.problem(c.aboutInode(codeUnreferenced, d.ino, true, "an empty directory that has no name"))
		if mend {
			return c.discard(d.ino)
		}
		c.setKind(d.ino, 0o040000, inoClear)
		return nil
	}
	why := "it has no name"
	if d.parent != 0 {
		why = "it is below itself"
	}
	f, mend := c.problem(c.aboutInode(codeDirUnattached, d.ino, false, "directory that cannot be reached: %s", why))
	if !mend {
		// As it will be: with a name, in a directory of its own.
		if d.parent == 0 {
			c.named(d.ino)
		}
		return nil
	}
	if d.parent != 0 {
		if err := c.removeName(d.parent, d.ino); err != nil {
			return err
		}
		c.unnamed(d.ino)
		d.parent = 0
	}
	ino := d.ino
	dir, name, err := c.linkUp(ino, dirType)
	if err != nil {
		return err
	}
	d = c.dir(ino) // making lost+found may have moved it
	if dir == 0 {
		if d.flags&dirNoSize == 0 {
			c.unnamed(d.dotdot)
		}
		f.lose("directory %d, because there is no space in lost+found; what is in it may follow", ino)
		return c.discard(ino)
	}
	f.Detail += "; now in lost+found as " + name
	d.parent = dir
	// Its ".." leaves one directory and comes to the other, with the counts.
	if c.kind(d.dotdot) == inoDir {
		if err := c.changeLinks(d.dotdot, -1); err != nil {
			return err
		}
	}
	d.dotdot = dir
	if err := c.changeLinks(dir, 1); err != nil {
		return err
	}
	return c.setDotDot(ino, dir)
}

// changeLinks changes the link count of an inode together with its names, or
// only the names if the count cannot be.
func (c *checker) changeLinks(ino uint32, by int) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	switch {
	case by < 0 && in.Nlink <= 2:
		c.unnamed(ino)
		return nil
	case by > 0 && in.Nlink == 1<<16-1:
		c.named(ino)
		return nil
	}
	in.Nlink = uint16(int(in.Nlink) + by)
	return c.store(&in)
}

// hasNoLinks reports whether the link count of an inode is 0.
func (c *checker) hasNoLinks(ino uint32) bool {
	i := c.at(ino)
	return i >= 0 && c.state[i]&inoZeroLinks != 0
}
