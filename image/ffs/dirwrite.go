package ffs

import (
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/nametable"
)

// indexOf returns the index of a directory that is about to change, if it has
// one. Should the operation fail, that is forgotten.
func (o *op) indexOf(dir *inode) *dirIndex {
	ix := o.f.index.built(dir.num)
	if ix != nil {
		o.dirs = append(o.dirs, dir.num)
	}
	return ix
}

// chunk makes a chunk of a directory changeable in place.
func (o *op) chunk(dir *inode, off int64) ([]byte, error) {
	at, n, err := o.f.extent(dir, off, ondisk.DirChunk)
	if err != nil {
		return nil, err
	}
	if at == hole || n < ondisk.DirChunk {
		return nil, dir.corrupt("directory has a hole at byte %d", off)
	}
	return o.modify(at, ondisk.DirChunk)
}

// addName puts a name where locate has found room for it.
func (o *op) addName(dir *inode, p place, name string, ino uint64, mode vfs.Mode) error {
	typ := uint8(mode.Type() >> 12)
	o.touch(dir, true)
	if p.found { // a whiteout
		return o.setEntry(dir, p.entry.off, ino, typ)
	}
	if p.chunk < 0 {
		return o.appendName(dir, name, ino, typ)
	}
	b, err := o.chunk(dir, p.chunk)
	if err != nil {
		return err
	}
	ix := o.indexOf(dir)
	off := o.insert(b, dir, ix, p.chunk, name, ino, typ)
	if off < 0 {
		return dir.corrupt("directory chunk at byte %d has no room for %q", p.chunk, name)
	}
	if ix != nil {
		ix.Put(nametable.Hash(name), off)
		ix.room(p.chunk/ondisk.DirChunk, -units(len(name)))
	}
	// Like the kernels, give back what is empty at the end.
	if ends := max(p.ends, p.chunk+ondisk.DirChunk); ends < dir.size {
		if err := o.shrink(dir, ends, true); err != nil {
			return err
		}
		if ix != nil {
			ix.resize(ends / ondisk.DirChunk)
		}
	}
	return nil
}

// insert puts an entry into a chunk that has room for it, behind an entry that
// leaves enough, or else behind all of them moved together. It returns its
// offset in the directory, or -1.
func (o *op) insert(b []byte, dir *inode, ix *dirIndex, chunk int64, name string, ino uint64, typ uint8) int64 {
	need := ondisk.DirentSize(len(name))
	order := o.g.order
	write := func(at, length int) int64 {
		e := b[at : at+length]
		clear(e[:need])
		ondisk.Dirent{Ino: uint32(ino), Len: uint16(length), Type: typ, NameLen: uint16(len(name))}.Put(e, order, false)
		copy(e[ondisk.DirentHeader:], name)
		return chunk + int64(at)
	}
	sizeOf := func(d ondisk.Dirent) int {
		if d.Ino == 0 {
			return 0
		}
		return ondisk.DirentSize(int(d.NameLen))
	}
	for i := 0; i < len(b); {
		d := ondisk.DecodeDirent(b[i:], order, false)
		used, length := sizeOf(d), int(d.Len)
		if length < ondisk.DirentHeader || i+length > len(b) || used > length {
			return -1
		}
		if length-used >= need {
			if used > 0 {
				order.PutU16(b[i+4:], uint16(used))
			}
			return write(i+used, length-used)
		}
		i += length
	}
	// Move the entries together.
	to, last := 0, -1
	pairs := make([]movedEntry, 0, 16)
	for i := 0; i < len(b); {
		d := ondisk.DecodeDirent(b[i:], order, false)
		used, length := sizeOf(d), int(d.Len)
		if used > 0 {
			if i != to {
				if ix != nil {
					ix.Move(nametable.HashBytes(b[i+ondisk.DirentHeader:][:d.NameLen]), chunk+int64(i), chunk+int64(to))
				}
				copy(b[to:], b[i:i+used])
			}
			order.PutU16(b[to+4:], uint16(used))
			pairs = append(pairs, movedEntry{int16(i), int16(to)})
			last, to = to, to+used
		}
		i += length
	}
	if len(b)-to < need {
		if last >= 0 {
			order.PutU16(b[last+4:], uint16(len(b)-last))
		}
		return -1
	}
	o.w.moves.note(dir.num, chunk, pairs)
	o.moved = append(o.moved, dir.num)
	return write(to, len(b)-to)
}

// appendName adds a chunk to a directory, and the name in it.
func (o *op) appendName(dir *inode, name string, ino uint64, typ uint8) error {
	off := dir.size
	if off+ondisk.DirChunk > 1<<31-1 {
		return syscall.EFBIG
	}
	if err := o.growDir(dir); err != nil {
		return err
	}
	b, err := o.chunk(dir, off)
	if err != nil {
		return err
	}
	clear(b)
	o.g.order.PutU16(b[4:], ondisk.DirChunk)
	ix := o.indexOf(dir)
	o.insert(b, dir, ix, off, name, ino, typ)
	if ix != nil {
		ix.resize(dir.size / ondisk.DirChunk)
		ix.Put(nametable.Hash(name), off)
		ix.room(off/ondisk.DirChunk, -units(len(name)))
	}
	return nil
}

