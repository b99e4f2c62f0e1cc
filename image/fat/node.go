package fat

import (
	"syscall"
	"time"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A file is a directory entry that an operation works on.
type file struct {
	ino    vfs.Ino
	off    int64 // of its dirent, on the device
	dirent ondisk.Dirent
}

func (f *FS) fileOf(e *entry) file { return file{f.inoOf(e), e.off, e.dirent} }

func (in *file) isDir() bool { return in.dirent.Attr&ondisk.AttrDir != 0 }

func (in *file) size() int64 { return int64(in.dirent.Size) }

// changed says that the contents changed.
func (in *file) changed(now time.Time) {
	in.dirent.WriteDate, in.dirent.WriteTime, _ = fatStamp(now)
	if !in.isDir() {
		in.dirent.Attr |= ondisk.AttrArchive
	}
}

// setStart says where the chain of a file begins. The upper half is something
// else on FAT12 and FAT16, and stays.
func (f *FS) setStart(d *ondisk.Dirent, first uint32) {
	d.ClusterLo = uint16(first)
	if f.bits == 32 {
		d.ClusterHi = uint16(first >> 16)
	}
}

// open loads a file that is to be changed, not the root directory.
func (o *op) open(ino vfs.Ino) (file, error) {
	e, err := o.f.entryAt(ino)
	if err != nil {
		return file{}, err
	}
	return file{ino, e.off, e.dirent}, nil
}

// openFile loads a regular file that is to be changed.
func (o *op) openFile(ino vfs.Ino) (file, error) {
	if ino == rootIno {
		return file{}, syscall.EISDIR
	}
	in, err := o.open(ino)
	if err != nil {
		return in, err
	}
	if in.isDir() {
		return in, syscall.EISDIR
	}
	return in, o.w.checkStart(in.off, &in.dirent)
}

// store writes the entry of a file back.
func (o *op) store(in *file) error {
	b, err := o.modify(in.off, ondisk.DirentSize)
	if err != nil {
		return err
	}
	in.dirent.Encode(b)
	return nil
}

// openDir loads a directory in which names are to be looked up or changed: not
// one that is damaged.
func (o *op) openDir(ino vfs.Ino) (*dir, error) {
	if or := o.w.orphans[ino]; or != nil {
		if or.isDir() {
			return nil, syscall.ENOENT
		}
		return nil, syscall.ENOTDIR
	}
	d, err := o.f.dir(o.ctx, ino)
	if err != nil {
		return nil, err
	}
	return d, d.err
}

// openForName opens a directory for a file to be given a name there. The name
// is judged before it is said that the directory was removed.
func (o *op) openForName(ino vfs.Ino, name string) (*dir, error) {
	d, err := o.openDir(ino)
	if err != nil && err != syscall.ENOENT {
		return nil, err
	}
	if or := o.w.orphans[ino]; err != nil && or == nil {
		return nil, err
	}
	if bad := checkName(name); bad != nil {
		return nil, bad
	}
	return d, err
}

// touchDir says that a directory changed now. The root directory has no times.
func (o *op) touchDir(d *dir) error {
	if d.ino == rootIno {
		return nil
	}
	in, err := o.open(d.ino)
	if err != nil {
		return err
	}
	in.changed(o.now)
	return o.store(&in)
}
