package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/integration/testtool"
)

// newFS changes into a new folder with a file system new.fs that has some
// files, and the shared disk.img.
func newFS(t *testing.T, args ...string) {
	t.Helper()
	here(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	works(t, append([]string{"mkfs", "--type", "ffs2", "--size", "8M", "--seed", "1", "new.fs"}, args...)...)
	works(t, "mkdir", "new.fs:/dir")
	writes(t, "one\n", "new.fs:/dir/one")
	writes(t, "two\n", "new.fs:/two")
	require.NoError(t, os.WriteFile("host", []byte("from the host\n"), 0o640))
}

// writes writes text to a file of an image.
func writes(t *testing.T, text string, args ...string) {
	t.Helper()
	_, stderr, code := resflashWith(text, append([]string{"write"}, args...)...)
	require.Equal(t, 0, code, stderr)
}

func digest(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return string(h.Sum(nil))
}

// clean wants the checker to find nothing, and no journal to be left.
func clean(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		works(t, "check", name)
		list, err := filepath.Glob(name + "?*")
		require.NoError(t, err)
		assert.Empty(t, list)
	}
}

// What fails in the middle has not happened. Contents that had been copied by
// then are in space that is free.
func TestEditsAreAllOrNothing(t *testing.T) {
	newFS(t)
	require.NoError(t, os.MkdirAll("tree/sub", 0o755))
	require.NoError(t, os.WriteFile("tree/big", make([]byte, 12<<20), 0o644)) // larger than the image
	require.NoError(t, os.WriteFile("tree/a", []byte("fits"), 0o644))
	before := works(t, "export", "--format", "mtree", "new.fs")
	for _, tt := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"mkdir new.fs:/new new.fs:/dir", exitFailure, "new.fs:/dir: file exists"},
		{"rm new.fs:/two new.fs:/none", exitNotFound, "new.fs:/none: no such file or directory"},
		{"rm -r new.fs:/dir new.fs:/none", exitNotFound, "new.fs:/none: no such file or directory"},
		{"chmod 0600 new.fs:/two new.fs:/none", exitNotFound, "new.fs:/none: no such file or directory"},
		{"chown 1:1 new.fs:/two new.fs:/none", exitNotFound, "new.fs:/none: no such file or directory"},
		{"chflags schg new.fs:/two new.fs:/none", exitNotFound, "new.fs:/none: no such file or directory"},
		{"touch new.fs:/new new.fs:/two/below", exitNotFound, "new.fs:/two/below: not a directory"},
		{"truncate -s 1 new.fs:/two new.fs:/dir", exitFailure, "new.fs:/dir: is a directory"},
		{"cp host nosuch new.fs:/dir", exitNotFound, "nosuch: no such file or directory"},
		{"cp host disk.img:/nosuch new.fs:/dir", exitNotFound, "disk.img:/nosuch: no such file or directory"},
		{"cp -r tree new.fs:/", exitFull, "new.fs:/tree/big: copy of tree/big: no space left on device: volume whole is full"},
		{"mv new.fs:/two new.fs:/none new.fs:/dir", exitNotFound, "new.fs:/none: no such file or directory"},
		{"mv host nosuch new.fs:/dir", exitNotFound, "nosuch: no such file or directory"},
		{"ln -s a b new.fs:/two", exitNotFound, "new.fs:/two: not a directory"},
		{"ln new.fs:/two new.fs:/none new.fs:/dir", exitNotFound, "new.fs:/none: no such file or directory"},
	} {
		bytes := digest(t, "new.fs")
		stdout, stderr, code := resflash(append(strings.Fields(tt.args), "--verbose")...)
		assert.Equal(t, tt.code, code, "%s: %s", tt.args, stderr)
		assert.Contains(t, stderr, tt.stderr, tt.args)
		assert.Contains(t, stderr, "resflash: new.fs: nothing was changed\n", tt.args)
		assert.Empty(t, stdout, "%s: nothing was changed, so nothing is listed", tt.args)
		assert.Equal(t, before, works(t, "export", "--format", "mtree", "new.fs"), tt.args)
		clean(t, "new.fs")
		if !strings.HasPrefix(tt.args, "cp -r tree") {
			assert.True(t, bytes == digest(t, "new.fs"), "%s: the image was changed", tt.args)
		}
	}
	assert.FileExists(t, "host")
}

