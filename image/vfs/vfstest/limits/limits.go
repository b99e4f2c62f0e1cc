// Package limits says what file-system formats cannot hold, for the suite and
// the model that drivers are compared with: they then want the answer that is
// usual in such a case.
package limits

import (
	"slices"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// Limits are what a format cannot hold. The zero value can hold all of POSIX.
type Limits struct {
	// Only are the types of files that there are; nil: all. Making others is
	// EPERM.
	Only []vfs.Mode
	// NoLinks: a file has one name. Link is EPERM.
	NoLinks bool
	// NoHoles: what was not written is zeros on the medium. Fallocate can make
	// files longer, and anything else is EOPNOTSUPP.
	NoHoles bool
	// NoCtime: the change time is the modification time, so that it does not
	// change with attributes and names.
	NoCtime bool
	// BareRoot: the root directory has no times, and keeps nothing that it is
	// given.
	BareRoot bool
	// Written are flags that files have from when they are made, and get
	// whenever their contents change.
	Written vfs.Flags
	// FileFlags are flags that only regular files and directories can have;
	// others get EOPNOTSUPP.
	FileFlags vfs.Flags
	// Inherited are flags that files have from their directory.
	Inherited vfs.Flags
	// MinorBits is how many bits of a minor device number there are; 0: 32.
	MinorBits int
	// LooseSize: how large a file can be depends on the file, so that it is not
	// tried.
	LooseSize bool
	// Hold returns what becomes of the attributes of a file that is made; nil:
	// they stay as they are.
	Hold func(vfs.Attr) vfs.Attr
	// Apply does what Setattr does to attributes, but for the size; nil: the
	// attributes are set.
	Apply func(*vfs.Attr, vfs.SetAttr)
	// Refuse returns the error for attributes that cannot be set; nil: all can.
	Refuse func(vfs.SetAttr) error
	// CheckName says what is wrong with a name, beyond what always is; nil:
	// nothing.
	CheckName func(string) error
	// XattrRoom is how much room the extended attributes of a file have, in
	// bytes, with 16 for each and names and values rounded up to 4: a driver may
	// say ENOSPC beyond; 0: that depends on nothing but the space.
	XattrRoom int
	// Fold maps the names that differ only in case to one; nil: case matters.
	Fold func(string) string
}

// Has reports whether there are files of a type.
func (l *Limits) Has(typ vfs.Mode) bool {
	return l.Only == nil || slices.Contains(l.Only, typ.Type())
}

// Held is Hold.
func (l *Limits) Held(a vfs.Attr) vfs.Attr {
	if l.Hold == nil {
		return a
	}
	return l.Hold(a)
}

// Refused is Refuse, for a file of a type.
func (l *Limits) Refused(typ vfs.Mode, set vfs.SetAttr) error {
	if set.Flags != nil && *set.Flags&l.FileFlags != 0 && !typ.IsRegular() && !typ.IsDir() {
		return syscall.EOPNOTSUPP
	}
	if l.Refuse == nil {
		return nil
	}
	return l.Refuse(set)
}

// Folded is Fold.
func (l *Limits) Folded(name string) string {
	if l.Fold == nil {
		return name
	}
	return l.Fold(name)
}
