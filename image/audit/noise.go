package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// maxMasked bounds the contents in which noise is looked for.
const maxMasked = 64 << 20

// A mask takes out of two files what no two builds have alike, and which tells
// nothing: what is left must be the same.
type mask struct {
	path   *lazyregexp.Regexp
	reason string
	left   func(content []byte) []byte // what is not noise; nil: not of the expected form
}

// masks are the noise of builds. All of them look into the file: one that only
// has the name of a database is none.
var masks = []mask{
	{lazyregexp.New(`^/etc/(shadow|gshadow)$`), "the day when an account was made", withoutDays},
	{lazyregexp.New(`^/etc/`), "a date in a comment", withoutDates},
	{lazyregexp.New(`^/var/cache/ldconfig/aux-cache$`), "a cache of inode numbers and times", auxCache},
	{lazyregexp.New(`\.pyc$`), "the time of the source in compiled Python", withoutSourceTime},
	{lazyregexp.New(`^/var/cache/man/(.*/)?index\.db$`), "pages of a database with the same records", gdbmRecords},
}

// noise is the mask under which two files are the same.
func (p *pair) noise(d *Difference) *mask {
	if !slices.Equal(d.Changed, []string{"content"}) {
		return nil
	}
	for i := range masks {
		m := &masks[i]
		if !m.path.MatchString(p.path) {
			continue
		}
		a, b := p.content(0), p.content(1)
		if a == nil || b == nil {
			continue
		}
		if x, y := m.left(a), m.left(b); x != nil && y != nil && bytes.Equal(x, y) {
			return m
		}
	}
	return nil
}

// withoutDays takes the third field out of a shadow file: the day of the last
// change of the password, which is that of the build.
func withoutDays(content []byte) []byte {
	var left []byte
	for line := range bytes.Lines(content) {
		fields := bytes.Split(line, []byte(":"))
		if len(fields) == 9 && digits.Match(fields[2]) {
			fields[2] = nil
		}
		left = append(left, bytes.Join(fields, []byte(":"))...)
	}
	return left
}

var (
	digits = lazyregexp.New(`^[0-9]*$`)
	// As date(1), date -R, date -I and scripts of packages print them.
	dates = lazyregexp.New(`((Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?([0-9]{1,2} )?(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +([0-9]{1,2},? )?([0-9]{4} )?[0-9]{2}:[0-9]{2}:[0-9]{2}( (AM|PM))?( ([+-][0-9]{4}|[A-Z]{3,4}))?( [0-9]{4})?|[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?([.,][0-9]+)?(Z| ?[+-][0-9]{2}:?[0-9]{2})?)?`)
)

// withoutDates takes dates out of the comments of a text.
func withoutDates(content []byte) []byte {
	if bytes.IndexByte(content, 0) >= 0 {
		return nil
	}
	left := []byte{}
	for line := range bytes.Lines(content) {
		if start := bytes.TrimLeft(line, " \t"); len(start) > 0 && bytes.IndexByte([]byte("#;"), start[0]) >= 0 {
			line = dates.ReplaceAll(line, []byte("DATE"))
		}
		left = append(left, line...)
	}
	return left
}

// withoutSourceTime takes the time of the source out of the head of a compiled
// Python module (PEP 552): four bytes of magic, flags, and, if these are 0, the
// time.
func withoutSourceTime(content []byte) []byte {
	if len(content) < 16 || content[2] != '\r' || content[3] != '\n' || binary.LittleEndian.Uint32(content[4:]) != 0 {
		return nil
	}
	return slices.Concat(content[:8], content[12:])
}

// auxCache lists the libraries that ldconfig has seen, sorted: their sizes,
// flags and names. What is left out are their inode numbers, devices and
// times, the order that follows from these, and the last four bytes of each
// entry, which ldconfig does not set (struct aux_cache_file in the C
// library of GNU, of machines of 64 bits).
func auxCache(content []byte) []byte {
	const magic, head, entry = "glibc-ld.so.auxcache-2.0", 32, 48
	if len(content) < head || string(content[:len(magic)]) != magic {
		return nil
	}
	n, size := binary.LittleEndian.Uint32(content[24:]), binary.LittleEndian.Uint32(content[28:])
	if int64(len(content)) != head+int64(n)*entry+int64(size) {
		return nil
	}
	names := content[head+int(n)*entry:]
	list := []string{}
	for i := range int(n) {
		e := content[head+i*entry:][:entry]
		at := binary.LittleEndian.Uint32(e[36:])
		if int64(at) > int64(len(names)) {
			return nil
		}
		name, _, _ := bytes.Cut(names[at:], []byte{0})
		list = append(list, fmt.Sprintf("%q %x %x", name, e[16:24], slices.Concat(e[32:36], e[40:44])))
	}
	slices.Sort(list)
	return []byte(strings.Join(list, "\n"))
}
