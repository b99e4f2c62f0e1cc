package iso9660

import (
	"context"
	"fmt"
	"iter"
	"syscall"

	"github.com/resflash/resflash/image/iso9660/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// maxDir bounds a directory in bytes: some 400,000 files with long names.
const maxDir = 64 << 20

// A dir is where the records of a directory lie.
type dir struct {
	ino  vfs.Ino // and the byte offset
	size int64
	self record
}

// A record is a directory record in the cache.
type record struct {
	ondisk.Record
	off int64  // on the device
	raw []byte // of the length that it says
}

// isSelf reports whether r is the record of a directory within itself.
func (r *record) isSelf() bool {
	return r.NameLength == 1 && r.raw[ondisk.RecordSize] == ondisk.NameSelf
}

// isDot reports whether r is one of the first two records of a directory.
func (r *record) isDot() bool {
	return r.NameLength == 1 && r.raw[ondisk.RecordSize] <= ondisk.NameParent
}

// structure is what errors call the directory at an inode number.
func structure(ino vfs.Ino) string { return fmt.Sprintf("directory %d", ino) }

// record decodes the directory record at off, which ends before end. ok is
// false where there is none: at padding.
func (f *FS) record(off, end int64) (r record, ok bool, err error) {
	p, err := f.cache.Bytes(off, int(min(ondisk.MaxRecord, end-off)))
	if err != nil {
		return r, false, err
	}
	n := int(p[0])
	if n == 0 {
		return r, false, nil
	}
	if n <= ondisk.RecordSize || n > len(p) || p[32] == 0 || ondisk.RecordSize+int(p[32]) > n {
		return r, false, vfs.Corruptf(off, "directory record", "bad length %d", n)
	}
	return record{ondisk.DecodeRecord(p), off, p[:n:n]}, true, nil
}

// dir returns the directory with an inode number, ENOTDIR if a file is there.
func (f *FS) dir(ino vfs.Ino) (dir, error) {
	r, err := f.recordAt(ino)
	if err != nil {
		return dir{}, err
	}
	if !r.isSelf() {
		return dir{}, syscall.ENOTDIR
	}
	d := dir{ino: ino, size: int64(r.Size), self: r}
	if size := f.dev.Size(); d.size > size-int64(ino) {
		return dir{}, vfs.Corruptf(r.off, structure(ino), "its %d bytes reach beyond the end of the device", r.Size)
	}
	if d.size > maxDir {
		return dir{}, &vfs.NotSupportedError{What: fmt.Sprintf("directory of more than %d bytes", maxDir), Off: r.off}
	}
	return d, nil
}

// recordAt returns the record that an inode number stands for: the first one of
// a file, or that of a directory within itself. Anything else is ENOENT.
func (f *FS) recordAt(ino vfs.Ino) (record, error) {
	size := f.dev.Size()
	if ino < ondisk.FirstSector*ondisk.SectorSize || ino > vfs.Ino(size) || size-int64(ino) <= ondisk.RecordSize {
		return record{}, syscall.ENOENT
	}
	r, ok, err := f.record(int64(ino), size)
	_, isDir := f.parents.Of(ino)
	isDir = isDir || ino == f.root
	switch {
	case err != nil && isDir:
		return record{}, err
	case err != nil || !ok:
	case r.isSelf() && r.Flags&ondisk.FlagDirectory != 0 && f.blockOff(r.Extent, r.XattrLen) == int64(ino):
		return r, nil
	case !isDir && !r.isDot() && r.Flags&ondisk.FlagDirectory == 0:
		return r, nil
	}
	if isDir {
		return record{}, vfs.Corruptf(int64(ino), structure(ino), "does not begin with a record of itself")
	}
	return record{}, syscall.ENOENT // a number that nobody was given
}

// scan calls visit for the records of d from the offset from in it on, until it
// returns false; next is the offset of what follows in d. The records "." and
// ".." and associated files are left out, and so are all records of a file but
// the first.
func (f *FS) scan(ctx context.Context, d dir, from int64, visit func(r *record, next int64) bool) error {
	var file record // whose further records are being passed over
	more := false
	count := 0
	for off := from; off < d.size; {
		if count++; count&255 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		r, ok, err := f.record(int64(d.ino)+off, int64(d.ino)+d.size)
		if err != nil {
			return err
		}
		if !ok { // the rest of the block is padding
			off = (off/f.blockSize + 1) * f.blockSize
			continue
		}
		off += int64(r.Length)
		switch {
		case more:
			more = r.Flags&ondisk.FlagMultiExtent != 0
			if more {
				continue
			}
			if !visit(&file, off) {
				return nil
			}
		case r.isDot() || r.Flags&ondisk.FlagAssociated != 0:
		case r.Flags&(ondisk.FlagMultiExtent|ondisk.FlagDirectory) == ondisk.FlagMultiExtent:
			file, more = r, true
		default:
			if !visit(&r, off) {
				return nil
			}
		}
	}
	if more {
		return vfs.Corruptf(file.off, "directory record", "the last extent of the file is missing")
	}
	return nil
}

// An entry is what a record says of a name in a directory.
type entry struct {
	name []byte // valid until the buffer that was passed is used again
	ino  vfs.Ino
	typ  vfs.Mode
}

// entry makes an entry of a record in d; ok is false if there is nothing to
// list. The name is appended to buf.
func (f *FS) entry(d dir, r *record, rock *rock, buf []byte) (e entry, ok bool, err error) {
	e = entry{ino: vfs.Ino(r.off), typ: vfs.Regular}
	raw, _ := ondisk.Name(r.raw)
	var name []byte
	if f.naming == rockRidge {
		if err := f.readRock(r, rock); err != nil {
			return e, false, err
		}
		if rock.relocated {
			return e, false, nil
		}
		if t := rock.mode.Type(); rock.hasMode && t != 0 {
			e.typ = t
		}
		name = rock.name
	}
	switch {
	case r.Flags&ondisk.FlagDirectory != 0:
		e.typ = vfs.Dir
		e.ino = vfs.Ino(f.blockOff(r.Extent, r.XattrLen))
	case f.naming == rockRidge && rock.hasChild:
		e.typ = vfs.Dir
		e.ino = vfs.Ino(f.blockOff(rock.child, 0))
	case e.typ == vfs.Dir: // a directory by its mode only
		e.typ = vfs.Regular
	}
	if e.name = f.appendName(buf, raw, name); len(e.name) == 0 {
		return e, false, nil
	}
	if e.typ == vfs.Dir {
		err = f.claim(e.ino, d.ino, r.off)
	}
	return e, err == nil, err
}

// claim notes that a record of dir leads to the directory child. One that is
// found by two records is an error.
func (f *FS) claim(child, dir vfs.Ino, record int64) error {
	if child == f.root {
		return vfs.Corruptf(record, structure(dir), "leads back to the root directory")
	}
	first, ok, err := f.parents.Claim(child, vfs.FoundIn{Dir: dir, Entry: record})
	if err == nil && !ok {
		err = vfs.Corruptf(record, structure(dir), "leads to directory %d, as the record at byte %d does", child, first.Entry)
	}
	return err
}

// ReadDir implements [vfs.FS]. A cookie is the offset in the directory behind
// an entry. A damaged entry does not keep the others from being listed: its
// error comes at the end.
func (f *FS) ReadDir(ctx context.Context, ino vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		d, err := f.dir(ino)
		if err != nil {
			yield(vfs.DirEntry{}, err)
			return
		}
		if cookie >= uint64(d.size) {
			return
		}
		var (
			buf     [nameBuffer]byte
			rock    rock
			first   error
			stopped bool
		)
		err = f.scan(ctx, d, int64(cookie), func(r *record, next int64) bool {
			e, ok, err := f.entry(d, r, &rock, buf[:0])
			if err != nil && first == nil {
				first = err
			}
			if !ok {
				return true
			}
			stopped = !yield(vfs.DirEntry{Name: string(e.name), Ino: e.ino, Type: e.typ, Next: uint64(next)}, nil)
			return !stopped
		})
		if err == nil {
			err = first
		}
		if err != nil && !stopped {
			yield(vfs.DirEntry{}, err)
		}
	}
}
