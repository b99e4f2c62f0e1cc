// Package conformance judges a mounted file system by what its system calls
// answer.
//
// There are three parts. [Run] goes through a table of cases: a system call, on
// a file of some type, in some condition, with the error that it must give,
// derived by rule from the type and the condition (paths.go, handles.go,
// flags.go), or with what it must do to link counts and times (times.go).
// [Random] does the same random operations to the mount and to a directory of
// the host, and compares. [Exercise] does so with the contents of one file, by
// every way there is to change them.
//
// The host is the foreign judge: the same table is run on a file system of the
// kernel, see [Reference]. A case in which a mount rightly differs says so.
package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Options say what is being judged. The zero value is a file system that has
// everything, without limits that matter.
type Options struct {
	// Host says that it is a file system of the kernel, which is not asked
	// what only a mount by FUSE can answer.
	Host bool
	// SameProcess: the mount is served by this process. Then no program can be
	// started from it: until the program runs, the Go runtime cannot stop the
	// world, which whoever serves the mount may need.
	SameProcess bool
	// Plain: there is nothing but files and directories, with a name each, and
	// nobody keeps whose they are. See plain.go.
	Plain bool
	// NoDevices: device nodes cannot be made, for want of rights.
	NoDevices bool
	// NoFlags: there are no immutable and append-only files.
	NoFlags bool
	// Xattrs: there are extended attributes in the namespace user.
	Xattrs bool
	// NoFallocate: space can be neither reserved nor released.
	NoFallocate bool
	// NameMax is the longest name, in bytes; 0 is 255.
	NameMax int
	// SymlinkMax is the longest target of a symbolic link; 0 is 4095.
	SymlinkMax int
	// LinkMax is how many names a file may have; 0 is not to be tried. That
	// many directories take long to make: FewDirs does without.
	LinkMax int
	FewDirs bool
	// SizeMax is how large a file may be; 0 is not to be tried.
	SizeMax int64
}

// A testCase is one call and what must come of it. It has a directory of its
// own, which is the working directory of no one.
type testCase struct {
	name string
	skip func(Options) bool // nil: never
	run  func(dir string, opt Options) error
	want error // nil, or an Errno
}

// Run goes through the table in dir, which must be empty, and returns the
// number of cases.
func Run(t *testing.T, dir string, opt Options) int {
	t.Helper()
	if opt.NameMax == 0 {
		opt.NameMax = 255
	}
	if opt.SymlinkMax == 0 {
		opt.SymlinkMax = 4095
	}
	defer unix.Umask(unix.Umask(0))
	letIn(t, dir)
	var all []testCase
	for _, part := range [][]testCase{pathCases(opt), nameCases(opt), handleCases(opt), removedCases(opt), flagCases(opt), timeCases(opt), userCases(opt), limitCases(opt)} {
		all = append(all, part...)
	}
	seen, ran := map[string]bool{}, 0
	for i, c := range all {
		require.False(t, seen[c.name], "two cases of the name %s", c.name)
		seen[c.name] = true
		if c.skip != nil && c.skip(opt) || opt.Plain && plainException(c.name) != "" {
			continue
		}
		ran++
		at := filepath.Join(dir, fmt.Sprintf("%04d", i))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := c.run(at, opt); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, tell(got), tell(c.want))
		}
		if err := removeAll(at); err != nil {
			t.Errorf("%s: clean up: %v", c.name, err)
		}
	}
	return ran
}

// letIn lets other users come to dir, as far up as the directories are those of
// the test.
func letIn(t *testing.T, dir string) {
	t.Helper()
	top := filepath.Clean(os.TempDir())
	for d := filepath.Dir(dir); len(d) > len(top) && strings.HasPrefix(d, top+"/"); d = filepath.Dir(d) {
		if fi, err := os.Stat(d); err == nil && fi.Mode()&0o001 == 0 {
			require.NoError(t, os.Chmod(d, fi.Mode()|0o011))
		}
	}
}

// tell names an error as programmers do.
func tell(err error) string {
	if err == nil {
		return "success"
	}
	if errno, ok := err.(unix.Errno); ok {
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// removeAll removes a tree, with what flags keep in it.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, _ error) error {
		if d != nil && (d.IsDir() || d.Type().IsRegular()) {
			_ = setFlags(path, 0)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// Reference returns an empty directory of a file system of the kernel, and what
// it is like: a tmpfs, mounted as FUSE mounts are, where the rights suffice.
func Reference(t testing.TB) (dir string, opt Options) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "reference")
	require.NoError(t, os.Mkdir(dir, 0o755))
	opt = Options{Host: true, NoDevices: os.Geteuid() != 0, NoFlags: true}
	if os.Geteuid() != 0 || unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=755") != nil {
		return dir, opt
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	probe := filepath.Join(dir, "probe")
	require.NoError(t, os.WriteFile(probe, nil, 0o644))
	opt.NoFlags = setFlags(probe, flagNoDump) != nil // Linux 6.6
	opt.Xattrs = unix.Setxattr(probe, "user.a", nil, 0) == nil
	require.NoError(t, os.Remove(probe))
	return dir, opt
}

// errno makes the errors of package os comparable.
func errno(err error) error {
	for err != nil {
		if e, ok := err.(unix.Errno); ok {
			return e
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
	return nil
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return errno(err)
		}
	}
	return nil
}

func long(n int) string { return strings.Repeat("n", n) }
