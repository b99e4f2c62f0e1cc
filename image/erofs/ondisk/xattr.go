package ondisk

// XattrHeaderSize is the size of what the attributes behind an inode begin
// with, without the list of shared ones.
const XattrHeaderSize = 12

// XattrsSize is how many bytes of attributes follow an inode whose
// i_xattr_icount is n.
func XattrsSize(n uint16) int64 {
	if n == 0 {
		return 0
	}
	return XattrHeaderSize + 4*int64(n-1)
}

// SharedXattrs is how many attributes are elsewhere. Their places follow the
// header b, in units of SharedXattrUnit bytes from the superblock's XattrBlock.
func SharedXattrs(b []byte) int { return int(b[4]) }

// SharedXattrUnit is the unit of the place of a shared attribute, and to what
// attributes are aligned.
const SharedXattrUnit = 4

// DecodeSharedXattr decodes such a place.
func DecodeSharedXattr(b []byte) uint32 { return le.Uint32(b) }

// An XattrEntry precedes the name and the value of an attribute.
type XattrEntry struct {
	NameSize  int
	Index     uint8 // of the prefix
	ValueSize int
}

// XattrEntrySize is its size.
const XattrEntrySize = 4

// DecodeXattrEntry decodes one.
func DecodeXattrEntry(b []byte) XattrEntry {
	return XattrEntry{int(b[0]), b[1], int(le.Uint16(b[2:]))}
}

// Size is how many bytes the attribute takes.
func (e XattrEntry) Size() int {
	n := XattrEntrySize + e.NameSize + e.ValueSize
	return (n + SharedXattrUnit - 1) &^ (SharedXattrUnit - 1)
}

// Long returns which of the long prefixes is meant, if it is one.
func (e XattrEntry) Long() (which int, ok bool) { return int(e.Index & 0x7F), e.Index&0x80 != 0 }

// XattrPrefix is what an index stands for. Whole says that this is all of the
// name. It is empty for those that have no meaning.
func XattrPrefix(index uint8) (prefix string, whole bool) {
	switch index {
	case 1:
		return "user.", false
	case 2:
		return "system.posix_acl_access", true
	case 3:
		return "system.posix_acl_default", true
	case 4:
		return "trusted.", false
	case 6:
		return "security.", false
	}
	return "", false
}

// A LongPrefix is a prefix that the image brings along: that of an index, and
// what follows it.
type LongPrefix struct {
	Base  uint8
	Infix string
}

// LongPrefixSizeBytes is the size of the length that precedes each of them.
const LongPrefixSizeBytes = 2

// DecodeLongPrefixSize decodes it. No length is one of 64 KiB.
func DecodeLongPrefixSize(b []byte) int {
	if n := int(le.Uint16(b)); n != 0 {
		return n
	}
	return 1 << 16
}

// DecodeLongPrefix decodes one, which has at least one byte.
func DecodeLongPrefix(b []byte) LongPrefix { return LongPrefix{b[0], string(b[1:])} }
