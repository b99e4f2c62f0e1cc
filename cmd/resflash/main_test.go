package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testimage"
)

// asProgram makes the test binary be resflash: mount starts itself again.
const asProgram = "RESFLASH_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Setenv(asProgram, "1")
	time.Local = time.UTC
	code := m.Run()
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// resflash runs the program in-process.
func resflash(args ...string) (stdout, stderr string, code int) {
	return resflashWith("", args...)
}

// resflashWith runs it with something on standard input.
func resflashWith(stdin string, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

// command runs a foreign program in dir.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// shared is the image that most tests look into. It is written once.
var shared struct {
	once sync.Once
	dir  string
	err  error
}

const (
	modeType  = 0o170000
	modeDir   = 0o040000
	modeFile  = 0o100000
	modeChar  = 0o020000
	modeBlock = 0o060000
	modeLink  = 0o120000
)

// diskImage returns the path of a disk in the resflash layout, with some
// files in its active slot that are good for tests. Nobody may change it.
func diskImage(t *testing.T) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "resflash-test-"); shared.err != nil {
			return
		}
		shared.err = testimage.Resflash(filepath.Join(shared.dir, "disk.img"), testimage.Options{
			SizeMB: 48, Seed: 1,
			Edit: func(volume string, tree testimage.Tree) {
				if volume != "d" {
					return
				}
				// What these tests do not need only makes the image large, and
				// their expectations depend on more.
				for name, n := range tree {
					if n.Mode&modeType != modeDir && !slices.Contains([]string{"bsd", "etc/passwd", "etc/group", "etc/fstab", "resflash/BUILD"}, name) {
						delete(tree, name)
					}
				}
				for name, n := range map[string]*testimage.Node{
					"try/plain":     {Mode: modeFile | 0o644, UID: 1000, GID: 10, Data: []byte("plain\n")},
					"try/setuid":    {Mode: modeFile | 0o4755, Data: []byte("program")},
					"try/world":     {Mode: modeFile | 0o666, Data: []byte("anybody\n")},
					"try/immutable": {Mode: modeFile | 0o400, Flags: 0x20000, Data: []byte("for ever\n")},
					"try/another":   {HardLink: "try/plain"},
					"try/empty":     {Mode: modeFile | 0o600},
					"try/.hidden":   {Mode: modeFile | 0o600, Data: []byte("dot")},
					"try/old":       {Mode: modeFile | 0o644, Mtime: time.Unix(0, 0), Data: []byte("1970")},
					"try/dev/null":  {Mode: modeChar | 0o666, Major: 2, Minor: 2},
					"try/dev/sd0a":  {Mode: modeBlock | 0o640, GID: 5, Major: 4},
					"try/sub/dir/a": {Mode: modeFile | 0o644, Data: bytes.Repeat([]byte("a"), 5000)},
					"try/sub/dir/B": {Mode: modeFile | 0o644, Data: []byte("b")},
					"try/link":      {Mode: modeLink | 0o755, Target: "/try/plain"},
					"try/outside":   {Mode: modeLink | 0o755, Target: "../../../../../etc/hostname"},
					"try/loop":      {Mode: modeLink | 0o755, Target: "loop"},
					"try/dangling":  {Mode: modeLink | 0o755, Target: "nothing"},
					"try/to-dir":    {Mode: modeLink | 0o755, Target: "sub"},
					"try/tab\tname": {Mode: modeFile | 0o644, Data: []byte("1")},
					"try/\xffbytes": {Mode: modeFile | 0o644, Data: []byte("2")},
					"try/holes":     {Mode: modeFile | 0o644, Data: append(make([]byte, 1<<20), "end"...), Holes: true},
					"try/sub/naïve": {Mode: modeFile | 0o644, Data: []byte("utf-8")},
				} {
					tree.Set(name, n)
				}
			},
		})
	})
	require.NoError(t, shared.err)
	return filepath.Join(shared.dir, "disk.img")
}
