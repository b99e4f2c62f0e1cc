package passwd

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/resflash/resflash/image/passwd/berkeley"
)

// Databases are what pwd_mkdb(8) makes of master.passwd.
type Databases struct {
	Passwd []byte // /etc/passwd: text without the hashes
	Public []byte // /etc/pwd.db, which everybody may read
	Secret []byte // /etc/spwd.db
}

// maxLine is LINE_MAX, the line's end and a NUL included: pwd_mkdb refuses
// what is longer.
const maxLine = 2048

// What the first byte of a key says that the rest is.
const (
	byName = '1' // _PW_KEYBYNAME
	byNum  = '2' // _PW_KEYBYNUM: the number of the line, from 1
	byUID  = '3' // _PW_KEYBYUID
)

// master is a line of master.passwd, taken apart.
type master struct {
	number   int // of the line, from 1; FreeBSD does not count comments
	name     string
	password string
	uid, gid uint32
	change   int64 // seconds since 1970
	expire   int64
	class    string
	gecos    string
	home     string
	shell    string
	fields   []string
}

// nis reports whether the line stands for accounts that a server has.
func (m *master) nis() bool { return strings.HasPrefix(m.name, "+") || strings.HasPrefix(m.name, "-") }

// parseMaster takes a line apart as pw_scan of libutil does. Its errors leave
// out what is in the line, which may be a password.
func parseMaster(line string) (*master, error) {
	if strings.ContainsAny(line, "\x00\r") {
		return nil, fmt.Errorf("has a NUL or carriage return in it, which would become a part of the entry")
	}
	f := strings.Split(line, ":")
	if len(f) != masterFields {
		return nil, fmt.Errorf("has %d fields instead of %d", len(f), masterFields)
	}
	m := &master{name: f[Name], password: f[Password], class: f[masterClass], gecos: f[masterGecos], home: f[MasterHome], shell: f[MasterShell], fields: f}
	for _, n := range []struct {
		what string
		text string
		to   *uint32
	}{{"uid", f[UID], &m.uid}, {"gid", f[GID], &m.gid}} {
		if n.text == "" && m.nis() {
			continue
		}
		v, err := strconv.ParseUint(n.text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("has a %s that is no number", n.what)
		}
		*n.to = uint32(v)
	}
	for _, n := range []struct {
		what string
		text string
		to   *int64
	}{{"change time", f[masterChange], &m.change}, {"expiry time", f[masterExpire], &m.expire}} {
		if n.text == "" {
			continue
		}
		v, err := strconv.ParseInt(n.text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("has a %s that is no number", n.what)
		}
		*n.to = v
	}
	if m.name == "root" && m.uid != 0 {
		return nil, fmt.Errorf("is root's, with the uid %d", m.uid)
	}
	return m, nil
}

// parseMasters takes a file apart. comments says whether it may have comments
// and empty lines, which are given to skip with the number of entries before.
func parseMasters(text []byte, comments bool) (all []*master, kept map[int][]string, err error) {
	kept = map[int][]string{}
	for i, line := range strings.SplitAfter(string(text), "\n") {
		if line == "" {
			continue // behind the last line end
		}
		line = strings.TrimSuffix(line, "\n")
		if comments {
			if l := strings.TrimLeft(line, " \t"); l == "" || l[0] == '#' {
				kept[len(all)] = append(kept[len(all)], line)
				continue
			}
		}
		if len(line) > maxLine-2 {
			return nil, nil, fmt.Errorf("line %d has %d bytes: pwd_mkdb(8) takes %d", i+1, len(line), maxLine-2)
		}
		m, err := parseMaster(line)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d %w", i+1, err)
		}
		m.number = len(all) + 1
		all = append(all, m)
	}
	return all, kept, nil
}

// A records is a database that is being put together.
type records struct {
	list []berkeley.Record
	seen map[string]bool
}

// put adds a record; the first one with a key stays (R_NOOVERWRITE).
func (r *records) put(key string, value []byte) {
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	if !r.seen[key] {
		r.seen[key] = true
		r.list = append(r.list, berkeley.Record{Key: []byte(key), Value: value})
	}
}

// key is a key that ends in a number.
func key(kind byte, order binary.ByteOrder, n uint32) string {
	b := make([]byte, 5)
	b[0] = kind
	order.PutUint32(b[1:], n)
	return string(b)
}
