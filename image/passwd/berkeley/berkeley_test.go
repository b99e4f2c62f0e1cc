package berkeley

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// sample makes records like those of a password file.
func sample(from, to int) []Record {
	var list []Record
	for i := from; i < to; i++ {
		value := fmt.Sprintf("_user%d\x00$2b$10$%s\x00Number %d\x00/home/user%d\x00/bin/ksh\x00", i, strings.Repeat("x", i%90), i, i)
		list = append(list,
			Record{fmt.Appendf(nil, "1_user%d", i), []byte(value)},
			Record{binary.LittleEndian.AppendUint32([]byte{'2'}, uint32(i)), []byte(value)},
			Record{binary.LittleEndian.AppendUint32([]byte{'3'}, uint32(i*7)), []byte(value)})
	}
	return list
}

// judge runs the library of Berkeley DB 1.85 itself.
func judge(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	testtool.Need(t, "/usr/bin/python3", "db_dump185") // the latter is of the package with the library
	cmd := exec.Command("/usr/bin/python3", append([]string{"../testdata/db185.py"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// lines are records as the judge prints them, in an order that is nobody's.
func lines(list []Record) string {
	var all []string
	for _, r := range list {
		all = append(all, hex.EncodeToString(r.Key)+" "+hex.EncodeToString(r.Value)+"\n")
	}
	return sorted(all)
}

func sorted(all []string) string {
	sort.Strings(all)
	return strings.Join(all, "")
}

func all(t *testing.T, file []byte) (list []Record) {
	t.Helper()
	d, err := Open(file)
	require.NoError(t, err)
	for r, err := range d.All() {
		require.NoError(t, err)
		list = append(list, r)
	}
	assert.Equal(t, d.Len(), len(list))
	return list
}

// The library goes through what we write, finds every key by its hash, and its
// own program to dump a file agrees.
func TestLibraryReadsWhatIsWritten(t *testing.T) {
	testtool.Sequential(t)
	for _, n := range []int{0, 7, 400} {
		list := sample(0, n)
		name := filepath.Join(t.TempDir(), "spwd.db")
		file, err := Encode(list, binary.LittleEndian)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, file, 0o600))

		assert.Equal(t, lines(list), sorted(strings.SplitAfter(judge(t, "", "seq", name), "\n")), "%d accounts", n)
		var keys, values strings.Builder
		for _, r := range append(list, Record{Key: []byte("1nobody-of-that-name")}) {
			fmt.Fprintf(&keys, "%x\n", r.Key)
			if r.Value == nil {
				values.WriteString("-\n")
			} else {
				fmt.Fprintf(&values, "%x\n", r.Value)
			}
		}
		assert.Equal(t, values.String(), judge(t, keys.String(), "get", name), "%d accounts", n)
		dump := testtool.Run(t, "db_dump185", name)
		for _, r := range list {
			require.True(t, strings.Contains(dump, hex.EncodeToString(r.Value)), "%q", r.Key)
		}
		assert.Equal(t, lines(list), lines(all(t, file)))
	}
}

// The system goes on with the file: its library splits buckets and makes
// overflow pages where we have said that there is room.
func TestLibraryChangesWhatIsWritten(t *testing.T) {
	testtool.Sequential(t)
	name := filepath.Join(t.TempDir(), "spwd.db")
	file, err := Encode(sample(0, 25), binary.LittleEndian)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, file, 0o600))
	var more strings.Builder
	for _, r := range sample(25, 700) {
		fmt.Fprintf(&more, "%x %x\n", r.Key, r.Value)
	}
	judge(t, more.String(), "add", name)
	want := lines(sample(0, 700))
	assert.Equal(t, want, sorted(strings.SplitAfter(judge(t, "", "seq", name), "\n")))
	file, err = os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, want, lines(all(t, file)))
}

