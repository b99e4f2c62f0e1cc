package ondisk

// Where the parts of a hash-indexed directory's blocks lie, in bytes.
const (
	dxRootInfoOff  = 24 // behind "." and ".."
	dxRootInfoLen  = 8
	DxRootEntries  = dxRootInfoOff + dxRootInfoLen // entries in block 0
	DxNodeEntries  = DirEntryHeader                // entries in other index blocks
	DxEntrySize    = 8
	dxTailSize     = 8
	DxMaxBlock     = 0x0FFFFFFF // blocks that an index can name
	MaxDxLevels    = 3          // EXT4_HTREE_LEVEL
	MaxDxLevelsOld = 2          // EXT4_HTREE_LEVEL_COMPAT: without large_dir
)

// DxRoot is struct dx_root_info.
type DxRoot struct {
	Reserved       uint32
	HashVersion    uint8
	InfoLength     uint8 // 8
	IndirectLevels uint8 // index levels below the root
	UnusedFlags    uint8
}

// DecodeDxRoot decodes the index root in a directory's first block.
func DecodeDxRoot(b []byte) DxRoot {
	b = b[dxRootInfoOff:]
	return DxRoot{
		Reserved:       le.Uint32(b),
		HashVersion:    b[4],
		InfoLength:     b[5],
		IndirectLevels: b[6],
		UnusedFlags:    b[7],
	}
}

// EncodeDxRoot encodes r in a directory's first block b.
func EncodeDxRoot(b []byte, r DxRoot) {
	b = b[dxRootInfoOff:]
	le.PutUint32(b, r.Reserved)
	b[4], b[5], b[6], b[7] = r.HashVersion, r.InfoLength, r.IndirectLevels, r.UnusedFlags
}

// DxLimit is the Limit of an index block of blockSize bytes whose entries begin
// at off, with room for a checksum behind them or not (dx_root_limit,
// dx_node_limit).
func DxLimit(blockSize, off int, checksum bool) int {
	room := blockSize - off
	if checksum {
		room -= dxTailSize
	}
	return room / DxEntrySize
}

// DxEntries are the entries of an index block: pairs of a hash and the block
// of the directory that names of at least that hash are in. In place of its
// hash, the first has the room (limit) and number (count) of all.
type DxEntries []byte

// Limit is the number of entries there is room for.
func (e DxEntries) Limit() int { return int(le.Uint16(e)) }

// Count is the number of entries in use.
func (e DxEntries) Count() int { return int(le.Uint16(e[2:])) }

// Hash is the least hash below entry i.
func (e DxEntries) Hash(i int) uint32 {
	if i == 0 {
		return 0
	}
	return le.Uint32(e[i*DxEntrySize:])
}

// Block is the directory's block that entry i leads to.
func (e DxEntries) Block(i int) uint32 { return le.Uint32(e[i*DxEntrySize+4:]) & DxMaxBlock }

// SetLimit changes the room for entries.
func (e DxEntries) SetLimit(n int) { le.PutUint16(e, uint16(n)) }

// SetCount changes the number of entries in use.
func (e DxEntries) SetCount(n int) { le.PutUint16(e[2:], uint16(n)) }

// SetBlock changes the block that entry i leads to.
func (e DxEntries) SetBlock(i int, block uint32) { le.PutUint32(e[i*DxEntrySize+4:], block) }

// Insert puts an entry in place i, and those from there on behind it.
//
// Requires 0 < i <= e.Count() < e.Limit().
func (e DxEntries) Insert(i int, hash, block uint32) {
	n := e.Count()
	copy(e[(i+1)*DxEntrySize:], e[i*DxEntrySize:n*DxEntrySize])
	le.PutUint32(e[i*DxEntrySize:], hash)
	e.SetBlock(i, block)
	e.SetCount(n + 1)
}

// SealDx writes the checksum of the index block b whose entries begin at
// off. Their number and room are those of a sound block.
func SealDx(inodeSeed uint32, b []byte, off int) {
	tail := off + DxEntries(b[off:]).Limit()*DxEntrySize
	clear(b[tail : tail+4]) // dt_reserved
	_, want, _ := DxTail(inodeSeed, b, off)
	le.PutUint32(b[tail+4:], want)
}

// DxTail returns the checksum of the index block b whose entries begin at off
// (struct dx_tail), and what it should be. It reports false if the tail or the
// entries would lie outside the block.
func DxTail(inodeSeed uint32, b []byte, off int) (got, want uint32, ok bool) {
	if off+DxEntrySize > len(b) {
		return 0, 0, false
	}
	e := DxEntries(b[off:])
	tail := off + e.Limit()*DxEntrySize
	end := off + e.Count()*DxEntrySize
	if e.Count() > e.Limit() || tail+dxTailSize > len(b) {
		return 0, 0, false
	}
	want = CRC32C(inodeSeed, b[:end])
	want = CRC32C(want, b[tail:tail+4])
	want = CRC32C32(want, 0)
	return le.Uint32(b[tail+4:]), want, true
}
