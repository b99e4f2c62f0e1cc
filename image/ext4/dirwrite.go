package ext4

import (
	"encoding/binary"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/nametable"
)

// A dirSlot is where a directory has a name.
type dirSlot struct {
	lblk uint64 // block of the directory; of an inline one, which of its places
	at   int    // in the area
	ino  uint32 // 0: there is no such name
}

// loadDir loads a directory that is to be changed, or one that was removed and
// is only here because it is pinned.
func (o *op) loadDir(ino vfs.Ino) (*inode, error) {
	in, _, err := o.loadAny(ino)
	if err != nil {
		return nil, err
	}
	return in, o.f.mayChangeDir(in)
}

// mayChangeDir refuses what is no directory, and directories whose names cannot
// be written.
func (fs *FS) mayChangeDir(in *inode) error {
	switch {
	case !in.mode().IsDir():
		return syscall.ENOTDIR
	case in.has(ondisk.FlEncrypt):
		return &vfs.NotSupportedError{What: "encrypted directory, " + in.name(), Off: in.off}
	case in.has(ondisk.FlCasefold):
		// The hash of such a name depends on tables of Unicode.
		return &vfs.NotSupportedError{What: "writing to a case-insensitive directory, " + in.name(), Off: in.off}
	}
	return nil
}

// isGone reports whether a directory was removed.
func (in *inode) isGone() bool { return in.Links == 0 }

// checkName says what is wrong with a name that is to be made.
func checkName(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return syscall.EINVAL
	case len(name) > ondisk.NameMax:
		return syscall.ENAMETOOLONG
	}
	return nil
}

