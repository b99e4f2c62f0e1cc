package fat

import (
	"context"
	"time"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Getattr implements [vfs.FS].
func (f *FS) Getattr(ctx context.Context, ino vfs.Ino) (vfs.Attr, error) {
	if ino == rootIno {
		d, err := f.dir(ctx, ino)
		if err != nil {
			return vfs.Attr{}, err
		}
		a := vfs.Attr{Ino: ino, Atime: epoch, Mtime: epoch, Ctime: epoch}
		fillDir(&a, d)
		return a, nil
	}
	e, err := f.entryAt(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	return f.attr(ctx, &e)
}

// epoch is the time of the root directory, which has none.
var epoch = time.Unix(0, 0).UTC()

// attr makes the attributes of an entry up.
func (f *FS) attr(ctx context.Context, e *entry) (vfs.Attr, error) {
	a := f.fileAttr(&e.dirent)
	a.Ino = f.inoOf(e)
	if e.dirent.Attr&ondisk.AttrDir != 0 {
		dir, err := f.dir(ctx, a.Ino)
		if err != nil {
			return vfs.Attr{}, err
		}
		fillDir(&a, dir)
	}
	return a, nil
}

// fileAttr is attr for what needs no more than the entry: no inode number, and
// nothing that only directories have.
func (f *FS) fileAttr(d *ondisk.Dirent) vfs.Attr {
	a := vfs.Attr{Mtime: fatTime(d.WriteDate, d.WriteTime, 0), Flags: flags(d.Attr)}
	a.Ctime = a.Mtime
	if d.AccessDate != 0 {
		a.Atime = fatTime(d.AccessDate, 0, 0)
	}
	if d.CreateDate != 0 {
		a.Btime = fatTime(d.CreateDate, d.CreateTime, d.CreateTen)
	}
	a.Mode, a.Nlink = vfs.Regular|0o644, 1
	if d.Attr&ondisk.AttrReadOnly != 0 {
		a.Mode = vfs.Regular | 0o444
	}
	a.Size = int64(d.Size)
	a.Blocks = (a.Size + f.clusterSize - 1) / f.clusterSize * (f.clusterSize / 512)
	return a
}

func fillDir(a *vfs.Attr, d *dir) {
	a.Mode = vfs.Dir | 0o755
	a.Nlink = 2 + d.subdirs
	a.Size = d.size
	a.Blocks = d.size / 512
}

// heldFlags are the file flags that FAT has.
const heldFlags = vfs.UserReadOnly | vfs.UserHidden | vfs.UserSystem | vfs.UserArchive

// attrOf returns an attribute byte with the flags, and what else old has.
func attrOf(fl vfs.Flags, old uint8) uint8 {
	attr := old &^ (ondisk.AttrReadOnly | ondisk.AttrHidden | ondisk.AttrSystem | ondisk.AttrArchive)
	for _, x := range []struct {
		flag vfs.Flags
		bit  uint8
	}{
		{vfs.UserReadOnly, ondisk.AttrReadOnly}, {vfs.UserHidden, ondisk.AttrHidden},
		{vfs.UserSystem, ondisk.AttrSystem}, {vfs.UserArchive, ondisk.AttrArchive},
	} {
		if fl&x.flag != 0 {
			attr |= x.bit
		}
	}
	return attr
}

func flags(attr uint8) vfs.Flags {
	var fl vfs.Flags
	if attr&ondisk.AttrReadOnly != 0 {
		fl |= vfs.UserReadOnly
	}
	if attr&ondisk.AttrHidden != 0 {
		fl |= vfs.UserHidden
	}
	if attr&ondisk.AttrSystem != 0 {
		fl |= vfs.UserSystem
	}
	if attr&ondisk.AttrArchive != 0 {
		fl |= vfs.UserArchive
	}
	return fl
}

// fatTime converts a date (7 bits of years since 1980, 4 of month, 5 of day), a
// time (5 bits of hours, 6 of minutes, 5 of two seconds) and hundredths of a
// second. Fields out of range carry over into the next, but a month or day of 0
// is the first, as Linux reads it.
func fatTime(date, clock uint16, hundredths uint8) time.Time {
	return time.Date(
		1980+int(date>>9), time.Month(max(date>>5&15, 1)), int(max(date&31, 1)),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, int(hundredths)*10_000_000, time.UTC)
}

// fatStamp is what fatTime converts back, rounded down to what a date, a time
// and hundredths of a second can say. What they cannot say becomes the nearest
// time that they can.
func fatStamp(t time.Time) (date, clock uint16, hundredths uint8) {
	t = t.UTC()
	switch y := t.Year(); {
	case y < 1980:
		return 1<<5 | 1, 0, 0
	case y > 2107:
		return 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29, 199
	}
	date = uint16(t.Year()-1980)<<9 | uint16(t.Month())<<5 | uint16(t.Day())
	clock = uint16(t.Hour())<<11 | uint16(t.Minute())<<5 | uint16(t.Second()/2)
	return date, clock, uint8(t.Second()%2*100 + t.Nanosecond()/10_000_000)
}
