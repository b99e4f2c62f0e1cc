// Package passwd edits the files in which Unix keeps its accounts, as text:
// passwd, shadow, group, gshadow and master.passwd. Every byte stays as it is
// but those of the fields that are set, so that what somebody wrote by hand,
// what a tool of ours does not know, and what is wrong survives an edit.
//
// The BSDs do not read these files, but databases that pwd_mkdb(8) makes of
// master.passwd; [OpenBSD] and [FreeBSD] make them here. The file format of the
// databases is in package berkeley below, hashes of passwords are in crypt.
package passwd

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/resflash/resflash/image/lazyregexp"
)

// The fields of passwd(5) on Linux, and of the passwd file of the BSDs.
const (
	Name = iota
	Password
	UID
	GID
	Gecos
	Home
	Shell
)

// Changed is a field of shadow(5) beside Name and Password: days since 1970.
const Changed = 2

// The fields of master.passwd(5) beside Name to GID.
const (
	masterClass = iota + 4
	masterChange
	masterExpire
	masterGecos
	MasterHome
	MasterShell
	masterFields
)

// A Table is a file of lines with fields between colons.
type Table struct {
	lines [][]byte // with their ends
}

// Parse takes a file apart. It keeps text, which must not change.
func Parse(text []byte) *Table {
	return &Table{bytes.SplitAfter(text, []byte("\n"))}
}

// Bytes is the file as it is now.
func (t *Table) Bytes() []byte { return bytes.Join(t.lines, nil) }

// cut splits a line from its end, which is empty, "\n" or "\r\n".
func cut(line []byte) (text, end []byte) {
	text = bytes.TrimSuffix(line, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	return text, line[len(text):]
}

// entry returns the fields of a line whose first field is name.
func entry(line []byte, name string) []string {
	text, _ := cut(line)
	if len(text) <= len(name) || text[len(name)] != ':' || string(text[:len(name)]) != name {
		return nil
	}
	return strings.Split(string(text), ":")
}

// Find returns the fields of the entry called name: of the first one, as
// getpwnam(3) does. Lines of NIS (+name) and comments are none.
func (t *Table) Find(name string) (fields []string, ok bool) {
	for _, line := range t.lines {
		if f := entry(line, name); f != nil {
			return f, true
		}
	}
	return nil, false
}

// Entries returns the fields of every entry: of every line that has more than
// one field and is no comment and none of NIS.
func (t *Table) Entries() [][]string {
	var all [][]string
	for _, line := range t.lines {
		text, _ := cut(line)
		if len(text) == 0 || bytes.IndexByte(text, ':') <= 0 || bytes.IndexByte([]byte("#+-"), text[0]) >= 0 {
			continue
		}
		all = append(all, strings.Split(string(text), ":"))
	}
	return all
}

// Set changes a field of the entry called name. If there are several, it
// changes all of them: which one a program takes is not for sure.
func (t *Table) Set(name string, field int, value string) error {
	if i := strings.IndexAny(value, ":\n\r\x00"); i >= 0 {
		return fmt.Errorf("a field cannot have the character %q in it", value[i])
	}
	found := false
	for i, line := range t.lines {
		fields := entry(line, name)
		if fields == nil {
			continue
		}
		if field >= len(fields) {
			return fmt.Errorf("line %d: the entry of %s has %d fields, so there is no field %d", i+1, name, len(fields), field+1)
		}
		found = true
		fields[field] = value
		_, end := cut(line)
		t.lines[i] = append([]byte(strings.Join(fields, ":")), end...)
	}
	if !found {
		return fmt.Errorf("no entry of %s", name)
	}
	return nil
}

// Append adds an entry after the last line, and ends that line if nothing
// does. It goes before a line of NIS that stands for everybody else: what
// follows such a line is not read.
func (t *Table) Append(fields ...string) error {
	text := strings.Join(fields, ":")
	if strings.Count(text, ":") != len(fields)-1 || strings.ContainsAny(text, "\n\r\x00") {
		return fmt.Errorf("a field cannot have a colon, a NUL or the end of a line in it")
	}
	at := len(t.lines)
	if at > 0 && len(t.lines[at-1]) == 0 {
		at-- // what is behind the last line end
	}
	for i, line := range t.lines[:at] {
		if bytes.HasPrefix(line, []byte("+:")) || bytes.Equal(bytes.TrimRight(line, "\r\n"), []byte("+")) {
			at = i
			break
		}
	}
	if at > 0 && !bytes.HasSuffix(t.lines[at-1], []byte("\n")) {
		t.lines[at-1] = append(bytes.Clone(t.lines[at-1]), '\n')
	}
	t.lines = append(t.lines[:at:at], append([][]byte{[]byte(text + "\n")}, t.lines[at:]...)...)
	return nil
}

// Locked reports whether a password field admits nobody.
func Locked(field string) bool {
	return strings.HasPrefix(field, "!") || strings.HasPrefix(field, "*")
}

var loginName = lazyregexp.New(`^[A-Za-z0-9_.][A-Za-z0-9_.@-]*\$?$`)

// CheckName returns what is wrong with the name of an account: anything that
// would be read as another field, another line, a comment or an entry of NIS.
func CheckName(name string) error {
	if !loginName.MatchString(name) || len(name) > 255 {
		return fmt.Errorf("%q is no name of an account", name)
	}
	return nil
}
