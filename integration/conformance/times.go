package conformance

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A change is what a call must do to what stat(2) tells of the files around it:
// words of the form FILE.WHAT, where FILE is x (the file), d (its directory)
// and e (another directory), and WHAT is m (mtime), c (ctime), or nlink with a
// number. What is not said must not happen. (Atime is not looked at: it is not
// kept, but for utimensat.)
type change struct {
	name string
	run  func(dir string) error // with d/x, a file, d/sub, a directory, and e
	want string
}

func changeTable(opt Options) []change {
	d := func(fn func(string) error) func(string) error { return fn }
	table := []change{
		{"create", d(func(r string) error { return opening(unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)("", r+"/d/new") }), "d.m d.c"},
		{"open-existing", func(r string) error { return opening(unix.O_CREAT|unix.O_RDWR)("", r+"/d/x") }, ""},
		{"read", func(r string) error { _, err := os.ReadFile(r + "/d/x"); return err }, ""},
		{"readdir", func(r string) error { _, err := os.ReadDir(r + "/d"); return err }, ""},
		{"mkdir", func(r string) error { return unix.Mkdir(r+"/d/new", 0o755) }, "d.m d.c d.nlink+1"},
		{"mknod", func(r string) error { return unix.Mknod(r+"/d/new", unix.S_IFIFO|0o644, 0) }, "d.m d.c"},
		{"symlink", func(r string) error { return unix.Symlink("x", r+"/d/new") }, "d.m d.c"},
		{"link", func(r string) error { return unix.Link(r+"/d/x", r+"/d/new") }, "x.c x.nlink+1 d.m d.c"},
		{"link-elsewhere", func(r string) error { return unix.Link(r+"/d/x", r+"/e/new") }, "x.c x.nlink+1 e.m e.c"},
		{"unlink-one-of-two", func(r string) error { return unix.Unlink(r + "/e/second") }, "y.c y.nlink-1 e.m e.c"},
		{"unlink", func(r string) error { return unix.Unlink(r + "/d/x") }, "x.c x.nlink-1 d.m d.c"},
		{"rmdir", func(r string) error { return unix.Rmdir(r + "/d/sub") }, "d.m d.c d.nlink-1"},
		{"rename", func(r string) error { return unix.Rename(r+"/d/x", r+"/d/new") }, "x.c d.m d.c"},
		{"rename-elsewhere", func(r string) error { return unix.Rename(r+"/d/x", r+"/e/new") }, "x.c d.m d.c e.m e.c"},
		{"rename-dir-elsewhere", func(r string) error { return unix.Rename(r+"/d/sub", r+"/e/new") }, "d.m d.c d.nlink-1 e.m e.c e.nlink+1"},
		{"rename-over", func(r string) error { return unix.Rename(r+"/e/other", r+"/d/x") }, "x.c x.nlink-1 d.m d.c e.m e.c"},
		{"rename-over-one-of-two", func(r string) error { return unix.Rename(r+"/e/other", r+"/e/second") }, "y.c y.nlink-1 e.m e.c"},
		{"rename-to-itself", func(r string) error { return unix.Rename(r+"/d/x", r+"/d/x") }, ""},
		{"rename-same-file", func(r string) error { return unix.Rename(r+"/e/second", r+"/d/y") }, ""},
		{"exchange", func(r string) error {
			return unix.Renameat2(unix.AT_FDCWD, r+"/d/x", unix.AT_FDCWD, r+"/e/other", unix.RENAME_EXCHANGE)
		}, "x.c d.m d.c e.m e.c"},
		{"exchange-with-dir", func(r string) error {
			return unix.Renameat2(unix.AT_FDCWD, r+"/d/sub", unix.AT_FDCWD, r+"/e/other", unix.RENAME_EXCHANGE)
		}, "d.m d.c d.nlink-1 e.m e.c e.nlink+1"},
		{"chmod", func(r string) error { return unix.Chmod(r+"/d/x", 0o600) }, "x.c"},
		{"chmod-dir", func(r string) error { return unix.Chmod(r+"/d", 0o700) }, "d.c"},
		{"chown", func(r string) error { return unix.Chown(r+"/d/x", os.Getuid(), os.Getgid()) }, "x.c"},
		{"truncate-shorter", func(r string) error { return unix.Truncate(r+"/d/x", 1) }, "x.m x.c"},
		{"truncate-longer", func(r string) error { return unix.Truncate(r+"/d/x", 10_000) }, "x.m x.c"},
		{"open-trunc", func(r string) error { return opening(unix.O_WRONLY|unix.O_TRUNC)("", r+"/d/x") }, "x.m x.c"},
		{"write", func(r string) error { return writing(r+"/d/x", unix.O_WRONLY, []byte("hello")) }, "x.m x.c"},
		{"write-append", func(r string) error { return writing(r+"/d/x", unix.O_WRONLY|unix.O_APPEND, []byte("hello")) }, "x.m x.c"},
		{"write-nothing", func(r string) error { return writing(r+"/d/x", unix.O_WRONLY, nil) }, ""},
		{"utimensat-both", func(r string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, r+"/d/x", then, 0) }, "x.m x.c"},
		{"utimensat-atime", func(r string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, r+"/d/x", []unix.Timespec{{Sec: 9}, {Nsec: unix.UTIME_OMIT}}, 0)
		}, "x.c"},
		{"utimensat-now", func(r string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, r+"/d/x", []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_NOW}}, 0)
		}, "x.m x.c"},
		{"utimensat-omit", func(r string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, r+"/d/x", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}, 0)
		}, ""},
		{"failed-unlink", func(r string) error { return expectErr(unix.Unlink(r+"/d/sub"), unix.EISDIR) }, ""},
		{"failed-mkdir", func(r string) error { return expectErr(unix.Mkdir(r+"/d/x", 0o755), unix.EEXIST) }, ""},
		{"failed-rename", func(r string) error { return expectErr(unix.Rename(r+"/d/sub", r+"/d/x"), unix.ENOTDIR) }, ""},
	}
	if !opt.NoFallocate {
		table = append(table,
			change{"fallocate", func(r string) error { return allocating(r+"/d/x", 0, 0, 20_000) }, "x.m x.c"},
			change{"punch", func(r string) error {
				return allocating(r+"/d/x", unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, 0, 5)
			}, "x.m x.c"})
	}
	if opt.Xattrs {
		table = append(table, change{"setxattr", func(r string) error { return unix.Setxattr(r+"/d/x", "user.a", nil, 0) }, "x.c"})
	}
	return table
}

