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
