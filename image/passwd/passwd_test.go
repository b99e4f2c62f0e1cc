package passwd

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/passwd/berkeley"
	"github.com/resflash/resflash/integration/testtool"
)

func TestSetKeepsEveryOtherByte(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct{ name, text, want string }{
		{"plain", "root:x:0:0::/root:/bin/sh\nbin:*:1:1::/:\n", "root:NEW:0:0::/root:/bin/sh\nbin:*:1:1::/:\n"},
		{"no newline at the end", "bin:*:1:1::/:\nroot:x:0", "bin:*:1:1::/:\nroot:NEW:0"},
		{"CRLF", "root:x:0\r\nbin:x\r\n", "root:NEW:0\r\nbin:x\r\n"},
		{"comments and empty lines", "# root:x:0\n\n \t\nroot:x\n#\n", "# root:x:0\n\n \t\nroot:NEW\n#\n"},
		{"NIS", "+root:x:0\n+::::::\nroot:x\n-root:y\n", "+root:x:0\n+::::::\nroot:NEW\n-root:y\n"},
		{"twice", "root:a:0\nroot:b:0\n", "root:NEW:0\nroot:NEW:0\n"},
		{"longer names", "rooter:a\nroo:b\nroot:c\n", "rooter:a\nroo:b\nroot:NEW\n"},
		{"no UTF-8", "\xff\xfe:x\nroot:\xff:\xfe\n", "\xff\xfe:x\nroot:NEW:\xfe\n"},
		{"a long line", long + "\nroot:" + long + ":0\n", long + "\nroot:NEW:0\n"},
	} {
		table := Parse([]byte(c.text))
		assert.Equal(t, c.text, string(table.Bytes()), c.name)
		require.NoError(t, table.Set("root", Password, "NEW"), c.name)
		assert.Equal(t, c.want, string(table.Bytes()), c.name)
		fields, ok := table.Find("root")
		assert.True(t, ok && fields[Password] == "NEW", c.name)
	}
}

func TestSetRefuses(t *testing.T) {
	table := Parse([]byte("root:x\nbin\n"))
	assert.ErrorContains(t, table.Set("nobody", Password, "x"), "no entry of nobody")
	assert.ErrorContains(t, table.Set("bin", Password, "x"), "no entry of bin")
	assert.ErrorContains(t, table.Set("root", Home, "/"), "line 1: the entry of root has 2 fields")
	for _, value := range []string{"a:b", "a\nb", "a\rb", "a\x00"} {
		assert.Error(t, table.Set("root", Password, value), "%q", value)
		assert.Error(t, table.Append("name", value), "%q", value)
	}
}

func TestAppend(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "a:b\n",
		"root:x\n":            "root:x\na:b\n",
		"root:x":              "root:x\na:b\n",
		"root:x\n+::::::\n":   "root:x\na:b\n+::::::\n",
		"root:x\n+":           "root:x\na:b\n+",
		"root:x\n+bin:x\n":    "root:x\n+bin:x\na:b\n",
		"root:x\n\n":          "root:x\n\na:b\n",
		"+\nroot:x\n":         "a:b\n+\nroot:x\n",
		"root:x\r\nbin:x\r\n": "root:x\r\nbin:x\r\na:b\n",
	} {
		table := Parse([]byte(text))
		require.NoError(t, table.Append("a", "b"))
		assert.Equal(t, want, string(table.Bytes()), "%q", text)
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"root", "_syslogd", "www-data", "a.b", "machine$", "Admin", "4dmin"} {
		assert.NoError(t, CheckName(name), name)
	}
	for _, name := range []string{"", "+", "-root", "#root", "a:b", "a b", "a\n", "..\x00", "a/b", strings.Repeat("a", 256)} {
		assert.Error(t, CheckName(name), name)
	}
}

