package ondisk

import (
	"encoding/binary"
	"fmt"
)

// JournalMagic begins every block of the journal that is not a copy of a file
// system's block (JBD2_MAGIC_NUMBER).
const JournalMagic = 0xC03B3998

// JournalHeader.BlockType
const (
	JournalDescriptor = 1 // JBD2_DESCRIPTOR_BLOCK
	JournalCommit     = 2 // JBD2_COMMIT_BLOCK
	JournalSuperV1    = 3 // JBD2_SUPERBLOCK_V1
	JournalSuperV2    = 4 // JBD2_SUPERBLOCK_V2
	JournalRevoke     = 5 // JBD2_REVOKE_BLOCK
)

// JournalSuperblock.FeatureCompat and FeatureIncompat
const (
	JournalCompatChecksum      = 0x01 // checksum of a whole transaction in its commit block
	JournalIncompatRevoke      = 0x01
	JournalIncompat64Bit       = 0x02
	JournalIncompatAsyncCommit = 0x04
	JournalIncompatCsumV2      = 0x08
	JournalIncompatCsumV3      = 0x10
	JournalIncompatFastCommit  = 0x20
)

// JournalTag.Flags
const (
	TagEscape   = 1 // the copy's first four bytes were JournalMagic and are zero here
	TagSameUUID = 2 // no UUID follows
	TagDeleted  = 4
	TagLast     = 8
)

// Sizes in bytes.
const (
	JournalSuperSize    = 1024
	JournalHeaderSize   = 12
	JournalTailSize     = 4  // struct jbd2_journal_block_tail
	JournalRevokeHeader = 16 // struct jbd2_journal_revoke_header_s
)

// JournalCRC32C is the only JournalSuperblock.ChecksumType of the checksum
// features 2 and 3.
const JournalCRC32C = 4

// DefaultFastCommitBlocks is what NumFCBlks of zero stands for
// (JBD2_DEFAULT_FAST_COMMIT_BLOCKS).
const DefaultFastCommitBlocks = 256

// JournalMinBlocks is the smallest journal (JBD2_MIN_JOURNAL_BLOCKS).
const JournalMinBlocks = 1024

// JournalHeader is struct journal_header_s.
type JournalHeader struct {
	Magic     uint32 // h_magic
	BlockType uint32 // h_blocktype
	Sequence  uint32 // h_sequence: transaction
}

// DecodeJournalHeader decodes the header of a journal block.
func DecodeJournalHeader(b []byte) JournalHeader {
	return JournalHeader{be.Uint32(b), be.Uint32(b[4:]), be.Uint32(b[8:])}
}

// JournalSuperblock is struct journal_superblock_s, in its order.
type JournalSuperblock struct {
	Header          JournalHeader
	BlockSize       uint32   // s_blocksize
	MaxLen          uint32   // s_maxlen: blocks in the journal
	First           uint32   // s_first: first block of the log
	Sequence        uint32   // s_sequence: first transaction expected in the log
	Start           uint32   // s_start: block of the log's start, 0 if it is empty
	Errno           uint32   // s_errno
	FeatureCompat   uint32   // s_feature_compat: from here on version 2 only
	FeatureIncompat uint32   // s_feature_incompat
	FeatureROCompat uint32   // s_feature_ro_compat
	UUID            [16]byte // s_uuid
	NrUsers         uint32   // s_nr_users
	DynSuper        uint32   // s_dynsuper
	MaxTransaction  uint32   // s_max_transaction
	MaxTransData    uint32   // s_max_trans_data
	ChecksumType    uint8    // s_checksum_type
	Padding2        [3]byte
	NumFCBlks       uint32 // s_num_fc_blks
	Head            uint32 // s_head
	Padding         [40]uint32
	Checksum        uint32     // s_checksum
	Users           [768]uint8 // s_users
}

// DecodeJournalSuperblock decodes the journal's first JournalSuperSize bytes.
func DecodeJournalSuperblock(b []byte) (*JournalSuperblock, error) {
	if len(b) < JournalSuperSize {
		return nil, fmt.Errorf("journal superblock of %d bytes", len(b))
	}
	js := new(JournalSuperblock)
	if _, err := binary.Decode(b[:JournalSuperSize], be, js); err != nil {
		return nil, err
	}
	if js.Header.BlockType == JournalSuperV1 {
		js.FeatureCompat, js.FeatureIncompat, js.FeatureROCompat = 0, 0, 0
	}
	return js, nil
}

// EncodeJournalSuperblock encodes js into the first JournalSuperSize bytes of b,
// with its checksum if it has the feature.
func EncodeJournalSuperblock(b []byte, js *JournalSuperblock) {
	if _, err := binary.Encode(b[:JournalSuperSize], be, js); err != nil {
		panic("bug: " + err.Error())
	}
	if js.BlockChecksums() {
		be.PutUint32(b[journalSuperChecksumOff:], JournalSuperChecksum(b))
	}
}

// journalSuperChecksumOff is where s_checksum lies.
const journalSuperChecksumOff = 0xFC

// JournalSuperChecksum computes the checksum of the journal superblock in b.
func JournalSuperChecksum(b []byte) uint32 {
	crc := CRC32C(^uint32(0), b[:journalSuperChecksumOff])
	crc = CRC32C32(crc, 0)
	return CRC32C(crc, b[journalSuperChecksumOff+4:JournalSuperSize])
}

