package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/diff/sqlite"
	"github.com/resflash/resflash/integration/testtool"
)

// script has SQLite itself make a database with records of all lengths, some
// removed again, in a tree of some levels.
const script = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA page_size = " + sys.argv[2])
db.execute("CREATE TABLE other (x)")
db.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, \"name\" TEXT NOT NULL, price DECIMAL(10, 2), n INT, b BLOB, CHECK (n <> 7))")
db.execute("CREATE INDEX byname ON things (name)")
numbers = [0, 1, -1, 127, -128, 1 << 15, -(1 << 23), 1 << 30, -(1 << 40), (1 << 63) - 1, -(1 << 63)]
for i in range(3000):
    size = i if i % 100 else i * 30
    db.execute("INSERT INTO things VALUES (?, ?, ?, ?, ?)", (i * 3, "name %d" % i, None, numbers[i % 11], bytes([i % 251]) * size))
db.execute("DELETE FROM things WHERE id % 7 = 0")
db.commit()
`

var numbers = []int64{0, 1, -1, 127, -128, 1 << 15, -(1 << 23), 1 << 30, -(1 << 40), 1<<63 - 1, -1 << 63}

func makeDB(t testing.TB, pageSize string) []byte {
	t.Helper()
	testtool.Need(t, "python3")
	name := filepath.Join(t.TempDir(), "test.sqlite")
	testtool.Run(t, "python3", "-c", script, name, pageSize)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return data
}

func TestWhatSQLiteMakes(t *testing.T) {
	for _, size := range []string{"512", "4096", "65536"} {
		data := makeDB(t, size)
		db, err := sqlite.Open(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		assert.False(t, db.HasLog())
		i := 0
		ok, err := db.Table("things", func(row sqlite.Row) error {
			for i*3%7 == 0 {
				i++
			}
			length := i
			if i%100 == 0 {
				length = i * 30
			}
			require.Equal(t, "name "+strconv.Itoa(i), row.Get("name").Text())
			require.Equal(t, numbers[i%11], row.Get("n").Int())
			require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i % 251)}, length), row.Get("b").Bytes()), i)
			require.Empty(t, row.Get("no such column").Text())
			i++
			return nil
		})
		require.NoError(t, err)
		assert.True(t, ok)
		for i*3%7 == 0 {
			i++
		}
		assert.Equal(t, 3000, i)
		ok, err = db.Table("no such table", nil)
		assert.NoError(t, err)
		assert.False(t, ok)
	}
}

func TestNotADatabase(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "no header of SQLite",
		"SQLite format 2\x00":         "no header of SQLite",
		"SQLite format 3\x00\x00\x03": "pages of 3 bytes",
	} {
		_, err := sqlite.Open(strings.NewReader(text+strings.Repeat("\x00", 100)), 100)
		assert.ErrorContains(t, err, want)
	}
}

// No database makes the reader panic, or go round in circles.
func FuzzTable(f *testing.F) {
	data := makeDB(f, "512")
	f.Add(data[:20<<10])
	f.Fuzz(func(t *testing.T, data []byte) {
		db, err := sqlite.Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			_, _ = db.Table("things", func(sqlite.Row) error { return nil })
		}
	})
}

// Damage at any place of a small database is an error or goes unseen.
func TestDamage(t *testing.T) {
	whole := makeDB(t, "512")[:64<<10]
	for at := range whole {
		if at > 1024 && at%211 != 0 {
			continue
		}
		data := bytes.Clone(whole)
		data[at] ^= 0x55
		if db, err := sqlite.Open(bytes.NewReader(data), int64(len(data))); err == nil {
			_, _ = db.Table("things", func(sqlite.Row) error { return nil })
		}
	}
}
