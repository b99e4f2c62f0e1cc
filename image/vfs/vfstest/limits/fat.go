package limits

import (
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/resflash/resflash/image/vfs"
)

const fatFlags = vfs.UserReadOnly | vfs.UserHidden | vfs.UserSystem | vfs.UserArchive

// FAT are the limits of FAT with long names, where its driver and Linux's agree
// or the first says that they do not.
func FAT() Limits {
	return Limits{
		Only: []vfs.Mode{vfs.Regular, vfs.Dir}, NoLinks: true, NoHoles: true, NoCtime: true, BareRoot: true,
		Written: vfs.UserArchive, Hold: fatHold, Apply: fatApply, Refuse: fatRefuse, CheckName: fatName,
		Fold: func(name string) string { return strings.Map(unicode.ToUpper, name) },
	}
}

// fatHold gives everybody the same owner, derives the mode from the read-only
// attribute, and rounds times down.
func fatHold(a vfs.Attr) vfs.Attr {
	a.UID, a.GID = 0, 0
	a.Flags &= fatFlags
	switch {
	case a.Mode.IsDir():
		a.Mode = vfs.Dir | 0o755
	case a.Flags&vfs.UserReadOnly != 0 || a.Mode&0o200 == 0:
		a.Mode = vfs.Regular | 0o444
		a.Flags |= vfs.UserReadOnly
	default:
		a.Mode = vfs.Regular | 0o644
	}
	a.Mtime = fatRound(a.Mtime, 2*time.Second)
	a.Ctime = a.Mtime
	a.Btime = fatRound(a.Btime, 10*time.Millisecond)
	a.Atime = fatRound(a.Atime, 24*time.Hour)
	return a
}

func fatRound(t time.Time, unit time.Duration) time.Time {
	first := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	end := time.Date(2108, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case t.Before(first):
		t = first
	case !t.Before(end):
		t = end.Add(-1)
	}
	return first.Add(t.Sub(first) / unit * unit)
}

func fatApply(a *vfs.Attr, set vfs.SetAttr) {
	if set.Flags != nil {
		a.Flags = *set.Flags
		a.Mode |= 0o200
	}
	if set.Mode != nil && a.Mode.IsRegular() {
		a.Flags &^= vfs.UserReadOnly
		a.Mode = a.Mode.Type() | *set.Mode&0o200
	}
	if set.Atime != nil {
		a.Atime = *set.Atime
	}
	if set.Mtime != nil {
		a.Mtime = *set.Mtime
	}
	if set.Btime != nil {
		a.Btime = *set.Btime
	}
	*a = fatHold(*a)
}

func fatRefuse(set vfs.SetAttr) error {
	switch {
	case set.UID != nil && *set.UID != 0, set.GID != nil && *set.GID != 0, set.Mode != nil && set.Mode.Perm()&^0o777 != 0:
		return syscall.EPERM
	case set.Flags != nil && *set.Flags&^fatFlags != 0:
		return syscall.EOPNOTSUPP
	}
	return nil
}

func fatName(name string) error {
	bad := func(r rune) bool { return r < ' ' || strings.ContainsRune("\"*/:<>?\\|", r) }
	if strings.ContainsFunc(name, bad) || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return syscall.EINVAL
	}
	return nil
}
