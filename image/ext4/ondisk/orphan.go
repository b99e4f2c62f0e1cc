package ondisk

// The orphan file is an array of inode numbers in blocks that end in a tail.
const (
	OrphanMagic    = 0x0B10CA04 // ob_magic
	OrphanTailSize = 8          // struct ext4_orphan_block_tail
)

// OrphanTail returns the magic number and the checksum at the end of the block
// b of the orphan file, which is block number block of the device, and what
// the checksum should be.
func OrphanTail(inodeSeed uint32, block uint64, b []byte) (magic, got, want uint32) {
	var num [8]byte
	le.PutUint64(num[:], block)
	n := len(b) - OrphanTailSize
	want = CRC32C(CRC32C(inodeSeed, num[:]), b[:n])
	return le.Uint32(b[n:]), le.Uint32(b[n+4:]), want
}

// PutOrphanTail writes the tail of the block b of the orphan file.
func PutOrphanTail(inodeSeed uint32, block uint64, b []byte, sum bool) {
	n := len(b) - OrphanTailSize
	le.PutUint32(b[n:], OrphanMagic)
	le.PutUint32(b[n+4:], 0)
	if sum {
		_, _, want := OrphanTail(inodeSeed, block, b)
		le.PutUint32(b[n+4:], want)
	}
}
