package berkeley

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	// firstBuckets is with how many buckets pwd_mkdb(8) begins.
	firstBuckets = 8
	// maxBuckets bounds the search for a table without overflow: 64 MiB.
	maxBuckets = 1 << 14

	pageOverhead = 6 // the number of entries, the free bytes and the lowest offset
	pairOverhead = 4 // two offsets
)

// Encode returns a file with the records, whose keys must differ. Its pages are
// in the byte order given, that of the machine that is to read it.
func Encode(records []Record, order binary.ByteOrder) ([]byte, error) {
	if err := check(records); err != nil {
		return nil, err
	}
	for n := uint32(firstBuckets); n <= maxBuckets; n *= 2 {
		if file := encode(records, order, n); file != nil {
			return file, nil
		}
	}
	return nil, fmt.Errorf("berkeley: %d records do not fit in %d buckets: too many of their keys have the same hash", len(records), maxBuckets)
}

// check returns what keeps records from being stored.
func check(records []Record) error {
	seen := make(map[string]bool, len(records))
	for _, r := range records {
		if n := len(r.Key) + len(r.Value); n > pageSize-pageOverhead-2*pairOverhead {
			return fmt.Errorf("berkeley: not supported: record %.40q of %d bytes is larger than a page", r.Key, n)
		}
		if seen[string(r.Key)] {
			return fmt.Errorf("berkeley: key %.40q is there twice", r.Key)
		}
		seen[string(r.Key)] = true
	}
	return nil
}

// encode makes a table of n buckets, a power of two. It returns nil if a
// bucket would overflow.
func encode(records []Record, order binary.ByteOrder, n uint32) []byte {
	point := uint32(log2(n))
	h := header{
		Magic: magic, Version: version, Order: littleEndian,
		PageSize: pageSize, PageShift: pageShift, DirSize: 256, SegSize: 256, SegShift: 8,
		SplitPoint: point, LastFreed: 2,
		MaxBucket: n - 1, LowMask: n - 1, HighMask: 2*n - 1,
		FillFactor: fillFactor, Keys: uint32(len(records)), HeaderSize: 1, CharKey: hash([]byte(charKey)),
	}
	if order == binary.BigEndian {
		h.Order = bigEndian
	}
	// The library has the overflow pages of the first split point allocated
	// from the beginning, the first of them for the bitmap that says so.
	h.Spares[point], h.Spares[point+1] = point+1, point+1
	h.Bitmaps[0] = uint16(point<<11 | 1)

	file := make([]byte, (uint64(n)+2)*pageSize)
	if _, err := binary.Encode(file, binary.BigEndian, &h); err != nil {
		panic("bug: " + err.Error()) // the buffer is a page
	}
	fill := make([]int, n) // bytes in use at the end of each bucket
	count := make([]int, n)
	for _, r := range records {
		b := h.bucket(r.Key)
		page := file[h.bucketPage(b)*pageSize:][:pageSize]
		used := fill[b] + len(r.Key) + len(r.Value)
		// One pair stays free: the library puts the link to an overflow page there.
		if pageOverhead+(count[b]+2)*pairOverhead+used > pageSize {
			return nil
		}
		keyAt := pageSize - fill[b] - len(r.Key)
		valueAt := keyAt - len(r.Value)
		copy(page[keyAt:], r.Key)
		copy(page[valueAt:], r.Value)
		order.PutUint16(page[2+4*count[b]:], uint16(keyAt))
		order.PutUint16(page[4+4*count[b]:], uint16(valueAt))
		fill[b], count[b] = used, count[b]+1
	}
	for b := range n {
		page := file[h.bucketPage(b)*pageSize:]
		slots, lowest := 2*count[b], pageSize-fill[b]
		order.PutUint16(page, uint16(slots))
		order.PutUint16(page[2+2*slots:], uint16(lowest-2*(slots+3)))
		order.PutUint16(page[4+2*slots:], uint16(lowest))
	}
	// What the bitmap has no page for counts as in use.
	bitmap := file[h.overflowPage(h.Bitmaps[0])*pageSize:][:pageSize]
	copy(bitmap, bytes.Repeat([]byte{0xff}, pageSize))
	order.PutUint32(bitmap, ^uint32(0)<<(point+1)|1)
	return file
}
