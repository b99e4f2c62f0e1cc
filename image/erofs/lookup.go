package erofs

import (
	"bytes"
	"context"
	"syscall"

	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Lookup implements [vfs.FS].
func (f *FS) Lookup(ctx context.Context, ino vfs.Ino, name string) (vfs.Attr, error) {
	var d, in inode
	if err := f.dir(ino, &d); err != nil {
		return vfs.Attr{}, err
	}
	switch {
	case name == ".":
		return f.attr(&d), nil
	case name == "..":
		return f.up(ctx, &d)
	case name == "":
		return vfs.Attr{}, syscall.ENOENT
	case len(name) > ondisk.MaxName:
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	b, i, e, err := f.find(ctx, &d, []byte(name))
	if err != nil {
		return vfs.Attr{}, err
	}
	if err := f.resolve(&b, i, e, []byte(name), &in); err != nil {
		return vfs.Attr{}, err
	}
	return f.attr(&in), nil
}

// up returns the directory above d: where it was found, or else what it says
// itself.
func (f *FS) up(ctx context.Context, d *inode) (vfs.Attr, error) {
	if d.ino == f.root {
		return f.attr(d), nil
	}
	if above, ok := f.parents.Of(d.ino); ok {
		return f.Getattr(ctx, above)
	}
	b, _, e, err := f.find(ctx, d, []byte(".."))
	if err != nil {
		return vfs.Attr{}, err
	}
	var in inode
	if err := f.decodeInode(e.Nid, &in); err != nil {
		return vfs.Attr{}, err
	}
	if !in.mode().IsDir() {
		return vfs.Attr{}, b.corrupt("\"..\" is inode %d of the mode %#o", in.ino, in.Mode)
	}
	return f.attr(&in), nil
}

// find returns the entry with a name: its block, and which of it it is. All is
// sorted, so the last block whose first name is not behind it is the one.
func (f *FS) find(ctx context.Context, d *inode, name []byte) (b dirBlock, i int, e ondisk.Dirent, err error) {
	low, high := int64(0), f.dirBlocks(d)
	for low < high {
		middle := low + (high-low)/2
		next, err := f.dirBlock(ctx, d, middle)
		if err != nil {
			return b, 0, e, err
		}
		_, first, err := next.entry(0)
		if err != nil {
			return b, 0, e, err
		}
		if bytes.Compare(first, name) > 0 {
			high = middle
		} else {
			low, b = middle+1, next
		}
	}
	i, e, err = b.find(name)
	return b, i, e, err
}

// find searches a block; the zero value has no entries.
func (b *dirBlock) find(name []byte) (int, ondisk.Dirent, error) {
	low, high := 0, b.count
	for low < high {
		middle := (low + high) / 2
		e, there, err := b.entry(middle)
		if err != nil {
			return 0, e, err
		}
		switch order := bytes.Compare(there, name); {
		case order == 0:
			return middle, e, nil
		case order > 0:
			high = middle
		default:
			low = middle + 1
		}
	}
	return 0, ondisk.Dirent{}, syscall.ENOENT
}
