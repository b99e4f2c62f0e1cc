// Package nametable finds the entries of large directories by the hash of their
// names: what the BSD kernels call dirhash. Eight bytes a name, and no names:
// whoever asks compares with the directory itself.
package nametable

import (
	"hash/maphash"
	"iter"
)

// A Table is a hash table with open addressing, of 2^n elements: the upper half
// of an element is the hash of a name, the lower half the offset of its entry in
// the directory, plus 1. Offsets are multiples of 4 below 4 GiB, so 0 is an empty
// element and gone one that was taken out. The zero Table cannot be used.
type Table struct {
	table []uint64
	used  int // elements that are not 0
	names int
}

const gone = 2

var seed = maphash.MakeSeed()

// Hash is the hash of a name, the same as long as the program runs.
func Hash(name string) uint32 { return uint32(maphash.String(seed, name)) }

// HashBytes is [Hash].
func HashBytes(name []byte) uint32 { return uint32(maphash.Bytes(seed, name)) }

// New makes a table for about so many names. It grows.
func New(names int) Table {
	size := 64
	for size < 2*names {
		size *= 2
	}
	return Table{table: make([]uint64, size)}
}

// Len is how many names are in the table.
func (t *Table) Len() int { return t.names }

// Each calls fn with the offsets of the names that have this hash, until it
// returns false.
func (t *Table) Each(hash uint32, fn func(off int64) bool) {
	mask := len(t.table) - 1
	for i := int(hash) & mask; t.table[i] != 0; i = (i + 1) & mask {
		if v := t.table[i]; uint32(v>>32) == hash && v&1 != 0 && !fn(int64(uint32(v)-1)) {
			return
		}
	}
}

// Put adds a name at an offset.
func (t *Table) Put(hash uint32, off int64) {
	if 4*(t.used+1) > 3*len(t.table) {
		t.grow()
	}
	mask := len(t.table) - 1
	i := int(hash) & mask
	for t.table[i]&1 != 0 {
		i = (i + 1) & mask
	}
	if t.table[i] == 0 {
		t.used++
	}
	t.table[i] = element(hash, off)
	t.names++
}

// grow makes room in the table, and throws out what is gone.
func (t *Table) grow() {
	size := len(t.table)
	if 2*t.names > size {
		size *= 2
	}
	old := *t
	*t = Table{table: make([]uint64, size)}
	for hash, off := range old.All() {
		t.Put(hash, off)
	}
}

// All returns the hash and offset of each name, in no order.
func (t *Table) All() iter.Seq2[uint32, int64] {
	return func(yield func(uint32, int64) bool) {
		for _, v := range t.table {
			if v&1 != 0 && !yield(uint32(v>>32), int64(uint32(v)-1)) {
				return
			}
		}
	}
}

// Remove takes a name out.
func (t *Table) Remove(hash uint32, off int64) {
	if i := t.find(hash, off); i >= 0 {
		t.table[i] = gone
		t.names--
	}
}

// Move changes the offset of a name.
func (t *Table) Move(hash uint32, from, to int64) {
	if i := t.find(hash, from); i >= 0 {
		t.table[i] = element(hash, to)
	}
}

// find returns the place of a name in the table, or -1.
func (t *Table) find(hash uint32, off int64) int {
	mask := len(t.table) - 1
	want := element(hash, off)
	for i := int(hash) & mask; t.table[i] != 0; i = (i + 1) & mask {
		if t.table[i] == want {
			return i
		}
	}
	return -1
}

func element(hash uint32, off int64) uint64 { return uint64(hash)<<32 | uint64(off) + 1 }
