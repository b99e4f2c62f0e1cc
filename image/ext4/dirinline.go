package ext4

import (
	"encoding/binary"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Directories in their inode have the number of their parent, and then entries:
// first in what is left of i_block, then, if they need more, in all the room
// that the inode has for attributes, as the value of "system.data". No entry
// goes from one place to the other, and "." is nowhere.

// inlineArea is one of the two places of an inline directory: with n 0 that in
// i_block, with 1 that in the attribute, which may be empty.
func (o *op) inlineArea(dir *inode, n uint64) (dirArea, error) {
	a := dirArea{fs: o.f, in: dir, b: dir.Block[inlineDirHeader:], off: dir.off + 0x28 + inlineDirHeader}
	if n > 0 {
		_, rest, err := o.f.inlineParts(dir)
		if err != nil {
			return a, err
		}
		a.b, a.off = rest, dir.off
	}
	return a, nil
}

// addInline puts a name into an inline directory. It is false if there is no
// room: then the directory is one with a block now.
func (o *op) addInline(dir *inode, name string, ino uint32, typ uint8) (bool, error) {
	need := ondisk.DirEntrySize(len(name))
	for n := range uint64(2) {
		a, err := o.inlineArea(dir, n)
		if err != nil {
			return false, err
		}
		if n == 1 && len(a.b) == 0 {
			if a, err = o.growInline(dir); err != nil {
				return false, err
			}
		}
		at, _, err := a.room(need)
		if err != nil {
			return false, err
		}
		if at >= 0 {
			a.insert(at, name, ino, typ)
			return true, nil
		}
	}
	return false, o.inlineToBlock(dir)
}

// growInline gives an inline directory all the room that there is for
// attributes in its inode (ext4_update_inline_dir). The area is empty if that is
// too little for any name.
func (o *op) growInline(dir *inode) (dirArea, error) {
	all, err := o.f.inodeXattrs(dir)
	if err != nil {
		return dirArea{}, err
	}
	i := all.find(ondisk.XattrSystem, "data")
	if i < 0 {
		return dirArea{}, dir.corrupt("inline directory without the attribute system.data")
	}
	room := (len(dir.xattrArea()) - all.room()) &^ 3
	if room < ondisk.DirEntryMin {
		return dirArea{}, nil
	}
	all[i].value, all[i].size = make([]byte, room), uint32(room)
	if !o.putInodeXattrs(dir, all) {
		return dirArea{}, syscall.ENOSPC
	}
	dir.size = int64(ondisk.BlockLen + room)
	a, err := o.inlineArea(dir, 1)
	if err == nil {
		a.clearArea()
	}
	return a, err
}

// inlineToBlock moves the names of an inline directory to a block
// (ext4_convert_inline_data_nolock). They keep their order, and lie as far from
// "..", which is new, as they did from the parent's number.
func (o *op) inlineToBlock(dir *inode) error {
	first, rest, err := o.f.inlineParts(dir)
	if err != nil {
		return err
	}
	names := append(append([]byte{}, first[inlineDirHeader:]...), rest...)
	parent := inlineParent(dir)
	if err := o.dropInline(dir); err != nil {
		return err
	}
	_, b, off, err := o.newDirBlock(dir)
	if err != nil {
		return err
	}
	a := o.f.blockArea(dir, b, off)
	dots := 2 * ondisk.DirEntryMin
	putDots(a.b, dots, dir.num, parent, o.f.direntType(vfs.Dir), int(o.f.blockSize))
	copy(a.b[dots:], names)
	a.stretch(dots + len(names))
	a.seal()
	return nil
}

// dropInline makes an inode that has its data inline an empty one that has
// blocks.
func (o *op) dropInline(in *inode) error {
	all, err := o.f.inodeXattrs(in)
	if err != nil {
		return err
	}
	if i := all.find(ondisk.XattrSystem, "data"); i >= 0 {
		o.putInodeXattrs(in, append(all[:i:i], all[i+1:]...))
	}
	in.Flags &^= ondisk.FlInlineData
	in.Block = [ondisk.BlockLen]byte{}
	if o.f.sb.FeatureIncompat&ondisk.IncompatExtents != 0 {
		in.Flags |= ondisk.FlExtents
		in.initExtents()
	}
	in.size, in.dirty = 0, true
	return nil
}

// makeInlineDir makes a new directory an inline one. It is false if there is no
// room for that in the inode.
func (o *op) makeInlineDir(in *inode, parent uint32) bool {
	if o.f.sb.FeatureIncompat&ondisk.IncompatInlineData == 0 ||
		!o.putInodeXattrs(in, xattrList{{index: ondisk.XattrSystem, name: "data"}}) {
		return false
	}
	in.Flags = in.Flags&^ondisk.FlExtents | ondisk.FlInlineData
	in.Block = [ondisk.BlockLen]byte{}
	binary.LittleEndian.PutUint32(in.Block[:], parent)
	a := dirArea{fs: o.f, in: in, b: in.Block[inlineDirHeader:]}
	a.clearArea()
	in.size, in.dirty = ondisk.BlockLen, true
	return true
}
