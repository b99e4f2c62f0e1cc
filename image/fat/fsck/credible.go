package fsck

import (
	"bytes"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A boot sector with one wrong number can make sense, and everything be looked
// for in the wrong place. Who repairs that destroys the volume. So a boot sector
// is only believed if what it leads to looks like what it should be. Errors are
// *vfs.CorruptError, or those of reading.
func (c *checker) credible(g geometry) error {
	old := c.geometry
	defer func() { c.geometry = old }()
	c.geometry = g
	for _, look := range [...]func() error{c.tablesBegin, c.entriesPossible, c.subdirsBegin} {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}

// begins reports whether a table begins in p: with the media byte.
func (c *checker) begins(p []byte) bool {
	return c.bits.Entry(p, 0) == c.bits.Mask()&^0xff|uint32(c.bpb.Media) && c.isFlags(c.bits.Entry(p[c.bits.Offset(1):], 1))
}

// searchBytes is how far a table is searched for.
const searchBytes = 2 << 20

// tablesBegin looks whether there are tables where they should be. If one is
// not, and one is found elsewhere, the boot sector is wrong.
func (c *checker) tablesBegin() error {
	p := make([]byte, 8)
	missing := int64(-1)
	at := map[int64]bool{}
	for n := range int(c.bpb.FATs) {
		off := c.tableOff(n)
		at[off] = true
		if err := c.read(p, off); err != nil {
			return err
		}
		if !c.begins(p) && missing < 0 {
			missing = off
		}
	}
	if missing < 0 {
		return nil
	}
	area := make([]byte, min(searchBytes, c.volumeBytes))
	if err := c.read(area, 0); err != nil {
		return err
	}
	for off := int64(ondisk.BootSectorSize); off+8 <= int64(len(area)); off += ondisk.BootSectorSize {
		if !at[off] && c.begins(area[off:]) {
			return vfs.Corruptf(0x0e, bootName, "no file allocation table at byte %d, where it should be, but perhaps one at byte %d", missing, off)
		}
	}
	return nil
}

// entriesPossible looks whether most of what is in the first table is possible.
func (c *checker) entriesPossible() error {
	buf := make([]byte, min(compareChunk, c.fatBytes))
	fewest := [2]int{1, 1}
	for n := range int(c.bpb.FATs) {
		if err := c.read(buf, c.tableOff(n)); err != nil {
			return err
		}
		used, bad := 0, 0
		for i := uint32(ondisk.FirstCluster); i < c.end && c.bits.Offset(i)+int64(c.bits.Width()) <= int64(len(buf)); i++ {
			v := c.bits.Entry(buf[c.bits.Offset(i):], i)
			if v != 0 {
				used++
			}
			if !c.possible(i, v) {
				bad++
			}
		}
		if bad <= 16 || bad*8 <= used {
			return nil
		}
		fewest = [2]int{bad, used}
	}
	return vfs.Corruptf(0x0e, bootName, "what should be the file allocation table at byte %d is none: of %d entries %d are impossible",
		c.fatStart, fewest[1], fewest[0])
}

// subdirsBegin looks whether the directories in the root directory are where they
// should be.
func (c *checker) subdirsBegin() error {
	off, n := c.rootOff, c.rootBytes
	if c.bits == 32 {
		off, n = c.clusterOff(c.rootCluster()), c.clusterSize
	}
	root := make([]byte, n)
	if err := c.read(root, off); err != nil {
		return err
	}
	dirs := 0
	for ; len(root) >= ondisk.DirentSize && root[0] != ondisk.MarkEnd; root = root[ondisk.DirentSize:] {
		e := ondisk.DecodeDirent(root)
		if root[0] == ondisk.MarkDeleted || e.Attr&(ondisk.AttrDir|ondisk.AttrLabel) != ondisk.AttrDir || !c.holds(c.start(&e)) {
			continue
		}
		dirs++
		p := make([]byte, 2*ondisk.DirentSize)
		if err := c.read(p, c.clusterOff(c.start(&e))); err != nil {
			return err
		}
		if bytes.Equal(p[:11], dots[0][:]) || bytes.Equal(p[ondisk.DirentSize:][:11], dots[1][:]) {
			return nil
		}
	}
	if dirs < 2 {
		return nil
	}
	return vfs.Corruptf(0x0d, bootName, "none of the %d directories of the root directory is where it should be", dirs)
}