// Contents that were written before the failure lie in free space, which is
// not what an image is. But the files are those of before.
func TestStreamThatFailsHasNotHappened(t *testing.T) {
	newFS(t)
	before := works(t, "export", "--format", "mtree", "new.fs")
	var out, errs bytes.Buffer
	in := io.MultiReader(strings.NewReader(strings.Repeat("x", 3<<20)), failing{})
	code := run(context.Background(), []string{"write", "new.fs:/two"}, in, &out, &errs)
	assert.Equal(t, exitHost, code)
	assert.Equal(t, "resflash: read: it broke\nresflash: new.fs: nothing was changed\n", errs.String())
	assert.Equal(t, before, works(t, "export", "--format", "mtree", "new.fs"))
	clean(t, "new.fs")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errorString("it broke") }

type errorString string

func (e errorString) Error() string { return string(e) }

func TestDryRunChangesNothing(t *testing.T) {
	newFS(t)
	before := digest(t, "new.fs")
	for _, args := range []string{
		"mkdir -p new.fs:/a/b/c", "rm -r new.fs:/dir", "mv new.fs:/two new.fs:/dir", "mv host new.fs:/dir", "mv new.fs:/two .",
		"ln new.fs:/two new.fs:/link", "ln -s x new.fs:/link", "chmod -R a-w new.fs:/dir", "chown 1:2 new.fs:/two",
		"chflags schg new.fs:/two", "touch new.fs:/new", "truncate -s 100 new.fs:/two", "mknod new.fs:/null c 2 2",
		"write new.fs:/new", "cp host new.fs:/dir", "cp -a disk.img:/try new.fs:/", "mkfs --type ffs1 --force new.fs",
	} {
		out := works(t, append(strings.Fields(args), "--dry-run")...)
		assert.NotEmpty(t, out, args)
		assert.True(t, before == digest(t, "new.fs"), "%s: the image was changed", args)
		assert.Equal(t, []string{"disk.img", "host", "new.fs"}, names(t, "."), args)
	}
}

func TestOutputIsANewImage(t *testing.T) {
	newFS(t)
	before := digest(t, "new.fs")
	works(t, "rm", "new.fs:/two", "--output", "other.fs")
	assert.True(t, before == digest(t, "new.fs"))
	assert.Equal(t, "dir\n", works(t, "ls", "other.fs:/"))
	clean(t, "other.fs", "new.fs")
	_, stderr, code := resflash("rm", "new.fs:/two", "--output", "other.fs")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, stderr, "other.fs: file already exists")
	_, stderr, code = resflash("rm", "new.fs:/two", "new.fs:/none", "-o", "third.fs")
	assert.Equal(t, exitNotFound, code, stderr)
	assert.Equal(t, []string{"disk.img", "host", "new.fs", "other.fs"}, names(t, "."))
	_, _, code = resflash("mv", "new.fs:/two", "other.fs:/", "-o", "third.fs")
	assert.Equal(t, exitUsage, code, "one output for two images")
}

// Changes are recorded with what they were before.
// With SOURCE_DATE_EPOCH, the same edits of the same image give the same bytes.
func TestEditsAreReproducible(t *testing.T) {
	newFS(t)
	for _, name := range []string{"a.fs", "b.fs"} {
		works(t, "mkdir", "-o", name, "new.fs:/top")
		works(t, "cp", "-a", "host", name+":/top/host")
		works(t, "mkdir", "-p", name+":/other/deep")
		works(t, "mv", name+":/two", name+":/other/deep/two")
		works(t, "rm", name+":/dir/one")
	}
	assert.Equal(t, digest(t, "a.fs"), digest(t, "b.fs"))
	clean(t, "a.fs")
}

