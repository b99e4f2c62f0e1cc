package fsck

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"iter"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// An entry is a directory entry in a block.
type entry struct {
	ino    uint32
	at     int // in the block
	recLen int
	typ    uint8
	name   []byte
	prev   int // the entry before it in the block, or -1
}

var dot, dotDot = []byte("."), []byte("..")

func (e *entry) isDot() bool    { return len(e.name) == 1 && e.name[0] == '.' }
func (e *entry) isDotDot() bool { return len(e.name) == 2 && e.name[0] == '.' && e.name[1] == '.' }

var nameSeed = maphash.MakeSeed()

func nameHash(name []byte) uint64 { return maphash.Bytes(nameSeed, name) }

// A dirBlock is bytes of a directory that hold entries: a block, or a part of
// the inode. The entries end at limit.
type dirBlock struct {
	b     []byte
	limit int
	bsize int // for lengths in blocks of 64 KiB
	at    int64
	lblk  uint64
	index bool // a node of the hash tree
	types bool
}

// entryAt decodes the entry at byte i; why says what makes it illegal.
func (d *dirBlock) entryAt(i, prev int) (e entry, why string) {
	room := d.limit - i
	if room < ondisk.DirEntryMin {
		return e, fmt.Sprintf("%d bytes are left for an entry", room)
	}
	h := ondisk.DecodeDirEntry(d.b[i:], d.bsize)
	n := h.NameLen
	if !d.types {
		n |= int(h.Type) << 8
		h.Type = 0
	}
	e = entry{ino: h.Ino, at: i, recLen: h.RecLen, typ: h.Type, prev: prev}
	if h.RecLen < ondisk.DirEntryMin || h.RecLen > room || h.RecLen%4 != 0 {
		return e, fmt.Sprintf("an entry of %d bytes with %d left", h.RecLen, room)
	}
	if ondisk.DirEntryHeader+n > h.RecLen || n > ondisk.NameMax && h.Ino != 0 {
		return e, fmt.Sprintf("a name of %d bytes in an entry of %d", n, h.RecLen)
	}
	e.name = d.b[i+ondisk.DirEntryHeader:][:min(n, d.limit-i-ondisk.DirEntryHeader)]
	return e, ""
}

// entries goes over the legal entries.
func (d *dirBlock) entries() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		prev := -1
		for i := 0; i < d.limit; {
			e, why := d.entryAt(i, prev)
			if why != "" || !yield(&e) {
				return
			}
			// What yield has dropped is part of the entry before it now.
			if e.prev >= 0 && e.recLen < 0 {
				i += -e.recLen
				continue
			}
			prev = i
			i += e.recLen
		}
	}
}

// legal returns how many bytes hold legal entries, the last of them or -1, and
// what is wrong behind them.
func (d *dirBlock) legal() (n, prev int, why string) {
	prev = -1
	for n < d.limit {
		e, why := d.entryAt(n, prev)
		if why != "" {
			return n, prev, why
		}
		prev = n
		n += e.recLen
	}
	return n, prev, ""
}

// drop removes an entry: the one before takes its space, and the first of a
// block becomes a free one. e.recLen is negative after the former.
func (d *dirBlock) drop(e *entry) {
	if e.prev < 0 {
		clear(d.b[e.at : e.at+4])
		return
	}
	ondisk.SetRecLen(d.b[e.prev:], e.at+e.recLen-e.prev, d.bsize)
	e.recLen = -e.recLen
}

// put writes an entry of size bytes.
func (d *dirBlock) put(i, size int, ino uint32, typ uint8, name []byte) {
	clear(d.b[i : i+ondisk.DirEntryHeader])
	if !d.types {
		typ = 0
	}
	ondisk.EncodeDirEntry(d.b[i:], ondisk.DirEntry{Ino: ino, RecLen: size, NameLen: len(name), Type: typ}, d.bsize)
	n := copy(d.b[i+ondisk.DirEntryHeader:i+size], name)
	clear(d.b[i+ondisk.DirEntryHeader+n : i+size])
}

// pack fills the block with entries, as many as fit, and returns the others.
func (d *dirBlock) pack(list []entry) (rest []entry) {
	for i := range list {
		list[i].name = bytes.Clone(list[i].name)
	}
	at, prev := 0, -1
	for _, e := range list {
		size := ondisk.DirEntrySize(len(e.name))
		if at+size > d.limit {
			rest = append(rest, e)
			continue
		}
		d.put(at, size, e.ino, e.typ, e.name)
		prev = at
		at += size
	}
	if prev < 0 {
		d.put(0, d.limit, 0, 0, nil)
		return rest
	}
	clear(d.b[at:d.limit])
	ondisk.SetRecLen(d.b[prev:], d.limit-prev, d.bsize)
	return rest
}

// storeDirBlock writes a block of a directory, or puts it into the inode.
func (c *checker) storeDirBlock(in *inode, b *dirBlock) error {
	if c.csum {
		if b.index {
			at := ondisk.DxNodeEntries
			if b.lblk == 0 {
				at = ondisk.DxRootEntries
			}
			if _, _, ok := ondisk.DxTail(in.seed, b.b, at); ok {
				ondisk.SealDx(in.seed, b.b, at)
			}
		} else {
			ondisk.SealDir(in.seed, b.b)
		}
	}
	return c.write(b.b, b.at)
}

// dirBlockOf is a block of a directory without an index.
func (c *checker) dirBlockOf(b []byte, lblk, block uint64) *dirBlock {
	d := &dirBlock{b: b, limit: len(b), bsize: int(c.bsize), at: c.off(block), lblk: lblk, types: c.hasIncompat(ondisk.IncompatFiletype)}
	if c.csum {
		d.limit -= ondisk.DirTailSize
	}
	return d
}
