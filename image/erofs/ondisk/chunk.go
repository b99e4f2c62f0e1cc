package ondisk

// A ChunkFormat is Where of a file in chunks.
type ChunkFormat uint32

// Bits is by how much the logarithm of a chunk's size exceeds that of a
// block's.
func (c ChunkFormat) Bits() uint { return uint(c & 0x1F) }

// Indexed says that the table has entries with a device instead of addresses.
func (c ChunkFormat) Indexed() bool { return c&0x20 != 0 }

// Unknown are the bits that have no meaning here. The upper half is reserved.
func (c ChunkFormat) Unknown() ChunkFormat { return c & 0xFFC0 }

// EntrySize is the size of an entry of the table, which is aligned to it.
func (c ChunkFormat) EntrySize() int64 {
	if c.Indexed() {
		return 8
	}
	return 4
}

// A Chunk is an entry of the table.
type Chunk struct {
	Device uint16
	Block  uint32 // NoBlock: a hole
}

// DecodeChunk decodes an entry, which has EntrySize bytes.
func (c ChunkFormat) DecodeChunk(b []byte) Chunk {
	if c.Indexed() {
		return Chunk{le.Uint16(b[2:]), le.Uint32(b[4:])}
	}
	return Chunk{0, le.Uint32(b)}
}
