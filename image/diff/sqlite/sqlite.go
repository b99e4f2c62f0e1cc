// Package sqlite reads the tables of SQLite databases: those that package
// managers keep in the systems of images. There is no SQL, no index and no
// writing.
//
// Source: https://sqlite.org/fileformat2.html.
package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/resflash/resflash/image/vfs"
)

const (
	magic      = "SQLite format 3\x00"
	headerSize = 100

	leafPage     = 0x0d // of a table
	interiorPage = 0x05

	maxDepth  = 20
	maxRecord = 64 << 20 // bytes
	maxColumn = 32767
	maxSchema = 1 << 16 // rows
)

// A DB is a database. What its log holds that was not carried over is not seen:
// see [DB.HasLog].
type DB struct {
	r        io.ReaderAt
	pageSize int64
	usable   int64 // bytes of a page without what extensions reserve
	pages    int64
	wal      bool
	buf      []byte // the page read last
	current  int64  // its number
}

// Open reads the header of a database of so many bytes. What is none is a
// *vfs.CorruptError.
func Open(r io.ReaderAt, size int64) (*DB, error) {
	h := make([]byte, headerSize)
	if _, err := r.ReadAt(h, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(h[:len(magic)]) != magic {
		return nil, corrupt(0, "no header of SQLite")
	}
	db := &DB{r: r, pageSize: int64(binary.BigEndian.Uint16(h[16:])), wal: h[19] == 2}
	if db.pageSize == 1 {
		db.pageSize = 1 << 16
	}
	if db.pageSize < 512 || db.pageSize&(db.pageSize-1) != 0 {
		return nil, corrupt(16, "pages of %d bytes", db.pageSize)
	}
	db.usable = db.pageSize - int64(h[20])
	if db.usable < 480 {
		return nil, corrupt(20, "%d of %d bytes of a page are reserved", h[20], db.pageSize)
	}
	db.pages = size / db.pageSize
	return db, nil
}

// HasLog reports whether changes are written to a file beside the database
// first, its name with "-wal" behind it. If that is not empty, the database
// alone is not what the program would see.
func (db *DB) HasLog() bool { return db.wal }

func corrupt(off int64, format string, args ...any) error {
	return &vfs.CorruptError{Structure: "SQLite database", Off: off, Detail: fmt.Sprintf(format, args...)}
}

// page returns a page, which is valid until the next call. The first has number 1.
func (db *DB) page(n int64) ([]byte, error) {
	if n < 1 || n > db.pages {
		return nil, corrupt(0, "page %d of %d", n, db.pages)
	}
	if n == db.current {
		return db.buf, nil
	}
	if db.buf == nil {
		db.buf = make([]byte, db.pageSize)
	}
	db.current = 0
	if _, err := db.r.ReadAt(db.buf, (n-1)*db.pageSize); err != nil {
		return nil, err
	}
	db.current = n
	return db.buf, nil
}

// Table calls fn for each row of a table with its columns, which are valid until
// it returns; ok is false if there is no such table.
func (db *DB) Table(name string, fn func(row Row) error) (ok bool, err error) {
	var root int64
	var names []string
	n := 0
	err = db.walk(1, func(values []Value) error {
		if n++; n > maxSchema {
			return corrupt(0, "more than %d tables", maxSchema)
		}
		if len(values) >= 5 && values[0].Text() == "table" && values[1].Text() == name {
			root, names = values[3].Int(), columns(values[4].Text())
		}
		return nil
	})
	if err != nil || root == 0 {
		return false, err
	}
	return true, db.walk(root, func(values []Value) error { return fn(Row{names, values}) })
}

// walk calls fn for each record below a page.
func (db *DB) walk(root int64, fn func([]Value) error) error {
	left := db.pages // each is seen once
	return db.tree(root, 0, &left, fn)
}

func (db *DB) tree(n int64, depth int, left *int64, fn func([]Value) error) error {
	if *left--; *left < 0 || depth > maxDepth {
		return corrupt((n-1)*db.pageSize, "the pages of a table form a cycle")
	}
	shared, err := db.page(n)
	if err != nil {
		return err
	}
	page := append([]byte(nil), shared...)
	at := int64(0)
	if n == 1 {
		at = headerSize
	}
	kind, cells := page[at], int64(binary.BigEndian.Uint16(page[at+3:]))
	pointers := at + 8
	if kind == interiorPage {
		pointers += 4
	}
	if kind != leafPage && kind != interiorPage {
		return corrupt((n-1)*db.pageSize+at, "page %d is of type %d, not of a table", n, kind)
	}
	if pointers+2*cells > db.usable {
		return corrupt((n-1)*db.pageSize+at+3, "page %d has %d cells", n, cells)
	}
	for i := range cells {
		off := int64(binary.BigEndian.Uint16(page[pointers+2*i:]))
		if off < pointers+2*cells || off+4 > db.usable {
			return corrupt((n-1)*db.pageSize+pointers+2*i, "cell %d of page %d is at byte %d of it", i, n, off)
		}
		if kind == interiorPage {
			err = db.tree(int64(binary.BigEndian.Uint32(page[off:])), depth+1, left, fn)
		} else {
			err = db.cell(page[:db.usable], off, (n-1)*db.pageSize+off, left, fn)
		}
		if err != nil {
			return err
		}
	}
	if kind == interiorPage {
		return db.tree(int64(binary.BigEndian.Uint32(page[at+8:])), depth+1, left, fn)
	}
	return nil
}

// cell reads the record of a cell of a leaf, and the pages that it overflows to.
func (db *DB) cell(page []byte, off, where int64, left *int64, fn func([]Value) error) error {
	size, n := varint(page[off:])
	_, m := varint(page[off+int64(n):])
	if n == 0 || m == 0 {
		return corrupt(where, "a cell ends with its page")
	}
	if size > maxRecord {
		return corrupt(where, "a record of %d bytes", size)
	}
	body := page[off+int64(n)+int64(m):]
	local := db.local(int64(size))
	if int64(size) == local {
		if int64(len(body)) < local {
			return corrupt(where, "a record of %d bytes behind the end of its page", size)
		}
		return record(body[:local], where, fn)
	}
	if int64(len(body)) < local+4 {
		return corrupt(where, "a record of %d bytes behind the end of its page", size)
	}
	data := append([]byte(nil), body[:local]...)
	next := int64(binary.BigEndian.Uint32(body[local:]))
	for int64(len(data)) < int64(size) {
		if *left--; *left < 0 {
			return corrupt(where, "records share the pages that they overflow to")
		}
		more, err := db.page(next)
		if err != nil {
			return err
		}
		k := min(int64(size)-int64(len(data)), db.usable-4)
		data = append(data, more[4:4+k]...)
		next = int64(binary.BigEndian.Uint32(more))
	}
	return record(data, where, fn)
}

// local is how many bytes of a record are in its cell.
func (db *DB) local(size int64) int64 {
	most := db.usable - 35
	if size <= most {
		return size
	}
	least := (db.usable-12)*32/255 - 23
	if k := least + (size-least)%(db.usable-4); k <= most {
		return k
	}
	return least
}

// varint reads an integer of 1 to 9 bytes; n is 0 if b ends before it does.
func varint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i == 8 {
			return v<<8 | uint64(c), 9
		}
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