// Compat reports whether all bits of f are set.
func (js *JournalSuperblock) Compat(f uint32) bool { return js.FeatureCompat&f == f }

// Incompat reports whether any bit of f is set.
func (js *JournalSuperblock) Incompat(f uint32) bool { return js.FeatureIncompat&f != 0 }

// BlockChecksums reports whether every block of the journal has a checksum
// (jbd2_journal_has_csum_v2or3).
func (js *JournalSuperblock) BlockChecksums() bool {
	return js.Incompat(JournalIncompatCsumV2 | JournalIncompatCsumV3)
}

// TagSize is the length of a tag in bytes, without UUID (journal_tag_bytes).
func (js *JournalSuperblock) TagSize() int {
	if js.Incompat(JournalIncompatCsumV3) {
		return 16
	}
	n := 8
	if js.Incompat(JournalIncompatCsumV2) {
		n += 2
	}
	if js.Incompat(JournalIncompat64Bit) {
		n += 4
	}
	return n
}

// JournalTag is struct journal_block_tag_s or journal_block_tag3_s: it says
// where the next block of the log belongs.
type JournalTag struct {
	Block    uint64 // t_blocknr
	Flags    uint32 // t_flags
	Checksum uint32 // t_checksum; 16 bits of it in version 2
}

// DecodeTag decodes the tag at the start of b, which is TagSize bytes long.
//
//	version 3:   0 block  4 flags (32)  8 block high  c checksum (32)
//	otherwise:   0 block  4 checksum (16)  6 flags (16)  8 block high
func (js *JournalSuperblock) DecodeTag(b []byte) JournalTag {
	t := JournalTag{Block: uint64(be.Uint32(b))}
	if js.Incompat(JournalIncompatCsumV3) {
		t.Flags, t.Checksum = be.Uint32(b[4:]), be.Uint32(b[12:])
	} else {
		t.Checksum, t.Flags = uint32(be.Uint16(b[4:])), uint32(be.Uint16(b[6:]))
	}
	if js.Incompat(JournalIncompat64Bit) {
		t.Block |= uint64(be.Uint32(b[8:])) << 32
	}
	return t
}

// TagChecksum computes the checksum of the copy b in transaction seq, from the
// journal's seed: cut to 16 bits in version 2.
func (js *JournalSuperblock) TagChecksum(seed, seq uint32, b []byte) uint32 {
	var s [4]byte
	be.PutUint32(s[:], seq)
	crc := CRC32C(CRC32C(seed, s[:]), b)
	if !js.Incompat(JournalIncompatCsumV3) {
		crc &= 0xFFFF
	}
	return crc
}

// JournalSeed is what the checksums of the journal start from.
func (js *JournalSuperblock) JournalSeed() uint32 { return CRC32C(^uint32(0), js.UUID[:]) }

// JournalBlockChecksum returns the checksum at the end of a descriptor or
// revoke block, and what it should be.
func JournalBlockChecksum(seed uint32, b []byte) (got, want uint32) {
	n := len(b) - JournalTailSize
	return be.Uint32(b[n:]), CRC32C32(CRC32C(seed, b[:n]), 0)
}

// JournalCommitBlock is struct commit_header behind the journal header.
type JournalCommitBlock struct {
	ChecksumType uint8  // h_chksum_type: 1 is CRC-32
	ChecksumSize uint8  // h_chksum_size
	Checksum     uint32 // h_chksum[0]
	Sec          uint64 // h_commit_sec
	Nsec         uint32 // h_commit_nsec
}

// DecodeJournalCommit decodes the commit block b.
func DecodeJournalCommit(b []byte) JournalCommitBlock {
	return JournalCommitBlock{
		ChecksumType: b[0x0C],
		ChecksumSize: b[0x0D],
		Checksum:     be.Uint32(b[0x10:]),
		Sec:          be.Uint64(b[0x30:]),
		Nsec:         be.Uint32(b[0x38:]),
	}
}

// JournalCommitChecksum returns the checksum in the commit block b, and what
// it should be with per-block checksums.
func JournalCommitChecksum(seed uint32, b []byte) (got, want uint32) {
	crc := CRC32C(seed, b[:0x10])
	crc = CRC32C32(crc, 0)
	return be.Uint32(b[0x10:]), CRC32C(crc, b[0x14:])
}

// RevokeRecords returns the records of the revoke block b, as they lie on disk,
// and the size of each in bytes; false if the count does not fit the block.
func (js *JournalSuperblock) RevokeRecords(b []byte) (records []byte, size int, ok bool) {
	end := int64(be.Uint32(b[JournalHeaderSize:]))
	room := len(b)
	if js.BlockChecksums() {
		room -= JournalTailSize
	}
	if end < JournalRevokeHeader || end > int64(room) {
		return nil, 0, false
	}
	size = 4
	if js.Incompat(JournalIncompat64Bit) {
		size = 8
	}
	return b[JournalRevokeHeader:end], size, true
}

// RevokedBlock decodes the record at the start of b.
func RevokedBlock(b []byte, size int) uint64 {
	if size == 8 {
		return be.Uint64(b)
	}
	return uint64(be.Uint32(b))
}
