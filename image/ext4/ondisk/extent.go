package ondisk

// ExtentMagic is ExtentHeader.Magic.
const ExtentMagic = 0xF30A

// Sizes in bytes of an extent header, and of each entry behind it.
const (
	ExtentHeaderSize = 12
	ExtentEntrySize  = 12
)

// MaxExtentDepth is the deepest extent tree there can be
// (EXT4_MAX_EXTENT_DEPTH).
const MaxExtentDepth = 5

// The longest extents in blocks (EXT_INIT_MAX_LEN, EXT_UNWRITTEN_MAX_LEN). An
// ee_len above the first marks an unwritten one.
const (
	MaxExtentLen    = 1 << 15
	MaxUnwrittenLen = 1<<15 - 1
)

// ExtentHeader is struct ext4_extent_header.
type ExtentHeader struct {
	Magic   uint16 // eh_magic
	Entries uint16 // eh_entries: in use
	Max     uint16 // eh_max: room
	Depth   uint16 // eh_depth: 0 for a leaf
}

// DecodeExtentHeader decodes the header at the start of b.
func DecodeExtentHeader(b []byte) ExtentHeader {
	return ExtentHeader{
		Magic:   le.Uint16(b[0:]),
		Entries: le.Uint16(b[2:]),
		Max:     le.Uint16(b[4:]),
		Depth:   le.Uint16(b[6:]),
	}
}

// EncodeExtentHeader encodes h at the start of b, with a generation of zero.
func EncodeExtentHeader(b []byte, h ExtentHeader) {
	le.PutUint16(b[0:], h.Magic)
	le.PutUint16(b[2:], h.Entries)
	le.PutUint16(b[4:], h.Max)
	le.PutUint16(b[6:], h.Depth)
	le.PutUint32(b[8:], 0)
}

// Extent is struct ext4_extent: blocks that lie together.
type Extent struct {
	Block     uint32 // ee_block: first block of the file
	Len       uint32 // ee_len: blocks
	Start     uint64 // ee_start: first block of the device
	Unwritten bool   // allocated, but reads as zeros
}

// DecodeExtent decodes the entry i of the leaf b, header included.
func DecodeExtent(b []byte, i int) Extent {
	e := b[ExtentHeaderSize+i*ExtentEntrySize:]
	x := Extent{
		Block: le.Uint32(e[0:]),
		Len:   uint32(le.Uint16(e[4:])),
		Start: uint64(le.Uint32(e[8:])) | uint64(le.Uint16(e[6:]))<<32,
	}
	if x.Len > MaxExtentLen {
		x.Len -= MaxExtentLen
		x.Unwritten = true
	}
	return x
}

// EncodeExtent encodes x as the entry i of the leaf b, header included.
func EncodeExtent(b []byte, i int, x Extent) {
	e := b[ExtentHeaderSize+i*ExtentEntrySize:]
	n := x.Len
	if x.Unwritten {
		n += MaxExtentLen
	}
	le.PutUint32(e[0:], x.Block)
	le.PutUint16(e[4:], uint16(n))
	le.PutUint16(e[6:], uint16(x.Start>>32))
	le.PutUint32(e[8:], uint32(x.Start))
}

// EncodeExtentIndex encodes the entry i of the index node b.
func EncodeExtentIndex(b []byte, i int, block uint32, leaf uint64) {
	e := b[ExtentHeaderSize+i*ExtentEntrySize:]
	le.PutUint32(e[0:], block)
	le.PutUint32(e[4:], uint32(leaf))
	le.PutUint16(e[8:], uint16(leaf>>32))
	le.PutUint16(e[10:], 0)
}

// DecodeExtentIndex decodes the entry i of the index node b (struct
// ext4_extent_idx): the first block of the file below it, and the block of
// the device that holds the next node.
func DecodeExtentIndex(b []byte, i int) (block uint32, leaf uint64) {
	e := b[ExtentHeaderSize+i*ExtentEntrySize:]
	return le.Uint32(e[0:]), uint64(le.Uint32(e[4:])) | uint64(le.Uint16(e[8:]))<<32
}

// ExtentEntryBlock is the first block of the file of entry i, leaf or index.
func ExtentEntryBlock(b []byte, i int) uint32 {
	return le.Uint32(b[ExtentHeaderSize+i*ExtentEntrySize:])
}

// SetExtentEntryBlock is the inverse of [ExtentEntryBlock].
func SetExtentEntryBlock(b []byte, i int, block uint32) {
	le.PutUint32(b[ExtentHeaderSize+i*ExtentEntrySize:], block)
}

// ExtentTail returns the checksum behind the entries of the node b with room
// for max entries (struct ext4_extent_tail), and what it should be.
func ExtentTail(inodeSeed uint32, b []byte, max uint16) (got, want uint32) {
	end := ExtentHeaderSize + int(max)*ExtentEntrySize
	return le.Uint32(b[end:]), CRC32C(inodeSeed, b[:end])
}

// SealExtentNode gives the node b, a block with room for max entries, its
// checksum.
func SealExtentNode(inodeSeed uint32, b []byte, max uint16) {
	_, want := ExtentTail(inodeSeed, b, max)
	le.PutUint32(b[ExtentHeaderSize+int(max)*ExtentEntrySize:], want)
}
