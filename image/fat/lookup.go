package fat

import (
	"context"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

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
	if tooLong(name) {
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	e, err := f.find(ctx, d, name)
	if err != nil {
		return vfs.Attr{}, err
	}
	return f.attr(ctx, &e)
}

// find returns the entry with a name, by the rules of Lookup.
func (f *FS) find(ctx context.Context, d *dir, name string) (entry, error) {
	x, err := f.index(ctx, d)
	if err != nil {
		return entry{}, err
	}
	var (
		found      entry
		hit, exact bool
		buf        [nameBytes]byte
		want       = []byte(name)
	)
	for first := range x.slots(foldedHash(want)) {
		err := f.scan(ctx, d, first, func(e *entry) bool {
			shown := e.appendName(buf[:0])
			exact = string(shown) == name
			if exact || !hit && foldedEqual(shown, want) ||
				!hit && e.long != nil && foldedEqual(appendShort(buf[:0], &e.dirent), want) {
				found, hit = *e, true
			}
			return false
		})
		if err != nil {
			return entry{}, err
		}
		if exact {
			break
		}
	}
	if hit {
		return found, nil
	}
	if d.err != nil {
		return entry{}, d.err // it may have been in the part that is lost
	}
	return entry{}, syscall.ENOENT
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
			ino = f.inoOf(e)
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
