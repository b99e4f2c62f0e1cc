package ondisk

// Tags of the records of fast commits (EXT4_FC_TAG_…).
const (
	FCAddRange = 1
	FCDelRange = 2
	FCCreate   = 3
	FCLink     = 4
	FCUnlink   = 5
	FCInode    = 6
	FCPad      = 7
	FCTail     = 8
	FCHead     = 9
)

// FCTagSize is the size in bytes of a tag and its length.
const FCTagSize = 4

// FCRecord is struct ext4_fc_tl and the value behind it.
type FCRecord struct {
	Tag   uint16
	Value []byte
	Raw   []byte // all of it
}

// DecodeFCRecord decodes the record at the start of b; false if it does not
// fit.
func DecodeFCRecord(b []byte) (r FCRecord, ok bool) {
	if len(b) < FCTagSize {
		return r, false
	}
	end := FCTagSize + int(le.Uint16(b[2:]))
	if end > len(b) {
		return r, false
	}
	return FCRecord{le.Uint16(b), b[FCTagSize:end], b[:end]}, true
}

// fcMinLen are the shortest values of the tags in bytes.
var fcMinLen = [...]int{
	FCAddRange: 4 + ExtentEntrySize, FCDelRange: 12, FCCreate: 9, FCLink: 9, FCUnlink: 9,
	FCInode: 4 + InodeSizeOld, FCTail: 8, FCHead: 8,
}

// Known reports whether the tag is known and the value long enough for it.
func (r FCRecord) Known() bool {
	return r.Tag != 0 && int(r.Tag) < len(fcMinLen) && len(r.Value) >= fcMinLen[r.Tag]
}

// Head returns the features needed and the transaction (struct ext4_fc_head).
func (r FCRecord) Head() (features, tid uint32) { return le.Uint32(r.Value), le.Uint32(r.Value[4:]) }

// Tail returns the transaction and the checksum (struct ext4_fc_tail).
func (r FCRecord) Tail() (tid, crc uint32) { return le.Uint32(r.Value), le.Uint32(r.Value[4:]) }

// Name returns the directory, the inode and the name of FCCreate, FCLink and
// FCUnlink (struct ext4_fc_dentry_info).
func (r FCRecord) Name() (parent, ino uint32, name string) {
	return le.Uint32(r.Value), le.Uint32(r.Value[4:]), string(r.Value[8:])
}

// Inode returns the inode of FCInode (struct ext4_fc_inode).
func (r FCRecord) Inode() (ino uint32, raw []byte) { return le.Uint32(r.Value), r.Value[4:] }

// Range returns the blocks of FCAddRange and FCDelRange (struct
// ext4_fc_add_range, ext4_fc_del_range). A removed range has no start.
func (r FCRecord) Range() (ino uint32, first, n uint32, x Extent) {
	ino = le.Uint32(r.Value)
	if r.Tag == FCDelRange {
		return ino, le.Uint32(r.Value[4:]), le.Uint32(r.Value[8:]), Extent{}
	}
	x = DecodeExtent(append(make([]byte, ExtentHeaderSize), r.Value[4:4+ExtentEntrySize]...), 0)
	return ino, x.Block, x.Len, x
}

// CRC continues the checksum of a fast commit over the record: over a tail
// without the checksum in it.
func (r FCRecord) CRC(crc uint32) uint32 {
	raw := r.Raw
	if r.Tag == FCTail {
		raw = raw[:FCTagSize+4]
	}
	return CRC32C(crc, raw)
}

// PatchInode puts the record raw of a fast commit into the inode in dst
// (ext4_fc_replay_inode). Where the blocks of a file are is told by ranges;
// all else that may be in i_block comes with the record.
func PatchInode(dst, raw []byte) {
	n := min(len(raw), len(dst))
	copy(dst[:0x28], raw)
	copy(dst[0x64:n], raw[0x64:n])
	block := dst[0x28 : 0x28+BlockLen]
	switch {
	case le.Uint32(dst[0x20:])&FlExtents == 0:
		copy(block, raw[0x28:])
	case le.Uint16(block) != ExtentMagic:
		clear(block)
		le.PutUint16(block, ExtentMagic)
		le.PutUint16(block[4:], (BlockLen-ExtentHeaderSize)/ExtentEntrySize)
	}
}

// SetLinks sets the number of links of the inode in b.
func SetLinks(b []byte, n uint16) { le.PutUint16(b[0x1A:], n) }