// masterOf is a file of many accounts, with the odd ones among them.
func masterOf(n int) string {
	var b strings.Builder
	b.WriteString("root:$2b$10$" + strings.Repeat("r", 53) + ":0:0:daemon:0:0:Charlie &:/root:/bin/ksh\n")
	b.WriteString("empty::1:1::0:0:No password at all:/root:\n")
	b.WriteString("toor:*:0:0:daemon:0:0:The same uid:/root:/bin/sh\n")
	b.WriteString("times:*:2:2:staff:1700000000:4102444800:Gr\xfc\xdfe:/:/sbin/nologin\n")
	b.WriteString("nobody:*************:4294967294:32767::0:0:Unprivileged user:/nonexistent:/sbin/nologin\n")
	for i := range n {
		fmt.Fprintf(&b, "_user%d:*************:%d:%d:daemon:0:0:Number %d of many:/var/empty:/sbin/nologin\n", i, 100+i, 100+i, i)
	}
	return b.String()
}

// getpw reads the accounts of a database with the library of Berkeley DB 1.85,
// as libc does.
func getpw(t *testing.T, db []byte) string {
	t.Helper()
	testtool.Need(t, "/usr/bin/python3", "db_dump185")
	name := filepath.Join(t.TempDir(), "spwd.db")
	require.NoError(t, os.WriteFile(name, db, 0o600))
	cmd := exec.Command("/usr/bin/python3", "testdata/db185.py", "getpw", name)
	cmd.Env = append(os.Environ(), "PYTHONIOENCODING=latin-1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// The databases of OpenBSD hold every account, and give back each line as it
// was: by name, by uid and by number.
func TestOpenBSDDatabases(t *testing.T) {
	for _, n := range []int{0, 800} {
		text := masterOf(n)
		d, err := OpenBSD([]byte(text), binary.LittleEndian)
		require.NoError(t, err)
		secret, public := "", ""
		for line := range strings.Lines(text) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
			secret += strings.Join(f, ":") + " 0\n"
			if f[Password] != "" {
				f[Password] = "*"
			}
			public += strings.Join(f, ":") + " 0\n"
		}
		assert.Equal(t, secret, getpw(t, d.Secret))
		assert.Equal(t, public, getpw(t, d.Public))
		assert.NotContains(t, string(d.Public), "$2b$")
	}
}

func TestOpenBSDPasswdAndNIS(t *testing.T) {
	text := "root::0:0:daemon:0:0:Charlie &:/root:/bin/ksh\n+@admins:::::::::\n-guest:::::::::\n+:*::::::::\n"
	d, err := OpenBSD([]byte(text), binary.LittleEndian)
	require.NoError(t, err)
	assert.Equal(t, "root:*:0:0:Charlie &:/root:/bin/ksh\n+@admins:*:0:0:::\n-guest:*:0:0:::\n+:*:0:0:::\n", string(d.Passwd))
	assert.Equal(t, "root::0:0:daemon:0:0:Charlie &:/root:/bin/ksh 0\n+@admins::0:0::0:0::: 15\n-guest::0:0::0:0::: 15\n+:*:0:0::0:0::: 15\nNIS\n", getpw(t, d.Secret))
}

func TestFreeBSDDatabases(t *testing.T) {
	text := "# $FreeBSD$\n#\n" + masterOf(60) + "\n# the end"
	d, err := FreeBSD([]byte(text), binary.LittleEndian)
	require.NoError(t, err)
	got := "\n" + getpw(t, d.Secret)
	for line := range strings.Lines(masterOf(60)) {
		assert.True(t, strings.Contains(got, "\n"+strings.TrimSuffix(line, "\n")+" "), line)
	}
	// A bit for every field that is not empty: all ten but the shell and class.
	assert.Contains(t, got, "\nempty::1:1::0:0:No password at all:/root: 733\n")
	assert.True(t, strings.HasPrefix(string(d.Passwd), "# $FreeBSD$\n#\nroot:*:0:0:Charlie &:/root:/bin/ksh\n"))
	assert.True(t, strings.HasSuffix(string(d.Passwd), "\n\n# the end\n"))
	assert.NotContains(t, getpw(t, d.Public), "$2b$")

	_, err = FreeBSD([]byte("+:*::::::::\n"), binary.LittleEndian)
	assert.ErrorContains(t, err, "not supported: entries of NIS")
}

// Machines of the other byte order get files of theirs.
func TestDatabasesBigEndian(t *testing.T) {
	d, err := OpenBSD([]byte(masterOf(10)), binary.BigEndian)
	require.NoError(t, err)
	db, err := berkeley.Open(d.Secret)
	require.NoError(t, err)
	value, ok, err := db.Get([]byte("3\x00\x00\x00\x02"))
	require.NoError(t, err)
	require.True(t, ok)
	assert.True(t, strings.HasPrefix(string(value), "times\x00*\x00\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x00\x65"), "%q", value)
	again, err := OpenBSD([]byte(masterOf(10)), binary.BigEndian)
	require.NoError(t, err)
	assert.Equal(t, d, again)
}

// What pwd_mkdb would not take is refused by line, without what is in it.
func TestDatabasesRefuse(t *testing.T) {
	good := "root:*:0:0:daemon:0:0::/root:/bin/ksh\n"
	for text, want := range map[string]string{
		good + "secret:hunter2\n":                                    "line 2 has 2 fields instead of 10",
		good + "# secret: hunter2\n":                                 "line 2 has 2 fields",
		good + "\n":                                                  "line 2 has 1 fields",
		good + "a:hunter2:x:0::0:0::/:\n":                            "line 2 has a uid that is no number",
		good + "a:hunter2:4294967296:0::0:0::/:\n":                   "uid that is no number",
		good + "a:hunter2:0:-1::0:0::/:\n":                           "gid that is no number",
		good + "a:hunter2:0:0::x:0::/:\n":                            "change time that is no number",
		good + "a:hunter2:0:0::0:x::/:\n":                            "expiry time that is no number",
		"root:hunter2:1:0::0:0::/:\n":                                "line 1 is root's, with the uid 1",
		"root:hunter2:0:0::0:0::/:/bin/ksh\r\n":                      "line 1 has a NUL or carriage return",
		"a:hunter2:0:0::0:0::/:\x00\n":                               "line 1 has a NUL",
		"a:hunter2:0:0::0:0:" + strings.Repeat("g", 2100) + ":/:\n":  "line 1 has 2122 bytes: pwd_mkdb(8) takes 2046",
		"a:hunter2:0:0::0:0:" + strings.Repeat("g", 1100) + ":/:\n":  "line 1: the entry is too long",
		"a:hunter2:0:0::0:0:" + strings.Repeat("g", 1<<20) + ":/:\n": "line 1 has",
	} {
		_, err := OpenBSD([]byte(text), binary.LittleEndian)
		if assert.ErrorContains(t, err, want) {
			assert.NotContains(t, err.Error(), "hunter2")
		}
	}
	// The last line may have no end.
	d, err := OpenBSD([]byte(strings.TrimSuffix(good, "\n")), binary.LittleEndian)
	require.NoError(t, err)
	assert.Equal(t, "root:*:0:0::/root:/bin/ksh\n", string(d.Passwd))
}

func FuzzOpenBSD(f *testing.F) {
	f.Add([]byte(masterOf(3)))
	f.Add([]byte("+:*::::::::\nroot::0:0::0:0:::"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table := Parse(text)
		assert.Equal(t, text, append([]byte{}, table.Bytes()...))
		d, err := OpenBSD(text, binary.LittleEndian)
		if err != nil {
			return
		}
		_, err = berkeley.Open(d.Secret)
		require.NoError(t, err)
	})
}

func TestReadDatabase(t *testing.T) {
	for _, build := range []func([]byte, binary.ByteOrder) (*Databases, error){OpenBSD, FreeBSD} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			d, err := build([]byte(masterOf(40)), order)
			require.NoError(t, err)
			fields, err := ReadDatabase(d.Secret)
			require.NoError(t, err)
			assert.Len(t, fields, 45)
			assert.Equal(t, "$2b$10$"+strings.Repeat("r", 53), fields["root"])
			assert.Equal(t, "", fields["empty"])
			assert.Equal(t, "*************", fields["_user39"])
			fields, err = ReadDatabase(d.Public)
			require.NoError(t, err)
			assert.Equal(t, "*", fields["root"])
		}
	}
	_, err := ReadDatabase([]byte("root:x\n"))
	assert.ErrorContains(t, err, "too few for a header")
}
