package ext4

import (
	"cmp"
	"slices"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Hash trees grow as Linux makes them grow: a full leaf is split where half of
// its bytes are on either side in the order of hashes, a full index block is
// split in the middle, and a full root gets a level of blocks below it. Nothing
// shrinks: what is taken out leaves room in its leaf.

// sealIndex writes the checksum of an index block whose entries begin at base.
func (fs *FS) sealIndex(in *inode, b []byte, base int) {
	if fs.metadataCsum {
		ondisk.SealDx(in.seed, b, base)
	}
}

// addHashed puts a name into a directory that has a hash tree.
func (o *op) addHashed(dir *inode, name string, ino uint32, typ uint8) error {
	for {
		t, err := o.f.dxTree(dir)
		if err != nil {
			return err
		}
		hash := t.hash(name)
		if err := t.seek(hash); err != nil {
			return err
		}
		leaf := t.path[len(t.path)-1].child()
		if _, _, err := t.block(leaf); err != nil {
			return err
		}
		a, err := o.area(dir, uint64(leaf))
		if err != nil {
			return err
		}
		at, _, err := a.room(ondisk.DirEntrySize(len(name)))
		if err != nil {
			return err
		}
		if at >= 0 {
			a.insert(at, name, ino, typ)
			a.seal()
			return nil
		}
		if !t.path[len(t.path)-1].full() {
			return o.splitLeaf(dir, t, a, hash, name, ino, typ)
		}
		if err := o.growIndex(dir, t); err != nil {
			return err
		}
	}
}

// growIndex makes room in the index above a leaf: it splits the uppermost full
// block that has one above it with room, or moves all that the root has a level
// down.
func (o *op) growIndex(dir *inode, t *dxTree) error {
	i := len(t.path) - 1
	for i > 0 && t.path[i-1].full() {
		i--
	}
	if i == 0 && t.depth+1 == o.f.dxLevels() {
		return syscall.ENOSPC // "Directory index full"
	}
	lblk, fresh, _, err := o.newDirBlock(dir)
	if err != nil {
		return err
	}
	n := &t.path[i]
	b, err := o.modify(n.off, int(o.f.blockSize))
	if err != nil {
		return err
	}
	bs := int(o.f.blockSize)
	ondisk.EncodeDirEntry(fresh, ondisk.DirEntry{RecLen: bs}, bs)
	old, next := ondisk.DxEntries(b[n.base:]), ondisk.DxEntries(fresh[ondisk.DxNodeEntries:])
	keep := 0
	if i > 0 {
		keep = old.Count() / 2
	}
	count, hash := old.Count()-keep, old.Hash(keep)
	copy(next, old[keep*ondisk.DxEntrySize:old.Count()*ondisk.DxEntrySize])
	next.SetLimit(ondisk.DxLimit(bs, ondisk.DxNodeEntries, o.f.metadataCsum))
	next.SetCount(count)
	o.f.sealIndex(dir, fresh, ondisk.DxNodeEntries)
	if i == 0 {
		root := ondisk.DecodeDxRoot(b)
		root.IndirectLevels++
		ondisk.EncodeDxRoot(b, root)
		old.SetCount(1)
		old.SetBlock(0, lblk)
		o.f.sealIndex(dir, b, n.base)
		return nil
	}
	old.SetCount(keep)
	o.f.sealIndex(dir, b, n.base)
	return o.insertIndex(dir, &t.path[i-1], hash, lblk)
}

// insertIndex puts an entry for a new block behind the current one of an index
// block that has room.
func (o *op) insertIndex(dir *inode, n *dxNode, hash, lblk uint32) error {
	b, err := o.modify(n.off, int(o.f.blockSize))
	if err != nil {
		return err
	}
	ondisk.DxEntries(b[n.base:]).Insert(n.at+1, hash, lblk)
	o.f.sealIndex(dir, b, n.base)
	return nil
}

// hashedEntry is an entry of a leaf.
type hashedEntry struct {
	hash      uint32
	pos, size int
}

// splitLeaf makes two leaves of the one that the path of t leads to, and puts a
// name into one of them. The index above has room for another.
func (o *op) splitLeaf(dir *inode, t *dxTree, a dirArea, hash uint32, name string, ino uint32, typ uint8) error {
	all := make([]hashedEntry, 0, 64)
	err := a.each(func(pos, _ int, e *entry) bool {
		if e.ino != 0 {
			all = append(all, hashedEntry{t.hash(string(e.name)), pos, ondisk.DirEntrySize(len(e.name))})
		}
		return true
	})
	if err != nil {
		return err
	}
	lower, upper := splitByHash(all, int(o.f.blockSize))
	old := slices.Clone(a.b)
	into := a
	if len(upper) > 0 {
		lblk, fresh, off, err := o.newDirBlock(dir)
		if err != nil {
			return err
		}
		first := upper[0].hash
		if first == lower[len(lower)-1].hash {
			first++ // goes on from the leaf before
		}
		if err := o.insertIndex(dir, &t.path[len(t.path)-1], first, lblk); err != nil {
			return err
		}
		b := o.f.blockArea(dir, fresh, off)
		b.fill(old, upper)
		b.seal()
		if hash >= upper[0].hash {
			into = b
		}
	}
	a.fill(old, lower)
	a.seal()
	at, _, err := into.room(ondisk.DirEntrySize(len(name)))
	if err != nil {
		return err
	}
	if at < 0 {
		return vfs.Corruptf(into.off, dir.dirName(), "no room for a name of %d bytes in half a block", len(name))
	}
	into.insert(at, name, ino, typ)
	into.seal()
	return nil
}

// splitByHash sorts the entries of a leaf by hash and divides them so that each
// half has about half of a block (do_split). If there are too few to divide, all
// are in the lower half: they only have to be moved together.
func splitByHash(all []hashedEntry, blockSize int) (lower, upper []hashedEntry) {
	slices.SortStableFunc(all, func(a, b hashedEntry) int { return cmp.Compare(a.hash, b.hash) })
	if len(all) < 2 {
		return all, nil
	}
	split, size := len(all), 0
	for split > 0 && size+all[split-1].size/2 <= blockSize/2 {
		split--
		size += all[split].size
	}
	if split == 0 { // all of them fill no more than half of it
		split = len(all) / 2
	}
	return all[:split], all[split:]
}

// fill makes the area consist of some of the entries of another, one behind the
// other.
func (a *dirArea) fill(from []byte, entries []hashedEntry) {
	a.clearArea()
	bs := int(a.fs.blockSize)
	pos := 0
	for i, e := range entries {
		copy(a.b[pos:], from[e.pos:e.pos+e.size])
		length := e.size
		if i == len(entries)-1 {
			length = len(a.b) - pos
		}
		ondisk.SetRecLen(a.b[pos:], length, bs)
		pos += e.size
	}
}

// makeIndexed gives a directory of one block, which is full, a hash tree: all
// names but "." and ".." move to a block of their own (make_indexed_dir).
func (o *op) makeIndexed(dir *inode) error {
	version := o.f.sb.DefHashVersion
	if version > ondisk.HashTEA {
		return &vfs.NotSupportedError{What: "hash version of new directories", Off: ondisk.SuperOff + 0xFC}
	}
	a, err := o.area(dir, 0)
	if err != nil {
		return err
	}
	var names []hashedEntry
	var dots [2]uint32
	n := 0
	err = a.each(func(pos, _ int, e *entry) bool {
		switch {
		case n < 2:
			if string(e.name) != ".."[:n+1] {
				n = 3
				return false
			}
			dots[n] = e.ino
			n++
		case e.ino != 0:
			names = append(names, hashedEntry{0, pos, ondisk.DirEntrySize(len(e.name))})
		}
		return true
	})
	if err != nil {
		return err
	}
	if n != 2 {
		return vfs.Corruptf(a.off, dir.dirName(), "does not begin with \".\" and \"..\"")
	}
	lblk, fresh, off, err := o.newDirBlock(dir)
	if err != nil {
		return err
	}
	b := o.f.blockArea(dir, fresh, off)
	b.fill(a.b, names)
	b.seal()

	root, bs := a.b, int(o.f.blockSize)
	if a.block != nil {
		root = a.block
	}
	clear(root)
	putDots(root, bs, dots[0], dots[1], o.f.direntType(vfs.Dir), bs)
	ondisk.EncodeDxRoot(root, ondisk.DxRoot{HashVersion: version, InfoLength: 8})
	e := ondisk.DxEntries(root[ondisk.DxRootEntries:])
	e.SetLimit(ondisk.DxLimit(bs, ondisk.DxRootEntries, o.f.metadataCsum))
	e.SetCount(1)
	e.SetBlock(0, lblk)
	o.f.sealIndex(dir, root, ondisk.DxRootEntries)
	dir.Flags |= ondisk.FlIndex
	dir.dirty = true
	o.f.names.drop(dir.num)
	return nil
}

// putDots writes "." and "..", which reaches to end.
func putDots(b []byte, end int, self, parent uint32, typ uint8, blockSize int) {
	dot := ondisk.DirEntrySize(1)
	writeEntry(b, dot, ".", self, typ, blockSize)
	writeEntry(b[dot:], end-dot, "..", parent, typ, blockSize)
}
