package fat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// rootIno is the inode number of the root directory: a place in the boot
// sector, where no directory entry can be.
const rootIno vfs.Ino = 1

// maxDirBytes bounds a directory. The specification allows 65536 entries, 2
// MiB; some programs do not know that.
const maxDirBytes = 16 << 20

// A dir is a directory that was read once: where its slots lie. Only a [Writer]
// changes it.
type dir struct {
	ino     vfs.Ino
	start   uint32   // first cluster; 0 for the root of FAT12 and FAT16
	extents []extent // of its slots
	firsts  []uint32 // the first slot in each of them
	size    int64    // bytes in extents
	subdirs uint32
	err     error // why extents end early, if the chain is damaged
}

// structure is what errors call the directory.
func (d *dir) structure() string {
	if d.ino == rootIno {
		return "root directory"
	}
	return fmt.Sprintf("directory %d", d.ino)
}

// dir returns the directory with the inode number ino: ENOTDIR if it is
// something else.
func (f *FS) dir(ctx context.Context, ino vfs.Ino) (*dir, error) {
	if d, ok := f.dirs.get(ino); ok {
		return d, nil
	}
	d := &dir{ino: ino}
	if ino == rootIno {
		d.start = f.rootCluster
	} else {
		e, err := f.entryAt(ino)
		if err != nil {
			return nil, err
		}
		if e.dirent.Attr&ondisk.AttrDir == 0 {
			return nil, syscall.ENOTDIR
		}
		if d.start = f.firstCluster(&e.dirent); !f.holds(d.start) {
			return nil, vfs.Corruptf(e.off, d.structure(), "begins in cluster %d of %d", d.start, f.clusters)
		}
	}
	if err := f.findSlots(ctx, d); err != nil {
		return nil, err
	}
	if err := f.claims.claim(f, d); err != nil {
		return nil, err
	}
	err := f.scan(ctx, d, 0, func(e *entry) bool {
		if e.dirent.Attr&ondisk.AttrDir != 0 {
			d.subdirs++
		}
		return true
	})
	if err != nil && err != d.err {
		return nil, err
	}
	f.dirs.put(ino, d, 8+len(d.extents))
	return d, nil
}

// findSlots finds where the slots of d lie, from d.start. Damage ends the
// directory early, and is kept in d.err.
func (f *FS) findSlots(ctx context.Context, d *dir) error {
	if d.start == 0 && f.bits != 32 {
		d.add(extent{f.rootOff, f.rootBytes})
		return nil
	}
	for d.err == nil {
		e, err := f.extent(ctx, d.start, d.size, maxDirBytes)
		var corrupt *vfs.CorruptError
		switch {
		case errors.As(err, &corrupt):
			d.err = err
			return nil
		case err != nil:
			return err
		case e.n == 0:
			return nil
		}
		limit := e.n
		if e.off+limit > f.deviceBytes {
			d.err = vfs.Corruptf(e.off, d.structure(), "lies beyond the end of the device")
			limit = f.deviceBytes - e.off
		}
		if d.size+limit > maxDirBytes {
			d.err = vfs.Corruptf(e.off, d.structure(), "is longer than %d bytes", maxDirBytes)
			limit = maxDirBytes - d.size
		}
		if e.n = limit / f.clusterSize * f.clusterSize; e.n <= 0 {
			return nil
		}
		d.add(e)
	}
	return nil
}

// add adds a piece to the end of the directory.
func (d *dir) add(e extent) {
	d.firsts = append(d.firsts, d.slots())
	d.extents = append(d.extents, e)
	d.size += e.n
}

// slots is how many there are.
func (d *dir) slots() uint32 { return uint32(d.size / ondisk.DirentSize) }

// piece returns the number of the extent that a slot lies in.
func (d *dir) piece(slot uint32) int {
	return sort.Search(len(d.firsts), func(i int) bool { return d.firsts[i] > slot }) - 1
}

// slotOff is where a slot that the directory has lies on the device.
func (d *dir) slotOff(slot uint32) int64 {
	i := d.piece(slot)
	return d.extents[i].off + int64(slot-d.firsts[i])*ondisk.DirentSize
}

// An entry is a live directory entry, or a volume label, with what belongs to it.
type entry struct {
	off    int64  // of its dirent, on the device
	first  uint32 // first slot that belongs to it, in its directory
	slot   uint32 // slot of its dirent
	dirent ondisk.Dirent
	long   []uint16 // its long name, if it has a valid one
}

func (e *entry) isLabel() bool { return e.dirent.Attr&ondisk.AttrLabel != 0 }

func (f *FS) inoOf(e *entry) vfs.Ino { return f.inos.of(positionOf(e.off)) }

// scan calls visit for the live entries of d from a slot on, until it returns
// false. The entry is only valid during the call. An error is a failed read, or
// d.err at the end of a damaged directory.
func (f *FS) scan(ctx context.Context, d *dir, from uint32, visit func(*entry) bool) error {
	return f.scanAll(ctx, d, from, func(e *entry) bool { return e.isLabel() || visit(e) })
}

