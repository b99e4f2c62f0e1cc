package ext4

import (
	"cmp"
	"context"
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/nametable"
)

// A directory that changes while it is listed must lose no name and show none
// twice. Entries of a directory without an index never move, so their offset
// will do. But the leaves of an index are split, and a directory of one block
// gets an index when it is full. Such directories are listed in the order of
// their hashes, as Linux does, and a cookie is a hash: with a second one of our
// own below it, for names whose first are equal.

// hashOrdered reports whether a directory is listed by hash: it has an index or
// may get one.
func (fs *FS) hashOrdered(in *inode) bool {
	return fs.sb.FeatureCompat&ondisk.CompatDirIndex != 0 && fs.sb.DefHashVersion <= ondisk.HashTEA &&
		!in.has(ondisk.FlCasefold) &&
		(in.has(ondisk.FlIndex) || in.has(ondisk.FlInlineData) || in.size <= fs.blockSize)
}

// hashedNames are the names of a directory behind a cookie: the first most of
// those that were added.
type hashedNames struct {
	version uint8
	seed    [4]uint32
	after   uint64
	most    int
	list    []vfs.DirEntry
}

// add is a visitor for [FS.scan].
func (h *hashedNames) add(e *entry) bool {
	if e.isDot() {
		return true
	}
	name := string(e.name)
	hash, _ := ondisk.NameHash(name, h.version, h.seed)
	key := uint64(hash>>1)<<32 | uint64(nametable.Hash(name)|1)
	if key <= h.after {
		return true
	}
	d := vfs.DirEntry{Name: name, Ino: vfs.Ino(e.ino), Next: key}
	if int(e.typ) < len(direntTypes) {
		d.Type = direntTypes[e.typ]
	}
	h.list = append(h.list, d)
	if len(h.list) >= 8*h.most {
		h.trim()
	}
	return true
}

// trim sorts the names and forgets those behind the first.
func (h *hashedNames) trim() {
	slices.SortFunc(h.list, func(a, b vfs.DirEntry) int { return cmp.Compare(a.Next, b.Next) })
	h.list = h.list[:min(len(h.list), h.most)]
}

// listHashed returns the first most names of a directory behind a cookie, in the
// order of their hashes.
func (fs *FS) listHashed(ctx context.Context, in *inode, cookie uint64, most int) ([]vfs.DirEntry, error) {
	h := &hashedNames{version: fs.hashVersion(fs.sb.DefHashVersion), seed: fs.sb.HashSeed, after: cookie, most: most}
	if !fs.indexed(in) {
		err := fs.scan(ctx, in, 0, h.add)
		h.trim()
		return h.list, err
	}
	t, err := fs.dxTree(in)
	if err != nil {
		return nil, err
	}
	h.version = t.version
	if err := t.seek(uint32(cookie>>32) << 1); err != nil {
		return nil, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, off, _, err := t.leaf()
		if err != nil {
			return nil, err
		}
		if _, err := fs.scanBlock(in, b, off, 0, 0, h.add); err != nil {
			return nil, err
		}
		hash, ok, err := t.next()
		if err != nil {
			return nil, err
		}
		// An odd hash says that the same names may go on.
		if !ok || len(h.list) >= most && hash&1 == 0 {
			h.trim()
			return h.list, nil
		}
	}
}
