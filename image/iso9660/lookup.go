package iso9660

import (
	"context"
	"hash/maphash"
	"slices"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/iso9660/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An index finds the records of a directory by the hashes of their names,
// sorted. It holds no names, so it is small; a hit is verified.
type index struct {
	entries []indexEntry
	err     error // damage in the directory: a name may be missing
}

type indexEntry struct {
	hash uint64
	off  int64 // of the record in the directory
}

// maxIndexed bounds how many entries of indexes are kept, in 16 bytes each.
const maxIndexed = 512 << 10

var seed = maphash.MakeSeed()

func (f *FS) index(ctx context.Context, d dir) (index, error) {
	f.indexMu.Lock()
	x, ok := f.indexes[d.ino]
	f.indexMu.Unlock()
	if ok {
		return x, nil
	}
	var (
		buf  [nameBuffer]byte
		rock rock
	)
	err := f.scan(ctx, d, 0, func(r *record, _ int64) bool {
		e, ok, err := f.entry(d, r, &rock, buf[:0])
		if err != nil && x.err == nil {
			x.err = err
		}
		if ok {
			x.entries = append(x.entries, indexEntry{maphash.Bytes(seed, e.name), r.off - int64(d.ino)})
		}
		return true
	})
	if isCorrupt(err) {
		x.err = err
	} else if err != nil {
		return x, err
	}
	slices.SortFunc(x.entries, func(a, b indexEntry) int {
		switch {
		case a.hash < b.hash, a.hash == b.hash && a.off < b.off:
			return -1
		case a.hash > b.hash, a.off > b.off:
			return 1
		}
		return 0
	})
	f.indexMu.Lock()
	defer f.indexMu.Unlock()
	if f.indexed += len(x.entries) + 1; f.indexed > maxIndexed {
		clear(f.indexes)
		f.indexed = len(x.entries) + 1
	}
	f.indexes[d.ino] = x
	return x, nil
}

// Lookup implements [vfs.FS]. Case matters.
func (f *FS) Lookup(ctx context.Context, ino vfs.Ino, name string) (vfs.Attr, error) {
	d, err := f.dir(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	switch name {
	case "":
		return vfs.Attr{}, syscall.ENOENT
	case ".":
		return f.Getattr(ctx, ino)
	case "..":
		up, err := f.parent(d)
		if err != nil {
			return vfs.Attr{}, err
		}
		return f.Getattr(ctx, up)
	}
	if len(name) > f.nameMax() {
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	x, err := f.index(ctx, d)
	if err != nil {
		return vfs.Attr{}, err
	}
	var (
		buf   [nameBuffer]byte
		rock  rock
		found vfs.Ino
		hash  = maphash.String(seed, name)
	)
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].hash >= hash })
	for ; i < len(x.entries) && x.entries[i].hash == hash && found == 0; i++ {
		err := f.scan(ctx, d, x.entries[i].off, func(r *record, _ int64) bool {
			e, ok, err := f.entry(d, r, &rock, buf[:0])
			if err == nil && ok && string(e.name) == name {
				found = e.ino
			}
			return false
		})
		if err != nil {
			return vfs.Attr{}, err
		}
	}
	if found == 0 {
		if x.err != nil {
			return vfs.Attr{}, x.err // it may have been the damaged one
		}
		return vfs.Attr{}, syscall.ENOENT
	}
	return f.Getattr(ctx, found)
}

// parent returns the directory above d: where it was found, or else what its
// record ".." says.
func (f *FS) parent(d dir) (vfs.Ino, error) {
	if d.ino == f.root {
		return d.ino, nil
	}
	if up, ok := f.parents.Of(d.ino); ok {
		return up, nil
	}
	r, ok, err := f.record(int64(d.ino)+int64(d.self.Length), int64(d.ino)+d.size)
	if err != nil {
		return 0, err
	}
	if !ok || r.NameLength != 1 || r.raw[ondisk.RecordSize] != ondisk.NameParent {
		return 0, vfs.Corruptf(int64(d.ino), structure(d.ino), "does not go on with a record of its parent")
	}
	if f.naming == rockRidge {
		var rock rock
		if err := f.readRock(&r, &rock); err != nil {
			return 0, err
		}
		if rock.hasParent {
			return vfs.Ino(f.blockOff(rock.parent, 0)), nil
		}
	}
	return vfs.Ino(f.blockOff(r.Extent, r.XattrLen)), nil
}
