package ondisk

// XattrMagic begins the attributes in an inode and in a block.
const XattrMagic = 0xEA020000

// Sizes in bytes.
const (
	XattrBlockHeader = 32 // struct ext4_xattr_header
	XattrInodeHeader = 4  // struct ext4_xattr_ibody_header
	XattrEntryHeader = 16 // struct ext4_xattr_entry without the name
)

// Name indexes: what stands for the part of a name before the dot
// (EXT4_XATTR_INDEX_…).
const (
	XattrUser        = 1
	XattrACLAccess   = 2
	XattrACLDefault  = 3
	XattrTrusted     = 4
	XattrLustre      = 5
	XattrSecurity    = 6
	XattrSystem      = 7 // "data" holds inline data
	XattrRichACL     = 8
	XattrEncryption  = 9
	XattrHurd        = 10
	xattrChecksumOff = 16 // h_checksum
)

// XattrEntry is struct ext4_xattr_entry without the name.
type XattrEntry struct {
	NameLen   int
	NameIndex uint8
	ValueOff  int    // e_value_offs: bytes
	ValueIno  uint32 // e_value_inum: inode that holds the value, with ea_inode
	ValueSize uint32 // e_value_size: bytes
	Hash      uint32 // e_hash
}

// DecodeXattrEntry decodes the entry at the start of b.
func DecodeXattrEntry(b []byte) XattrEntry {
	_ = b[XattrEntryHeader-1]
	return XattrEntry{
		NameLen:   int(b[0]),
		NameIndex: b[1],
		ValueOff:  int(le.Uint16(b[2:])),
		ValueIno:  le.Uint32(b[4:]),
		ValueSize: le.Uint32(b[8:]),
		Hash:      le.Uint32(b[12:]),
	}
}

// EncodeXattrEntry encodes e at the start of b. The name goes behind it.
func EncodeXattrEntry(b []byte, e XattrEntry) {
	b[0], b[1] = uint8(e.NameLen), e.NameIndex
	le.PutUint16(b[2:], uint16(e.ValueOff))
	le.PutUint32(b[4:], e.ValueIno)
	le.PutUint32(b[8:], e.ValueSize)
	le.PutUint32(b[12:], e.Hash)
}

// Size is the length of the entry in bytes, name and padding included.
func (e XattrEntry) Size() int { return (XattrEntryHeader + e.NameLen + 3) &^ 3 }

// XattrChecksum returns the checksum in the header of the attribute block b,
// which is block number block of the device, and what it should be.
func XattrChecksum(seed uint32, block uint64, b []byte) (got, want uint32) {
	var num [8]byte
	le.PutUint64(num[:], block)
	want = CRC32C(seed, num[:])
	want = CRC32C(want, b[:xattrChecksumOff])
	want = CRC32C32(want, 0)
	want = CRC32C(want, b[xattrChecksumOff+4:])
	return le.Uint32(b[xattrChecksumOff:]), want
}

// SealXattrs writes the checksum of the attribute block b, which is block
// number block of the device.
func SealXattrs(seed uint32, block uint64, b []byte) {
	_, want := XattrChecksum(seed, block, b)
	le.PutUint32(b[xattrChecksumOff:], want)
}

// XattrHeader is struct ext4_xattr_header without the checksum.
type XattrHeader struct {
	Magic    uint32 // h_magic
	RefCount uint32 // h_refcount: inodes that share the block
	Blocks   uint32 // h_blocks: 1
	Hash     uint32 // h_hash: of all entries, or 0 if one has none
}

// DecodeXattrHeader decodes the header at the start of b.
func DecodeXattrHeader(b []byte) XattrHeader {
	return XattrHeader{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

// EncodeXattrHeader encodes h at the start of b.
func EncodeXattrHeader(b []byte, h XattrHeader) {
	le.PutUint32(b, h.Magic)
	le.PutUint32(b[4:], h.RefCount)
	le.PutUint32(b[8:], h.Blocks)
	le.PutUint32(b[12:], h.Hash)
}

// XattrPad is n rounded up to where the next value may begin
// (EXT4_XATTR_SIZE).
func XattrPad(n int) int { return (n + 3) &^ 3 }

// XattrHash computes e_hash of an attribute from its name and its value, which
// is padded with zeros to whole words (ext4_xattr_hash_entry). Whether C's char
// was signed is part of it, as of the hashes of names in directories; newer
// kernels accept both.
func XattrHash(name, value []byte, unsigned bool) uint32 {
	h := xattrNameHash(name, unsigned)
	for len(value) >= 4 {
		h = h<<16 ^ h>>16 ^ le.Uint32(value)
		value = value[4:]
	}
	if len(value) > 0 {
		var word [4]byte
		copy(word[:], value)
		h = h<<16 ^ h>>16 ^ le.Uint32(word[:])
	}
	return h
}

// XattrInodeHash is XattrHash for a value in an inode of its own: its checksum
// stands for it.
func XattrInodeHash(name []byte, checksum uint32, unsigned bool) uint32 {
	h := xattrNameHash(name, unsigned)
	return h<<16 ^ h>>16 ^ checksum
}

func xattrNameHash(name []byte, unsigned bool) uint32 {
	var h uint32
	for _, c := range name {
		h = h<<5 ^ h>>27 ^ char(c, unsigned)
	}
	return h
}

// XattrBlockHash continues h_hash over the hash of one more entry
// (ext4_xattr_rehash).
func XattrBlockHash(h, entry uint32) uint32 { return h<<16 ^ h>>16 ^ entry }
