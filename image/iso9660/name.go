package iso9660

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/resflash/resflash/image/vfs"
)

func quote(b []byte) string { return strconv.Quote(string(b)) }

// appendName appends the name to list: that of Rock Ridge, if it is one, else
// that of the record by the rules of the tree. An empty result is not listed.
func (f *FS) appendName(buf, raw, rockName []byte) []byte {
	if n := len(rockName); n > 0 && n <= rockMax {
		if name := appendSafe(buf, rockName); !isDots(name) {
			return name
		}
	}
	if f.naming == joliet {
		buf = appendUCS2(buf, raw)
		buf = bytes.TrimSuffix(buf, []byte(";1"))
	} else {
		buf = appendPlain(buf, raw)
	}
	if isDots(buf) {
		return nil
	}
	return buf
}

// isDots reports whether a name would lead out of its directory.
func isDots(name []byte) bool { return string(name) == "." || string(name) == ".." }

// appendSafe appends a name of arbitrary bytes, without those that no name may
// hold.
func appendSafe(buf, name []byte) []byte {
	for _, c := range name {
		if c == '/' || c == 0 {
			buf = utf8.AppendRune(buf, unicode.ReplacementChar)
		} else {
			buf = append(buf, c)
		}
	}
	return buf
}

// appendPlain appends a name of the primary tree as Linux's map=normal shows
// it: in lower case, without ";1" and a dot before that, and with other
// semicolons as dots.
func appendPlain(buf, raw []byte) []byte {
	raw = bytes.TrimSuffix(raw, []byte(";1"))
	raw = bytes.TrimSuffix(raw, []byte("."))
	start := len(buf)
	buf = appendSafe(buf, raw)
	for i, c := range buf[start:] {
		switch {
		case c >= 'A' && c <= 'Z':
			buf[start+i] = c + 'a' - 'A'
		case c == ';':
			buf[start+i] = '.'
		}
	}
	return buf
}

// appendUCS2 appends a big-endian UTF-16 name in UTF-8.
func appendUCS2(buf, raw []byte) []byte {
	unit := func(i int) rune { return rune(raw[i])<<8 | rune(raw[i+1]) }
	for i := 0; i+1 < len(raw); i += 2 {
		r := unit(i)
		if utf16.IsSurrogate(r) {
			next := rune(0)
			if i+3 < len(raw) {
				next = unit(i + 2)
			}
			if r = utf16.DecodeRune(r, next); r != unicode.ReplacementChar {
				i += 2
			}
		}
		if r == '/' || r == 0 {
			r = unicode.ReplacementChar
		}
		buf = utf8.AppendRune(buf, r)
	}
	return buf
}

// typeOf is the type of a file that is no directory, by its mode.
func typeOf(m vfs.Mode) vfs.Mode {
	switch t := m.Type(); t {
	case vfs.FIFO, vfs.Char, vfs.Block, vfs.Symlink, vfs.Socket:
		return t
	}
	return vfs.Regular
}
