package fsck

import (
	"bytes"
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// An entry is a directory entry in a chunk.
type entry struct {
	ondisk.Dirent
	at   int // in the chunk
	name []byte
}

var dot, dotDot = []byte("."), []byte("..")

const dirType = 0o040000 >> 12 // DT_DIR

// entryAt decodes the entry at byte i of a chunk; why says what makes it
// illegal. Like dircheck.
func (c *checker) entryAt(b []byte, i int) (e entry, why string) {
	room := ondisk.DirChunk - i
	if room < ondisk.DirentHeader {
		return e, fmt.Sprintf("%d bytes are left for an entry", room)
	}
	e.Dirent, e.at = ondisk.DecodeDirent(b[i:], c.order, false), i
	size, n := int(e.Len), int(e.NameLen)
	if size < ondisk.DirentHeader || size > room || size%4 != 0 {
		return e, fmt.Sprintf("entry of %d bytes with %d left", size, room)
	}
	if e.Ino == 0 {
		return e, ""
	}
	if n == 0 || size < ondisk.DirentSize(n) {
		return e, fmt.Sprintf("name of %d bytes in an entry of %d", n, size)
	}
	e.name = b[i+ondisk.DirentHeader:][:n]
	if bytes.IndexByte(e.name, 0) >= 0 || bytes.IndexByte(e.name, '/') >= 0 || b[i+ondisk.DirentHeader+n] != 0 || e.Type > 15 {
		return e, fmt.Sprintf("name %q", e.name)
	}
	return e, ""
}

func (e *entry) isDot() bool    { return len(e.name) == 1 && e.name[0] == '.' }
func (e *entry) isDotDot() bool { return len(e.name) == 2 && e.name[0] == '.' && e.name[1] == '.' }

// isWhiteout tells an entry of a union mount, which is no file.
func (e *entry) isWhiteout() bool { return e.Type == 14 && e.Ino == ondisk.WhiteoutIno }

// legal returns how many bytes of a chunk hold legal entries, and what is
// wrong behind them; prev is the last legal entry, or -1.
func (c *checker) legal(b []byte) (n, prev int, why string) {
	prev = -1
	for n < ondisk.DirChunk {
		e, why := c.entryAt(b, n)
		if why != "" {
			return n, prev, why
		}
		prev = n
		n += int(e.Len)
	}
	return n, prev, ""
}

// setLen changes the length of the entry at byte i.
func (c *checker) setLen(b []byte, i, n int) { c.order.PutU16(b[i+4:], uint16(n)) }

// drop removes an entry: the one before takes its space, and the first of a
// chunk becomes a free one.
func (c *checker) drop(b []byte, prev int, e *entry) {
	if prev >= 0 {
		c.setLen(b, prev, e.at+int(e.Len)-prev)
		return
	}
	c.order.PutU32(b[e.at:], 0)
}

// put writes an entry of size bytes.
func (c *checker) put(b []byte, i, size int, ino uint32, typ uint8, name []byte) {
	clear(b[i : i+size])
	ondisk.Dirent{Ino: ino, Len: uint16(size), Type: typ, NameLen: uint16(len(name))}.Put(b[i:], c.order, false)
	copy(b[i+ondisk.DirentHeader:], name)
}

// emptyChunks makes chunks of b in which all is free.
func (c *checker) emptyChunks(b []byte) {
	clear(b)
	for i := 0; i < len(b); i += ondisk.DirChunk {
		c.setLen(b, i, ondisk.DirChunk)
	}
}

// newDir makes the first chunk of an empty directory.
func (c *checker) newDir(b []byte, ino, parent uint32) {
	c.put(b, 0, 12, ino, dirType, dot)
	c.put(b, 12, ondisk.DirChunk-12, parent, dirType, dotDot)
}

// pack fills a chunk with entries, as many as fit; the last takes what is left.
func (c *checker) pack(b []byte, list []entry) (rest []entry) {
	out := make([]byte, ondisk.DirChunk)
	at, prev := 0, 0
	for i, e := range list {
		size := ondisk.DirentSize(len(e.name))
		if at+size > ondisk.DirChunk {
			rest = append(rest, list[i])
			continue
		}
		c.put(out, at, size, e.Ino, e.Type, e.name)
		prev = at
		at += size
	}
	c.setLen(out, prev, ondisk.DirChunk-prev)
	// The names in rest are slices of b.
	for i := range rest {
		rest[i].name = bytes.Clone(rest[i].name)
	}
	copy(b, out)
	return rest
}
