package squashfs

import (
	"bytes"
	"context"
	"syscall"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Lookup implements [vfs.FS].
func (f *FS) Lookup(ctx context.Context, ino vfs.Ino, name string) (vfs.Attr, error) {
	d, err := f.dir(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	switch name {
	case "":
		return vfs.Attr{}, syscall.ENOENT
	case ".":
		return f.attr(&d.inode)
	case "..":
		up, err := f.parent(&d)
		if err != nil {
			return vfs.Attr{}, err
		}
		return f.Getattr(ctx, up)
	}
	if len(name) > ondisk.MaxName {
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	found, err := f.find(ctx, &d, name)
	if err != nil {
		return vfs.Attr{}, err
	}
	return f.Getattr(ctx, found)
}

// find returns the inode number that name has in d. Directories are sorted, so
// the search begins and ends where the index says; where there is none it ends
// with the first letter, which is as far as the kernel trusts the order.
func (f *FS) find(ctx context.Context, d *dir, name string) (vfs.Ino, error) {
	want := []byte(name)
	from, end, err := f.findStop(ctx, d, func(_ ondisk.DirIndex, first []byte) bool { return bytes.Compare(first, want) <= 0 })
	if err != nil {
		return 0, err
	}
	var r dirReader
	if err := r.open(f, d, from); err != nil {
		return 0, err
	}
	for count := 1; r.pos < end || r.left > 0; count++ {
		if count&255 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		ok, err := r.next()
		if err != nil {
			return 0, err
		}
		if !ok || r.name[0] > want[0] {
			break
		}
		if bytes.Equal(r.name, want) {
			ino, _, err := r.resolve()
			return ino, err
		}
	}
	return 0, syscall.ENOENT
}

// findStop searches the index of a directory for the last entry for which
// before is true, and returns where that leads, and where the next one does. A
// directory without an index begins at its beginning and ends at its end.
func (f *FS) findStop(ctx context.Context, d *dir, before func(x ondisk.DirIndex, first []byte) bool) (from stop, end int64, err error) {
	end = d.size
	if d.Indexes == 0 {
		return from, end, nil
	}
	c, err := f.tailCursor(&d.inode)
	if err != nil {
		return from, end, err
	}
	var buf [ondisk.MaxName]byte
	for i := range int(d.Indexes) {
		if i&255 == 255 && ctx.Err() != nil {
			return from, end, ctx.Err()
		}
		at := c.at
		b, err := c.bytes(ondisk.DirIndexSize, buf[:])
		if err != nil {
			return from, end, err
		}
		x := ondisk.DecodeDirIndex(b)
		if x.NameSize == 0 || x.NameSize > ondisk.MaxName {
			return from, end, dirName(d.ino).corrupt(at, "a name of %d bytes in its index", x.NameSize)
		}
		first, err := c.bytes(int(x.NameSize), buf[:])
		if err != nil {
			return from, end, err
		}
		pos := int64(x.Index)
		if pos < from.pos || pos >= d.size {
			return from, end, dirName(d.ino).corrupt(at, "its index leads from byte %d to byte %d of %d", from.pos, pos, d.size)
		}
		if !before(x, first) {
			return from, pos, nil
		}
		from = stop{pos, x.Start}
	}
	return from, end, nil
}

// parent returns the directory above d: where it was found, or else what it
// says itself.
func (f *FS) parent(d *dir) (vfs.Ino, error) {
	if d.ino == f.root {
		return d.ino, nil
	}
	if up, ok := f.parents.Of(d.ino); ok {
		return up, nil
	}
	if f.exported {
		return vfs.Ino(d.Parent), nil
	}
	return 0, syscall.ESTALE
}
