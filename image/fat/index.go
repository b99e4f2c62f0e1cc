package fat

import (
	"context"
	"iter"
	"slices"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// An index finds the entries of a directory by name: the hashes of their long
// and short names, and the slot where the entry begins. It holds no names, so
// it is small; a hit is verified in the directory.
type index struct {
	first map[uint64]uint32
	more  map[uint64][]uint32 // of hashes that several entries have
	n     int
}

func (x *index) add(hash uint64, slot uint32) {
	x.n++
	if _, ok := x.first[hash]; !ok {
		x.first[hash] = slot
		return
	}
	if x.more == nil {
		x.more = map[uint64][]uint32{}
	}
	x.more[hash] = append(x.more[hash], slot)
}

func (x *index) remove(hash uint64, slot uint32) {
	more := x.more[hash]
	i := slices.Index(more, slot)
	switch first, ok := x.first[hash]; {
	case ok && first == slot && len(more) == 0:
		delete(x.first, hash)
	case ok && first == slot:
		x.first[hash] = more[0]
		i = 0
	case i < 0:
		return
	}
	x.n--
	if i < 0 {
		return
	}
	if x.more[hash] = slices.Delete(more, i, i+1); len(more) == 1 {
		delete(x.more, hash)
	}
}

// slots yields where the entries with a hash begin.
func (x *index) slots(hash uint64) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		first, ok := x.first[hash]
		if !ok || !yield(first) {
			return
		}
		for _, slot := range x.more[hash] {
			if !yield(slot) {
				return
			}
		}
	}
}

// hashes calls fn with the hashes that an entry is found by.
func (e *entry) hashes(fn func(hash uint64)) {
	var buf [nameBytes]byte
	h := foldedHash(e.appendName(buf[:0]))
	fn(h)
	if e.long == nil {
		return
	}
	if alias := foldedHash(appendShort(buf[:0], &e.dirent)); alias != h {
		fn(alias)
	}
}

func (f *FS) index(ctx context.Context, d *dir) (*index, error) {
	if x, ok := f.indexes.get(d.ino); ok {
		return x, nil
	}
	x := &index{first: map[uint64]uint32{}}
	err := f.scan(ctx, d, 0, func(e *entry) bool {
		e.hashes(func(hash uint64) { x.add(hash, e.first) })
		return true
	})
	if err != nil && err != d.err {
		return nil, err
	}
	f.indexes.put(d.ino, x, x.n+8)
	return x, nil
}

// aliasTaken reports whether a directory has an entry with a short name.
func (f *FS) aliasTaken(ctx context.Context, d *dir, x *index, name [11]byte) (bool, error) {
	var buf [16]byte
	want := ondisk.Dirent{Name: name}
	for first := range x.slots(foldedHash(appendShort(buf[:0], &want))) {
		taken := false
		err := f.scan(ctx, d, first, func(e *entry) bool {
			taken = e.dirent.Name == name
			return false
		})
		if err != nil || taken {
			return taken, err
		}
	}
	return false, nil
}
