package audit

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// gdbmRecords lists the records of a database of GNU dbm, sorted, but for the
// one that says when it was made. In the file they lie where there was room,
// between what is left of records before. The layout is that of the 64-bit
// form in the byte order of x86: a header, a directory of buckets, and buckets
// of fixed size whose elements point to the key and value in the file.
func gdbmRecords(content []byte) []byte {
	at := func(off, n int64) []byte {
		if off < 0 || n < 0 || off > int64(len(content)) || n > int64(len(content))-off {
			return nil
		}
		return content[off : off+n]
	}
	head := at(0, 40)
	if head == nil {
		return nil
	}
	switch binary.LittleEndian.Uint32(head) {
	case 0x13579acf, 0x13579ad1: // the second has a counter of syncs in the header
	default:
		return nil
	}
	dir := at(int64(binary.LittleEndian.Uint64(head[8:])), int64(int32(binary.LittleEndian.Uint32(head[16:]))))
	bucketSize := int64(int32(binary.LittleEndian.Uint32(head[24:])))
	const table, element = 112, 24 // where the elements begin in a bucket, and how long each is
	if dir == nil || bucketSize < table {
		return nil
	}
	list := []string{}
	seen := map[uint64]bool{} // several entries of the directory may share a bucket
	for ; len(dir) >= 8; dir = dir[8:] {
		where := binary.LittleEndian.Uint64(dir)
		if seen[where] {
			continue
		}
		seen[where] = true
		bucket := at(int64(where), bucketSize)
		if bucket == nil {
			return nil
		}
		for e := bucket[table:]; len(e) >= element; e = e[element:] {
			if binary.LittleEndian.Uint32(e) == 1<<32-1 {
				continue // not in use
			}
			keySize, size := int64(int32(binary.LittleEndian.Uint32(e[16:]))), int64(int32(binary.LittleEndian.Uint32(e[20:])))
			record := at(int64(binary.LittleEndian.Uint64(e[8:])), keySize+size)
			if record == nil || keySize < 0 || keySize > int64(len(record)) {
				return nil
			}
			if key := string(record[:keySize]); !strings.HasPrefix(key, "$mtime$") {
				list = append(list, fmt.Sprintf("%q %q", key, record[keySize:]))
			}
		}
	}
	slices.Sort(list)
	return []byte(strings.Join(list, "\n"))
}
