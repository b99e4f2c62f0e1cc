package ffs

import (
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/nametable"
)

// A place is where a name is in a directory, or where it could go.
type place struct {
	entry entry // of the name, if found; entry.name is not kept
	found bool
	// white says that what was found is a whiteout: no file, but its entry is
	// taken over.
	white bool
	chunk int64 // offset of the first chunk with room, or -1
	ends  int64 // offset behind the last chunk that is not empty
}

// newName finds room for a name in a directory, which must not have it yet.
func (o *op) newName(dirIno vfs.Ino, name string) (*inode, place, error) {
	dir, err := o.loadDir(dirIno)
	if err != nil {
		return nil, place{}, err
	}
	if err := checkName(name); err != nil {
		return nil, place{}, err
	}
	if name == "." || name == ".." {
		return nil, place{}, syscall.EEXIST
	}
	p, err := o.locate(dir, name)
	switch {
	case err != nil:
	case dir.isGone():
		err = syscall.ENOENT
	case p.found && !p.white:
		err = syscall.EEXIST
	case vfs.Flags(dir.Flags)&immutable != 0:
		err = syscall.EPERM
	}
	return dir, p, err
}

// checkName says what is wrong with a name that is to be made.
func checkName(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return syscall.EINVAL
	case len(name) > ondisk.MaxNameLen:
		return syscall.ENAMETOOLONG
	}
	return nil
}

// loadAny loads a file, or finds it among those that have no name any more; or
// is nil for all others.
func (o *op) loadAny(ino vfs.Ino) (in *inode, or *orphan, err error) {
	if or := o.w.orphans[uint64(ino)]; or != nil {
		return &or.in, or, nil
	}
	in, err = o.load(ino)
	return in, nil, err
}

// loadDir loads a directory that names are to be looked up in. One that was
// removed is empty: see isGone.
func (o *op) loadDir(ino vfs.Ino) (*inode, error) {
	if or := o.w.orphans[uint64(ino)]; or != nil {
		if or.in.mode().IsDir() {
			return &or.in, nil
		}
		return nil, syscall.ENOTDIR
	}
	in, err := o.load(ino)
	if err != nil {
		return nil, err
	}
	return in, o.f.checkDir(in)
}

// isGone reports whether a directory was removed, and is only here because it
// is pinned.
func (in *inode) isGone() bool { return in.Nlink == 0 }

// locate finds a name, or room for it.
func (o *op) locate(dir *inode, name string) (place, error) {
	if dir.isGone() {
		return place{found: name == ".", entry: entry{ino: uint32(dir.num)}}, nil
	}
	need := units(len(name))
	if dir.size >= indexFrom {
		if ix := o.f.index.get(o.ctx, o.f, dir); ix != nil {
			return o.locateByIndex(dir, ix, name, need)
		}
	}
	p := place{chunk: -1}
	at, left := int64(0), ondisk.DirChunk/4 // the chunk that is looked at, and its room
	next := func() {
		if p.chunk < 0 && left >= need {
			p.chunk = at
		}
		if left < ondisk.DirChunk/4 {
			p.ends = at + ondisk.DirChunk
		}
		at, left = at+ondisk.DirChunk, ondisk.DirChunk/4
	}
	err := o.f.scanDir(o.ctx, dir, 0, func(e *entry) bool {
		for e.off >= at+ondisk.DirChunk {
			next()
		}
		left -= units(len(e.name))
		if string(e.name) == name {
			p.entry, p.found, p.white = *e, true, e.isWhiteout()
			return false
		}
		return true
	})
	for err == nil && !p.found && at < dir.size {
		next()
	}
	p.entry.name = nil
	return p, err
}

func (o *op) locateByIndex(dir *inode, ix *dirIndex, name string, need int) (place, error) {
	p := place{chunk: -1, ends: ix.useful() * ondisk.DirChunk}
	var err error
	ix.Each(nametable.Hash(name), func(off int64) bool {
		err = o.f.scanDir(o.ctx, dir, off, func(e *entry) bool {
			if string(e.name) == name {
				p.entry, p.found, p.white = *e, true, e.isWhiteout()
			}
			return false
		})
		return err == nil && !p.found
	})
	p.entry.name = nil
	if err != nil || p.found {
		return p, err
	}
	if c := ix.chunkWith(need); c >= 0 {
		p.chunk = c * ondisk.DirChunk
	}
	return p, nil
}
