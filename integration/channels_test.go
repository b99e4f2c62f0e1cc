package integration

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// shownDiffs is how many differences a failed comparison prints.
const shownDiffs = 12

// An expectation is what every way out of an image must show.
type expectation struct {
	want   manifest.Manifest
	fields manifest.Fields
	ignore []string // paths that the tool added
	notime []string // paths whose times are not compared
	// ignorePrefix is what paths begin with that a reader is known to get wrong.
	ignorePrefix string
}

// without returns x with paths whose times do not count.
func (x expectation) without(paths ...string) expectation {
	x.notime = append(x.notime, paths...)
	x.want = x.want.Edit(x.clearTimes)
	return x
}

func (x expectation) clearTimes(e *manifest.Entry) bool {
	if slices.Contains(x.notime, e.Path) {
		e.Sec, e.Nsec = 0, 0
	}
	return true
}

func (x expectation) check(t *testing.T, got manifest.Manifest, fields manifest.Fields) {
	t.Helper()
	counts := func(e *manifest.Entry) bool {
		return !slices.Contains(x.ignore, e.Path) && (x.ignorePrefix == "" || !strings.HasPrefix(e.Path, x.ignorePrefix))
	}
	want := x.want.Edit(counts)
	got = got.Edit(counts).Edit(x.clearTimes)
	assert.Empty(t, manifest.Diff(want, got, x.fields&fields, shownDiffs))
}

// channels compares all three ways out of the volume with the expectation.
func channels(t *testing.T, image, volume string, x expectation) {
	address := image + ":" + volume + ":/"
	xattrs := x.fields&manifest.Xattrs != 0
	t.Run("export", func(t *testing.T) {
		// Tar has neither sockets nor link counts.
		y := x
		y.want = x.want.Edit(func(e *manifest.Entry) bool { return e.Type != manifest.Socket })
		y.check(t, exported(t, address), ^manifest.DirNlink)
	})
	t.Run("cp", func(t *testing.T) {
		y := x
		if !asRoot {
			y.want = x.want.Edit(func(e *manifest.Entry) bool { return e.Type != manifest.Block && e.Type != manifest.Char })
		}
		fields := ^manifest.DirNlink
		if !asRoot {
			fields &^= manifest.Owner
		}
		y.check(t, copied(t, address, manifest.Options{Xattrs: xattrs}), fields)
	})
	t.Run("mount", func(t *testing.T) {
		x.check(t, manifest.ReadDir(mount(t, "--volume", volume, image), manifest.Options{Xattrs: xattrs}), ^manifest.Fields(0))
	})
}

// filled makes a file of size bytes of 0xAA: blocks that were never written do
// not read as zeros by luck.
func filled(t testing.TB, name string, size int64) {
	t.Helper()
	f, err := os.Create(name)
	require.NoError(t, err)
	poison(t, f, 0, size)
	require.NoError(t, f.Close())
}

func poison(t testing.TB, f *os.File, off, n int64) {
	t.Helper()
	for n > 0 {
		part := min(n, int64(len(poisoned)))
		_, err := f.WriteAt(poisoned[:part], off)
		require.NoError(t, err)
		off, n = off+part, n-part
	}
}

var poisoned = func() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = 0xAA
	}
	return b
}()

// needFUSE skips the test where no FUSE mount is possible.
func needFUSE(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		testtool.Missing(t, "no FUSE here: %v", err)
	}
	f.Close()
	if _, err := exec.LookPath("fusermount3"); err != nil && !asRoot {
		testtool.Missing(t, "fusermount3 is not installed")
	}
}
