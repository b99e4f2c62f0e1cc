// Package limits says what file-system formats cannot hold, for the suite and
// the model that drivers are compared with: they then want the answer that is
// usual in such a case.
package limits

import (
	"slices"

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

// Refused is Refuse.
func (l *Limits) Refused(set vfs.SetAttr) error {
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