func TestChangesAsJSON(t *testing.T) {
	newFS(t)
	var list []change
	require.NoError(t, json.Unmarshal([]byte(works(t, "chmod", "0600", "new.fs:/two", "new.fs:/dir/one", "--json")), &list))
	assert.Equal(t, []change{
		{Action: "mode", Image: "new.fs", Volume: "whole", Path: "/two", From: "0644", To: "0600"},
		{Action: "mode", Image: "new.fs", Volume: "whole", Path: "/dir/one", From: "0644", To: "0600"},
	}, list)
	assert.Equal(t, "[]\n", works(t, "chmod", "0600", "new.fs:/two", "--json"), "as it is already")
}

func TestLockedImage(t *testing.T) {
	newFS(t)
	lock, err := blockio.LockFile("new.fs")
	require.NoError(t, err)
	for _, args := range []string{"rm new.fs:/two", "mkfs --type ffs2 --force new.fs:whole", "check --repair new.fs"} {
		_, stderr, code := resflash(strings.Fields(args)...)
		assert.Equal(t, exitLocked, code, args)
		assert.Contains(t, stderr, "resflash: new.fs: another process is writing to the image: process "+strconv.Itoa(os.Getpid())+" (", args)
		assert.Contains(t, stderr, "hint: wait for it to end; reading is possible meanwhile\n", args)
	}
	assert.Equal(t, "two\n", works(t, "cat", "new.fs:/two"))
	require.NoError(t, lock.Unlock())
	works(t, "rm", "new.fs:/two")
}

// A signal in the middle of an edit: nothing has happened.
func TestInterruptedEdit(t *testing.T) {
	newFS(t)
	before := works(t, "export", "--format", "mtree", "new.fs")
	ctx, cancel := context.WithCancel(context.Background())
	var out, errs bytes.Buffer
	in := &interrupting{cancel: cancel}
	code := run(ctx, []string{"write", "new.fs:/two"}, in, &out, &errs)
	assert.Equal(t, exitInterrupted, code)
	assert.Equal(t, "resflash: new.fs: nothing was changed\nresflash: interrupted\n", errs.String())
	assert.Equal(t, before, works(t, "export", "--format", "mtree", "new.fs"))
	clean(t, "new.fs")

	cancelled, stop := context.WithCancel(context.Background())
	stop()
	whole := digest(t, "new.fs")
	for _, args := range []string{"rm -r new.fs:/dir", "cp host new.fs:/x", "mkdir new.fs:/x", "mkfs --type ffs2 --size 4M x.fs", "mkfs --type ffs1 --force new.fs:whole"} {
		errs.Reset()
		assert.Equal(t, exitInterrupted, run(cancelled, strings.Fields(args), nil, &out, &errs), args)
		assert.True(t, whole == digest(t, "new.fs"), args)
	}
	assert.Equal(t, []string{"disk.img", "host", "new.fs"}, names(t, "."))
}

// interrupting gives something, and then nothing for ever.
type interrupting struct {
	cancel context.CancelFunc
	n      int
}

func (i *interrupting) Read(p []byte) (int, error) {
	if i.n += len(p); i.n > 4<<20 {
		i.cancel()
		select {}
	}
	return len(p), nil
}

