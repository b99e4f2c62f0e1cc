package fsck

import "github.com/resflash/resflash/image/ext4/ondisk"

// Pass 3 follows the parents of every directory up to the root. When it is
// done, in a repair, all of them get there: those that did not hang in
// lost+found; and every ".." leads to the parent.

func (c *checker) pass3() error {
	if c.again {
		return nil // inodes have turned up that were not looked at
	}
	if c.dir(ondisk.RootIno) == nil {
		return nil // reported; nothing can be reached
	}
	for i := 0; i < len(c.dirs); i++ { // lost+found may join them
		if i%1024 == 0 {
			if err := c.ctx.Err(); err != nil {
				return err
			}
		}
		if err := c.reach(c.dirs[i].ino); err != nil {
			return err
		}
	}
	for i := range c.dirs {
		if err := c.checkDotDot(&c.dirs[i]); err != nil {
			return err
		}
	}
	return nil
}

// reach goes up from a directory, to the root or to one that has been reached.
// Those on the way are marked, so that all of them together take one step each.
func (c *checker) reach(ino uint32) error {
	var chain []uint32
	top := c.dir(ino)
	for top.ino != ondisk.RootIno && top.flags&(dirReached|dirVisiting) == 0 {
		top.flags |= dirVisiting
		chain = append(chain, top.ino)
		up := c.dir(top.parent)
		if up == nil {
			break
		}
		top = up
	}
	if top.ino != ondisk.RootIno && top.flags&dirReached == 0 {
		// top has no parent, or is met again: a circle. Either way the tree
		// below it is cut off there.
		if err := c.unattached(top.ino); err != nil {
			return err
		}
	}
	for _, ino := range chain {
		d := c.dir(ino)
		d.flags = d.flags&^dirVisiting | dirReached
	}
	return nil
}

// unattached deals with a directory from which there is no way up.
func (c *checker) unattached(ino uint32) error {
	d := c.dir(ino)
	if c.orphans[ino] {
		return nil
	}
	why := "it has no name"
	if d.parent != 0 {
		why = "it is below itself"
	}
	f, mend := c.problem(c.aboutInode(codeDirUnattached, ino, "directory that cannot be reached: %s", why))
	if !mend {
		d.flags |= dirUnmended
		return nil
	}
	if d.parent != 0 {
		if err := c.removeName(d.parent, ino); err != nil {
			return err
		}
		d.parent = 0
	}
	dir, name, err := c.linkUp(ino, inoDir)
	if err != nil {
		return err
	}
	if dir == 0 {
		f.lose("directory %d, because there is no space in lost+found; what is in it may follow", ino)
		return c.discardDir(ino)
	}
	f.Detail += "; now in lost+found as " + name
	c.dir(ino).parent = dir // making lost+found may have moved it
	return nil
}

// checkDotDot compares the ".." of a directory with its parent.
func (c *checker) checkDotDot(d *dirInfo) error {
	if d.parent == 0 || d.flags&dirUnmended != 0 && c.tx == nil {
		return nil
	}
	if d.dotdot == d.parent {
		return nil
	}
	if d.flags&dirNoDotDot == 0 {
		f := c.aboutDir(codeDirDotDot, d.ino, -1, "\"..\" leads to inode %d, its parent is %d", d.dotdot, d.parent).preen()
		if p := c.dir(d.parent); p != nil && c.lost.ino == d.parent && d.dotdot != 0 && c.tx != nil {
			return c.setDotDot(d.ino, d.parent) // it came there just now
		}
		if _, mend := c.problem(f); !mend {
			return nil
		}
	}
	if c.tx == nil {
		return nil
	}
	return c.setDotDot(d.ino, d.parent)
}
