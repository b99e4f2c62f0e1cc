package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// here changes into a new folder that holds the shared image.
func here(t *testing.T) string {
	dir := t.TempDir()
	require.NoError(t, os.Link(diskImage(t), filepath.Join(dir, "disk.img")))
	t.Chdir(dir)
	return dir
}

// works runs a command that must print nothing on standard error.
func works(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := resflash(args...)
	require.Equal(t, 0, code, stderr)
	return stdout
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	all := []string{}
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

func TestCpOneFile(t *testing.T) {
	here(t)
	works(t, "cp", "disk.img:/try/plain", "other-name")
	works(t, "cp", "disk.img:/try/link", ".")
	for _, name := range []string{"other-name", "link"} {
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.Equal(t, "plain\n", string(got))
	}
	require.NoError(t, os.Mkdir("in", 0o700))
	works(t, "cp", "disk.img:/try/plain", "disk.img:d:/try/world", "in")
	assert.Equal(t, []string{"plain", "world"}, names(t, "in"))
	works(t, "cp", "disk.img:/try/plain", "in") // again, over itself
	_, stderr, code := resflash("cp", "-n", "disk.img:/try/plain", "in")
	assert.Equal(t, "resflash: disk.img:/try/plain: file exists\n", stderr)
	assert.Equal(t, exitHost, code)
}

// The places of a copied directory are those of cp -r.
func TestCpDirectories(t *testing.T) {
	here(t)
	works(t, "cp", "-r", "disk.img:/try/sub", "new")
	assert.Equal(t, []string{"dir", "naïve"}, names(t, "new"))
	require.NoError(t, os.Mkdir("old", 0o700))
	works(t, "cp", "-r", "disk.img:/try/sub", "old")
	assert.Equal(t, []string{"sub"}, names(t, "old"))
	works(t, "cp", "-a", "disk.img:/try/sub/.", "old")
	assert.Equal(t, []string{"dir", "naïve", "sub"}, names(t, "old"))
	works(t, "cp", "-r", "disk.img:mbr:/", "old")
	assert.Equal(t, []string{"boot", "dir", "etc", "naïve", "sub"}, names(t, "old"))
	works(t, "cp", "-r", "disk.img:/try/link", "old")
	target, err := os.Readlink("old/link")
	require.NoError(t, err)
	assert.Equal(t, "/try/plain", target)
}

func TestCpIntoAPlaceThatIsNotThere(t *testing.T) {
	here(t)
	_, stderr, code := resflash("cp", "disk.img:/try/plain", "none/file")
	assert.Equal(t, "resflash: none/: no such file or directory\n", stderr)
	assert.Equal(t, exitHost, code)
}

// One file that cannot be copied does not keep the others from it.
func TestCpGoesOnAfterAFailure(t *testing.T) {
	here(t)
	require.NoError(t, os.MkdirAll("out/try/plain", 0o700))
	_, stderr, code := resflash("cp", "-r", "disk.img:/try", "disk.img:/nosuch", "out")
	assert.Contains(t, stderr, "resflash: disk.img:/try/plain: is a directory\n")
	assert.Contains(t, stderr, "resflash: disk.img:/nosuch: no such file or directory\n")
	assert.Equal(t, exitFailure, code, "failures of two kinds")
	assert.Contains(t, names(t, "out/try"), "world")
}

func TestInterruptedCommand(t *testing.T) {
	here(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, args := range []string{"cat disk.img:/try/plain", "cp -r disk.img:/ out", "export -o out disk.img", "hash disk.img", "find disk.img"} {
		var out, errs bytes.Buffer
		assert.Equal(t, exitInterrupted, run(ctx, strings.Fields(args), nil, &out, &errs), args)
		assert.Equal(t, "resflash: interrupted\n", errs.String(), args)
		assert.Equal(t, []string{"disk.img"}, names(t, "."))
	}
}

func TestExportToFile(t *testing.T) {
	here(t)
	works(t, "export", "-o", "try.tar", "disk.img:/try")
	assert.Equal(t, []string{"disk.img", "try.tar"}, names(t, "."))
	assert.Equal(t, works(t, "export", "disk.img:/try"), mustRead(t, "try.tar"))
	r := tar.NewReader(strings.NewReader(mustRead(t, "try.tar")))
	found := map[string]*tar.Header{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		found[h.Name] = h
	}
	assert.Equal(t, int64(0o4755), found["./setuid"].Mode)
	assert.Equal(t, "./another", found["./plain"].Linkname)
	assert.Equal(t, "schg", found["./immutable"].PAXRecords["SCHILY.fflags"])
	assert.Equal(t, int64(1<<20+3), found["./holes"].Size)
	assert.Equal(t, byte(tar.TypeChar), found["./dev/null"].Typeflag)
	assert.Empty(t, found["./another"].Uname)

	// A failed export leaves what was there before.
	_, _, code := resflash("export", "-o", "try.tar", "disk.img:/none")
	assert.Equal(t, exitNotFound, code)
	_, _, code = resflash("export", "-o", "none/try.tar", "disk.img:/try")
	assert.Equal(t, exitHost, code)
	assert.Equal(t, []string{"disk.img", "try.tar"}, names(t, "."))
}

func mustRead(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

func TestExportWithNames(t *testing.T) {
	here(t)
	r := tar.NewReader(strings.NewReader(works(t, "export", "--uname", "disk.img:/try/plain")))
	h, err := r.Next()
	require.NoError(t, err)
	assert.Equal(t, []any{"./plain", "admin", "users", 1000, 10}, []any{h.Name, h.Uname, h.Gname, h.Uid, h.Gid})
}

func TestExportMtree(t *testing.T) {
	here(t)
	out := works(t, "export", "--format", "mtree", "disk.img:/try/dev")
	assert.Equal(t, `#mtree
. type=dir mode=0755 uid=0 gid=0 nlink=2 time=1728477296.000000000
./null type=char mode=0666 uid=0 gid=0 nlink=1 time=1728477296.000000000 device=native,2,2
./sd0a type=block mode=0640 uid=0 gid=5 nlink=1 time=1728477296.000000000 device=native,4,0
`, out)
	out = works(t, "export", "--format", "mtree", "--no-digest", "disk.img:/try")
	assert.NotContains(t, out, "sha256digest")
}

// The digest of the whole image, with its holes unread, is that of its bytes.
func TestHashOfWholeImage(t *testing.T) {
	testtool.Need(t, "sha256sum")
	dir := here(t)
	assert.Equal(t, command(t, dir, "sha256sum", "disk.img"), works(t, "hash", "disk.img"))
}

// "resflash cat … | head" must end without a word.
func TestBrokenPipe(t *testing.T) {
	here(t)
	for _, args := range []string{"cat disk.img:/bsd", "export disk.img", "find disk.img", "ls -l disk.img:/try", "inspect disk.img"} {
		var errs bytes.Buffer
		code := run(context.Background(), strings.Fields(args), nil, brokenPipe{}, &errs)
		assert.Equal(t, exitPipe, code, args)
		assert.Empty(t, errs.String(), args)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
}

// On a terminal a name must not be able to move the cursor, or worse.
func TestNamesOnATerminal(t *testing.T) {
	for name, want := range map[string]string{
		"plain":              "plain",
		"with space":         "with space",
		"ümläut 日本語":         "ümläut 日本語",
		"tab\t, line\n":      `tab\t, line\n`,
		"\x1b[2Jcleared":     `\033[2Jcleared`,
		`back\slash`:         `back\\slash`,
		"\xff\xfe":           `\377\376`,
		"right\u202eto left": `right\342\200\256to left`,
		"\u0085c1":           `\302\205c1`,
		"\ufffd":             "\ufffd",
	} {
		assert.Equal(t, want, escape(name))
	}
	w := newWorld(nil, io.Discard, io.Discard)
	assert.Equal(t, "\x1b", w.name("\x1b"))
	w.terminal = true
	assert.Equal(t, `\033`, w.name("\x1b"))
}

// What is not UTF-8 survives in JSON.
func TestNamesInJSON(t *testing.T) {
	here(t)
	var list []struct {
		Entries []struct {
			Path      string
			PathBytes []byte
		}
	}
	require.NoError(t, json.Unmarshal([]byte(works(t, "ls", "--json", "disk.img:/try")), &list))
	last := list[0].Entries[len(list[0].Entries)-1]
	assert.Equal(t, "/try/\ufffdbytes", last.Path)
	assert.Equal(t, "/try/\xffbytes", string(last.PathBytes))
	assert.Nil(t, list[0].Entries[0].PathBytes)
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 10 << 20: "10 MiB",
		1<<20 - 1: "1 MiB", 7<<30 + 256<<20: "7.25 GiB", 123 << 30: "123 GiB", 1 << 62: "4 EiB",
	} {
		assert.Equal(t, want, size(n))
	}
	for text, want := range map[string]int64{"0": 0, "512": 512, "1k": 1024, "2M": 2 << 20, "3GiB": 3 << 30, "10c": 10} {
		n, err := parseSize(text)
		require.NoError(t, err)
		assert.Equal(t, want, n)
	}
	for _, text := range []string{"", "k", "-1", "1x", "9999999999999T", "1kk"} {
		_, err := parseSize(text)
		assert.Error(t, err, text)
	}
}

func TestExitCodesOfErrors(t *testing.T) {
	assert.Equal(t, exitHost, exitCode(errors.Join(syscall.EACCES)))
	assert.Equal(t, exitPipe, exitCode(syscall.EPIPE))
	assert.Equal(t, exitFailure, exitCode(errors.New("anything")))
}