// scanAll is scan with volume labels.
func (f *FS) scanAll(ctx context.Context, d *dir, from uint32, visit func(*entry) bool) error {
	var (
		e    entry
		long longName
	)
	return f.eachSlot(ctx, d, from, func(raw []byte, off int64, slot uint32) bool {
		switch {
		case raw[0] == ondisk.MarkDeleted:
			long.reset()
		case ondisk.IsLong(raw):
			long.add(raw, slot)
		case isLive(raw) || isLabel(raw):
			e.off, e.slot, e.first = off, slot, slot
			e.dirent = ondisk.DecodeDirent(raw)
			if e.long = long.take(e.dirent.Checksum()); e.long != nil {
				e.first = long.first
			}
			return visit(&e)
		default:
			long.reset()
		}
		return true
	})
}

// eachSlot calls visit for the slots of d, from one on, until it returns false
// or the mark of the end. The error is that of scan.
func (f *FS) eachSlot(ctx context.Context, d *dir, from uint32, visit func(raw []byte, off int64, slot uint32) bool) error {
	for i := max(d.piece(from), 0); i < len(d.extents); i++ {
		x, slot := d.extents[i], d.firsts[i]
		off := x.off
		if from > slot {
			off += int64(from-slot) * ondisk.DirentSize
			slot = from
		}
		for off < x.off+x.n {
			if err := ctx.Err(); err != nil {
				return err
			}
			// As much as lies within one page of the cache comes without a copy.
			n := min(x.off+x.n-off, pageSize-off%pageSize)
			p, err := f.cache.Bytes(off, int(n))
			if err != nil {
				return err
			}
			for ; len(p) >= ondisk.DirentSize; p = p[ondisk.DirentSize:] {
				if p[0] == ondisk.MarkEnd {
					return d.err
				}
				if !visit(p[:ondisk.DirentSize], off, slot) {
					return nil
				}
				off += ondisk.DirentSize
				slot++
			}
		}
	}
	return d.err
}

// isLabel reports whether a slot that is no part of a long name holds a volume
// label.
func isLabel(raw []byte) bool { return raw[11]&(ondisk.AttrLabel|ondisk.AttrDir) == ondisk.AttrLabel }

// isLive reports whether a slot holds a file or a directory that is to be
// listed. Volume labels and the dot entries are not, and neither is a name that
// is empty: Linux skips those as well.
func isLive(raw []byte) bool {
	if raw[0] == ondisk.MarkEnd || raw[0] == ondisk.MarkDeleted || raw[11]&ondisk.AttrLabel != 0 {
		return false
	}
	switch string(trimSpaces(raw[:8])) {
	case "":
		return string(raw[8:11]) != "   " && string(raw[8:11]) != ".  "
	case ".":
		return string(raw[8:11]) != "   "
	case "..":
		return string(raw[8:11]) != "   "
	}
	return true
}

// entryAt returns the entry of an inode other than the root. Its long name is
// not known.
func (f *FS) entryAt(ino vfs.Ino) (entry, error) {
	at, ok := f.inos.position(ino)
	if !ok || at > position(f.volumeBytes/ondisk.DirentSize) {
		return entry{}, syscall.ENOENT
	}
	off := int64(at) * ondisk.DirentSize
	inRoot := off >= f.rootOff && off < f.rootOff+f.rootBytes
	inData := off >= f.dataOff && off < f.dataOff+int64(f.clusters)*f.clusterSize
	if !inRoot && !inData || off+ondisk.DirentSize > f.deviceBytes {
		return entry{}, syscall.ENOENT
	}
	// Where there was a directory once may be the contents of a file by now.
	if f.inos != nil && inData && !f.claims.has(f.clusterAt(off)) {
		return entry{}, syscall.ENOENT
	}
	raw, err := f.cache.Bytes(off, ondisk.DirentSize)
	if err != nil {
		return entry{}, err
	}
	if ondisk.IsLong(raw) || !isLive(raw) {
		return entry{}, syscall.ENOENT
	}
	return entry{off: off, dirent: ondisk.DecodeDirent(raw)}, nil
}

// firstCluster is where a file begins. The upper half belongs to something else
// on FAT12 and FAT16 (OS/2 kept extended attributes there).
func (f *FS) firstCluster(d *ondisk.Dirent) uint32 {
	if f.bits != 32 {
		return uint32(d.ClusterLo)
	}
	return uint32(d.ClusterHi)<<16 | uint32(d.ClusterLo)
}

// ReadDir implements [vfs.FS]. A cookie is the slot behind an entry.
func (f *FS) ReadDir(ctx context.Context, ino vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		d, err := f.dir(ctx, ino)
		if err != nil {
			yield(vfs.DirEntry{}, err)
			return
		}
		if cookie > uint64(d.size/ondisk.DirentSize) {
			return
		}
		var buf [nameBytes]byte
		stopped := false
		// Of an entry that was made since, the name may begin before.
		from := uint32(cookie)
		err = f.scan(ctx, d, from-min(from, ondisk.LongParts), func(e *entry) bool {
			if e.slot < from {
				return true
			}
			typ := vfs.Regular
			if e.dirent.Attr&ondisk.AttrDir != 0 {
				typ = vfs.Dir
			}
			stopped = !yield(vfs.DirEntry{
				Name: string(e.appendName(buf[:0])),
				Ino:  f.inoOf(e),
				Type: typ,
				Next: uint64(e.slot) + 1,
			}, nil)
			return !stopped
		})
		if err != nil && !stopped {
			yield(vfs.DirEntry{}, err)
		}
	}
}
