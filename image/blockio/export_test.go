package blockio

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// NewerJournal makes a journal look as if it were of the next version.
func NewerJournal(b []byte) []byte {
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint32(b[16:], journalVersion+1)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b[16:headerLen], castagnoli))
	return b
}

// FixJournalSums gives whatever is in the place of a header or a record the
// magic number and the checksums it should have.
func FixJournalSums(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < journalStart {
		return b
	}
	le := binary.LittleEndian
	copy(b, journalMagic[:])
	le.PutUint32(b[16:], journalVersion)
	le.PutUint32(b[8:], crc32.Checksum(b[16:headerLen], castagnoli))
	seq := le.Uint64(b[24:])
	count, sum := uint64(0), uint32(0)
	for at := journalStart; at+recordLen <= len(b); {
		rec := b[at : at+recordLen]
		mask := rec[24]
		end := at + recordLen + bits.OnesCount8(mask)*sectorLen
		le.PutUint64(rec[8:], seq)
		if le.Uint32(rec) == commitMagic || end+recordLen > len(b) {
			commitRecord{seq: seq, count: count, sum: sum}.encode(rec)
			break
		}
		le.PutUint32(rec, recordMagic)
		data := b[at+recordLen : end]
		for rest := mask; rest != 0; rest &= rest - 1 {
			le.PutUint32(rec[64+4*bits.TrailingZeros8(rest):], sectorSum(data))
			data = data[sectorLen:]
		}
		le.PutUint32(rec[4:], crc32.Checksum(rec[8:], castagnoli))
		sum = crc32.Update(sum, castagnoli, rec)
		count++
		at = end
	}
	return b
}
