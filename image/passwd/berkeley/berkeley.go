// Package berkeley writes and reads the hash files of Berkeley DB 1.85: what
// the BSDs keep their password databases in, and have kept ever since.
//
// A file is a header of one page, then buckets of one page each, overflow
// pages among them, all of the same size. A key's bucket follows from its hash
// by linear hashing: the low bits of the hash give the bucket, one bit fewer if
// that bucket has not been split off yet. The header is big-endian always, the
// rest as its field lorder says.
//
// [Encode] makes the file anew, large enough that no bucket overflows; the same
// records always give the same bytes. [Open] reads what the library itself has
// written, overflow pages as well. Pairs that are larger than a page are
// written by neither, and refused when read: no record of a password file is
// one.
//
// The layout is that of the header hash.h, page.h and hash_page.c of
// 4.4BSD's lib/libc/db/hash; db(3), dbopen(3).
package berkeley

import (
	"encoding/binary"
	"fmt"
)

// A Record is a key with its value.
type Record struct{ Key, Value []byte }

const (
	magic       = 0x061561 // HASHMAGIC
	version     = 2        // HASHVERSION
	headerBytes = 260      // of HASHHDR; the rest of its page is empty
	splits      = 32       // NCACHED: elements of spares and bitmaps
	bitmapWord  = 32       // bits
	pageShift   = 12
	pageSize    = 1 << pageShift
	fillFactor  = 32 // what pwd_mkdb(8) asks for: pairs of a bucket before it is split

	littleEndian, bigEndian = 1234, 4321 // lorder

	// charKey is the text whose hash tells whether a file was made with the
	// hash function at hand (CHARKEY), with the NUL at its end.
	charKey = "%$sniglet^&\x00"
)

// Values of the second number of a pair that is no pair.
const (
	overflowLink = 0 // OVFLPAGE: the first number is the address of the next page
	realKey      = 4 // REAL_KEY: below it are pieces of pairs larger than a page
)

// header is HASHHDR.
type header struct {
	Magic      uint32
	Version    uint32
	Order      uint32 // lorder: 1234 or 4321
	PageSize   uint32 // bsize, bytes
	PageShift  uint32 // bshift
	DirSize    uint32 // dsize
	SegSize    uint32 // ssize
	SegShift   uint32 // sshift
	SplitPoint uint32 // ovfl_point: where overflow pages are being allocated
	LastFreed  uint32 // last_freed
	MaxBucket  uint32 // number of the last bucket
	HighMask   uint32
	LowMask    uint32
	FillFactor uint32 // ffactor
	Keys       uint32 // nkeys
	HeaderSize uint32 // hdrpages
	CharKey    uint32 // h_charkey: the hash of charKey
	Spares     [splits]uint32
	Bitmaps    [splits]uint16 // addresses of the pages that say which overflow pages are free
}

// hash is the hash function that files are made with unless told otherwise
// (hash4, by Chris Torek).
func hash(key []byte) uint32 {
	var h uint32
	for _, c := range key {
		h = h*33 + uint32(c)
	}
	return h
}

// bucket is the number of the bucket that a key belongs to.
func (h *header) bucket(key []byte) uint32 {
	b := hash(key)
	if b&h.HighMask <= h.MaxBucket {
		return b & h.HighMask
	}
	return b & h.LowMask
}

// bucketPage is the number of the page of a bucket (BUCKET_TO_PAGE).
func (h *header) bucketPage(b uint32) uint64 {
	page := uint64(b) + uint64(h.HeaderSize)
	if b > 0 {
		page += uint64(h.Spares[log2(b+1)-1])
	}
	return page
}

// overflowPage is the number of the page with an overflow address, which is a
// split point in its upper 5 bits and the number of the page after that, from
// 1 (OADDR_TO_PAGE).
func (h *header) overflowPage(address uint16) uint64 {
	return h.bucketPage(1<<(address>>11)-1) + uint64(address&0x7ff)
}

// log2 is the smallest i with 1<<i >= n (__log2).
func log2(n uint32) (i int) {
	for limit := uint64(1); limit < uint64(n); limit <<= 1 {
		i++
	}
	return i
}

// order is the byte order that a value of lorder means.
func order(lorder uint32) (binary.ByteOrder, error) {
	switch lorder {
	case littleEndian:
		return binary.LittleEndian, nil
	case bigEndian:
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("berkeley: byte order %d at byte 8 is neither %d nor %d", lorder, littleEndian, bigEndian)
}
