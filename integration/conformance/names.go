package conformance

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// nameCases are about names and targets as such: their length, and what is in
// them.
func nameCases(opt Options) []testCase {
	calls := []struct {
		name    string
		run     func(dir, x string) error
		missing bool // what comes of a good name that is not there
	}{
		{"stat", statted(unix.Stat), true},
		{"open", opening(unix.O_RDONLY), true},
		{"open-create", opening(unix.O_RDWR | unix.O_CREAT), false},
		{"mkdir", on(func(x string) error { return unix.Mkdir(x, 0o755) }), false},
		{"mknod", on(func(x string) error { return unix.Mknod(x, unix.S_IFREG|0o644, 0) }), false},
		{"symlink", on(func(x string) error { return unix.Symlink("t", x) }), false},
		{"link-to", func(dir, x string) error { return unix.Link(dir+"/file", x) }, false},
		{"link-from", func(dir, x string) error { return unix.Link(x, dir+"/new") }, true},
		{"unlink", on(unix.Unlink), true},
		{"rmdir", on(unix.Rmdir), true},
		{"rename-to", renaming(0, sub("file"), itself), false},
		{"rename-from", renaming(0, itself, sub("new")), true},
		{"exchange-to", renaming(unix.RENAME_EXCHANGE, sub("file"), itself), true},
		{"chmod", on(func(x string) error { return unix.Chmod(x, 0o600) }), true},
		{"truncate", on(func(x string) error { return unix.Truncate(x, 0) }), true},
		{"utimensat", on(func(x string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, x, then, 0) }), true},
	}
	names := []struct {
		what, name string
		want       error
	}{
		{"longest", long(opt.NameMax), nil},
		{"too-long", long(opt.NameMax + 1), unix.ENAMETOOLONG},
		{"very-long", strings.Repeat("d/", 2050), unix.ENAMETOOLONG},
		{"bytes", "\x01\xff \\\"'*?\n\t;:", nil},
	}
	var all []testCase
	for _, c := range calls {
		for _, n := range names {
			want := n.want
			if want == nil && c.missing {
				want = unix.ENOENT
			}
			all = append(all, testCase{name: c.name + "/name-" + n.what, want: want, run: func(dir string, _ Options) error {
				if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
					return err
				}
				return c.run(dir, dir+"/"+n.name)
			}})
		}
		// The empty path is nothing.
		all = append(all, testCase{name: c.name + "/path-empty", want: unix.ENOENT, run: func(dir string, _ Options) error {
			if err := os.WriteFile(dir+"/file", nil, 0o644); err != nil {
				return err
			}
			return c.run(dir, "")
		}})
	}
	for _, n := range []int{1, 59, 60, 61, 119, 120, 121, 500, opt.SymlinkMax - 1, opt.SymlinkMax, opt.SymlinkMax + 1} {
		want := error(nil)
		if n > opt.SymlinkMax {
			want = unix.ENAMETOOLONG
		}
		all = append(all, testCase{name: "symlink/target-of-" + itoa(n), want: want, run: func(dir string, _ Options) error {
			target := long(n)
			if err := unix.Symlink(target, dir+"/x"); err != nil {
				return err
			}
			buf := make([]byte, n+10)
			k, err := unix.Readlink(dir+"/x", buf)
			if err == nil && string(buf[:k]) != target {
				return unix.EBADMSG
			}
			return err
		}})
	}
	for _, dot := range []struct {
		name string
		run  func(dir string) error
		want error
	}{
		{"mkdir/dot", func(d string) error { return unix.Mkdir(d+"/.", 0o755) }, unix.EEXIST},
		{"mkdir/dot-dot", func(d string) error { return unix.Mkdir(d+"/..", 0o755) }, unix.EEXIST},
		{"rmdir/dot", func(d string) error { return unix.Rmdir(d + "/.") }, unix.EINVAL},
		{"rmdir/dot-dot", func(d string) error { return unix.Rmdir(d + "/..") }, unix.ENOTEMPTY},
		{"unlink/dot", func(d string) error { return unix.Unlink(d + "/.") }, unix.EISDIR},
		{"rename/dot", func(d string) error { return unix.Rename(d+"/.", d+"/new") }, unix.EBUSY},
		{"rename/dot-dot", func(d string) error { return unix.Rename(d+"/..", d+"/new") }, unix.EBUSY},
		{"rename/to-dot", func(d string) error {
			return first(unix.Mkdir(d+"/x", 0o755), unix.Rename(d+"/x", d+"/."))
		}, unix.EBUSY},
		{"open-create/dot", func(d string) error { return opening(unix.O_RDWR|unix.O_CREAT)("", d+"/.") }, unix.EISDIR},
	} {
		all = append(all, testCase{name: dot.name, want: dot.want, run: func(dir string, _ Options) error { return dot.run(dir) }})
	}
	return all
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}
