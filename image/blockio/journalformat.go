package blockio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// The journal file, all numbers little-endian:
//
//	   0  header: one sector, of which 48 bytes are used
//	4096  records: 96 bytes each, followed by the sectors that the mask names
//	  …   the commit record: 96 bytes
//
// A record is a page of the image (4096 bytes at an offset that is a multiple
// of it), or some of its eight sectors. For each there is the checksum of what
// it holds now and of what the image held before. A later record of a page
// replaces an earlier one.
//
// The journal is complete if the header is live, and the records from the first
// on lead to a commit record that counts them all and has the right checksum of
// their headers, all with the sequence number of the header. Everything else is
// a commit that never was.

const (
	journalStart   = 4096
	journalVersion = 1
	headerLen      = 48
	recordLen      = 96
)

var (
	journalMagic = [8]byte{'r', 'e', 's', 'f', 'l', 'a', 's', 'h'}
	recordMagic  = uint32(0x31524a52) // "RJR1"
	commitMagic  = uint32(0x31434a52) // "RJC1"
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

// A journalHeader is what a journal begins with.
type journalHeader struct {
	version   uint32 // 16
	live      bool   // 20: there may be a commit to finish
	seq       uint64 // 24: of the commit
	imageSize int64  // 32: bytes
	reserved  uint64 // 40
}

func (h journalHeader) encode() []byte {
	b := make([]byte, sectorLen)
	copy(b, journalMagic[:])
	binary.LittleEndian.PutUint32(b[16:], h.version)
	if h.live {
		b[20] = 1
	}
	binary.LittleEndian.PutUint64(b[24:], h.seq)
	binary.LittleEndian.PutUint64(b[32:], uint64(h.imageSize))
	binary.LittleEndian.PutUint64(b[40:], h.reserved)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[16:headerLen], castagnoli))
	return b
}

// errIncomplete says that a journal holds no commit: nothing to do with it.
var errIncomplete = errors.New("incomplete journal")

// decodeHeader returns errIncomplete for what is torn or never was a header.
func decodeHeader(b []byte) (journalHeader, error) {
	if len(b) < headerLen || [8]byte(b) != journalMagic ||
		binary.LittleEndian.Uint32(b[8:]) != crc32.Checksum(b[16:headerLen], castagnoli) {
		return journalHeader{}, errIncomplete
	}
	h := journalHeader{
		version:   binary.LittleEndian.Uint32(b[16:]),
		live:      b[20] != 0,
		seq:       binary.LittleEndian.Uint64(b[24:]),
		imageSize: int64(binary.LittleEndian.Uint64(b[32:])),
		reserved:  binary.LittleEndian.Uint64(b[40:]),
	}
	if h.version != journalVersion {
		return h, fmt.Errorf("version %d of the journal format: written by a newer resflash", h.version)
	}
	return h, nil
}

// A record is the header of a page in the journal.
type record struct {
	seq    uint64 // 8
	off    int64  // 16: in the image
	mask   uint8  // 24: the sectors that follow
	before [pageSectors]uint32
	after  [pageSectors]uint32
}

// size is the length of the record with its sectors.
func (r *record) size() int64 { return recordLen + int64(bits.OnesCount8(r.mask))*sectorLen }

func (r *record) encode(b []byte) {
	clear(b[:32])
	binary.LittleEndian.PutUint32(b, recordMagic)
	binary.LittleEndian.PutUint64(b[8:], r.seq)
	binary.LittleEndian.PutUint64(b[16:], uint64(r.off))
	b[24] = r.mask
	for i := range pageSectors {
		binary.LittleEndian.PutUint32(b[32+4*i:], r.before[i])
		binary.LittleEndian.PutUint32(b[64+4*i:], r.after[i])
	}
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:recordLen], castagnoli))
}

func decodeRecord(b []byte) (r record, ok bool) {
	if len(b) < recordLen || binary.LittleEndian.Uint32(b) != recordMagic ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:recordLen], castagnoli) {
		return r, false
	}
	r.seq = binary.LittleEndian.Uint64(b[8:])
	r.off = int64(binary.LittleEndian.Uint64(b[16:]))
	r.mask = b[24]
	for i := range pageSectors {
		r.before[i] = binary.LittleEndian.Uint32(b[32+4*i:])
		r.after[i] = binary.LittleEndian.Uint32(b[64+4*i:])
	}
	return r, true
}

// A commitRecord ends the records.
type commitRecord struct {
	seq   uint64 // 8
	count uint64 // 16: records
	sum   uint32 // 24: checksum of their headers
}

func (c commitRecord) encode(b []byte) {
	clear(b[:recordLen])
	binary.LittleEndian.PutUint32(b, commitMagic)
	binary.LittleEndian.PutUint64(b[8:], c.seq)
	binary.LittleEndian.PutUint64(b[16:], c.count)
	binary.LittleEndian.PutUint32(b[24:], c.sum)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:recordLen], castagnoli))
}

func decodeCommit(b []byte) (c commitRecord, ok bool) {
	if len(b) < recordLen || binary.LittleEndian.Uint32(b) != commitMagic ||
		binary.LittleEndian.Uint32(b[4:]) != crc32.Checksum(b[8:recordLen], castagnoli) {
		return c, false
	}
	c.seq = binary.LittleEndian.Uint64(b[8:])
	c.count = binary.LittleEndian.Uint64(b[16:])
	c.sum = binary.LittleEndian.Uint32(b[24:])
	return c, true
}

// sectorSum is the checksum of a sector.
func sectorSum(b []byte) uint32 { return crc32.Checksum(b[:sectorLen], castagnoli) }
