package conformance

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The attributes of chattr(1).
const (
	flagImmutable = 0x10
	flagAppend    = 0x20
	flagNoDump    = 0x40
)

func setFlags(path string, flags int32) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_SETFLAGS, uintptr(unsafe.Pointer(&flags))); e != 0 {
		return e
	}
	return nil
}

func getFlags(path string) (flags int32, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.FS_IOC_GETFLAGS, uintptr(unsafe.Pointer(&flags))); e != 0 {
		return 0, e
	}
	return flags, nil
}

// flagCases are about files that must not be changed. To set the attributes
// takes root.
func flagCases(opt Options) []testCase {
	if opt.NoFlags || os.Geteuid() != 0 {
		return nil
	}
	write := func(flags int, off int64) func(string) error {
		return func(x string) error {
			// The host refuses to open it, a mount to write to it.
			fd, err := unix.Open(x, flags|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if off < 0 {
				_, err = unix.Write(fd, []byte("more"))
			} else {
				_, err = unix.Pwrite(fd, []byte("more"), off)
			}
			return err
		}
	}
	perm := error(unix.EPERM)
	calls := []struct {
		name              string
		run               func(x string) error
		immutable, append error
	}{
		{"read", func(x string) error { _, err := os.ReadFile(x); return errno(err) }, nil, nil},
		{"stat", func(x string) error { return unix.Stat(x, new(unix.Stat_t)) }, nil, nil},
		{"write", write(unix.O_WRONLY, 0), perm, perm},
		{"write-append", write(unix.O_WRONLY|unix.O_APPEND, -1), perm, nil},
		{"truncate", func(x string) error { return unix.Truncate(x, 1) }, perm, perm},
		{"open-trunc", opening1(unix.O_WRONLY | unix.O_TRUNC), perm, perm},
		{"chmod", func(x string) error { return unix.Chmod(x, 0o600) }, perm, perm},
		{"chown", func(x string) error { return unix.Chown(x, 5, 6) }, perm, perm},
		{"utimensat", func(x string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, x, then, 0) }, perm, perm},
		{"link", func(x string) error { return unix.Link(x, x+"-link") }, perm, perm},
		{"unlink", unix.Unlink, perm, perm},
		{"rename", func(x string) error { return unix.Rename(x, x+"-new") }, perm, perm},
		{"rename-over", func(x string) error {
			return first(os.WriteFile(x+"-other", nil, 0o644), unix.Rename(x+"-other", x))
		}, perm, perm},
		{"exchange", func(x string) error {
			return first(os.WriteFile(x+"-other", nil, 0o644),
				unix.Renameat2(unix.AT_FDCWD, x+"-other", unix.AT_FDCWD, x, unix.RENAME_EXCHANGE))
		}, perm, perm},
	}
	if opt.Xattrs {
		calls = append(calls, struct {
			name              string
			run               func(x string) error
			immutable, append error
		}{"setxattr", func(x string) error { return unix.Setxattr(x, "user.a", []byte("b"), 0) }, perm, perm})
	}
	dirs := []struct {
		name              string
		run               func(d string) error // d has a file f and a directory sub
		immutable, append error
	}{
		{"lookup", func(d string) error { return unix.Stat(d+"/f", new(unix.Stat_t)) }, nil, nil},
		{"create-in", func(d string) error { return opening(unix.O_CREAT|unix.O_RDWR)("", d+"/new") }, perm, nil},
		{"mkdir-in", func(d string) error { return unix.Mkdir(d+"/new", 0o755) }, perm, nil},
		{"mknod-in", func(d string) error { return unix.Mknod(d+"/new", unix.S_IFIFO|0o644, 0) }, perm, nil},
		{"symlink-in", func(d string) error { return unix.Symlink("t", d+"/new") }, perm, nil},
		{"link-in", func(d string) error { return unix.Link(d+"/f", d+"/new") }, perm, nil},
		{"unlink-in", func(d string) error { return unix.Unlink(d + "/f") }, perm, perm},
		{"rmdir-in", func(d string) error { return unix.Rmdir(d + "/sub") }, perm, perm},
		{"rename-in", func(d string) error { return unix.Rename(d+"/f", d+"/new") }, perm, perm},
		{"rename-out", func(d string) error { return unix.Rename(d+"/f", d+"-new") }, perm, perm},
		{"rename-to", func(d string) error {
			return first(os.WriteFile(d+"-other", nil, 0o644), unix.Rename(d+"-other", d+"/new"))
		}, perm, nil},
		{"rename-over-in", func(d string) error {
			return first(os.WriteFile(d+"-other", nil, 0o644), unix.Rename(d+"-other", d+"/f"))
		}, perm, perm},
		{"write-to-file-in", func(d string) error { return errno(os.WriteFile(d+"/f", []byte("x"), 0o644)) }, nil, nil},
		{"rmdir-itself", func(d string) error {
			return first(os.Remove(d+"/f"), os.Remove(d+"/sub"))
		}, perm, perm},
		{"chmod-itself", func(d string) error { return unix.Chmod(d, 0o700) }, perm, perm},
		{"rename-itself", func(d string) error { return unix.Rename(d, d+"-new") }, perm, perm},
	}
	var all []testCase
	for _, flag := range []struct {
		name  string
		flags int32
	}{{"immutable", flagImmutable}, {"append-only", flagAppend}} {
		want := func(immutable, append error) error {
			if flag.flags == flagImmutable {
				return immutable
			}
			return append
		}
		for _, c := range calls {
			all = append(all, testCase{name: c.name + "/" + flag.name, want: want(c.immutable, c.append), run: func(dir string, _ Options) error {
				x := dir + "/x"
				if err := first(os.WriteFile(x, []byte("contents"), 0o644), setFlags(x, flag.flags)); err != nil {
					return err
				}
				return c.run(x)
			}})
		}
		for _, c := range dirs {
			all = append(all, testCase{name: c.name + "/" + flag.name + "-dir", want: want(c.immutable, c.append), run: func(dir string, _ Options) error {
				d := dir + "/d"
				err := first(unix.Mkdir(d, 0o755), os.WriteFile(d+"/f", nil, 0o644), unix.Mkdir(d+"/sub", 0o755), setFlags(d, flag.flags))
				if err != nil {
					return err
				}
				return c.run(d)
			}})
		}
	}
	for name, flags := range map[string]int32{"none": 0, "immutable": flagImmutable, "append-only": flagAppend, "no-dump": flagNoDump, "all": flagImmutable | flagAppend | flagNoDump} {
		for _, k := range []kind{file, emptyDir} {
			all = append(all, testCase{name: "flags-" + name + "/" + k.String(), run: func(dir string, _ Options) error {
				err := first(k.make(dir), setFlags(dir+"/x", flags))
				if err != nil {
					return err
				}
				got, err := getFlags(dir + "/x")
				if err == nil && got&(flagImmutable|flagAppend|flagNoDump) != flags {
					return unix.EBADMSG
				}
				return first(err, setFlags(dir+"/x", 0))
			}})
		}
	}
	return all
}

func opening1(flags int) func(x string) error {
	return func(x string) error { return opening(flags)("", x) }
}