// The tools of others see what was changed.
func TestForeignToolsSeeTheEdits(t *testing.T) {
	newFS(t)
	testtool.Need(t, "fls", "icat", "fsstat")
	works(t, "cp", "-a", "disk.img:/try", "new.fs:/dir")
	works(t, "rm", "-r", "new.fs:/dir/try/sub/dir")
	works(t, "mv", "new.fs:/dir/try/plain", "new.fs:/moved")
	works(t, "chflags", "noschg", "new.fs:/dir/try/immutable")
	writes(t, "changed\n", "new.fs:/dir/try/immutable")
	for _, fs := range []string{"new.fs"} {
		list := command(t, ".", "fls", "-f", "ufs", "-r", "-p", "-u", fs)
		assert.Contains(t, list, ":\tmoved\n")
		assert.Contains(t, list, ":\tdir/try/sub/naïve\n")
		assert.NotContains(t, list, "dir/try/sub/dir")
		assert.NotContains(t, list, "dir/try/plain")
		for _, line := range strings.Split(list, "\n") {
			kind, name, _ := strings.Cut(line, ":\t")
			if name == "dir/try/immutable" {
				assert.Equal(t, "changed\n", command(t, ".", "icat", "-f", "ufs", fs, kind[strings.LastIndexByte(kind, ' ')+1:]))
			}
		}
	}
	clean(t, "new.fs")
}

// A volume of a partitioned disk is changed, and nothing else of it.
func TestEditOfOneVolume(t *testing.T) {
	here(t)
	data, err := os.ReadFile("disk.img")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("copy.img", data, 0o600))
	volumes := []string{"copy.img:i", "copy.img:a", "copy.img:d", "copy.img:e", "copy.img:f"}
	before := works(t, append([]string{"hash"}, volumes...)...)
	writes(t, "fw7\n", "copy.img:cfg:/etc/myname")
	after := works(t, append([]string{"hash"}, volumes...)...)
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	assert.Equal(t, was[:4], is[:4])
	assert.NotEqual(t, was[4], is[4])
	assert.Equal(t, "fw7\n", works(t, "cat", "copy.img:f:/etc/myname"))
	clean(t, "copy.img:f")

	// Two volumes in one transaction.
	works(t, "mv", "copy.img:cfg:/etc/myname", "copy.img:/etc/")
	assert.Equal(t, "fw7\n", works(t, "cat", "copy.img:/etc/myname"))
	_, _, code := resflash("stat", "copy.img:cfg:/etc/myname")
	assert.Equal(t, exitNotFound, code)
	works(t, "chown", "operator:operator", "copy.img:cfg:/etc")
	assert.Contains(t, works(t, "ls", "-ldn", "copy.img:cfg:/etc"), "  2  5  ", "names are those of the root volume")
	clean(t, "copy.img:d", "copy.img:f")

	// FAT has no owners but root, and no links.
	works(t, "mkdir", "copy.img:efi:/New directory")
	works(t, "cp", "copy.img:/etc/myname", "copy.img:efi:/new directory/MyName.Text")
	assert.Equal(t, "fw7\n", works(t, "cat", "copy.img:efi:/NEW DIRECTORY/myname.text"))
	_, stderr, code := resflash("chown", "operator:operator", "copy.img:efi:/New directory")
	assert.Equal(t, exitNotSupported, code)
	assert.Contains(t, stderr, "FAT has no owners")
	_, stderr, code = resflash("ln", "-s", "x", "copy.img:efi:/link")
	assert.Equal(t, exitNotSupported, code)
	assert.Contains(t, stderr, "FAT has no symbolic links")
	_, stderr, code = resflash("mkdir", "copy.img:e:/x")
	assert.Equal(t, exitNotImage, code)
	assert.Contains(t, stderr, "volume e: empty")
}

