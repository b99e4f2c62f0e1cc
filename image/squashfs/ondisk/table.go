package ondisk

// A Ref is an inode reference: the offset of a metadata block in the inode
// table, and the offset of the inode in what that block holds.
type Ref uint64

// NewRef makes a reference.
func NewRef(block uint32, offset uint16) Ref { return Ref(block)<<16 | Ref(offset) }

// Block is the offset of the metadata block in its table.
func (r Ref) Block() int64 { return int64(r >> 16) }

// Offset is the offset in the uncompressed block.
func (r Ref) Offset() int { return int(r & 0xFFFF) }

// A metadata block is preceded by a header of two bytes: its size, and whether
// it is stored as it is.
const (
	HeaderSize = 2
	rawBit     = 1 << 15
)

// DecodeHeader decodes the header of a metadata block. A valid size is at most
// MetadataSize, and not 0.
func DecodeHeader(b []byte) (size int, raw bool) {
	w := le.Uint16(b)
	return int(w &^ rawBit), w&rawBit != 0
}

// A BlockWord says how long a data block is on the device, and whether it is
// stored as it is. 0 is a block of zeros that is not stored at all.
type BlockWord uint32

const rawBlock BlockWord = 1 << 24

// BlockWordSize is the size of one in the list of a file's blocks.
const BlockWordSize = 4

// DecodeBlockWord decodes one.
func DecodeBlockWord(b []byte) BlockWord { return BlockWord(le.Uint32(b)) }

// Size is the length on the device.
func (w BlockWord) Size() int64 { return int64(w & (rawBlock - 1)) }

// Raw says that the block is stored as it is.
func (w BlockWord) Raw() bool { return w&rawBlock != 0 }

// Known says that no bit is set that nobody has given a meaning to.
func (w BlockWord) Known() bool { return w < rawBlock<<1 }

// The sizes of the entries of the tables that are found through a list of
// metadata blocks, and of an entry in that list.
const (
	PointerSize  = 8
	IDSize       = 4
	ExportSize   = 8
	FragmentSize = 16
	XattrIDSize  = 16
)

// DecodePointer decodes the place of a metadata block.
func DecodePointer(b []byte) uint64 { return le.Uint64(b) }

// DecodeID decodes a user or group id.
func DecodeID(b []byte) uint32 { return le.Uint32(b) }

// DecodeExport decodes an entry of the export table.
func DecodeExport(b []byte) Ref { return Ref(le.Uint64(b)) }

// A Fragment is where a block of ends of files lies.
type Fragment struct {
	Start uint64 // start_block: byte offset
	Word  BlockWord
}

// DecodeFragment decodes the FragmentSize bytes of an entry of the fragment
// table.
func DecodeFragment(b []byte) Fragment {
	return Fragment{Start: le.Uint64(b), Word: DecodeBlockWord(b[8:])}
}
