package gpt

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

var le = binary.LittleEndian

// header is the GPT header (UEFI 5.3.2), 92 bytes in this order.
type header struct {
	Signature    [8]byte // "EFI PART"
	Revision     uint32  // 0x00010000
	HeaderSize   uint32  // bytes that HeaderCRC covers, at least 92
	HeaderCRC    uint32  // CRC-32 of the header with this field zero
	Reserved     uint32  // 0
	MyLBA        uint64
	AlternateLBA uint64 // where the other copy is
	FirstUsable  uint64 // sector
	LastUsable   uint64 // sector, inclusive
	DiskGUID     [16]byte
	EntriesLBA   uint64
	EntryCount   uint32
	EntrySize    uint32 // 128 × 2^n bytes
	EntriesCRC   uint32 // CRC-32 of EntryCount × EntrySize bytes
}

const (
	signature    = "EFI PART"
	headerBytes  = 92
	entryBytes   = 128     // what the specification defines of an entry
	maxEntrySize = 4096    // bytes; nobody uses more than 128
	maxEntries   = 1 << 20 // bytes of array; the usual 128 entries take 16384
)

// tableCopy is one of the two copies of a table.
type tableCopy struct {
	ss      int // bytes of a sector
	lba     int64
	header  header
	entries []byte // EntryCount × EntrySize bytes, their checksum verified
}

func (c *tableCopy) off() int64 { return c.lba * int64(c.ss) }

// signed reports whether the sector has the signature of a header at all.
func (c *tableCopy) signed() bool { return string(c.header.Signature[:]) == signature }

// entryOff is the byte on the disk of the entry with the number index.
func (c *tableCopy) entryOff(index int) int64 {
	return int64(c.header.EntriesLBA)*int64(c.ss) + int64(index-1)*int64(c.header.EntrySize)
}

// readCopy reads and judges the copy whose header is in sector lba. It returns
// what was read with the error, so that damage can be told from absence.
func readCopy(dev blockio.Device, ss int, lba int64) (*tableCopy, error) {
	c := &tableCopy{ss: ss, lba: lba}
	sector, err := blockio.ReadFull(dev, c.off(), ss)
	if err != nil {
		return c, err
	}
	if _, err := binary.Decode(sector, le, &c.header); err != nil {
		return c, err
	}
	if err := c.validate(sector, dev.Size()/int64(ss)); err != nil {
		return c, err
	}
	h := c.header
	size := int(h.EntryCount) * int(h.EntrySize) // validate has bounded both
	at := int64(h.EntriesLBA) * int64(ss)
	entries, err := blockio.ReadFull(dev, at, size)
	if err != nil {
		return c, vfs.Corruptf(at, "partition entries", "%v", err)
	}
	if sum := crc32.ChecksumIEEE(entries); sum != h.EntriesCRC {
		return c, vfs.Corruptf(at, "partition entries", "checksum is 0x%08x, the header says 0x%08x", sum, h.EntriesCRC)
	}
	c.entries = entries
	return c, nil
}

// validate returns the first rule that the header in sector breaks.
func (c *tableCopy) validate(sector []byte, sectors int64) error {
	h := c.header
	bad := func(field int64, format string, args ...any) error {
		return vfs.Corruptf(c.off()+field, "header", format, args...)
	}
	if !c.signed() {
		return bad(0, "no signature %q", signature)
	}
	if h.HeaderSize < headerBytes || int64(h.HeaderSize) > int64(len(sector)) {
		return bad(12, "header size %d is not between %d and %d", h.HeaderSize, headerBytes, len(sector))
	}
	crc := crc32.NewIEEE()
	crc.Write(sector[:16])
	crc.Write(make([]byte, 4))
	crc.Write(sector[20:h.HeaderSize])
	if sum := crc.Sum32(); sum != h.HeaderCRC {
		return bad(16, "checksum is 0x%08x, the header says 0x%08x", sum, h.HeaderCRC)
	}
	if h.Revision>>16 != 1 {
		return bad(8, "revision %d.%d is not 1.x", h.Revision>>16, h.Revision&0xffff)
	}
	if h.MyLBA != uint64(c.lba) {
		return bad(24, "it says that it is in sector %d, but is in sector %d", h.MyLBA, c.lba)
	}
	if h.EntrySize < entryBytes || h.EntrySize > maxEntrySize || h.EntrySize&(h.EntrySize-1) != 0 {
		return bad(84, "entry size %d is not 128, 256, 512 …", h.EntrySize)
	}
	if size := uint64(h.EntryCount) * uint64(h.EntrySize); size > maxEntries {
		return bad(80, "%d entries of %d bytes are more than is reasonable", h.EntryCount, h.EntrySize)
	}
	if h.EntriesLBA < 2 || h.EntriesLBA >= uint64(sectors) {
		return bad(72, "the entries are at sector %d, the disk has %d", h.EntriesLBA, sectors)
	}
	return nil
}
