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
	d := &e.dirent
	a := vfs.Attr{
		Ino:   e.ino(),
		Mtime: fatTime(d.WriteDate, d.WriteTime, 0),
		Flags: flags(d.Attr),
	}
	a.Ctime = a.Mtime
	if d.AccessDate != 0 {
		a.Atime = fatTime(d.AccessDate, 0, 0)
	}
	if d.CreateDate != 0 {
		a.Btime = fatTime(d.CreateDate, d.CreateTime, d.CreateTen)
	}
	if d.Attr&ondisk.AttrDir != 0 {
		dir, err := f.dir(ctx, a.Ino)
		if err != nil {
			return vfs.Attr{}, err
		}
		fillDir(&a, dir)
		return a, nil
	}
	a.Mode, a.Nlink = vfs.Regular|0o644, 1
	if d.Attr&ondisk.AttrReadOnly != 0 {
		a.Mode = vfs.Regular | 0o444
	}
	a.Size = int64(d.Size)
	a.Blocks = (a.Size + f.clusterSize - 1) / f.clusterSize * (f.clusterSize / 512)
	return a, nil
}

func fillDir(a *vfs.Attr, d *dir) {
	a.Mode = vfs.Dir | 0o755
	a.Nlink = 2 + d.subdirs
	a.Size = d.size
	a.Blocks = d.size / 512
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
