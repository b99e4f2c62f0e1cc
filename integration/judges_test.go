package integration

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// A fixture is an image, and what is in it.
type fixture struct {
	name  string
	image string
	tree  string // folder that the image was made from
	x     expectation
}

// plainName says whether Sleuth Kit and GRUB print the path as it is.
func plainName(path string) bool {
	return utf8.ValidString(path) && !strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || strings.ContainsRune(`\"|^*?:<>`, r) })
}

// sleuthkit has fls list every file with its MD5, and icat print a few.
func (f fixture) sleuthkit(t *testing.T, fields manifest.Fields) {
	t.Helper()
	testtool.Need(t, "fls", "icat")
	type listed struct{ inode, md5 string }
	sums := map[string]listed{}
	var got manifest.Manifest
	for line := range strings.Lines(testtool.Run(t, "env", "LC_ALL=C.UTF-8", "fls", "-r", "-p", "-u", "-h", "-m", "", f.image)) {
		// MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime
		col := strings.Split(strings.TrimSpace(line), "|")
		if len(col) != 11 || strings.HasPrefix(col[3], "V/") || strings.HasPrefix(col[3], "v/") {
			continue // the orphans that it makes up, and volume labels
		}
		e := manifest.Entry{Path: strings.TrimPrefix(col[1], "/")}
		e.Path, e.Target, _ = strings.Cut(e.Path, " -> ")
		e.Path = strings.TrimSuffix(e.Path, " (deleted)")
		typ, mode, _ := strings.Cut(col[3], "/")
		e.Type = typ[0]
		switch typ {
		case "r", "-":
			e.Type = manifest.File
		case "h", "s":
			e.Type = manifest.Socket
		}
		require.Len(t, mode, 10, line)
		e.Mode = modeOf(mode)
		for i, dst := range []*uint32{&e.UID, &e.GID} {
			n, err := strconv.ParseInt(col[4+i], 10, 64)
			require.NoError(t, err, line)
			*dst = uint32(n)
		}
		e.Size, _ = strconv.ParseInt(col[6], 10, 64)
		e.Sec, _ = strconv.ParseInt(col[8], 10, 64)
		sums[e.Path] = listed{col[2], col[0]}
		got = append(got, e)
	}
	// Long names in UTF-8 are cut off, those of FAT near 200 characters.
	plain := func(e *manifest.Entry) bool {
		return e.Path != "." && plainName(e.Path) && len(filepath.Base(e.Path)) < 180 && !strings.HasSuffix(e.Path, "(Volume Label Entry)")
	}
	want := f.x.want.Edit(plain)
	got = got.Edit(func(e *manifest.Entry) bool {
		for _, p := range f.x.ignore {
			if e.Path == p {
				return false
			}
		}
		return plain(e)
	}).Edit(f.x.clearTimes)
	assert.Empty(t, manifest.Diff(want, got, fields&f.x.fields, shownDiffs))
	icats := 0
	for _, e := range want {
		if e.Type != manifest.File {
			continue
		}
		data, err := os.ReadFile(filepath.Join(f.tree, e.Path))
		require.NoError(t, err)
		sum := md5.Sum(data)
		found := sums[e.Path]
		assert.Equalf(t, hex.EncodeToString(sum[:]), found.md5, "MD5 of %q", e.Path)
		if e.Size > 100_000 && icats < 5 && found.inode != "" {
			icats++
			out, err := exec.Command("icat", f.image, found.inode).Output()
			require.NoError(t, err)
			assert.Truef(t, bytes.Equal(data, out), "icat of %q", e.Path)
		}
	}
	assert.Positive(t, icats)
}

// modeOf reads the permissions that ls -l prints.
func modeOf(s string) uint32 {
	var mode uint32
	for i := range 9 {
		c := s[1+i]
		if c != '-' && c != 'S' && c != 'T' {
			mode |= 0o400 >> i
		}
		if i%3 == 2 && strings.IndexByte("sStT", c) >= 0 {
			mode |= 0o4000 >> (i / 3)
		}
	}
	return mode
}

// grub has GRUB's reader compare whole folders of the image with the tree.
func (f fixture) grub(t *testing.T, folders ...string) {
	t.Helper()
	testtool.Need(t, "grub-fstest")
	for _, dir := range folders {
		out, err := exec.Command("grub-fstest", f.image, "cmp", "/"+dir, filepath.Join(f.tree, dir)).CombinedOutput()
		assert.NoErrorf(t, err, "%s: %s", dir, tailOf(out))
	}
}

func tailOf(b []byte) string { return string(b[max(0, len(b)-500):]) }

// debugfs has e2fsprogs write out the whole tree, and compares that.
func (f fixture) debugfs(t *testing.T) {
	t.Helper()
	testtool.Need(t, "debugfs")
	dir := t.TempDir()
	testtool.Run(t, "debugfs", "-R", `rdump / "`+dir+`"`, f.image)
	// rdump leaves out what is no file, directory or link; hard links become
	// files; modes lose what the umask forbids; symbolic links are root's.
	kept := func(e *manifest.Entry) bool {
		if e.Type == manifest.Symlink {
			e.UID, e.GID = 0, 0
		}
		return e.Path != "." && strings.IndexByte("fdl", e.Type) >= 0
	}
	y := f.x
	y.want = f.x.want.Edit(kept)
	got := manifest.ReadDir(dir, manifest.Options{}).Edit(kept)
	fields := manifest.Size | manifest.Target | manifest.Sum
	if asRoot {
		fields |= manifest.Owner
	}
	y.check(t, got, fields)
}
