package ondisk

// XattrTable is what the superblock's XattrTable leads to; the list of the
// metadata blocks of the id table follows it.
type XattrTable struct {
	Start uint64 // xattr_table_start: of the metadata blocks with names and values
	IDs   uint32
}

// XattrTableSize is its size, with 4 bytes that nobody uses.
const XattrTableSize = 16

// DecodeXattrTable decodes it.
func DecodeXattrTable(b []byte) XattrTable {
	return XattrTable{le.Uint64(b), le.Uint32(b[8:])}
}

// An XattrID is an entry of the id table: all attributes of an inode.
type XattrID struct {
	Ref   Ref // of the first one, from XattrTable.Start
	Count uint32
	Size  uint32 // as listxattr(2) counts
}

// DecodeXattrID decodes one.
func DecodeXattrID(b []byte) XattrID {
	return XattrID{Ref(le.Uint64(b)), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

// An XattrEntry precedes the name of an attribute.
type XattrEntry struct {
	Type     uint16
	NameSize int
}

// The sizes of the parts of an attribute.
const (
	XattrEntrySize = 4
	XattrValueSize = 4 // of the length that precedes a value
	XattrRefSize   = 8 // of the value that leads to another
)

// DecodeXattrEntry decodes one.
func DecodeXattrEntry(b []byte) XattrEntry {
	return XattrEntry{le.Uint16(b), int(le.Uint16(b[2:]))}
}

// Elsewhere says that the value is the place of the value.
func (e XattrEntry) Elsewhere() bool { return e.Type&0x100 != 0 }

// Prefix is what stands before the name; empty if it is not known.
func (e XattrEntry) Prefix() string {
	switch e.Type & 0xFF {
	case 0:
		return "user."
	case 1:
		return "trusted."
	case 2:
		return "security."
	}
	return ""
}

// DecodeXattrLength decodes the length of a value.
func DecodeXattrLength(b []byte) uint32 { return le.Uint32(b) }

// DecodeXattrRef decodes a value that leads to another.
func DecodeXattrRef(b []byte) Ref { return Ref(le.Uint64(b)) }