// newName loads a directory in which a name is to be made, and makes sure that
// it may be.
func (o *op) newName(dirIno vfs.Ino, name string) (*inode, error) {
	dir, err := o.loadDir(dirIno)
	if err != nil {
		return nil, err
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	if name == "." || name == ".." {
		return nil, syscall.EEXIST
	}
	s, err := o.locate(dir, name)
	switch {
	case err != nil:
	case dir.isGone():
		err = syscall.ENOENT
	case s.ino != 0:
		err = syscall.EEXIST
	case dir.has(ondisk.FlImmutable):
		err = syscall.EPERM
	}
	return dir, err
}

// locate finds a name other than "." and "..".
func (o *op) locate(dir *inode, name string) (dirSlot, error) {
	if dir.isGone() {
		return dirSlot{}, nil
	}
	if dir.has(ondisk.FlInlineData) {
		for n := range uint64(2) {
			a, err := o.inlineArea(dir, n)
			if err != nil {
				return dirSlot{}, err
			}
			if at, ino, err := a.find(name); err != nil || at >= 0 {
				return dirSlot{n, at, ino}, err
			}
		}
		return dirSlot{}, nil
	}
	if o.f.indexed(dir) {
		t, err := o.f.dxTree(dir)
		if err != nil {
			return dirSlot{}, err
		}
		lblk, at, ino, err := t.find(o.ctx, name)
		if err != syscall.ENOENT {
			return dirSlot{uint64(lblk), at, ino}, err
		}
		if o.f.hashCertain(name) {
			return dirSlot{}, nil
		}
	} else if dir.size > smallDir {
		e, usable, err := o.f.findNamed(o.ctx, dir, name)
		if err == syscall.ENOENT {
			return dirSlot{}, nil
		}
		if usable || err != nil {
			return o.slotAt(&e), err
		}
	}
	return o.f.search(o.ctx, dir, name)
}

func (o *op) slotAt(e *entry) dirSlot {
	bs := uint64(o.f.blockSize)
	return dirSlot{e.pos / bs, int(e.pos % bs), e.ino}
}

// area is a part of a directory that has entries, to be changed in place. It
// has to be sealed afterwards.
func (o *op) area(dir *inode, lblk uint64) (dirArea, error) {
	if dir.has(ondisk.FlInlineData) {
		dir.dirty = true
		return o.inlineArea(dir, lblk)
	}
	b, off, err := o.changeBlock(dir, lblk)
	if err != nil {
		return dirArea{}, err
	}
	return o.f.blockArea(dir, b, off), nil
}

// changeBlock returns a block of a directory, to be changed in place.
func (o *op) changeBlock(dir *inode, lblk uint64) ([]byte, int64, error) {
	_, off, err := o.dirBlock(dir, lblk)
	if err != nil {
		return nil, 0, err
	}
	b, err := o.modify(off, int(o.f.blockSize))
	return b, off, err
}

// maxDirSize is the largest directory without large_dir, in bytes: e2fsck
// allows no more.
const maxDirSize = 1 << 31

// newDirBlock makes a directory longer by a block of zeros.
func (o *op) newDirBlock(dir *inode) (lblk uint32, b []byte, off int64, err error) {
	if dir.size%o.f.blockSize != 0 {
		return 0, nil, 0, dir.corrupt("directory of %d bytes, with blocks of %d", dir.size, o.f.blockSize)
	}
	n := dir.size / o.f.blockSize
	if o.f.sb.FeatureIncompat&ondisk.IncompatLargeDir == 0 && dir.size >= maxDirSize || n > ondisk.DxMaxBlock {
		return 0, nil, 0, syscall.ENOSPC
	}
	lbn, b, err := o.appendDirBlock(dir)
	if err != nil {
		return 0, nil, 0, err
	}
	m := o.f.mapper(dir)
	r, err := m.at(lbn)
	return uint32(lbn), b, o.f.offset(r.start), err
}

// namesOf returns the index of a directory that is about to change, if it has
// one. Should the operation fail, that is forgotten.
func (o *op) namesOf(dir *inode) *dirNames {
	d := o.f.names.built(dir.num)
	if d != nil {
		o.dirs = append(o.dirs, dir.num)
	}
	return d
}

// addName gives a directory a name that it has not.
func (o *op) addName(dir *inode, name string, ino uint32, mode vfs.Mode) error {
	typ := o.f.direntType(mode)
	o.touch(dir, true)
	if dir.has(ondisk.FlInlineData) {
		if done, err := o.addInline(dir, name, ino, typ); done || err != nil {
			return err
		}
	}
	if o.f.indexed(dir) {
		return o.addHashed(dir, name, ino, typ)
	}
	if o.f.sb.FeatureCompat&ondisk.CompatDirIndex == 0 || dir.size != o.f.blockSize {
		return o.addLinear(dir, name, ino, typ)
	}
	a, err := o.area(dir, 0)
	if err != nil {
		return err
	}
	at, _, err := a.room(ondisk.DirEntrySize(len(name)))
	if err != nil {
		return err
	}
	if at < 0 {
		if err := o.makeIndexed(dir); err != nil {
			return err
		}
		return o.addHashed(dir, name, ino, typ)
	}
	return o.insertLinear(o.namesOf(dir), a, 0, at, name, ino, typ)
}

// addLinear puts a name into the first block with room, or into a new one.
func (o *op) addLinear(dir *inode, name string, ino uint32, typ uint8) error {
	need := ondisk.DirEntrySize(len(name))
	blocks := uint32(dir.size / o.f.blockSize)
	var d *dirNames
	if dir.size > smallDir {
		if _, err := o.f.dirNames(o.ctx, dir); err != nil {
			return err
		}
		d = o.namesOf(dir)
	}
	lblk := uint32(0)
	for ; ; lblk++ {
		if d != nil {
			lblk = d.first(need/4, blocks)
		}
		if lblk >= blocks {
			break
		}
		a, err := o.area(dir, uint64(lblk))
		if err != nil {
			return err
		}
		at, most, err := a.room(need)
		if err != nil {
			return err
		}
		if d != nil {
			d.set(lblk, most/4)
		}
		if at >= 0 {
			return o.insertLinear(d, a, lblk, at, name, ino, typ)
		}
	}
	lblk, b, off, err := o.newDirBlock(dir)
	if err != nil {
		return err
	}
	a := o.f.blockArea(dir, b, off)
	a.clearArea()
	return o.insertLinear(d, a, lblk, 0, name, ino, typ)
}

// insertLinear puts a name behind an entry that leaves room for it. d is the
// index of the directory, if there is one.
func (o *op) insertLinear(d *dirNames, a dirArea, lblk uint32, at int, name string, ino uint32, typ uint8) error {
	at = a.insert(at, name, ino, typ)
	a.seal()
	if d != nil {
		d.Put(nametable.Hash(name), int64(lblk)*o.f.blockSize+int64(at))
	}
	return nil
}

// removeName takes a name out of a directory. Index blocks stay as they are.
func (o *op) removeName(dir *inode, s dirSlot) error {
	a, err := o.area(dir, s.lblk)
	if err != nil {
		return err
	}
	o.touch(dir, true)
	if d := o.namesOf(dir); d != nil {
		e := ondisk.DecodeDirEntry(a.b[s.at:], int(o.f.blockSize))
		d.Remove(nametable.HashBytes(a.b[s.at+ondisk.DirEntryHeader:][:e.NameLen]), int64(s.lblk)*o.f.blockSize+int64(s.at))
		d.set(uint32(s.lblk), roomUnits) // at most: it is looked at when it is needed
	}
	a.remove(s.at)
	a.seal()
	return nil
}

// setName makes a name refer to another file.
func (o *op) setName(dir *inode, s dirSlot, ino uint32, mode vfs.Mode) error {
	a, err := o.area(dir, s.lblk)
	if err != nil {
		return err
	}
	o.touch(dir, true)
	a.set(s.at, ino, o.f.direntType(mode))
	a.seal()
	return nil
}

// isEmpty reports whether a directory has no names but "." and "..".
func (o *op) isEmpty(dir *inode) (bool, error) {
	empty := true
	err := o.f.scan(o.ctx, dir, 0, func(e *entry) bool {
		empty = e.isDot()
		return empty
	})
	return empty, err
}

// makeDir gives a new directory its "." and "..".
func (o *op) makeDir(in *inode, parent uint32) error {
	if o.makeInlineDir(in, parent) {
		return nil
	}
	_, b, off, err := o.newDirBlock(in)
	if err != nil {
		return err
	}
	a := o.f.blockArea(in, b, off)
	putDots(a.b, len(a.b), in.num, parent, o.f.direntType(vfs.Dir), int(o.f.blockSize))
	a.seal()
	return nil
}

// setParent rewrites the ".." of a directory, which is from now.
func (o *op) setParent(in *inode, from, to uint32) error {
	wrong := func(is uint32) error { return in.corrupt("its \"..\" is inode %d, want %d", is, from) }
	if in.has(ondisk.FlInlineData) {
		if is := inlineParent(in); is != from {
			return wrong(is)
		}
		binary.LittleEndian.PutUint32(in.Block[:], to)
		in.dirty = true
		return nil
	}
	b, off, err := o.changeBlock(in, 0)
	if err != nil {
		return err
	}
	_, dot, err := o.f.entry(in, b, 0, off)
	if err != nil {
		return err
	}
	if dot == len(b) {
		return in.corrupt("directory without \"..\"")
	}
	up, _, err := o.f.entry(in, b, dot, off)
	if err != nil {
		return err
	}
	if string(up.name) != ".." || up.ino != from {
		return wrong(up.ino)
	}
	binary.LittleEndian.PutUint32(b[dot:], to)
	if o.f.indexed(in) {
		o.f.sealIndex(in, b, ondisk.DxRootEntries)
		return nil
	}
	a := o.f.blockArea(in, b, off)
	a.seal()
	return nil
}
