package squashfs

import (
	"bytes"
	"context"
	"math"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Limits of the extended attributes of one file. A value can be shared by many
// names, so a small table could say much.
const (
	maxXattrValue = 64 << 10 // the limit of Linux
	maxXattrBytes = 8 << 20
	xattrOverhead = 32 // what counts for an attribute besides name and value
)

// findXattrs looks where the tables of extended attributes are.
func (f *FS) findXattrs() error {
	of := structure{what: "xattr table"}
	off := int64(min(f.sb.XattrTable, math.MaxInt64))
	if err := f.inside(of, off, ondisk.XattrTableSize); err != nil {
		return err
	}
	b, err := blockio.ReadFull(f.dev, off, ondisk.XattrTableSize)
	if err != nil {
		return err
	}
	t := ondisk.DecodeXattrTable(b)
	if t.IDs == 0 {
		return nil
	}
	if t.Start < ondisk.SuperSize || t.Start >= uint64(f.size) {
		return of.corrupt(off, "leads to byte %d of a file system of %d bytes", t.Start, f.size)
	}
	f.xattrs = int64(t.Start)
	f.xattrIDs, err = f.table("xattr id table", uint64(off)+ondisk.XattrTableSize, uint64(t.IDs), ondisk.XattrIDSize)
	return err
}

// Xattrs implements [vfs.Xattrer]. Like Linux, it leaves out names with a prefix
// that has no meaning.
func (f *FS) Xattrs(ctx context.Context, ino vfs.Ino) (map[string][]byte, error) {
	var in inode
	if err := f.readInode(ino, &in); err != nil {
		return nil, err
	}
	attrs := map[string][]byte{}
	index, err := f.xattrIndex(&in)
	if err != nil || index == ondisk.NoXattrs {
		return attrs, err
	}
	if uint64(index) >= f.xattrIDs.count {
		return nil, in.name().corrupt(in.at, "extended attributes number %d of %d", index, f.xattrIDs.count)
	}
	b, _, err := f.get(&f.xattrIDs, uint64(index), nil)
	if err != nil {
		return nil, err
	}
	id := ondisk.DecodeXattrID(b)
	of := structure{"inode", uint64(in.Number), " xattrs"}
	c, err := f.xattrCursor(of, id.Ref)
	if err != nil {
		return nil, err
	}
	room := maxXattrBytes
	for i := range id.Count {
		if i&63 == 63 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		name, value, err := f.xattr(of, &c, &room)
		if err != nil {
			return nil, err
		}
		if name != "" {
			attrs[name] = value
		}
	}
	return attrs, nil
}

// xattrIndex returns the index of the extended attributes of in. That of a
// symbolic link follows its target.
func (f *FS) xattrIndex(in *inode) (uint32, error) {
	if in.Type != ondisk.TypeSymlink || !in.Extended {
		return in.Xattr, nil
	}
	c, err := f.tailCursor(in)
	if err != nil {
		return 0, err
	}
	if err := c.skip(int64(in.Size)); err != nil {
		return 0, err
	}
	b, err := c.bytes(ondisk.XattrWordSize, nil)
	if err != nil {
		return 0, err
	}
	return ondisk.DecodeXattrWord(b), nil
}

func (f *FS) xattrCursor(of structure, ref ondisk.Ref) (cursor, error) {
	if ref.Block() >= f.size-f.xattrs {
		return cursor{}, of.corrupt(f.xattrs, "a bad reference %#x", uint64(ref))
	}
	return f.cursor(of, place{f.xattrs + ref.Block(), ref.Offset()}, f.size)
}

// xattr reads the attribute at c. The name is empty if it is one to leave out.
func (f *FS) xattr(of structure, c *cursor, room *int) (name string, value []byte, err error) {
	var buf [8]byte
	b, err := c.bytes(ondisk.XattrEntrySize, buf[:])
	if err != nil {
		return "", nil, err
	}
	e := ondisk.DecodeXattrEntry(b)
	at := c.at
	if b, err = c.bytes(e.NameSize, nil); err != nil {
		return "", nil, err
	}
	if e.NameSize == 0 || bytes.IndexByte(b, 0) >= 0 {
		return "", nil, of.corrupt(at, "an attribute is called %q", b)
	}
	if prefix := e.Prefix(); prefix != "" {
		name = prefix + string(b)
	}
	value, err = xattrValue(of, c, room, len(name))
	if err != nil || !e.Elsewhere() {
		return name, value, err
	}
	if len(value) != ondisk.XattrRefSize {
		return "", nil, of.corrupt(at, "the place of the value of %q has %d bytes", name, len(value))
	}
	there, err := f.xattrCursor(of, ondisk.DecodeXattrRef(value))
	if err != nil {
		return "", nil, err
	}
	value, err = xattrValue(of, &there, room, 0)
	return name, value, err
}

// xattrValue reads a value, if there is room for it and n bytes more.
func xattrValue(of structure, c *cursor, room *int, n int) ([]byte, error) {
	var buf [ondisk.XattrValueSize]byte
	b, err := c.bytes(ondisk.XattrValueSize, buf[:])
	if err != nil {
		return nil, err
	}
	size := ondisk.DecodeXattrLength(b)
	if size > maxXattrValue {
		return nil, of.corrupt(c.at, "a value of %d bytes", size)
	}
	if *room -= int(size) + n + xattrOverhead; *room < 0 {
		return nil, of.corrupt(c.at, "more than %d bytes of attributes", maxXattrBytes)
	}
	b, err = c.bytes(int(size), nil)
	return bytes.Clone(b), err
}
