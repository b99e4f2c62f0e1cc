package ext4

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// SetXattr implements [vfs.XattrWriter]. An attribute goes into the inode, or
// else into the file's block of attributes, or, with the feature ea_inode, its
// value into an inode of its own: ENOSPC if it fits none of them, E2BIG for more
// than 64 KiB. An access control list is as Linux's setxattr(2) takes it, and
// changes the permission bits as it does there.
func (w *Writer) SetXattr(ctx context.Context, ino vfs.Ino, name string, value []byte, create, replace bool) error {
	return w.do(ctx, func(o *op) error {
		return o.changeXattr(ino, &xattrChange{name: name, value: value, create: create, replace: replace})
	})
}

// RemoveXattr implements [vfs.XattrWriter].
func (w *Writer) RemoveXattr(ctx context.Context, ino vfs.Ino, name string) error {
	return w.do(ctx, func(o *op) error {
		return o.changeXattr(ino, &xattrChange{name: name, remove: true, replace: true})
	})
}

// An xattrChange is what is to happen to an attribute.
type xattrChange struct {
	name            string
	value           []byte
	create, replace bool // it must not, or must, be there
	remove          bool
}

func (o *op) changeXattr(ino vfs.Ino, c *xattrChange) error {
	in, or, err := o.loadAny(ino)
	if err != nil {
		return err
	}
	index, rest, ok := xattrIndex(c.name)
	acl := index == ondisk.XattrACLAccess || index == ondisk.XattrACLDefault
	switch {
	case !ok:
		return syscall.ENOTSUP
	case rest == "" && !acl:
		return syscall.EINVAL
	case len(c.name) > ondisk.NameMax:
		return syscall.ERANGE
	}
	var now xattrPlaces
	there := false
	if or != nil {
		_, there = or.xattrs[c.name]
	} else if now, err = o.xattrPlaces(in); err != nil {
		return err
	} else {
		there = now.inode.find(index, rest) >= 0 || now.block.find(index, rest) >= 0
	}
	switch {
	case c.create && there:
		return syscall.EEXIST
	case c.replace && !there:
		return syscall.ENODATA
	case in.has(ondisk.FlImmutable | ondisk.FlAppend):
		return syscall.EPERM
	case len(c.value) > maxXattrValue:
		return syscall.E2BIG
	}
	x := xattr{index: index, name: rest, value: c.value}
	remove := c.remove
	if acl && !remove {
		if x.value, err = takeACL(in, index, c.value); err != nil {
			return err
		}
		remove = x.value == nil
	}
	o.touch(in, false)
	switch {
	case or != nil && remove:
		delete(or.xattrs, c.name)
	case or != nil:
		or.xattrs[c.name] = append([]byte{}, c.value...)
	case !remove || there:
		return o.setXattr(in, now, x, remove)
	}
	return nil
}

// xattrPlaces are the attributes of a file: those in its inode and those in its
// block.
type xattrPlaces struct{ inode, block xattrList }

func (o *op) xattrPlaces(in *inode) (p xattrPlaces, err error) {
	if p.inode, err = o.f.inodeXattrs(in); err != nil {
		return p, err
	}
	p.block, err = o.f.blockXattrs(in)
	return p, err
}

// setXattr gives a file an attribute, or takes it away.
func (o *op) setXattr(in *inode, now xattrPlaces, x xattr, remove bool) error {
	next := xattrPlaces{now.inode.without(x.index, x.name), now.block.without(x.index, x.name)}
	if !remove {
		var err error
		if next, err = o.placeXattr(in, now, x); err != nil {
			return err
		}
	}
	if i := now.inode.find(x.index, x.name); i >= 0 && now.inode[i].ino != 0 {
		if err := o.dropValue(in, &now.inode[i]); err != nil {
			return err
		}
	}
	if !o.putInodeXattrs(in, next.inode) {
		return syscall.ENOSPC
	}
	if next.block.equal(now.block) {
		return nil
	}
	return o.putXattrBlock(in, now.block, next.block)
}

// placeXattr finds room for an attribute (ext4_xattr_set_handle), and returns
// what the two places of its file are to hold.
func (o *op) placeXattr(in *inode, now xattrPlaces, x xattr) (xattrPlaces, error) {
	bs := int(o.f.blockSize)
	x.size = uint32(len(x.value))
	inodes := o.f.sb.FeatureIncompat&ondisk.IncompatEAInode != 0 && len(x.value) > 0
	// EXT4_XATTR_MIN_LARGE_EA_SIZE: larger values never fit a block.
	large := inodes && ondisk.XattrPad(len(x.value)) > bs-ondisk.XattrBlockHeader-24
	if !large {
		if next, ok := o.fitXattr(in, now, x); ok {
			return next, nil
		}
		if !inodes {
			return now, syscall.ENOSPC
		}
	}
	value := x.value
	x.value, x.ino = nil, 1
	if _, ok := o.fitXattr(in, now, x); !ok {
		return now, syscall.ENOSPC
	}
	ino, sum, err := o.newValue(in, value)
	if err != nil {
		return now, err
	}
	x.ino, x.hash = ino, ondisk.XattrInodeHash([]byte(x.name), sum, o.f.unsignedChar())
	next, _ := o.fitXattr(in, now, x)
	return next, nil
}

// fitXattr puts an attribute where there is room for it, if there is any: first
// into the inode.
func (o *op) fitXattr(in *inode, now xattrPlaces, x xattr) (xattrPlaces, bool) {
	bs := int(o.f.blockSize)
	// A value in an inode counts as blocks of the file. e2fsck takes a short
	// symbolic link that has some for a long one, unless it has a block of
	// attributes.
	link := x.ino != 0 && in.mode().IsSymlink()
	if l := now.inode.with(x); !link && l.room() <= len(in.xattrArea()) {
		return xattrPlaces{l, now.block.without(x.index, x.name)}, true
	}
	if x.ino == 0 {
		x.hash = ondisk.XattrHash([]byte(x.name), x.value, o.f.unsignedChar())
	}
	l := now.block.with(x)
	if ondisk.XattrBlockHeader+l.room() > bs {
		return now, false
	}
	if x.ino == 0 && len(x.value) > 0 && o.f.sb.FeatureIncompat&ondisk.IncompatEAInode != 0 {
		// EXT4_XATTR_BLOCK_RESERVE: values that could be elsewhere leave
		// room for the entries of others.
		free := bs
		for i := range l {
			free -= ondisk.XattrPad(len(l[i].value))
		}
		if free < min(bs/8, 1024) {
			return now, false
		}
	}
	return xattrPlaces{now.inode.without(x.index, x.name), l}, true
}

// unsignedChar reports whether characters are unsigned in the hashes of names.
func (fs *FS) unsignedChar() bool { return fs.sb.Flags&ondisk.FlagUnsignedHash != 0 }
