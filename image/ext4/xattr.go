package ext4

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// xattrNames are the parts of names that the name indexes stand for. Those
// that are missing have no name that Linux would show.
var xattrNames = map[uint8]string{
	ondisk.XattrUser:       "user.",
	ondisk.XattrACLAccess:  "system.posix_acl_access",
	ondisk.XattrACLDefault: "system.posix_acl_default",
	ondisk.XattrTrusted:    "trusted.",
	ondisk.XattrSecurity:   "security.",
	ondisk.XattrSystem:     "system.",
	ondisk.XattrRichACL:    "system.richacl",
	ondisk.XattrHurd:       "gnu.",
}

// Bounds for values in inodes of their own, in bytes: XATTR_SIZE_MAX, and all
// values of one file together.
const (
	maxXattrValue  = 64 << 10
	maxXattrValues = 4 << 20
)

// Xattrs returns the extended attributes of ino.
func (fs *FS) Xattrs(ctx context.Context, ino vfs.Ino) (map[string][]byte, error) {
	var in inode
	if err := fs.readInode(ino, &in); err != nil {
		return nil, err
	}
	return fs.xattrs(ctx, &in)
}

// xattrs returns the extended attributes of in.
func (fs *FS) xattrs(ctx context.Context, in *inode) (map[string][]byte, error) {
	out := make(map[string][]byte)
	total := 0
	add := func(e ondisk.XattrEntry, name, value []byte) error {
		prefix, ok := xattrNames[e.NameIndex]
		if !ok || e.NameIndex == ondisk.XattrSystem && string(name) == "data" {
			return nil
		}
		full := prefix + string(name)
		if _, dup := out[full]; dup {
			return nil // the attribute in the inode counts
		}
		if e.ValueIno != 0 {
			v, err := fs.xattrInode(ctx, in, e)
			if err != nil {
				return fmt.Errorf("attribute %s: %w", full, err)
			}
			if total += len(v); total > maxXattrValues {
				return in.corrupt("attributes of more than %d bytes", maxXattrValues)
			}
			out[full] = v
			return nil
		}
		if e.NameIndex == ondisk.XattrACLAccess || e.NameIndex == ondisk.XattrACLDefault {
			acl, err := linuxACL(value)
			if err != nil {
				return in.corrupt("%s: %v", full, err)
			}
			out[full] = acl
			return nil
		}
		out[full] = append([]byte{}, value...)
		return nil
	}
	if err := fs.eachInodeXattr(in, add); err != nil {
		return nil, err
	}
	if err := fs.eachBlockXattr(in, add); err != nil {
		return nil, err
	}
	return out, nil
}

// xattrVisitor gets an attribute without the part of its name that NameIndex
// stands for. value is empty if it lies in an inode of its own.
type xattrVisitor func(e ondisk.XattrEntry, name, value []byte) error

// eachInodeXattr visits the attributes behind the fields of an inode.
func (fs *FS) eachInodeXattr(in *inode, visit xattrVisitor) error {
	start := ondisk.InodeSizeOld + int(in.ExtraIsize)
	if len(in.raw) < start+ondisk.XattrInodeHeader || in.ExtraIsize == 0 ||
		binary.LittleEndian.Uint32(in.raw[start:]) != ondisk.XattrMagic {
		return nil
	}
	start += ondisk.XattrInodeHeader
	area := in.raw[start:]
	return eachXattr(area, area, in.off+int64(start), in.name()+" attributes", visit)
}

// eachBlockXattr visits the attributes in the block of an inode.
func (fs *FS) eachBlockXattr(in *inode, visit xattrVisitor) error {
	if in.FileACL == 0 {
		return nil
	}
	what := in.name() + " attribute block"
	b, err := fs.block(in.FileACL, what)
	if err != nil {
		return err
	}
	off := fs.offset(in.FileACL)
	if magic := binary.LittleEndian.Uint32(b); magic != ondisk.XattrMagic {
		return vfs.Corruptf(off, what, "bad magic %#08x, want %#08x", magic, uint32(ondisk.XattrMagic))
	}
	if blocks := binary.LittleEndian.Uint32(b[8:]); blocks != 1 {
		return vfs.Corruptf(off, what, "%d blocks of attributes, want 1", blocks)
	}
	if fs.metadataCsum {
		if got, want := ondisk.XattrChecksum(fs.seed, in.FileACL, b); got != want {
			return vfs.Corruptf(off, what, "checksum %#08x, want %#08x", got, want)
		}
	}
	return eachXattr(b[ondisk.XattrBlockHeader:], b, off, what, visit)
}

// eachXattr walks a list of entries, whose values lie at offsets in values. A
// word of zeros ends the list.
func eachXattr(list, values []byte, off int64, what string, visit xattrVisitor) error {
	pos := 0
	corrupt := func(format string, args ...any) error {
		return vfs.Corruptf(off+int64(pos), what, format, args...)
	}
	for {
		if len(list)-pos < 4 {
			return corrupt("list without an end")
		}
		if binary.LittleEndian.Uint32(list[pos:]) == 0 {
			return nil
		}
		if len(list)-pos < ondisk.XattrEntryHeader {
			return corrupt("entry crosses the end")
		}
		e := ondisk.DecodeXattrEntry(list[pos:])
		if e.Size() > len(list)-pos {
			return corrupt("name of %d bytes crosses the end", e.NameLen)
		}
		name := list[pos+ondisk.XattrEntryHeader:][:e.NameLen]
		var value []byte
		if e.ValueIno == 0 {
			if uint64(e.ValueOff)+uint64(e.ValueSize) > uint64(len(values)) {
				return corrupt("value of %d bytes at offset %d of %d", e.ValueSize, e.ValueOff, len(values))
			}
			value = values[e.ValueOff:][:e.ValueSize]
		}
		if err := visit(e, name, value); err != nil {
			return err
		}
		pos += e.Size()
	}
}

// xattrInode reads the value of an attribute of parent from the inode that
// holds it (ext4_xattr_inode_get).
func (fs *FS) xattrInode(ctx context.Context, parent *inode, e ondisk.XattrEntry) ([]byte, error) {
	if fs.sb.FeatureIncompat&ondisk.IncompatEAInode == 0 {
		return nil, parent.corrupt("attribute in inode %d without the feature ea_inode", e.ValueIno)
	}
	var in inode
	if err := fs.readInode(vfs.Ino(e.ValueIno), &in); err != nil {
		if isErrno(err) {
			err = parent.corrupt("attribute in inode %d, which is not in use", e.ValueIno)
		}
		return nil, err
	}
	switch {
	case !in.has(ondisk.FlEAInode) || !in.mode().IsRegular():
		return nil, in.corrupt("not an inode for an attribute of inode %d", parent.num)
	case in.size != int64(e.ValueSize) || in.size > maxXattrValue:
		return nil, in.corrupt("attribute value of %d bytes, want %d", in.size, e.ValueSize)
	}
	v := make([]byte, in.size)
	if _, err := fs.readData(ctx, &in, v, 0); err != nil {
		return nil, err
	}
	// Lustre, which came first, keeps the parent where the hash is now.
	if in.Mtime.Sec == parent.num && in.Generation == parent.Generation {
		return v, nil
	}
	if want := ondisk.CRC32C(fs.seed, v); in.Atime.Sec != want {
		return nil, in.corrupt("attribute value has hash %#08x, want %#08x", want, in.Atime.Sec)
	}
	return v, nil
}
