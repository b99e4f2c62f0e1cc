package export

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The format written is POSIX.1-2001 pax: ustar headers, each with an extended
// header in front where ustar has no room. archive/tar writes that as well,
// but no sparse files, and a disk image is full of them.

const tarBlock = 512

// Type flags of ustar.
const (
	tarRegular  = '0'
	tarLink     = '1'
	tarSymlink  = '2'
	tarChar     = '3'
	tarBlockDev = '4'
	tarDir      = '5'
	tarFIFO     = '6'
	tarExtended = 'x'
)

type tarHeader struct {
	name, link   string
	kind         byte
	mode         uint32
	uid, gid     uint32
	size         int64 // bytes that follow in the archive
	mtime        time.Time
	uname, gname string
	major, minor uint32
	records      map[string]string // pax records on top of those that the fields need
}

// encode returns the header's blocks: an extended header if one is needed, and
// the ustar header.
func (h *tarHeader) encode() []byte {
	records := map[string]string{}
	for k, v := range h.records {
		records[k] = v
	}
	// A name beyond ASCII goes into a record: those are UTF-8 by definition,
	// while readers take ustar's own fields for the character set of the day.
	realName, sparse := records["GNU.sparse.name"]
	if !sparse && (len(h.name) > 100 || !ascii(h.name)) {
		records["path"] = h.name
	}
	if len(h.link) > 100 || !ascii(h.link) {
		records["linkpath"] = h.link
	}
	if !utf8.ValidString(h.name) || !utf8.ValidString(realName) || !utf8.ValidString(h.link) {
		records["hdrcharset"] = "BINARY"
	}
	if h.uid > maxOctal7 {
		records["uid"] = strconv.FormatUint(uint64(h.uid), 10)
	}
	if h.gid > maxOctal7 {
		records["gid"] = strconv.FormatUint(uint64(h.gid), 10)
	}
	if h.size > maxOctal11 {
		records["size"] = strconv.FormatInt(h.size, 10)
	}
	if h.mtime.IsZero() {
		h.mtime = time.Unix(0, 0)
	}
	if sec := h.mtime.Unix(); sec < 0 || sec > maxOctal11 || h.mtime.Nanosecond() != 0 {
		records["mtime"] = paxTime(h.mtime)
	}
	var out []byte
	if len(records) > 0 {
		body := paxRecords(records)
		x := tarHeader{name: extendedName(h.name), kind: tarExtended, mode: 0o644, size: int64(len(body)), mtime: time.Unix(0, 0)}
		out = x.ustar(out)
		out = append(out, body...)
		out = append(out, zeros[:padding(int64(len(body)))]...)
	}
	return h.ustar(out)
}

// The largest numbers in the octal fields of ustar.
const (
	maxOctal7  = 0o7777777
	maxOctal11 = 0o77777777777
)

// ustar appends the 512 bytes of h's ustar header to out. What does not fit is
// cut: a record of the extended header in front says it in full.
func (h *tarHeader) ustar(out []byte) []byte {
	var b [tarBlock]byte
	octal := func(at, digits int, v uint64) {
		if v>>(3*uint(digits)) != 0 {
			v = 0
		}
		copy(b[at:], fmt.Sprintf("%0*o", digits, v))
	}
	// No record tells device numbers in a way that all readers know, so a
	// large one (minor numbers of OpenBSD have 24 bits) is in base 256, as
	// GNU tar, bsdtar and archive/tar read it.
	device := func(at int, v uint32) {
		if v <= maxOctal7 {
			octal(at, 7, uint64(v))
			return
		}
		b[at] = 0x80
		b[at+4], b[at+5], b[at+6], b[at+7] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	}
	copy(b[0:100], h.name)
	octal(100, 7, uint64(h.mode&0o7777))
	octal(108, 7, uint64(h.uid))
	octal(116, 7, uint64(h.gid))
	octal(124, 11, uint64(max(h.size, 0)))
	octal(136, 11, uint64(max(h.mtime.Unix(), 0)))
	b[156] = h.kind
	copy(b[157:257], h.link)
	copy(b[257:], "ustar\x0000")
	copy(b[265:296], h.uname)
	copy(b[297:328], h.gname)
	device(329, h.major)
	device(337, h.minor)
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(out, b[:]...)
}

// extendedName is what a reader without pax would call the extended header.
func extendedName(name string) string {
	s := path.Join(path.Dir(name), "PaxHeaders.0", path.Base(name))
	if len(s) > 100 || !ascii(s) {
		return "PaxHeaders.0"
	}
	return s
}

// paxRecords encodes records as POSIX says: "LENGTH KEY=VALUE\n", where LENGTH
// counts itself.
func paxRecords(records map[string]string) []byte {
	keys := make([]string, 0, len(records))
	for k := range records {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	// hdrcharset rules the records behind it, so it comes first.
	if i := slices.Index(keys, "hdrcharset"); i > 0 {
		keys = slices.Insert(slices.Delete(keys, i, i+1), 0, "hdrcharset")
	}
	var out []byte
	for _, k := range keys {
		rest := len(k) + len(records[k]) + len(" =\n")
		n := rest + len(strconv.Itoa(rest))
		n = rest + len(strconv.Itoa(n))
		out = append(strconv.AppendInt(out, int64(n), 10), ' ')
		out = append(append(append(append(out, k...), '='), records[k]...), '\n')
	}
	return out
}

// paxTime is seconds since the epoch with a fraction where there is one.
func paxTime(t time.Time) string {
	sec, nsec := t.Unix(), int64(t.Nanosecond())
	if nsec == 0 {
		return strconv.FormatInt(sec, 10)
	}
	sign := ""
	if sec < 0 {
		// -1.25 s is kept as -2 s and 750000000 ns.
		sign, sec, nsec = "-", -(sec + 1), 1e9-nsec
	}
	return strings.TrimRight(fmt.Sprintf("%s%d.%09d", sign, sec, nsec), "0")
}

// padding is how many bytes complete the last block of n bytes.
func padding(n int64) int64 { return -n & (tarBlock - 1) }

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