func expectErr(got, want error) error {
	if got == want {
		return nil
	}
	return fmt.Errorf("got %s, want %s", tell(got), tell(want))
}

func writing(x string, flags int, p []byte) error {
	fd, err := unix.Open(x, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, p)
	return err
}

func allocating(x string, mode uint32, off, n int64) error {
	fd, err := unix.Open(x, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fallocate(fd, mode, off, n)
}

// timeCases are the table of changes.
func timeCases(opt Options) []testCase {
	var all []testCase
	for _, c := range changeTable(opt) {
		all = append(all, testCase{name: "changes/" + c.name, run: func(dir string, _ Options) error {
			got, err := c.changes(dir)
			if err == nil && got != c.want {
				err = fmt.Errorf("changes %q, not %q", got, c.want)
			}
			return err
		}})
	}
	return all
}

// changes does it, and returns what has changed.
func (c change) changes(r string) (string, error) {
	err := first(unix.Mkdir(r+"/d", 0o755), unix.Mkdir(r+"/e", 0o755), unix.Mkdir(r+"/d/sub", 0o755),
		os.WriteFile(r+"/d/x", []byte("contents"), 0o644), os.WriteFile(r+"/e/other", nil, 0o644),
		os.WriteFile(r+"/d/y", nil, 0o644), unix.Link(r+"/d/y", r+"/e/second"))
	if err != nil {
		return "", err
	}
	names := []string{"x", "y", "d", "e"}
	fds := make([]int, len(names))
	for i, path := range []string{"/d/x", "/d/y", "/d", "/e"} {
		if fds[i], err = unix.Open(r+path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return "", err
		}
		defer unix.Close(fds[i])
	}
	stats := func() []unix.Stat_t {
		all := make([]unix.Stat_t, len(fds))
		for i, fd := range fds {
			if e := unix.Fstat(fd, &all[i]); e != nil {
				err = e
			}
		}
		return all
	}
	before := stats()
	time.Sleep(12 * time.Millisecond) // the clocks of file systems are coarse
	if err := c.run(r); err != nil {
		return "", errno(err)
	}
	after := stats()
	if err != nil {
		return "", err
	}
	var words []string
	for i, name := range names {
		a, b := &before[i], &after[i]
		if a.Mtim != b.Mtim {
			words = append(words, name+".m")
		}
		if a.Ctim != b.Ctim {
			words = append(words, name+".c")
		}
		if a.Nlink != b.Nlink {
			words = append(words, fmt.Sprintf("%s.nlink%+d", name, int64(b.Nlink)-int64(a.Nlink)))
		}
	}
	return strings.Join(words, " "), nil
}
