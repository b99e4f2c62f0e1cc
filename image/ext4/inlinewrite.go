package ext4

import "github.com/resflash/resflash/image/ext4/ondisk"

// Small files have their contents in the inode if the file system has the
// feature inline_data: 60 bytes in i_block, and the rest as the value of the
// attribute "system.data", which is there even if it is empty.

// inlineEntry is the room that "system.data" takes without its value.
const inlineEntry = ondisk.XattrEntryHeader + 4

// inlineMax is how many bytes a file can have in its inode, beside its other
// attributes (ext4_get_max_inline_size).
func (o *op) inlineMax(in *inode) (int64, error) {
	all, err := o.f.inodeXattrs(in)
	if err != nil {
		return 0, err
	}
	room := len(in.xattrArea()) - all.without(ondisk.XattrSystem, "data").room() - inlineEntry
	if room < 0 {
		return 0, nil
	}
	return ondisk.BlockLen + int64(room&^3), nil
}

// setInline has a file hold data in its inode, where it has room.
func (o *op) setInline(in *inode, data []byte) error {
	all, err := o.f.inodeXattrs(in)
	if err != nil {
		return err
	}
	x := xattr{index: ondisk.XattrSystem, name: "data"}
	if i := all.find(x.index, x.name); i >= 0 {
		x = all[i]
	}
	first := min(len(data), ondisk.BlockLen)
	x.value = data[first:]
	x.size = uint32(len(x.value))
	in.Block = [ondisk.BlockLen]byte{}
	copy(in.Block[:], data[:first])
	if !o.putInodeXattrs(in, all.with(x)) {
		return in.corrupt("no room for %d bytes of inline data", len(data))
	}
	in.size, in.dirty = int64(len(data)), true
	return nil
}

// mayBeInline reports whether a file may get inline contents: an empty one
// without blocks.
func (o *op) mayBeInline(in *inode) bool {
	return o.f.sb.FeatureIncompat&ondisk.IncompatInlineData != 0 && in.mode().IsRegular() && in.size == 0 &&
		in.Blocks == 0 && !in.has(ondisk.FlEAInode)
}

// writeInline writes p to inline contents. It is 0 if they do not fit: then the
// file is one with blocks now.
func (o *op) writeInline(in *inode, p []byte, off int64) (int, error) {
	most, err := o.inlineMax(in)
	if err != nil {
		return 0, err
	}
	end := off + int64(len(p))
	if end > most {
		if in.has(ondisk.FlInlineData) {
			return 0, o.leaveInline(in)
		}
		return 0, nil
	}
	var old []byte
	if in.has(ondisk.FlInlineData) {
		if old, err = o.f.inlineData(in); err != nil {
			return 0, err
		}
	}
	data := make([]byte, max(in.size, end))
	copy(data, old)
	copy(data[off:], p)
	in.Flags = in.Flags&^ondisk.FlExtents | ondisk.FlInlineData
	return len(p), o.setInline(in, data)
}

// truncateInline makes inline contents size bytes long. It is false if they do
// not fit: then the file is one with blocks now.
func (o *op) truncateInline(in *inode, size int64) (bool, error) {
	most, err := o.inlineMax(in)
	if err != nil {
		return false, err
	}
	if size > most {
		return false, o.leaveInline(in)
	}
	old, err := o.f.inlineData(in)
	if err != nil {
		return false, err
	}
	data := make([]byte, size)
	copy(data, old)
	return true, o.setInline(in, data)
}

// zeroInline makes zeros of a part of inline contents.
func (o *op) zeroInline(in *inode, off, end int64) error {
	data, err := o.f.inlineData(in)
	if err != nil {
		return err
	}
	n := int64(len(data))
	clear(data[min(off, n):min(end, n)])
	return o.setInline(in, data)
}

// leaveInline moves inline contents to a block (ext4_convert_inline_data).
func (o *op) leaveInline(in *inode) error {
	data, err := o.f.inlineData(in)
	if err != nil {
		return err
	}
	size := in.size
	if err := o.dropInline(in); err != nil {
		return err
	}
	if len(data) > 0 {
		start, _, err := o.addBlocks(in, 0, 1, false)
		if err != nil {
			return err
		}
		if err := o.newData(data, start, 0); err != nil {
			return err
		}
	}
	in.size, in.dirty = size, true
	return nil
}
