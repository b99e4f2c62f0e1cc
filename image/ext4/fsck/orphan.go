package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Orphans are files that were deleted, or were being cut, when the file system
// was last mounted. They are in a list whose links are the times of deletion,
// or in a file. What was to be done to them is done first.

// checkOrphans reads the list and the file, and empties both.
func (c *checker) checkOrphans() error {
	c.orphans = map[uint32]bool{}
	if err := c.orphanList(); err != nil {
		return err
	}
	return c.orphanFile()
}

func (c *checker) orphanList() error {
	ino := c.sb.LastOrphan
	if ino == 0 {
		return nil
	}
	var list []uint32
	var in inode
	why := ""
	for ino != 0 {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if ino > c.inodes || ino < c.firstIno || c.orphans[ino] {
			why = fmt.Sprintf("; the list leads on to inode %d", ino)
			break
		}
		if err := c.load(ino, &in); err != nil {
			return err
		}
		if kindOf(in.Mode) == inoFree || in.Links > 0 && in.Dtime >= c.inodes {
			why = fmt.Sprintf("; inode %d in it cannot be an orphan", ino)
			break
		}
		c.orphans[ino] = true
		list = append(list, ino)
		ino = in.Dtime
	}
	f := aboutSuper(codeOrphan, 0xE8, "%d files were being deleted or cut, the first is inode %d%s", len(list), c.sb.LastOrphan, why)
	f.Preen = why == ""
	if _, mend := c.problem(f); !mend {
		return nil
	}
	for _, ino := range list {
		if err := c.settleOrphan(ino); err != nil {
			return err
		}
	}
	c.orphans = map[uint32]bool{}
	c.sb.LastOrphan = 0
	le.PutUint32(c.super[0xE8:], 0)
	c.superDirty = true
	return nil
}

// settleOrphan deletes a file without links, and cuts another at its end.
func (c *checker) settleOrphan(ino uint32) error {
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	if in.Links == 0 {
		// Its blocks are free from now on: nothing claims them.
		ondisk.SetInodeDtime(in.raw, c.now())
		return c.store(&in)
	}
	ondisk.SetInodeDtime(in.raw, 0)
	if in.isReg() && c.hasBlocks(&in) {
		var w walk
		w.reset(&in)
		w.edit, w.truncate = true, true
		w.cut = (in.Size + uint64(c.bsize) - 1) >> c.bshift
		if err := c.walk(&w); err != nil {
			return err
		}
		in.decode()
		w.reset(&in)
		clusters := uint64(0)
		w.run = func(r run) error {
			clusters += r.n
			return nil
		}
		w.node = func(uint64, int) error {
			clusters++
			return nil
		}
		if err := c.walk(&w); err != nil {
			return err
		}
		if c.fileACL(&in) != 0 {
			clusters++
		}
		if c.clusterShift == 0 {
			ondisk.SetInodeBlocks(in.raw, c.iBlocks(&in, clusters))
		}
	}
	return c.store(&in)
}