// growDir makes a directory longer by a chunk. What is in it is not cleared.
func (o *op) growDir(dir *inode) error {
	g := o.g
	lbn := dir.size >> g.blockShift
	size := dir.size + ondisk.DirChunk
	have := int64(0)
	if dir.size&(g.blockSize-1) != 0 {
		have = g.tailFrags(dir.size, lbn)
	}
	want := g.tailFrags(size, lbn)
	switch {
	case have == want:
	case have == 0 && want == g.frag:
		addr, _, err := o.addBlocks(dir, lbn, 1)
		if err != nil {
			return err
		}
		if err := o.freshBlock(addr); err != nil {
			return err
		}
	case have == 0:
		addr, err := o.addTail(dir, lbn, want)
		if err != nil {
			return err
		}
		if err := o.clearMeta(addr, want); err != nil {
			return err
		}
	default:
		if err := o.growDirTail(dir, lbn, have, want); err != nil {
			return err
		}
	}
	dir.size, dir.dirty = size, true
	return nil
}

// growDirTail makes the last block of a small directory longer.
func (o *op) growDirTail(dir *inode, lbn, have, want int64) error {
	g := o.g
	addr := dir.Direct[lbn]
	if err := o.f.checkAddr(dir, addr, have); err != nil {
		return err
	}
	to, err := o.growFrags(addr, have, want, o.wishFor(dir, lbn, o.prevBlock(dir, lbn)))
	if err != nil {
		return err
	}
	dir.hold(g, want-have)
	if to == addr {
		return o.clearMeta(addr+have, want-have)
	}
	old, err := o.f.cache.Bytes(addr<<g.fragShift, int(have<<g.fragShift))
	if err != nil {
		return err
	}
	b, err := o.modify(to<<g.fragShift, int(want<<g.fragShift))
	if err != nil {
		return err
	}
	clear(b[copy(b, old):])
	dir.Direct[lbn] = to
	return o.release(dir, addr, have, true)
}

// clearMeta fills fragments that were allocated for metadata with zeros.
func (o *op) clearMeta(addr, n int64) error {
	b, err := o.modify(addr<<o.g.fragShift, int(n<<o.g.fragShift))
	if err == nil {
		clear(b)
	}
	return err
}

// setEntry makes the entry at offset off refer to another file.
func (o *op) setEntry(dir *inode, off int64, ino uint64, typ uint8) error {
	b, err := o.chunk(dir, off&^(ondisk.DirChunk-1))
	if err != nil {
		return err
	}
	e := b[off%ondisk.DirChunk:]
	o.g.order.PutU32(e, uint32(ino))
	e[6] = typ
	return nil
}

// removeName takes an entry out of a directory: ufs_dirremove.
func (o *op) removeName(dir *inode, off int64) error {
	chunk := off &^ (ondisk.DirChunk - 1)
	b, err := o.chunk(dir, chunk)
	if err != nil {
		return err
	}
	o.touch(dir, true)
	at, prev := int(off-chunk), -1
	for i := 0; i < at; {
		d := ondisk.DecodeDirent(b[i:], o.g.order, false)
		if d.Len < ondisk.DirentHeader {
			return dir.corrupt("directory entry at byte %d has length %d", chunk+int64(i), d.Len)
		}
		prev, i = i, i+int(d.Len)
	}
	d := ondisk.DecodeDirent(b[at:], o.g.order, false)
	if ix := o.indexOf(dir); ix != nil {
		ix.Remove(nametable.HashBytes(b[at+ondisk.DirentHeader:][:d.NameLen]), off)
		ix.room(chunk/ondisk.DirChunk, units(int(d.NameLen)))
	}
	if prev < 0 {
		o.g.order.PutU32(b[at:], 0)
		return nil
	}
	before := o.g.order.U16(b[prev+4:])
	o.g.order.PutU16(b[prev+4:], before+d.Len)
	return nil
}

// isEmpty reports whether a directory has no names but "." and "..".
func (o *op) isEmpty(dir *inode) (bool, error) {
	empty := true
	err := o.f.scanDir(o.ctx, dir, 0, func(e *entry) bool {
		empty = isDot(e.name) || e.isWhiteout()
		return empty
	})
	return empty, err
}

// makeDir gives a new directory its first chunk.
func (o *op) makeDir(in *inode, parent uint64) error {
	if err := o.growDir(in); err != nil {
		return err
	}
	b, err := o.chunk(in, 0)
	if err != nil {
		return err
	}
	clear(b)
	dot := ondisk.DirentSize(1)
	put := func(at, length int, ino uint64, name string) {
		ondisk.Dirent{
			Ino: uint32(ino), Len: uint16(length), Type: uint8(vfs.Dir >> 12), NameLen: uint16(len(name)),
		}.Put(b[at:], o.g.order, false)
		copy(b[at+ondisk.DirentHeader:], name)
	}
	put(0, dot, in.num, ".")
	put(dot, ondisk.DirChunk-dot, parent, "..")
	return nil
}
