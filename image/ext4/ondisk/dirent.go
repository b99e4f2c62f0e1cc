package ondisk

// DirEntryHeader is the size in bytes of a directory entry without its name.
const DirEntryHeader = 8

// DirEntryMin is the smallest directory entry in bytes: a name of one byte.
const DirEntryMin = 12

// NameMax is the longest name in bytes.
const NameMax = 255

// DirTailSize is the size in bytes of struct ext4_dir_entry_tail: an empty
// directory entry that holds the block's checksum.
const DirTailSize = 12

// dirTailType is det_reserved_ft.
const dirTailType = 0xDE

// DirEntry is struct ext4_dir_entry_2 without the name.
type DirEntry struct {
	Ino     uint32
	RecLen  int // bytes to the next entry
	NameLen int // bytes
	Type    uint8
}

// DecodeDirEntry decodes the entry at the start of b, in a block of blockSize
// bytes. RecLen is not checked.
func DecodeDirEntry(b []byte, blockSize int) DirEntry {
	_ = b[DirEntryHeader-1]
	return DirEntry{
		Ino:     le.Uint32(b),
		RecLen:  recLen(le.Uint16(b[4:]), blockSize),
		NameLen: int(b[6]),
		Type:    b[7],
	}
}

// recLen decodes rec_len (ext4_rec_len_from_disk). Lengths are multiples of
// four, so that blocks of 64 KiB can keep bits 16 and 17 in the lowest two.
func recLen(v uint16, blockSize int) int {
	if blockSize < 1<<16 {
		return int(v)
	}
	if v == 0 || v == 0xFFFF {
		return blockSize
	}
	return int(v&^3) | int(v&3)<<16
}

// EncodeDirEntry encodes e at the start of b, in a block of blockSize bytes. The
// name goes behind it.
func EncodeDirEntry(b []byte, e DirEntry, blockSize int) {
	le.PutUint32(b, e.Ino)
	le.PutUint16(b[4:], encodeRecLen(e.RecLen, blockSize))
	b[6], b[7] = uint8(e.NameLen), e.Type
}

// SetRecLen changes the length of the entry at the start of b alone.
func SetRecLen(b []byte, n, blockSize int) { le.PutUint16(b[4:], encodeRecLen(n, blockSize)) }

// encodeRecLen encodes rec_len (ext4_rec_len_to_disk).
func encodeRecLen(n, blockSize int) uint16 {
	if n < 1<<16 {
		return uint16(n)
	}
	if n == blockSize {
		if blockSize == 1<<16 {
			return 0xFFFF
		}
		return 0
	}
	return uint16(n&0xFFFC | n>>16&3)
}

// DirEntrySize is the least RecLen of an entry with a name of n bytes.
func DirEntrySize(n int) int { return (DirEntryHeader + n + 3) &^ 3 }

// DirTail reports whether the block b ends in a tail with a checksum.
func DirTail(b []byte) (checksum uint32, ok bool) {
	t := b[len(b)-DirTailSize:]
	if le.Uint32(t) != 0 || le.Uint16(t[4:]) != DirTailSize || t[6] != 0 || t[7] != dirTailType {
		return 0, false
	}
	return le.Uint32(t[8:]), true
}

// DirChecksum computes the checksum of the directory block b.
func DirChecksum(inodeSeed uint32, b []byte) uint32 {
	return CRC32C(inodeSeed, b[:len(b)-DirTailSize])
}

// SealDir makes the last DirTailSize bytes of the directory block b the tail
// with its checksum.
func SealDir(inodeSeed uint32, b []byte) {
	t := b[len(b)-DirTailSize:]
	clear(t)
	le.PutUint16(t[4:], DirTailSize)
	t[7] = dirTailType
	le.PutUint32(t[8:], DirChecksum(inodeSeed, b))
}
