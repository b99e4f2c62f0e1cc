package squashfs

import (
	"context"

	"github.com/resflash/resflash/image/squashfs/ondisk"
)

// A place is a position in a sequence of metadata blocks: where the block lies
// on the device, and which byte of what it holds is meant.
type place struct {
	block int64
	in    int
}

// A cursor reads on from a place, over the borders of the metadata blocks.
type cursor struct {
	f    *FS
	of   structure
	end  int64  // where the table ends on the device
	at   int64  // the block that data is from
	data []byte // all of it
	in   int    // what has been read of data
	next int64  // the block behind it
}

// cursor begins to read at a place in a table that ends at end.
func (f *FS) cursor(of structure, p place, end int64) (cursor, error) {
	c := cursor{f: f, of: of, end: end, next: p.block}
	if err := c.load(); err != nil {
		return c, err
	}
	if p.in > len(c.data) {
		return c, of.corrupt(p.block, "its metadata block holds %d bytes, and it would begin at byte %d of them", len(c.data), p.in)
	}
	c.in = p.in
	return c, nil
}

// load goes on to the next block. Every block moves next forward, so reading
// comes to an end.
func (c *cursor) load() error {
	off := c.next
	if off < ondisk.SuperSize || off > c.end-ondisk.HeaderSize {
		return c.of.corrupt(off, "goes on beyond its table, which ends at byte %d", c.end)
	}
	data, size, err := c.f.metadata(c.of, off, c.end)
	if err != nil {
		return err
	}
	c.at, c.data, c.in, c.next = off, data, 0, off+ondisk.HeaderSize+size
	return nil
}

// metadata returns what the metadata block at off holds, and how long it is on
// the device behind its header.
func (f *FS) metadata(of structure, off, end int64) (data []byte, size int64, err error) {
	head, err := f.raw.Bytes(off, ondisk.HeaderSize)
	if err != nil {
		return nil, 0, err
	}
	n, raw := ondisk.DecodeHeader(head)
	if size = int64(n); size == 0 || size > ondisk.MetadataSize || size > end-off-ondisk.HeaderSize {
		return nil, 0, of.corrupt(off, "a metadata block of %d bytes", n)
	}
	if raw {
		data, err = f.raw.Bytes(off+ondisk.HeaderSize, n)
		return data, size, err
	}
	// Others wait for what this one decompresses, and it does not take long: it
	// is done whether somebody has given up or not.
	data, err = f.meta.get(context.Background(), blockKey{off, size}, func() ([]byte, error) {
		src, err := f.raw.Bytes(off+ondisk.HeaderSize, n)
		if err != nil {
			return nil, err
		}
		return f.decompress(of, off, src, ondisk.MetadataSize)
	})
	if err == nil && len(data) == 0 {
		err = of.corrupt(off, "an empty metadata block")
	}
	return data, size, err
}

// place is where the cursor is.
func (c *cursor) place() place { return place{c.at, c.in} }

// bytes returns the next n bytes, which are not to be changed. Where they
// cross a border they are put together in buf, if that is large enough.
func (c *cursor) bytes(n int, buf []byte) ([]byte, error) {
	if n <= len(c.data)-c.in {
		b := c.data[c.in : c.in+n : c.in+n]
		c.in += n
		return b, nil
	}
	if n > len(buf) {
		buf = make([]byte, n)
	}
	got := 0
	for {
		k := copy(buf[got:n], c.data[c.in:])
		c.in += k
		if got += k; got == n {
			return buf[:n], nil
		}
		if err := c.load(); err != nil {
			return nil, err
		}
	}
}

// skip passes over n bytes.
func (c *cursor) skip(n int64) error {
	for n > int64(len(c.data)-c.in) {
		n -= int64(len(c.data) - c.in)
		if err := c.load(); err != nil {
			return err
		}
	}
	c.in += int(n)
	return nil
}

// A table is an array of entries of one size in metadata blocks, whose places
// are in a list on the device.
type table struct {
	what  string
	list  int64 // where the list begins
	count uint64
	entry int // bytes
}

// table checks that the list of a table lies in the file system.
func (f *FS) table(what string, off uint64, count uint64, entry int) (table, error) {
	t := table{what, int64(off), count, entry}
	blocks := (int64(count)*int64(entry) + ondisk.MetadataSize - 1) / ondisk.MetadataSize
	if off > uint64(f.size) {
		t.list = -1
	}
	return t, f.inside(structure{what: what}, t.list, blocks*ondisk.PointerSize)
}

// get returns entry i < t.count of a table, and where its metadata block lies.
func (f *FS) get(t *table, i uint64, buf []byte) (b []byte, off int64, err error) {
	per := uint64(ondisk.MetadataSize / t.entry)
	at := t.list + int64(i/per)*ondisk.PointerSize
	p, err := f.raw.Bytes(at, ondisk.PointerSize)
	if err != nil {
		return nil, at, err
	}
	of := structure{what: t.what}
	block := ondisk.DecodePointer(p)
	if block >= uint64(f.size) {
		return nil, at, of.corrupt(at, "leads to byte %d of a file system of %d bytes", block, f.size)
	}
	c, err := f.cursor(of, place{int64(block), int(i%per) * t.entry}, f.size)
	if err != nil {
		return nil, int64(block), err
	}
	b, err = c.bytes(t.entry, buf)
	return b, int64(block), err
}
