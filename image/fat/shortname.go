package fat

import (
	"fmt"
	"strings"
	"syscall"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// A newName is how a name is stored: a short name, with a long one before it if
// the short one does not say it all.
type newName struct {
	short    [11]byte
	caseBits uint8
	long     []uint16 // nil: not needed
}

// slots is how many the name takes, that of the file among them.
func (n *newName) slots() uint32 {
	return uint32(len(n.long)+ondisk.LongUnits-1)/ondisk.LongUnits + 1
}

// checkName says what is wrong with a name for a new file. Unlike Linux, which
// drops them, it takes no dots at the end.
func checkName(name string) error {
	switch {
	case name == "":
		return syscall.EINVAL
	case !utf8.ValidString(name):
		return errNameUTF8
	case unitsIn(name) > ondisk.LongMax:
		return syscall.ENAMETOOLONG
	}
	for _, r := range name {
		if r < ' ' || strings.ContainsRune("\"*/:<>?\\|", r) {
			return errNameRune(r)
		}
	}
	if last := name[len(name)-1]; last == ' ' || last == '.' {
		return errNameEnd
	}
	return nil
}

// makeName finds out how to store a name that checkName allows. taken says
// whether the directory has a short name already.
func makeName(name string, taken func([11]byte) (bool, error)) (newName, error) {
	if n, ok := shortAlone(name); ok {
		return n, nil
	}
	n := newName{long: utf16.Encode([]rune(name))}
	base, ext, exact := basis(name)
	try := func(base, tail string) (bool, error) {
		n.short = pad(base[:min(len(base), 8-len(tail))]+tail, ext)
		used, err := taken(n.short)
		return !used, err
	}
	if exact {
		if ok, err := try(base, ""); ok || err != nil {
			return n, err
		}
	}
	// As Windows does: a few numbers, then numbers behind a hash of the name.
	for i := 1; i <= 4; i++ {
		if ok, err := try(base, fmt.Sprintf("~%d", i)); ok || err != nil {
			return n, err
		}
	}
	hash := uint16(foldedHash([]byte(name)))
	for range 1 << 16 {
		for i := 1; i <= 9; i++ {
			if ok, err := try(base[:min(len(base), 2)], fmt.Sprintf("%04X~%d", hash, i)); ok || err != nil {
				return n, err
			}
		}
		hash++
	}
	return n, syscall.ENOSPC
}

// shortAlone stores a name of 8.3 characters whose letters are all capitals or,
// in base or extension, all small, without a long name.
func shortAlone(name string) (newName, bool) {
	base, ext, dot := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dot && ext == "" || strings.Contains(ext, ".") {
		return newName{}, false
	}
	var n newName
	for _, part := range []struct {
		s   string
		bit uint8
	}{{base, ondisk.CaseLowerBase}, {ext, ondisk.CaseLowerExt}} {
		lower, upper := false, false
		for i := range len(part.s) {
			c := part.s[i]
			if c == ' ' || !inShort(c) {
				return newName{}, false
			}
			lower = lower || 'a' <= c && c <= 'z'
			upper = upper || 'A' <= c && c <= 'Z'
		}
		if lower && upper {
			return newName{}, false
		}
		if lower {
			n.caseBits |= part.bit
		}
	}
	n.short = pad(strings.ToUpper(base), strings.ToUpper(ext))
	return n, true
}

// inShort reports whether a short name may hold a byte of a long one, but for
// its case.
func inShort(c byte) bool { return c < utf8.RuneSelf && !strings.ContainsRune("+,;=[].", rune(c)) }

// basis is what short names are made of for a name: its first characters and
// those behind its last dot, as far as they are good. exact says that nothing
// but the case of letters was lost.
func basis(name string) (base, ext string, exact bool) {
	trimmed := strings.TrimLeft(name, " .")
	exact = trimmed == name
	ext = ""
	if i := strings.LastIndexByte(trimmed, '.'); i > 0 {
		trimmed, ext = trimmed[:i], trimmed[i+1:]
	}
	part := func(s string, most int) string {
		var b []byte
		for _, r := range s {
			switch {
			case r == ' ' || r == '.':
				exact = false
				continue
			case r >= utf8.RuneSelf || !inShort(byte(r)):
				exact = false
				r = '_'
			}
			if len(b) == most {
				exact = false
				break
			}
			b = append(b, byte(r))
		}
		return strings.ToUpper(string(b))
	}
	return part(trimmed, 8), part(ext, 3), exact
}

// pad is a short name as entries hold it.
func pad(base, ext string) (name [11]byte) {
	copy(name[:], "           ")
	copy(name[:8], base)
	copy(name[8:], ext)
	return name
}
