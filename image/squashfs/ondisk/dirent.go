package ondisk

// The sizes of the parts of a directory, and their limits.
const (
	DirHeaderSize = 12
	DirEntrySize  = 8 // without the name
	DirIndexSize  = 12
	MaxName       = 256
	MaxRun        = 256 // entries behind one header
	// DirSizeExtra is what the size of a directory has too much: room for the
	// entries "." and "..", which are not stored.
	DirSizeExtra = 3
)

// A DirHeader precedes a run of entries whose inodes lie in one metadata block.
type DirHeader struct {
	Count  uint32 // of entries; stored with 1 less
	Start  uint32 // of the metadata block in the inode table
	Number uint32 // inode number that those of the entries are told by
}

// DecodeDirHeader decodes one. The count may wrap to 0.
func DecodeDirHeader(b []byte) DirHeader {
	return DirHeader{le.Uint32(b) + 1, le.Uint32(b[4:]), le.Uint32(b[8:])}
}

// A DirEntry is what precedes a name.
type DirEntry struct {
	Offset   uint16 // of the inode in its metadata block
	Delta    int16  // from the number of the header
	Type     uint16 // TypeDir to TypeSocket
	NameSize int    // stored with 1 less
}

// DecodeDirEntry decodes one.
func DecodeDirEntry(b []byte) DirEntry {
	return DirEntry{le.Uint16(b), int16(le.Uint16(b[2:])), le.Uint16(b[4:]), int(le.Uint16(b[6:])) + 1}
}

// A DirIndex is an entry of the index of a large directory: the first name of
// a metadata block of it.
type DirIndex struct {
	Index    uint32 // offset in the directory of the header that the block begins with
	Start    uint32 // of the metadata block in the directory table
	NameSize uint32 // stored with 1 less; may wrap to 0
}

// DecodeDirIndex decodes one.
func DecodeDirIndex(b []byte) DirIndex {
	return DirIndex{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:]) + 1}
}
