package fsck

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// The names of the first two entries of a directory.
var dots = [2][11]byte{[11]byte([]byte(".          ")), [11]byte([]byte("..         "))}

func isDots(name [11]byte) bool { return name == dots[0] || name == dots[1] }

// name is the name of an entry as it is shown.
func (e *entry) name() string {
	if len(e.long) > 0 {
		return strings.Map(printable, string(utf16.Decode(e.long)))
	}
	return shortName(&e.dirent)
}

// shortName is a short name as it is shown. What is not ASCII depends on a code
// page.
func shortName(d *ondisk.Dirent) string {
	part := func(b []byte, lower bool) string {
		var s strings.Builder
		for _, c := range bytes.TrimRight(b, " ") {
			r := rune(c)
			if c >= 0x80 {
				r = '\ufffd'
			}
			s.WriteRune(printable(r))
		}
		if lower {
			return strings.ToLower(s.String())
		}
		return s.String()
	}
	s := part(d.Name[:8], d.Case&ondisk.CaseLowerBase != 0)
	if ext := part(d.Name[8:], d.Case&ondisk.CaseLowerExt != 0); ext != "" {
		s += "." + ext
	}
	return s
}

func printable(r rune) rune {
	if r < 0x20 || r == '/' || r == 0x7f {
		return '\ufffd'
	}
	return r
}

// badShort reports what no short name may have. A first byte of 5 stands for
// 0xe5. Two files of OS/2 have names of their own kind.
func badShort(name [11]byte) bool {
	if s := string(name[:]); s == "EA DATA  SF" || s == "WP ROOT  SF" {
		return false
	}
	if name[0] == ' ' {
		return true
	}
	for i, c := range name {
		if c < 0x20 && (c != ondisk.MarkE5 || i != 0) || c == 0x7f || strings.IndexByte("*?<>|\"\\/:.", c) >= 0 {
			return true
		}
	}
	return false
}

// badLabel reports what no volume label may have.
func badLabel(name [11]byte) bool {
	if name[0] == ' ' {
		return true
	}
	for i, c := range name {
		if badLabelByte(c) && (c != ondisk.MarkE5 || i != 0) {
			return true
		}
	}
	return false
}

func badLabelByte(c byte) bool {
	return c < 0x20 || c == 0x7f || strings.IndexByte("*?.,;:/\\|+=<>[]\"", c) >= 0
}

// unusedName finds a short name that no entry of the directory has: base, four
// digits, and an extension.
func (d *dir) unusedName(base, ext string, from int) (name [11]byte, num int, ok bool) {
	for num = from; num < 10000; num++ {
		copy(name[:], fmt.Sprintf("%s%04d%s", base, num, ext))
		if !d.names[name] {
			d.names[name] = true
			return name, num, true
		}
	}
	return name, num, false
}
