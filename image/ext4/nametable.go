package ext4

import "hash/maphash"

// nameTable is a hash table with open addressing, of 2^n elements: the upper
// half of an element is the hash of a name, the lower half the offset of its
// entry in the directory, plus 1. Offsets are multiples of 4, so 0 is an empty
// element and slotGone one that was taken out.
type nameTable struct {
	table []uint64
	used  int // elements that are not 0
	names int
}

const slotGone = 2

var nameSeed = maphash.MakeSeed()

func hashName(name string) uint32      { return uint32(maphash.String(nameSeed, name)) }
func hashNameBytes(name []byte) uint32 { return uint32(maphash.Bytes(nameSeed, name)) }

func newNameTable(names int) nameTable {
	size := 64
	for size < 2*names {
		size *= 2
	}
	return nameTable{table: make([]uint64, size)}
}

// each calls fn with the offsets of the names that have this hash, until it
// returns false.
func (t *nameTable) each(hash uint32, fn func(pos int64) bool) {
	mask := len(t.table) - 1
	for i := int(hash) & mask; t.table[i] != 0; i = (i + 1) & mask {
		if v := t.table[i]; uint32(v>>32) == hash && v&1 != 0 && !fn(int64(uint32(v)-1)) {
			return
		}
	}
}

// put adds a name at offset pos.
func (t *nameTable) put(hash uint32, pos int64) {
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
	t.table[i] = uint64(hash)<<32 | uint64(pos) + 1
	t.names++
}

// grow makes room in the table, and throws out what is gone.
func (t *nameTable) grow() {
	old := t.table
	size := len(old)
	if 2*t.names > size {
		size *= 2
	}
	*t = nameTable{table: make([]uint64, size)}
	for _, v := range old {
		if v&1 != 0 {
			t.put(uint32(v>>32), int64(uint32(v)-1))
		}
	}
}

// remove takes a name out.
func (t *nameTable) remove(hash uint32, pos int64) {
	mask := len(t.table) - 1
	want := uint64(hash)<<32 | uint64(pos) + 1
	for i := int(hash) & mask; t.table[i] != 0; i = (i + 1) & mask {
		if t.table[i] == want {
			t.table[i] = slotGone
			t.names--
			return
		}
	}
}

// dirRoom knows of every block of a directory how large a name it may have room
// for, in units of 4 bytes: not less than there is, and as much as was seen when
// the block was last looked at.
type dirRoom struct {
	most []uint16 // by block; those behind have not been looked at
	hint []uint32 // hint[n]: no block in front of it has room for n units
}

// roomUnits is how many of dirRoom's units the longest name takes.
const roomUnits = (8 + 255 + 3) / 4

// first returns the first block from hint on that may have room for n units, or
// blocks if none has.
func (r *dirRoom) first(n int, blocks uint32) uint32 {
	if r.hint == nil {
		r.hint = make([]uint32, roomUnits+1)
	}
	for int(blocks) > len(r.most) {
		r.most = append(r.most, 1<<16-1)
	}
	i := r.hint[n]
	for i < blocks && int(r.most[i]) < n {
		i++
	}
	r.hint[n] = i
	return i
}

// set says how much room a block has.
func (r *dirRoom) set(block uint32, n int) {
	if int(block) < len(r.most) {
		r.most[block] = uint16(n)
		for k := range r.hint[:min(n, roomUnits)+1] {
			r.hint[k] = min(r.hint[k], block)
		}
	}
}
