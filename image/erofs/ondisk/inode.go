package ondisk

// InodeSlot is the unit of inode numbers (nid): an inode lies that many times
// its number behind the start of the metadata.
const InodeSlot = 32

// The sizes of the two forms of an inode.
const (
	CompactSize  = 32
	ExtendedSize = 64
)

// A Layout says how the contents of a file are stored.
type Layout uint8

// The layouts.
const (
	FlatPlain         Layout = iota // one piece
	CompressedFull                  // with an index entry of 8 bytes for each block
	FlatInline                      // one piece, and the end behind the inode
	CompressedCompact               // with packed index entries
	ChunkBased                      // chunks of the same size, with a table
	layouts
)

// Known reports whether there is such a layout.
func (l Layout) Known() bool { return l < layouts }

// Compressed reports whether the contents are compressed.
func (l Layout) Compressed() bool { return l == CompressedFull || l == CompressedCompact }

// The bits of i_format: the version, the layout, and what is not known.
const (
	extendedBit   = 1
	layoutShift   = 1
	layoutMask    = 7
	UnknownFormat = 0xFFF0
)

// Inode is an inode of either form. A compact one has no time of its own.
type Inode struct {
	Format   uint16 // i_format
	Extended bool
	Layout   Layout
	Xattrs   uint16 // i_xattr_icount
	Mode     uint16
	Nlink    uint32
	Size     uint64
	Where    uint32 // i_u: the first block; the number of a device; the format of chunks
	Number   uint32 // i_ino: what stat(2) shows on machines of 32 bits
	UID, GID uint32
	Mtime    int64  // seconds since 1970, of an extended one
	Nsec     uint32 // likewise
}

// InodeSize returns how long an inode is, by its first two bytes.
func InodeSize(b []byte) int {
	if le.Uint16(b)&extendedBit != 0 {
		return ExtendedSize
	}
	return CompactSize
}

// DecodeInode decodes an inode, which has InodeSize bytes.
func DecodeInode(b []byte) Inode {
	in := Inode{
		Format: le.Uint16(b), Xattrs: le.Uint16(b[2:]), Mode: le.Uint16(b[4:]),
		Where: le.Uint32(b[16:]), Number: le.Uint32(b[20:]),
	}
	in.Layout = Layout(in.Format >> layoutShift & layoutMask)
	if in.Extended = in.Format&extendedBit != 0; !in.Extended {
		in.Nlink = uint32(le.Uint16(b[6:]))
		in.Size = uint64(le.Uint32(b[8:]))
		in.UID, in.GID = uint32(le.Uint16(b[24:])), uint32(le.Uint16(b[26:]))
		return in
	}
	in.Size = le.Uint64(b[8:])
	in.UID, in.GID = le.Uint32(b[24:]), le.Uint32(b[28:])
	in.Mtime, in.Nsec = int64(le.Uint64(b[32:])), le.Uint32(b[40:])
	in.Nlink = le.Uint32(b[44:])
	return in
}

// Device takes Where of a device node apart, as Linux packs it into 32 bits.
func (in *Inode) Device() (major, minor uint32) {
	return in.Where >> 8 & 0xFFF, in.Where&0xFF | in.Where>>12&0xFFF00
}
