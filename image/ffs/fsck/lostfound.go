package fsck

import (
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
