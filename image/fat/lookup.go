package fat

import (
	"context"
	"slices"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// An index finds the entries of a directory by name: the hashes of their long
// and short names, sorted, and the slot where the entry begins. It holds no
// names, so it is small; a hit is verified in the directory.
type index []indexEntry

type indexEntry struct {
	hash  uint64
	first uint32
}

func (f *FS) index(ctx context.Context, d *dir) (index, error) {
	if x, ok := f.indexes.get(d.ino); ok {
		return x, nil
	}
	var (
		x   index
		buf [nameBytes]byte
	)
	err := f.scan(ctx, d, 0, func(e *entry) bool {
		h := foldedHash(e.appendName(buf[:0]))
		x = append(x, indexEntry{h, e.first})
		if e.long != nil {
			if alias := foldedHash(appendShort(buf[:0], &e.dirent)); alias != h {
				x = append(x, indexEntry{alias, e.first})
			}
		}
		return true
	})
	if err != nil && err != d.err {
		return nil, err
	}
	slices.SortFunc(x, func(a, b indexEntry) int {
		switch {
		case a.hash < b.hash, a.hash == b.hash && a.first < b.first:
			return -1
		case a.hash > b.hash, a.first > b.first:
			return 1
		}
		return 0
	})
	f.indexes.put(d.ino, x, len(x)+8)
	return x, nil
}

// Lookup implements [vfs.FS]. A file of exactly that name goes before one that
// differs in case, or has it for its alias.
func (f *FS) Lookup(ctx context.Context, ino vfs.Ino, name string) (vfs.Attr, error) {
	d, err := f.dir(ctx, ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	switch name {
	case "":
		return vfs.Attr{}, syscall.ENOENT
	case ".":
		return f.Getattr(ctx, ino)
	case "..":
		parent, err := f.parent(ctx, d)
		if err != nil {
			return vfs.Attr{}, err
		}
		return f.Getattr(ctx, parent)
	}
	if len(name) > nameBytes || unitsIn(name) > ondisk.LongMax {
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	x, err := f.index(ctx, d)
	if err != nil {
		return vfs.Attr{}, err
	}
	var (
		found entry
		hit   bool
		buf   [nameBytes]byte
		want  = []byte(name)
		hash  = foldedHash(want)
	)
	i := sort.Search(len(x), func(i int) bool { return x[i].hash >= hash })
	for ; i < len(x) && x[i].hash == hash; i++ {
		exact := false
		err := f.scan(ctx, d, x[i].first, func(e *entry) bool {
			shown := e.appendName(buf[:0])
			exact = string(shown) == name
			if exact || !hit && foldedEqual(shown, want) ||
				!hit && e.long != nil && foldedEqual(appendShort(buf[:0], &e.dirent), want) {
				found, hit = *e, true
			}
			return false
		})
		if err != nil {
			return vfs.Attr{}, err
		}
		if exact {
			break
		}
	}
	if !hit {
		if d.err != nil {
			return vfs.Attr{}, d.err // it may have been in the part that is lost
		}
		return vfs.Attr{}, syscall.ENOENT
	}
	return f.attr(ctx, &found)
}

// parent returns the directory above d, by the entry "..", which knows only its
// first cluster.
func (f *FS) parent(ctx context.Context, d *dir) (vfs.Ino, error) {
	if d.ino == rootIno {
		return rootIno, nil
	}
	start, err := f.dotdot(d.start)
	if err != nil {
		return 0, err
	}
	if start == 0 || start == f.rootCluster {
		return rootIno, nil
	}
	if ino, ok := f.claims.owner(start); ok {
		return ino, nil
	}
	// The directory above was never read, which happens to somebody who kept
	// an inode number: its entry is in the directory above it.
	above, err := f.dotdot(start)
	if err != nil {
		return 0, err
	}
	up := &dir{start: above}
	if above == 0 {
		up.start = f.rootCluster
	} else if !f.holds(above) {
		return 0, vfs.Corruptf(f.clusterOff(start)+ondisk.DirentSize, "directory",
			"the entry \"..\" leads to cluster %d of %d", above, f.clusters)
	}
	if err := f.findSlots(ctx, up); err != nil {
		return 0, err
	}
	var ino vfs.Ino
	err = f.scan(ctx, up, 0, func(e *entry) bool {
		if e.dirent.Attr&ondisk.AttrDir != 0 && f.firstCluster(&e.dirent) == start {
			ino = e.ino()
		}
		return ino == 0
	})
	if err == nil && ino == 0 {
		err = vfs.Corruptf(f.clusterOff(d.start)+ondisk.DirentSize, d.structure(),
			"the entry \"..\" leads to cluster %d, where no directory begins", start)
	}
	return ino, err
}

// dotdot returns what ".." says in the directory that begins in a cluster.
func (f *FS) dotdot(start uint32) (uint32, error) {
	bad := func(off int64) error {
		return vfs.Corruptf(off, "directory", "no entry \"..\" in cluster %d", start)
	}
	if !f.holds(start) {
		return 0, bad(0)
	}
	off := f.clusterOff(start) + ondisk.DirentSize
	raw, err := f.cache.Bytes(off, ondisk.DirentSize)
	if err != nil {
		return 0, err
	}
	e := ondisk.DecodeDirent(raw)
	if string(e.Name[:]) != "..         " || e.Attr&ondisk.AttrDir == 0 {
		return 0, bad(off)
	}
	return f.firstCluster(&e), nil
}