// Slashes at the end mean directories, as for the commands of the host.
func TestSlashesAtTheEnd(t *testing.T) {
	newFS(t)
	works(t, "ln", "-s", "dir", "new.fs:/link")
	require.NoError(t, os.MkdirAll("tree/sub", 0o755))
	before := works(t, "find", "new.fs:/")
	for args, want := range map[string]string{
		"rm -r new.fs:/link/":               "not a directory",
		"mv new.fs:/link/ new.fs:/other":    "not a directory",
		"mv new.fs:/two new.fs:/none/":      "not a directory",
		"mv host new.fs:/none/":             "not a directory",
		"cp host new.fs:/none/":             "no such directory",
		"cp -r host new.fs:/none/":          "not a directory",
		"touch new.fs:/none/":               "is a directory",
		"write new.fs:/none/":               "is a directory",
		"ln new.fs:/two new.fs:/none/":      "no such file or directory",
		"ln -s x new.fs:/none/":             "is a directory",
		"rm new.fs:/two/":                   "not a directory",
		"rm -r new.fs:/dir/.":               "will not remove",
		"rm -r new.fs:/dir/../dir/..":       "will not remove",
		"chmod 0700 new.fs:/two/":           "not a directory",
		"write new.fs:relative":             "no volume \"relative\"",
		"write new.fs:no/such/volume":       "a path must begin with a slash",
		"write new.fs":                      "which file? write new.fs:/path",
		"write none.fs:/x":                  "none.fs: no such file or directory",
		"cp host new.fs:/dir/../../../two/": "not a directory",
	} {
		_, stderr, code := resflash(strings.Fields(args)...)
		assert.NotEqual(t, 0, code, args)
		assert.Contains(t, stderr, want, args)
	}
	assert.Equal(t, before, works(t, "find", "new.fs:/"))
	works(t, "mkdir", "new.fs:/made/")
	works(t, "cp", "-r", "tree/", "new.fs:/")
	works(t, "cp", "-r", "tree/", "new.fs:/copy/")
	works(t, "mv", "new.fs:/made/", "new.fs:/moved/")
	works(t, "rm", "-R", "new.fs:/dir/")
	assert.Equal(t, "/\n/copy\n/copy/sub\n/link\n/moved\n/tree\n/tree/sub\n/two\n", works(t, "find", "new.fs:/"))
	clean(t, "new.fs")
}

// A link of the image is followed inside it and never outside.
func TestEditsStayInside(t *testing.T) {
	newFS(t)
	outside := t.TempDir()
	works(t, "ln", "-s", outside, "new.fs:/absolute")
	works(t, "ln", "-s", "../../../../../.."+outside, "new.fs:/relative")
	works(t, "ln", "-s", "../../../../../../two", "new.fs:/dir/up")
	for _, link := range []string{"absolute", "relative"} {
		_, stderr, code := resflashWith("x", "write", "new.fs:/"+link+"/file")
		assert.Equal(t, exitNotFound, code, stderr)
		_, stderr, code = resflash("cp", "host", "new.fs:/"+link+"/file")
		assert.Equal(t, exitNotFound, code, stderr)
	}
	writes(t, "through\n", "new.fs:/dir/up")
	assert.Equal(t, "through\n", works(t, "cat", "new.fs:/two"))
	// A link to nothing: the file is made where it leads.
	works(t, "ln", "-s", "dir/made", "new.fs:/later")
	writes(t, "later\n", "new.fs:/later")
	assert.Equal(t, "later\n", works(t, "cat", "new.fs:/dir/made"))
	works(t, "ln", "-s", "loop", "new.fs:/loop")
	_, stderr, code := resflash("touch", "new.fs:/loop")
	assert.Equal(t, exitFailure, code)
	assert.Contains(t, stderr, "too many levels of symbolic links")
	assert.Empty(t, names(t, outside))
	clean(t, "new.fs")
}

// No room on the host is another matter than no room in the image.
func TestWhoHasNoRoom(t *testing.T) {
	newFS(t)
	require.NoError(t, os.WriteFile("big", make([]byte, 12<<20), 0o644))
	_, stderr, code := resflash("cp", "big", "new.fs:/")
	assert.Equal(t, exitFull, code)
	assert.Equal(t, "resflash: new.fs:/big: copy of big: no space left on device: volume whole is full\nresflash: new.fs: nothing was changed\n", stderr)
	at := target{address: address{text: "new.fs:/two"}}
	host := fmt.Errorf("fragment 7: %w", &os.PathError{Op: "write", Path: "new.fs", Err: syscall.ENOSPC})
	err := at.error(host)
	assert.Equal(t, exitHost, exitCode(err))
	assert.EqualError(t, err, "new.fs:/two: fragment 7: write new.fs: no space left on device")
	assert.NoError(t, at.error(nil))
}