// orphanFile reads the file of orphans.
func (c *checker) orphanFile() error {
	present := c.hasRO(ondisk.ROCompatOrphanPresent)
	if !c.hasCompat(ondisk.CompatOrphanFile) {
		if present {
			f := aboutSuper(codeSuperField, 0x64, "the feature orphan_present without orphan_file")
			if _, mend := c.problem(f); mend {
				c.clearOrphanPresent()
			}
		}
		return nil
	}
	ino := c.sb.OrphanFileIno
	bad := func(off int64, format string, args ...any) error {
		f := finding{vfs.Finding{Code: codeOrphanFile, Structure: "orphan file", Off: off, Detail: fmt.Sprintf(format, args...)}, ino}
		if _, mend := c.problem(f); mend {
			return c.resetOrphanFile()
		}
		return nil
	}
	if ino < c.firstIno || ino > c.inodes {
		return bad(ondisk.SuperOff+0x280, "the orphan file is inode %d", ino)
	}
	var in inode
	if err := c.load(ino, &in); err != nil {
		return err
	}
	if !in.isReg() || in.Size&uint64(c.bsize-1) != 0 || in.Size == 0 || in.Links == 0 {
		return bad(c.inodeOff(ino), "inode %d is no orphan file: mode %#o, %d bytes", ino, in.Mode, in.Size)
	}
	runs, err := c.runs(&in, 1<<16)
	if err != nil {
		return err
	}
	b := make([]byte, c.bsize)
	next := uint64(0)
	var list []uint32
	for _, r := range runs {
		if r.lblk != next {
			break
		}
		next += r.n
		for i := range r.n {
			if i%64 == 0 && c.ctx.Err() != nil {
				return c.ctx.Err()
			}
			if err := c.readBlock(b, r.start+i); err != nil {
				return err
			}
			magic, got, want := ondisk.OrphanTail(in.seed, r.start+i, b)
			if magic != ondisk.OrphanMagic || c.csum && got != want {
				return bad(c.off(r.start+i), "block %d: magic %#08x, checksum %#08x, want %#08x", r.lblk+i, magic, got, want)
			}
			for at := 0; at < len(b)-ondisk.OrphanTailSize; at += 4 {
				if o := le.Uint32(b[at:]); o != 0 {
					list = append(list, o)
				}
			}
		}
	}
	if next != in.Size>>c.bshift {
		return bad(c.inodeOff(ino), "%d bytes, but only %d blocks", in.Size, next)
	}
	return c.settleOrphanFile(list, present, &in)
}

// settleOrphanFile deals with the orphans in the file.
func (c *checker) settleOrphanFile(list []uint32, present bool, file *inode) error {
	if len(list) == 0 {
		if !present {
			return nil
		}
		f := aboutSuper(codeOrphan, 0x64, "there may be orphans in the file of orphans; there are none").preen()
		if _, mend := c.problem(f); mend {
			c.clearOrphanPresent()
		}
		return nil
	}
	f := finding{vfs.Finding{Code: codeOrphan, Structure: "orphan file", Off: c.inodeOff(file.num), Preen: present,
		Detail: fmt.Sprintf("%d files were being deleted or cut, the first is inode %d", len(list), list[0])}, 0}
	if !present {
		f.Detail += ", but the superblock does not say so"
	}
	var good []uint32
	var in inode
	for _, ino := range list {
		if ino > c.inodes || ino < c.firstIno {
			f.Preen = false
			continue
		}
		if err := c.load(ino, &in); err != nil {
			return err
		}
		if kindOf(in.Mode) != inoFree && !c.orphans[ino] {
			c.orphans[ino] = true
			good = append(good, ino)
		}
	}
	if _, mend := c.problem(f); !mend {
		return nil
	}
	for _, ino := range good {
		if err := c.settleOrphan(ino); err != nil {
			return err
		}
	}
	c.orphans = map[uint32]bool{}
	return c.resetOrphanFile()
}

// clearOrphanPresent clears the feature that says that there are orphans.
func (c *checker) clearOrphanPresent() {
	c.sb.FeatureROCompat &^= ondisk.ROCompatOrphanPresent
	le.PutUint32(c.super[0x64:], uint32(c.sb.FeatureROCompat))
	c.superDirty = true
}

// resetOrphanFile empties the file of orphans, or does without one if it is
// none.
func (c *checker) resetOrphanFile() error {
	c.clearOrphanPresent()
	ino := c.sb.OrphanFileIno
	var in inode
	if ino >= c.firstIno && ino <= c.inodes {
		if err := c.load(ino, &in); err != nil {
			return err
		}
		runs, err := c.runs(&in, 1<<16)
		if err != nil {
			return err
		}
		blocks := uint64(0)
		for _, r := range runs {
			if r.lblk != blocks || r.unwritten {
				break
			}
			blocks += r.n
		}
		if in.isReg() && in.Links > 0 && blocks > 0 && blocks<<c.bshift == in.Size {
			b := make([]byte, c.bsize)
			for _, r := range runs {
				for i := range r.n {
					clear(b)
					ondisk.PutOrphanTail(in.seed, r.start+i, b, c.csum)
					if err := c.writeBlock(b, r.start+i); err != nil {
						return err
					}
				}
			}
			return nil
		}
	}
	c.sb.OrphanFileIno = 0
	le.PutUint32(c.super[0x280:], 0)
	c.setCompat(ondisk.CompatOrphanFile, false)
	return nil
}
