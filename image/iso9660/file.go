package iso9660

import (
	"context"
	"io"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/iso9660/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A file is what the records of a file that is no directory say.
type file struct {
	record
	rock     rock
	typ      vfs.Mode
	size     int64
	sections []section // at least one
	first    [1]section
}

// A section is a contiguous part of a file.
type section struct {
	off  int64 // on the device
	size int64
}

// maxSections bounds the records of one file: of 4 GiB each, they are 16 TiB.
const maxSections = 4096

// file reads the file that begins with record r into x.
func (f *FS) file(r record, x *file) error {
	x.record = r
	x.typ = vfs.Regular
	if f.naming == rockRidge {
		if err := f.readRock(&r, &x.rock); err != nil {
			return err
		}
		if x.rock.hasChild || x.rock.relocated {
			return syscall.ENOENT // stands for a directory that is elsewhere
		}
		if x.rock.hasMode {
			x.typ = typeOf(x.rock.mode)
		}
	}
	x.first[0] = section{f.blockOff(r.Extent, r.XattrLen), int64(r.Size)}
	x.sections, x.size = x.first[:], int64(r.Size)
	for r.Flags&ondisk.FlagMultiExtent != 0 {
		next, err := f.nextRecord(r)
		if err != nil {
			return err
		}
		if len(x.sections) == maxSections {
			return vfs.Corruptf(x.off, "directory record", "the file has more than %d extents", maxSections)
		}
		x.sections = append(x.sections, section{f.blockOff(next.Extent, next.XattrLen), int64(next.Size)})
		x.size += int64(next.Size)
		r = next
	}
	switch {
	case x.rock.compressed || x.rock.sparse:
		x.size = x.rock.size
	case x.typ == vfs.Symlink:
		x.size = int64(len(x.rock.target))
	case x.typ != vfs.Regular:
		x.size = 0
	}
	return nil
}

// nextRecord returns the record behind r, which the flags of r promise.
func (f *FS) nextRecord(r record) (record, error) {
	off, size := r.off+int64(r.Length), f.dev.Size()
	for range 2 {
		if off >= size {
			break
		}
		next, ok, err := f.record(off, size)
		if err != nil || ok {
			return next, err
		}
		off = (off/f.blockSize + 1) * f.blockSize // padding
	}
	return record{}, vfs.Corruptf(r.off, "directory record", "the next extent of the file is missing")
}

// open returns the regular file ino, or why it cannot be read.
func (f *FS) open(ino vfs.Ino, x *file) error {
	r, err := f.recordAt(ino)
	if err != nil {
		return err
	}
	if r.isSelf() {
		return syscall.EISDIR
	}
	if err := f.file(r, x); err != nil {
		return err
	}
	switch {
	case x.typ != vfs.Regular:
		return syscall.EINVAL
	case x.rock.compressed:
		return &vfs.NotSupportedError{What: "zisofs compression", Off: x.off}
	case x.rock.sparse:
		return &vfs.NotSupportedError{What: "Rock Ridge sparse file", Off: x.off}
	case x.UnitSize != 0 || x.Gap != 0:
		return &vfs.NotSupportedError{What: "interleaved file", Off: x.off}
	}
	return nil
}

// at returns where the byte off < size of the file lies, and how many follow it
// there.
func (f *FS) at(x *file, off int64) (section, error) {
	for i, s := range x.sections {
		if off >= s.size {
			off -= s.size
			continue
		}
		s = section{s.off + off, s.size - off}
		for _, next := range x.sections[i+1:] {
			if next.off != s.off+s.size {
				break
			}
			s.size += next.size
		}
		if end := f.dev.Size(); s.off+s.size > end {
			if s.size = end - s.off; s.size <= 0 {
				return s, vfs.Corruptf(x.record.off, "directory record",
					"the contents at byte %d lie beyond the end of the device", s.off)
			}
		}
		return s, nil
	}
	return section{}, io.EOF
}

// ReadAt implements [vfs.FS].
func (f *FS) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	var x file
	if err := f.open(ino, &x); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	n := 0
	for n < len(p) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		s, err := f.at(&x, off+int64(n))
		if err != nil {
			return n, err
		}
		part := p[n:]
		if int64(len(part)) > s.size {
			part = part[:s.size]
		}
		got, err := f.dev.ReadAt(part, s.off)
		n += got
		if got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// Map implements [vfs.Mapper].
func (f *FS) Map(_ context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	var x file
	if err := f.open(ino, &x); err != nil {
		return 0, 0, err
	}
	if off < 0 {
		return 0, 0, syscall.EINVAL
	}
	s, err := f.at(&x, off)
	return s.off, s.size, err
}

// Readlink implements [vfs.FS].
func (f *FS) Readlink(_ context.Context, ino vfs.Ino) (string, error) {
	r, err := f.recordAt(ino)
	if err != nil {
		return "", err
	}
	if r.isSelf() {
		return "", syscall.EINVAL
	}
	var x file
	if err := f.file(r, &x); err != nil {
		return "", err
	}
	if x.typ != vfs.Symlink {
		return "", syscall.EINVAL
	}
	return string(x.rock.target), nil
}

// Getattr implements [vfs.FS].
func (f *FS) Getattr(_ context.Context, ino vfs.Ino) (vfs.Attr, error) {
	r, err := f.recordAt(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	a := vfs.Attr{Ino: ino, Nlink: 1}
	if a.Mtime = ondisk.ShortTime(r.Time[:]); a.Mtime.IsZero() {
		a.Mtime = epoch
	}
	if r.Flags&ondisk.FlagHidden != 0 {
		a.Flags = vfs.UserHidden
	}
	var x file
	if r.isSelf() {
		a.Mode, a.Size = vfs.Dir|0o555, int64(r.Size)
		if f.naming == rockRidge {
			err = f.readRock(&r, &x.rock)
		}
	} else {
		err = f.file(r, &x)
		a.Mode, a.Size = x.typ|0o444, x.size
	}
	if err != nil {
		return vfs.Attr{}, err
	}
	a.Ctime = a.Mtime
	a.Blocks = (a.Size + 511) / 512
	if k := &x.rock; k.hasMode {
		a.Mode = a.Mode.Type() | k.mode.Perm()
		a.Nlink, a.UID, a.GID = k.nlink, k.uid, k.gid
		if k.hasDev && a.Mode.IsDevice() {
			a.Rdev = k.dev()
		}
	}
	setTime(&a.Mtime, x.rock.times[timeModify])
	setTime(&a.Ctime, x.rock.times[timeModify])
	setTime(&a.Ctime, x.rock.times[timeAttributes])
	setTime(&a.Atime, x.rock.times[timeAccess])
	setTime(&a.Btime, x.rock.times[timeCreation])
	return a, nil
}

// epoch is the time of a record that has none.
var epoch = time.Unix(0, 0).UTC()

func setTime(to *time.Time, from time.Time) {
	if !from.IsZero() {
		*to = from
	}
}
