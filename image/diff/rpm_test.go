package diff

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/memfs"
	"github.com/resflash/resflash/integration/testtool"
)

// database is a system with one file in it.
func database(path string, data []byte) *vfs.Tree {
	f := memfs.New()
	dir := ""
	words := strings.Split(strings.Trim(path, "/"), "/")
	for _, w := range words[:len(words)-1] {
		dir += "/" + w
		f.AddDir(dir)
	}
	f.AddFile(path, data)
	return vfs.NewTree(f)
}

// What rpm installs is what is read, as rpm lists it.
func TestPackagesOfRPM(t *testing.T) {
	testtool.Need(t, "rpm", "rpmbuild")
	top := t.TempDir()
	db := filepath.Join(top, "db")
	for i, head := range []string{"Name: first\nVersion: 1.0\nRelease: 3%{?dist}", "Name: second\nVersion: 2~rc1\nRelease: 1\nEpoch: 4", "Name: first\nVersion: 1.1\nRelease: 1"} {
		spec := filepath.Join(top, fmt.Sprint(i, ".spec"))
		text := head + "\nSummary: a test\nLicense: none\nBuildArch: noarch\n%description\n" + strings.Repeat("long ", 5000*i) + "\n%files\n"
		require.NoError(t, os.WriteFile(spec, []byte(text), 0o644))
		testtool.Run(t, "rpmbuild", "--quiet", "-bb", "--define", "_topdir "+top, spec)
	}
	list, err := filepath.Glob(top + "/RPMS/noarch/*.rpm")
	require.NoError(t, err)
	require.Len(t, list, 3)
	for _, one := range list {
		testtool.Run(t, "rpm", "--dbpath", db, "-i", "--justdb", "--nodeps", "--nosignature", one)
	}
	data, err := os.ReadFile(db + "/rpmdb.sqlite")
	require.NoError(t, err)
	const path = "/usr/lib/sysimage/rpm/rpmdb.sqlite"
	p, err := ReadPackages(ctx, database(path, data))
	require.NoError(t, err)
	assert.Equal(t, "rpm", p.Manager)
	var got []string
	for name, version := range p.Versions {
		name, _, _ = strings.Cut(name, ":")
		got = append(got, name+" "+version)
	}
	said := testtool.Run(t, "rpm", "--dbpath", db, "-qa", "--qf", "%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n")
	assert.ElementsMatch(t, strings.Split(strings.TrimSpace(said), "\n"), got)
	assert.Len(t, got, 3)
	assert.Equal(t, "4:2~rc1-1", p.Versions["second"])

	// Damage is an error with a place, or not seen; a log is not passed over.
	for at := 0; at < len(data); at += 509 {
		bad := append([]byte(nil), data...)
		bad[at] ^= 0xff
		_, _ = ReadPackages(ctx, database(path, bad))
	}
	_, err = ReadPackages(ctx, database(path, data[:4096]))
	assert.ErrorContains(t, err, "SQLite database")
	tree := database(path, data)
	tree.FS().(*memfs.FS).AddFile(path+"-wal", []byte("changes"))
	_, err = ReadPackages(ctx, tree)
	if data[19] == 2 {
		var not *vfs.NotSupportedError
		assert.ErrorAs(t, err, &not)
	} else {
		assert.NoError(t, err)
	}
}

func TestPackagesOfFreeBSD(t *testing.T) {
	testtool.Need(t, "python3")
	name := filepath.Join(t.TempDir(), "local.sqlite")
	testtool.Run(t, "python3", "-c", `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE packages (id INTEGER PRIMARY KEY, origin TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, flatsize INTEGER NOT NULL)")
db.executemany("INSERT INTO packages VALUES (?, ?, ?, ?, ?)", [(1, "security/sudo", "sudo", "1.9.15p5_4", 99), (2, "shells/bash", "bash", "5.2.26", 1 << 33)])
db.commit()
`, name)
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	p, err := ReadPackages(ctx, database("/var/db/pkg/local.sqlite", data))
	require.NoError(t, err)
	assert.Equal(t, "pkg", p.Manager)
	assert.Equal(t, map[string]string{"sudo": "1.9.15p5_4", "bash": "5.2.26"}, p.Versions)
}

func FuzzRPMHeader(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x03\xe8\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x01ab\x00"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = rpmHeader(b) })
}
