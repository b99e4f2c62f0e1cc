package fat

import (
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// lookup finds a name in a directory.
func (o *op) lookup(d *dir, name string) (e entry, found bool, err error) {
	e, err = o.f.find(o.ctx, d, name)
	if err == syscall.ENOENT {
		return e, false, nil
	}
	return e, err == nil, err
}

// named finds the entry of a file that a directory must have.
func (o *op) named(d *dir, name string) (entry, error) {
	if name == "" || tooLong(name) {
		return entry{}, noName(name)
	}
	return o.f.find(o.ctx, d, name)
}

// noName is the error for a name that is not there.
func noName(name string) error {
	if tooLong(name) {
		return syscall.ENAMETOOLONG
	}
	return syscall.ENOENT
}

func tooLong(name string) bool { return len(name) > nameBytes || unitsIn(name) > ondisk.LongMax }

// addName gives a file a name in a directory that has none like it, and returns
// where its entry lies.
func (o *op) addName(d *dir, name string, dirent *ondisk.Dirent) (off int64, err error) {
	x, err := o.f.index(o.ctx, d)
	if err != nil {
		return 0, err
	}
	n, err := makeName(name, func(short [11]byte) (bool, error) { return o.f.aliasTaken(o.ctx, d, x, short) })
	if err != nil {
		return 0, err
	}
	count := n.slots()
	slot, err := o.makeSlots(d, count)
	if err != nil {
		return 0, err
	}
	m, err := o.slotMap(d)
	if err != nil {
		return 0, err
	}
	o.touched(d.ino)
	// What was behind the mark of the end may be anything.
	if after := slot + count; after > m.end && after < d.slots() {
		if err := o.mark(d, after, ondisk.MarkEnd); err != nil {
			return 0, err
		}
	}
	dirent.Name, dirent.Case = n.short, n.caseBits
	for i := range count - 1 {
		b, err := o.modify(d.slotOff(slot+i), ondisk.DirentSize)
		if err != nil {
			return 0, err
		}
		ondisk.PutLong(b, n.long, int(count-1-i), dirent.Checksum())
	}
	e := entry{off: d.slotOff(slot + count - 1), first: slot, slot: slot + count - 1, dirent: *dirent, long: n.long}
	b, err := o.modify(e.off, ondisk.DirentSize)
	if err != nil {
		return 0, err
	}
	dirent.Encode(b)
	m.set(slot, count)
	e.hashes(func(hash uint64) { x.add(hash, slot) })
	o.f.indexes.put(d.ino, x, x.n+8)
	return e.off, nil
}

// mark stores the first byte of a slot, unless it is there.
func (o *op) mark(d *dir, slot uint32, mark byte) error {
	off := d.slotOff(slot)
	old, err := o.f.cache.Bytes(off, 1)
	if err != nil || old[0] == mark {
		return err
	}
	b, err := o.modify(off, 1)
	if err == nil {
		b[0] = mark
	}
	return err
}

// removeName takes an entry, and its long name, out of a directory.
func (o *op) removeName(d *dir, e *entry) error {
	o.touched(d.ino)
	for slot := e.first; slot <= e.slot; slot++ {
		if err := o.mark(d, slot, ondisk.MarkDeleted); err != nil {
			return err
		}
	}
	if m, ok := o.w.slotMaps.get(d.ino); ok {
		m.clear(e.first, e.slot-e.first+1)
	}
	if x, ok := o.f.indexes.get(d.ino); ok {
		e.hashes(func(hash uint64) { x.remove(hash, e.first) })
		o.f.indexes.put(d.ino, x, x.n+8)
	}
	return nil
}

// count adds to the number of directories in a directory.
func (o *op) count(d *dir, by int32) {
	o.touched(d.ino)
	d.subdirs += uint32(by)
}

// place gives the entry at off to a file: one that moves there, or a new one.
func (o *op) place(ino vfs.Ino, from, to position) {
	t := o.f.inos
	t.set(ino, to)
	o.undos = append(o.undos, func() {
		t.drop(ino)
		if from != 0 {
			t.set(ino, from)
		}
	})
}
