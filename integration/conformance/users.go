package conformance

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// someone is an ordinary user.
const someone = 65534

// userCases are what the kernel decides by who calls, whatever mount says, and
// the set-id bits. Only root can try, since it can be somebody else.
func userCases(opt Options) []testCase {
	if os.Geteuid() != 0 {
		return nil
	}
	var all []testCase
	as := func(name string, want error, setUp, fn func(dir string) error) {
		all = append(all, testCase{name: name, want: want, run: func(dir string, _ Options) error {
			if err := first(openUp(dir), setUp(dir)); err != nil {
				return err
			}
			return asSomeone(func() error { return fn(dir) })
		}})
	}
	nothing := func(string) error { return nil }
	roots := func(d string) error {
		return first(unix.Mkdir(d+"/sticky", 0o1777), unix.Chmod(d+"/sticky", 0o1777),
			os.WriteFile(d+"/sticky/f", nil, 0o666), unix.Chmod(d+"/sticky/f", 0o666), unix.Mkdir(d+"/sticky/sub", 0o777))
	}
	// On a mount the person who mounts acts as the owner of everything.
	var sticky error
	if opt.Host {
		sticky = unix.EPERM
	}
	as("unlink/sticky", sticky, roots, func(d string) error { return unix.Unlink(d + "/sticky/f") })
	as("rmdir/sticky", sticky, roots, func(d string) error { return unix.Rmdir(d + "/sticky/sub") })
	as("rename/sticky", sticky, roots, func(d string) error { return unix.Rename(d+"/sticky/f", d+"/sticky/g") })
	as("create/sticky", nil, roots, func(d string) error { return opening(unix.O_CREAT|unix.O_RDWR)("", d+"/sticky/new") })
	as("write/sticky", nil, roots, func(d string) error { return writing(d+"/sticky/f", unix.O_WRONLY, []byte("x")) })
	as("unlink/own-in-sticky", nil, func(d string) error {
		return first(roots(d), unix.Chown(d+"/sticky/f", someone, someone))
	}, func(d string) error { return unix.Unlink(d + "/sticky/f") })
	as("unlink/own-sticky", nil, func(d string) error {
		return first(roots(d), unix.Chown(d+"/sticky", someone, someone))
	}, func(d string) error { return unix.Unlink(d + "/sticky/f") })
	as("mknod-char/not-root", unix.EPERM, nothing, func(d string) error {
		return unix.Mknod(d+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	})
	as("mknod-fifo/not-root", nil, nothing, func(d string) error { return unix.Mknod(d+"/fifo", unix.S_IFIFO|0o666, 0) })
	as("open-noatime/not-owner", unix.EPERM, func(d string) error {
		return first(os.WriteFile(d+"/f", nil, 0o666), unix.Chmod(d+"/f", 0o666))
	}, func(d string) error { return opening(unix.O_RDONLY|unix.O_NOATIME)("", d+"/f") })
	if !opt.NoFlags {
		as("chattr/not-owner", unix.EPERM, func(d string) error {
			return first(os.WriteFile(d+"/f", nil, 0o666), unix.Chmod(d+"/f", 0o666))
		}, func(d string) error { return setFlags(d+"/f", flagNoDump) })
	}

	// Set-id bits: what is left of them.
	bits := func(name string, mode, want uint32, root bool, fn func(x string) error) {
		all = append(all, testCase{name: "set-id/" + name, run: func(dir string, _ Options) error {
			x := dir + "/x"
			err := first(openUp(dir), os.WriteFile(x, []byte("program"), 0o777), unix.Chmod(x, 0o777),
				unix.Chown(x, someone, someone), unix.Chmod(x, mode))
			if err != nil {
				return err
			}
			if root {
				err = fn(x)
			} else {
				err = asSomeone(func() error { return fn(x) })
			}
			var st unix.Stat_t
			if err = first(err, unix.Stat(x, &st)); err == nil && st.Mode&0o7777 != want {
				return expectErr(unix.Errno(0), unix.EBADMSG)
			}
			return err
		}})
	}
	write := func(x string) error { return writing(x, unix.O_WRONLY, []byte("changed")) }
	appends := func(x string) error { return writing(x, unix.O_WRONLY|unix.O_APPEND, []byte("changed")) }
	truncate := func(x string) error { return unix.Truncate(x, 2) }
	openTrunc := func(x string) error { return opening(unix.O_WRONLY|unix.O_TRUNC)("", x) }
	alloc := func(x string) error { return allocating(x, 0, 0, 100) }
	copies := func(x string) error {
		fd, err := unix.Open(x, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		from, to := int64(0), int64(100)
		_, err = unix.CopyFileRange(fd, &from, fd, &to, 3, 0)
		return err
	}
	bits("write", 0o6777, 0o777, false, write)
	bits("append", 0o6777, 0o777, false, appends)
	bits("truncate", 0o6777, 0o777, false, truncate)
	bits("open-trunc", 0o6777, 0o777, false, openTrunc)
	bits("copy_file_range", 0o6777, 0o777, false, copies)
	if !opt.NoFallocate {
		bits("fallocate", 0o6777, 0o777, false, alloc)
	}
	bits("read", 0o6777, 0o6777, false, func(x string) error { _, err := os.ReadFile(x); return errno(err) })
	bits("write-locking", 0o2767, 0o2767, false, write) // set-group-id without execute is no program
	bits("write-by-root", 0o6777, 0o6777, true, write)
	bits("truncate-by-root", 0o6777, 0o6777, true, truncate)
	bits("chown-by-root", 0o6777, 0o777, true, func(x string) error { return unix.Chown(x, 1, 1) })
	bits("chown-group-by-root", 0o6755, 0o755, true, func(x string) error { return unix.Chown(x, -1, 1) })
	bits("chmod", 0o755, 0o4755, false, func(x string) error { return unix.Chmod(x, 0o4755) })
	bits("utimens", 0o6777, 0o6777, false, func(x string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, x, then, 0) })

	// New files in a set-group-id directory.
	for name, mk := range map[string]func(x string) error{
		"file":    func(x string) error { return opening(unix.O_CREAT|unix.O_RDWR)("", x) },
		"dir":     func(x string) error { return unix.Mkdir(x, 0o755) },
		"symlink": func(x string) error { return unix.Symlink("t", x) },
		"fifo":    func(x string) error { return unix.Mknod(x, unix.S_IFIFO|0o644, 0) },
	} {
		all = append(all, testCase{name: "set-id/new-" + name + "-in-sgid-dir", run: func(dir string, _ Options) error {
			err := first(unix.Mkdir(dir+"/d", 0o755), unix.Chown(dir+"/d", 7, 1234), unix.Chmod(dir+"/d", 0o2755), mk(dir+"/d/x"))
			var st unix.Stat_t
			if err = first(err, unix.Lstat(dir+"/d/x", &st)); err != nil {
				return err
			}
			if st.Gid != 1234 || st.Uid != 0 || (st.Mode&unix.S_ISGID != 0) != (name == "dir") {
				return unix.EBADMSG
			}
			return nil
		}})
	}
	return all
}

// openUp lets everybody into dir and make files there.
func openUp(dir string) error { return unix.Chmod(dir, 0o777) }

// asSomeone calls fn as an ordinary user, on a thread of its own.
func asSomeone(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocks: the thread ends with this
		for _, id := range []uintptr{unix.SYS_SETGROUPS, unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			a, b, c := uintptr(someone), uintptr(someone), uintptr(someone)
			if id == unix.SYS_SETGROUPS {
				a, b, c = 0, 0, 0
			}
			// Not the functions of the packages: those change all threads.
			if _, _, e := unix.RawSyscall(id, a, b, c); e != 0 {
				done <- e
				return
			}
		}
		done <- fn()
	}()
	return <-done
}
