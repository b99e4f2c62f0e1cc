package ondisk

// Where the parts of a hash-indexed directory's blocks lie, in bytes.
const (
	dxRootInfoOff  = 24 // behind "." and ".."
	dxRootInfoLen  = 8
	DxRootEntries  = dxRootInfoOff + dxRootInfoLen // entries in block 0
	DxNodeEntries  = DirEntryHeader                // entries in other index blocks
	DxEntrySize    = 8
	dxTailSize     = 8
	dxBlockMask    = 0x0FFFFFFF
	MaxDxLevels    = 3 // EXT4_HTREE_LEVEL
	MaxDxLevelsOld = 2 // EXT4_HTREE_LEVEL_COMPAT: without large_dir
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
func (e DxEntries) Block(i int) uint32 { return le.Uint32(e[i*DxEntrySize+4:]) & dxBlockMask }

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
