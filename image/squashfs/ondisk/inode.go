package ondisk

// Types of an inode. The extended ones follow in the same order.
const (
	TypeDir = 1 + iota
	TypeFile
	TypeSymlink
	TypeBlock
	TypeChar
	TypeFIFO
	TypeSocket
	basicTypes = TypeSocket
)

// InodeHeaderSize is the size of what all inodes begin with.
const InodeHeaderSize = 16

// Inode is the fixed part of an inode of any type. Fields that its type does
// not have are zero, but for Nlink, which is 1, and Fragment and Xattr, which
// say that there is none.
type Inode struct {
	Type     uint16 // TypeDir to TypeSocket, of extended inodes as well
	Extended bool
	Mode     uint16 // permissions
	UID, GID uint16 // indexes of the id table
	Mtime    uint32 // seconds since 1970
	Number   uint32
	Nlink    uint32
	Size     uint64 // of a file; of a directory with 3 more; of a link's target
	Start    uint64 // start_block: of a file's data; of a directory in its table
	Offset   uint32 // in the fragment; in the first block of a directory
	Fragment uint32 // NoFragment: the end is a block as well
	Sparse   uint64 // bytes in blocks that are not stored
	Parent   uint32 // of a directory: the number of the one above
	Indexes  uint16 // i_count: entries of a directory's index
	Rdev     uint32
	Xattr    uint32 // index of the xattr id table
}

// inodeSizes are those of the fixed parts, by type: basic ones, then extended
// ones.
var inodeSizes = [2 * basicTypes]int{
	32, 32, 24, 24, 24, 20, 20,
	40, 56, 24, 28, 28, 24, 24,
}

// MaxInodeSize is the largest of them.
const MaxInodeSize = 56

// InodeSize returns how long the fixed part of an inode is, by its first two
// bytes; ok is false for a type that does not exist.
func InodeSize(b []byte) (n int, ok bool) {
	t := int(le.Uint16(b))
	if t < 1 || t > len(inodeSizes) {
		return 0, false
	}
	return inodeSizes[t-1], true
}

// DecodeInode decodes a fixed part, which has InodeSize bytes. What follows it
// is the list of blocks of a file, the target of a link (and then the word
// Xattr of an extended one) or the index of an extended directory.
func DecodeInode(b []byte) (in Inode) {
	in = Inode{
		Type: le.Uint16(b), Mode: le.Uint16(b[2:]),
		UID: le.Uint16(b[4:]), GID: le.Uint16(b[6:]),
		Mtime: le.Uint32(b[8:]), Number: le.Uint32(b[12:]),
		Nlink: 1, Fragment: NoFragment, Xattr: NoXattrs,
	}
	b = b[InodeHeaderSize:]
	if in.Type > basicTypes {
		in.Type -= basicTypes
		in.Extended = true
		in.decodeExtended(b)
	} else {
		in.decodeBasic(b)
	}
	return in
}

func (in *Inode) decodeBasic(b []byte) {
	switch in.Type {
	case TypeDir:
		in.Start = uint64(le.Uint32(b))
		in.Nlink = le.Uint32(b[4:])
		in.Size = uint64(le.Uint16(b[8:]))
		in.Offset = uint32(le.Uint16(b[10:]))
		in.Parent = le.Uint32(b[12:])
	case TypeFile:
		in.Start = uint64(le.Uint32(b))
		in.Fragment = le.Uint32(b[4:])
		in.Offset = le.Uint32(b[8:])
		in.Size = uint64(le.Uint32(b[12:]))
	case TypeSymlink:
		in.Nlink = le.Uint32(b)
		in.Size = uint64(le.Uint32(b[4:]))
	case TypeBlock, TypeChar:
		in.Nlink = le.Uint32(b)
		in.Rdev = le.Uint32(b[4:])
	default:
		in.Nlink = le.Uint32(b)
	}
}

func (in *Inode) decodeExtended(b []byte) {
	switch in.Type {
	case TypeDir:
		in.Nlink = le.Uint32(b)
		in.Size = uint64(le.Uint32(b[4:]))
		in.Start = uint64(le.Uint32(b[8:]))
		in.Parent = le.Uint32(b[12:])
		in.Indexes = le.Uint16(b[16:])
		in.Offset = uint32(le.Uint16(b[18:]))
		in.Xattr = le.Uint32(b[20:])
	case TypeFile:
		in.Start = le.Uint64(b)
		in.Size = le.Uint64(b[8:])
		in.Sparse = le.Uint64(b[16:])
		in.Nlink = le.Uint32(b[24:])
		in.Fragment = le.Uint32(b[28:])
		in.Offset = le.Uint32(b[32:])
		in.Xattr = le.Uint32(b[36:])
	case TypeSymlink:
		in.Nlink = le.Uint32(b)
		in.Size = uint64(le.Uint32(b[4:]))
	case TypeBlock, TypeChar:
		in.Nlink = le.Uint32(b)
		in.Rdev = le.Uint32(b[4:])
		in.Xattr = le.Uint32(b[8:])
	default:
		in.Nlink = le.Uint32(b)
		in.Xattr = le.Uint32(b[4:])
	}
}

// XattrWordSize is the size of the word that follows the target of an extended
// symbolic link.
const XattrWordSize = 4

// DecodeXattrWord decodes it.
func DecodeXattrWord(b []byte) uint32 { return le.Uint32(b) }

// Device takes apart Rdev, which is packed as Linux does within 32 bits.
func (in *Inode) Device() (major, minor uint32) {
	return in.Rdev >> 8 & 0xFFF, in.Rdev&0xFF | in.Rdev>>12&0xFFF00
}
