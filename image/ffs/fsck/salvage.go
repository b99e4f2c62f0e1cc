package fsck

import (
	"bytes"

	"github.com/resflash/resflash/image/ffs/ondisk"
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