// What the library has made, with overflow pages, is read.
func TestOpenReadsWhatTheLibraryMade(t *testing.T) {
	testtool.Sequential(t)
	for _, n := range []int{60, 900} {
		name := filepath.Join(t.TempDir(), "pwd.db")
		list := sample(0, n)
		var in strings.Builder
		for _, r := range list {
			fmt.Fprintf(&in, "%x %x\n", r.Key, r.Value)
		}
		judge(t, in.String(), "make", name)
		file, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Equal(t, lines(list), lines(all(t, file)))
		d, err := Open(file)
		require.NoError(t, err)
		assert.Equal(t, binary.LittleEndian, d.Order())
		for _, r := range list {
			v, ok, err := d.Get(r.Key)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, r.Value, v)
		}
		_, ok, err := d.Get([]byte("1nobody"))
		require.NoError(t, err)
		assert.False(t, ok)
	}
}

func TestEncodeBigEndian(t *testing.T) {
	list := sample(0, 40)
	file, err := Encode(list, binary.BigEndian)
	require.NoError(t, err)
	d, err := Open(file)
	require.NoError(t, err)
	assert.Equal(t, binary.BigEndian, d.Order())
	assert.Equal(t, lines(list), lines(all(t, file)))
	again, err := Encode(list, binary.BigEndian)
	require.NoError(t, err)
	assert.Equal(t, file, again)
}

func TestEncodeRefuses(t *testing.T) {
	_, err := Encode([]Record{{[]byte("a"), nil}, {[]byte("a"), nil}}, binary.LittleEndian)
	assert.ErrorContains(t, err, `key "a" is there twice`)
	_, err = Encode([]Record{{[]byte("a"), make([]byte, 5000)}}, binary.LittleEndian)
	assert.ErrorContains(t, err, "larger than a page")
	// Two letters that change the hash by nothing: all keys are in one bucket.
	var same []Record
	for i := range 1 << 10 {
		k := make([]byte, 0, 20)
		for b := range 10 {
			if i>>b&1 != 0 {
				k = append(k, 'b', 'A')
			} else {
				k = append(k, 'a', 'b')
			}
		}
		same = append(same, Record{k, []byte("some value or other")})
	}
	_, err = Encode(same, binary.LittleEndian)
	assert.ErrorContains(t, err, "have the same hash")
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file, err := Encode(sample(0, 20), binary.LittleEndian)
	require.NoError(t, err)
	for _, c := range []struct {
		at   int
		with string
		want string
	}{
		{0, "\x00\x00\x00\x00", "no hash file of Berkeley DB 1.85"},
		{4, "\x00\x00\x00\x07", "version 7"},
		{8, "\x00\x00\x00\x07", "byte order 7 at byte 8"},
		{12, "\x00\x00\x00\x07", "page size of 7 bytes"},
		{40, "\x7f\x00\x00\x00", "byte 40: bucket 2130706432 is the last one"},
		{44, "\x00\x00\x00\x03", "masks 0x3"},
		{60, "\x00\x0f\x00\x00", "pages of header"},
		{64, "\x00\x00\x00\x00", "another hash function"},
	} {
		bad := append([]byte(nil), file...)
		copy(bad[c.at:], c.with)
		_, err := Open(bad)
		assert.ErrorContains(t, err, c.want)
	}
	_, err = Open(file[:100])
	assert.ErrorContains(t, err, "too few")

	// A page whose link leads to itself.
	bad := append([]byte(nil), file...)
	binary.LittleEndian.PutUint16(bad[4096:], 2)
	binary.LittleEndian.PutUint16(bad[4096+2:], 3<<11|1)
	binary.LittleEndian.PutUint16(bad[4096+4:], 0)
	copy(bad[9*4096:10*4096], bad[4096:]) // where the bitmap is, 3<<11|1
	d, err := Open(bad)
	require.NoError(t, err)
	var last error
	for _, last = range d.All() {
	}
	assert.ErrorContains(t, last, "in a circle")
}

func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 3, 50} {
		file, err := Encode(sample(0, n), binary.LittleEndian)
		require.NoError(f, err)
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		d, err := Open(file)
		if err != nil {
			return
		}
		for r, err := range d.All() {
			if err == nil {
				_, _, _ = d.Get(r.Key)
			}
		}
	})
}
