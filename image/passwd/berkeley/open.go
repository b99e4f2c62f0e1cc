package berkeley

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
)

// A DB is a file that was opened for reading.
type DB struct {
	file  []byte
	h     header
	order binary.ByteOrder
}

// Open reads the header of a file. It keeps file, which must not change.
func Open(file []byte) (*DB, error) {
	d := &DB{file: file}
	if len(file) < headerBytes {
		return nil, fmt.Errorf("berkeley: %d bytes are too few for a header", len(file))
	}
	if _, err := binary.Decode(file, binary.BigEndian, &d.h); err != nil {
		return nil, fmt.Errorf("berkeley: %w", err)
	}
	if err := d.validate(); err != nil {
		return nil, err
	}
	var err error
	d.order, err = order(d.h.Order)
	return d, err
}

// validate returns the first rule that the header breaks.
func (d *DB) validate() error {
	h := &d.h
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("berkeley: header at byte %d: %s", at, fmt.Sprintf(format, args...))
	}
	switch {
	case h.Magic != magic:
		return bad(0, "no hash file of Berkeley DB 1.85: magic number is 0x%x instead of 0x%x", h.Magic, magic)
	case h.Version != version:
		return bad(4, "not supported: version %d, only %d is", h.Version, version)
	case h.PageSize < 64 || h.PageSize > 1<<15 || h.PageSize&(h.PageSize-1) != 0:
		return bad(12, "page size of %d bytes", h.PageSize)
	case h.CharKey != hash([]byte(charKey)):
		return bad(64, "not supported: it was made with another hash function")
	case h.HeaderSize == 0 || uint64(h.HeaderSize)*uint64(h.PageSize) > uint64(len(d.file)):
		return bad(60, "%d pages of header", h.HeaderSize)
	case uint64(h.MaxBucket) >= uint64(len(d.file))/uint64(h.PageSize):
		return bad(40, "bucket %d is the last one, and the file has %d bytes", h.MaxBucket, len(d.file))
	case h.HighMask&(h.HighMask+1) != 0 || h.LowMask != h.HighMask>>1 || h.MaxBucket > h.HighMask || h.MaxBucket < h.LowMask:
		return bad(44, "masks 0x%x and 0x%x do not belong to %d buckets", h.HighMask, h.LowMask, h.MaxBucket+1)
	}
	return nil
}

// Order is the byte order of the machine that the file was made for.
func (d *DB) Order() binary.ByteOrder { return d.order }

// Len is the number of records that the header tells of.
func (d *DB) Len() int { return int(d.h.Keys) }

// Get returns the value of a key, and whether there is one.
func (d *DB) Get(key []byte) (value []byte, ok bool, err error) {
	pages := d.pages()
	for r, err := range d.pairs(d.h.bucket(key), &pages) {
		if err != nil {
			return nil, false, err
		}
		if bytes.Equal(r.Key, key) {
			return r.Value, true, nil
		}
	}
	return nil, false, nil
}

// All goes through the records, bucket by bucket. An error is the last thing
// it gives. The slices are of the file itself.
func (d *DB) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		pages := d.pages()
		for b := range d.h.MaxBucket + 1 {
			for r, err := range d.pairs(b, &pages) {
				if !yield(r, err) || err != nil {
					return
				}
			}
		}
	}
}

// pages is how many pages the file has.
func (d *DB) pages() int { return len(d.file) / int(d.h.PageSize) }

// pairs goes through the pairs of a bucket: its page and those chained to it.
// left is how many pages there are at most; it counts them down.
func (d *DB) pairs(bucket uint32, left *int) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		number := d.h.bucketPage(bucket)
		for {
			if *left--; *left < 0 {
				yield(Record{}, fmt.Errorf("berkeley: bucket %d: a page is in two chains, or in a circle", bucket))
				return
			}
			next, err := d.page(number, func(r Record) bool { return yield(r, nil) })
			if err != nil {
				yield(Record{}, err)
				return
			}
			if next == 0 {
				return
			}
			number = d.h.overflowPage(next)
		}
	}
}

// page hands the pairs of a page to fn, and returns the overflow address of
// the page that follows it; 0 if there is none, or if fn has had enough.
func (d *DB) page(number uint64, fn func(Record) bool) (next uint16, err error) {
	size := uint64(d.h.PageSize)
	bad := func(at int, format string, args ...any) error {
		return fmt.Errorf("berkeley: page %d at byte %d: %s", number, number*size+uint64(at), fmt.Sprintf(format, args...))
	}
	if number >= uint64(len(d.file))/size {
		return 0, fmt.Errorf("berkeley: page %d lies behind the end, %d bytes", number, len(d.file))
	}
	page := d.file[number*size:][:size]
	slots := int(d.order.Uint16(page))
	if slots%2 != 0 || 2*slots+pageOverhead > len(page) {
		return 0, bad(0, "%d entries", slots)
	}
	end := len(page)
	for i := 0; i < slots; i += 2 {
		key, value := int(d.order.Uint16(page[2+2*i:])), int(d.order.Uint16(page[4+2*i:]))
		switch {
		case value == overflowLink:
			return uint16(key), nil
		case value < realKey:
			return 0, bad(4+2*i, "not supported: a record that is larger than a page")
		case value > key || key > end || value < 2*slots+pageOverhead:
			return 0, bad(2+2*i, "a key at %d with its value at %d, before %d", key, value, end)
		}
		if !fn(Record{page[key:end:end], page[value:key:key]}) {
			return 0, nil
		}
		end = value
	}
	return 0, nil
}
