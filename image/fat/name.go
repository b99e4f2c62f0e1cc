package fat

import (
	"bytes"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// nameBytes is the length of the longest name in UTF-8: a code unit needs at
// most three bytes (two of them make a rune of four).
const nameBytes = 3 * ondisk.LongMax

// longName collects the parts of a long name on their way to the entry that
// they belong to. Parts that are out of order, or whose checksum is that of
// another short name, were orphaned by a program that knows only short names.
type longName struct {
	units [ondisk.LongParts * ondisk.LongUnits]uint16
	parts int    // of the name; 0: none is being collected
	left  int    // parts still to come
	sum   uint8  // checksum of the short name
	first uint32 // slot of the first part
}

func (l *longName) reset() { l.parts = 0 }

func (l *longName) add(raw []byte, slot uint32) {
	ord, sum := ondisk.LongOrd(raw), ondisk.LongChecksum(raw)
	n := int(ord & ondisk.LongOrdMask)
	switch {
	case ord&^ondisk.LongOrdMask == ondisk.LongLast && n >= 1 && n <= ondisk.LongParts:
		l.parts, l.sum, l.first = n, sum, slot
	case l.parts == 0 || int(ord) != l.left || ord == 0 || sum != l.sum:
		l.reset()
		return
	}
	l.left = n - 1
	ondisk.LongName(raw, (*[ondisk.LongUnits]uint16)(l.units[(n-1)*ondisk.LongUnits:]))
}

// take returns the long name if it is complete and belongs to a short name with
// this checksum, else nil. The slice is valid until the next part is added.
func (l *longName) take(sum uint8) []uint16 {
	parts := l.parts
	l.reset()
	if parts == 0 || l.left != 0 || l.sum != sum {
		return nil
	}
	name := l.units[:parts*ondisk.LongUnits]
	for i, u := range name {
		if u == 0 {
			name = name[:i]
			break
		}
	}
	if len(name) == 0 || len(name) > ondisk.LongMax {
		return nil
	}
	// "." and ".." would lead out of the directory.
	if name[0] == '.' && (len(name) == 1 || len(name) == 2 && name[1] == '.') {
		return nil
	}
	return name
}

// appendName appends the name under which the entry is listed, in UTF-8.
func (e *entry) appendName(b []byte) []byte {
	if e.long == nil {
		return appendShort(b, &e.dirent)
	}
	for i := 0; i < len(e.long); i++ {
		r := rune(e.long[i])
		if utf16.IsSurrogate(r) {
			next := rune(0)
			if i+1 < len(e.long) {
				next = rune(e.long[i+1])
			}
			if r = utf16.DecodeRune(r, next); r != unicode.ReplacementChar {
				i++
			}
		}
		b = utf8.AppendRune(b, printable(r))
	}
	return b
}

// appendShort appends the 8.3 name, in the case that Windows NT recorded.
func appendShort(b []byte, d *ondisk.Dirent) []byte {
	name := d.Name
	if name[0] == ondisk.MarkE5 {
		name[0] = 0xe5
	}
	b = appendOEM(b, trimSpaces(name[:8]), d.Case&ondisk.CaseLowerBase != 0)
	if ext := trimSpaces(name[8:]); len(ext) > 0 {
		b = append(b, '.')
		b = appendOEM(b, ext, d.Case&ondisk.CaseLowerExt != 0)
	}
	return b
}

func appendOEM(b, oem []byte, lower bool) []byte {
	for _, c := range oem {
		r := rune(c)
		if c >= 0x80 {
			r = cp437[c-0x80]
		}
		if lower {
			r = unicode.ToLower(r)
		}
		b = utf8.AppendRune(b, printable(r))
	}
	return b
}

// printable replaces what no name may hold: the separator of a path, and NUL.
func printable(r rune) rune {
	if r == '/' || r == 0 {
		return unicode.ReplacementChar
	}
	return r
}

func trimSpaces(b []byte) []byte { return bytes.TrimRight(b, " ") }

// unitsIn is the length of a name in UTF-16 code units.
func unitsIn(name string) int {
	n := 0
	for _, r := range name {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// fold maps the runes that differ only in case to one.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	return unicode.ToUpper(r)
}

// foldedHash is the FNV-1a hash of a name without regard to case.
func foldedHash(name []byte) uint64 {
	h := uint64(14695981039346656037)
	for len(name) > 0 {
		r, n := utf8.DecodeRune(name)
		name = name[n:]
		h = (h ^ uint64(fold(r))) * 1099511628211
	}
	return h
}

// foldedEqual reports whether two names differ at most in case.
func foldedEqual(a, b []byte) bool {
	for len(a) > 0 && len(b) > 0 {
		ra, na := utf8.DecodeRune(a)
		rb, nb := utf8.DecodeRune(b)
		if fold(ra) != fold(rb) {
			return false
		}
		a, b = a[na:], b[nb:]
	}
	return len(a) == len(b)
}
