package ext4

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// An xattr is an attribute as it is stored.
type xattr struct {
	index uint8  // what name begins with
	name  string // without that
	value []byte // nil if it is in an inode of its own
	ino   uint32 // that inode, or 0
	size  uint32 // of the value, in bytes
	hash  uint32 // e_hash; in inodes it is mostly 0
}

// An xattrList is what an inode holds, or a block.
type xattrList []xattr

// footprint is how much room an attribute takes, its name and its value.
func (x *xattr) footprint() int {
	n := (ondisk.XattrEntryHeader + len(x.name) + 3) &^ 3
	if x.ino == 0 {
		n += ondisk.XattrPad(len(x.value))
	}
	return n
}

// room is how much room the list takes, with the word that ends it.
func (l xattrList) room() int {
	n := 4
	for i := range l {
		n += l[i].footprint()
	}
	return n
}

func (l xattrList) find(index uint8, name string) int {
	return slices.IndexFunc(l, func(x xattr) bool { return x.index == index && x.name == name })
}

// with returns the list with x, in place of the one of that name if there is
// one, or else at the end.
func (l xattrList) with(x xattr) xattrList {
	out := slices.Clone(l)
	if i := out.find(x.index, x.name); i >= 0 {
		out[i] = x
		return out
	}
	return append(out, x)
}

// without returns the list without the attribute of that name.
func (l xattrList) without(index uint8, name string) xattrList {
	return slices.DeleteFunc(slices.Clone(l), func(x xattr) bool { return x.index == index && x.name == name })
}

// sort puts the list in the order of blocks: by index, length and name.
func (l xattrList) sort() {
	slices.SortFunc(l, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
}

// put encodes the list: entries from byte start of b on, values from its end
// backwards.
//
// Requires start + l.room() <= len(b).
func (l xattrList) put(b []byte, start int) {
	clear(b[start:])
	pos, end := start, len(b)
	for i := range l {
		x := &l[i]
		e := ondisk.XattrEntry{NameLen: len(x.name), NameIndex: x.index, ValueIno: x.ino, ValueSize: x.size, Hash: x.hash}
		if x.ino == 0 && len(x.value) > 0 {
			end -= ondisk.XattrPad(len(x.value))
			copy(b[end:], x.value)
			e.ValueOff = end
		}
		ondisk.EncodeXattrEntry(b[pos:], e)
		copy(b[pos+ondisk.XattrEntryHeader:], x.name)
		pos += e.Size()
	}
}

// collect returns a visitor that adds what it sees to the list.
func (l *xattrList) collect() xattrVisitor {
	return func(e ondisk.XattrEntry, name, value []byte) error {
		*l = append(*l, xattr{e.NameIndex, string(name), bytes.Clone(value), e.ValueIno, e.ValueSize, e.Hash})
		return nil
	}
}

// inodeXattrs are the attributes behind the fields of an inode.
func (fs *FS) inodeXattrs(in *inode) (l xattrList, err error) {
	err = fs.eachInodeXattr(in, l.collect())
	return l, err
}

// blockXattrs are the attributes in the block of an inode.
func (fs *FS) blockXattrs(in *inode) (l xattrList, err error) {
	err = fs.eachBlockXattr(in, l.collect())
	return l, err
}

// xattrArea is the room for attributes behind the fields of an inode and the
// magic number; nil if there is none.
func (in *inode) xattrArea() []byte {
	start := ondisk.InodeSizeOld + int(in.ExtraIsize) + ondisk.XattrInodeHeader
	if in.ExtraIsize == 0 || start+4 > len(in.raw) {
		return nil
	}
	return in.raw[start:]
}

// putInodeXattrs makes the list the attributes behind the fields of an inode.
// It is false, and nothing is changed, if they do not fit.
func (o *op) putInodeXattrs(in *inode, l xattrList) bool {
	area := in.xattrArea()
	if len(area) < l.room() {
		return len(l) == 0
	}
	magic := uint32(ondisk.XattrMagic)
	if len(l) == 0 {
		magic = 0
	}
	start := ondisk.InodeSizeOld + int(in.ExtraIsize)
	binary.LittleEndian.PutUint32(in.raw[start:], magic)
	l.put(area, 0)
	in.dirty = true
	return true
}

// xattrIndex takes the name of an attribute apart. It is false for what is in no
// namespace that ext4 has.
func xattrIndex(name string) (index uint8, rest string, ok bool) {
	for _, x := range [...]uint8{ondisk.XattrACLAccess, ondisk.XattrACLDefault} {
		if name == xattrNames[x] {
			return x, "", true
		}
	}
	for _, x := range [...]uint8{ondisk.XattrUser, ondisk.XattrTrusted, ondisk.XattrSecurity} {
		if rest, ok := strings.CutPrefix(name, xattrNames[x]); ok {
			return x, rest, true
		}
	}
	return 0, "", false
}
