package conformance

import (
	"os"

	"golang.org/x/sys/unix"
)

// removedCases are calls on what has lost its name and is still in use.
func removedCases(Options) []testCase {
	var all []testCase
	fileCase := func(name string, want error, fn func(dir string, fd int) error) {
		for how, lose := range map[string]func(dir string) error{
			"unlinked": func(dir string) error { return unix.Unlink(dir + "/x") },
			"renamed-over": func(dir string) error {
				return first(os.WriteFile(dir+"/y", []byte("another"), 0o644), unix.Rename(dir+"/y", dir+"/x"))
			},
		} {
			all = append(all, testCase{name: name + "/" + how, want: want, run: func(dir string, _ Options) error {
				if err := os.WriteFile(dir+"/x", []byte("still here"), 0o644); err != nil {
					return err
				}
				fd, err := unix.Open(dir+"/x", unix.O_RDWR|unix.O_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				if err := lose(dir); err != nil {
					return err
				}
				return fn(dir, fd)
			}})
		}
	}
	expect := func(ok bool) error {
		if !ok {
			return unix.EBADMSG
		}
		return nil
	}
	fileCase("read", nil, func(_ string, fd int) error {
		buf := make([]byte, 100)
		n, err := unix.Pread(fd, buf, 0)
		return first(err, expect(string(buf[:max(n, 0)]) == "still here"))
	})
	fileCase("write", nil, func(_ string, fd int) error {
		buf := make([]byte, 3)
		_, err := unix.Pwrite(fd, []byte("new"), 100_000)
		_, err2 := unix.Pread(fd, buf, 100_000)
		return first(err, err2, expect(string(buf) == "new"))
	})
	fileCase("ftruncate", nil, func(_ string, fd int) error { return unix.Ftruncate(fd, 3) })
	fileCase("fchmod", nil, func(_ string, fd int) error {
		var st unix.Stat_t
		return first(unix.Fchmod(fd, 0o751), unix.Fstat(fd, &st), expect(st.Mode == unix.S_IFREG|0o751))
	})
	fileCase("fstat-nlink", nil, func(_ string, fd int) error {
		var st unix.Stat_t
		return first(unix.Fstat(fd, &st), expect(st.Nlink == 0))
	})
	fileCase("fsync", nil, func(_ string, fd int) error { return unix.Fsync(fd) })
	fileCase("link", unix.ENOENT, func(dir string, fd int) error {
		return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+itoa(fd), unix.AT_FDCWD, dir+"/again", unix.AT_SYMLINK_FOLLOW)
	})
	fileCase("open-again", nil, func(_ string, fd int) error { return opening(unix.O_RDONLY)("", "/proc/self/fd/"+itoa(fd)) })
	fileCase("name-again", nil, func(dir string, fd int) error {
		// A file of the same name is another one.
		if err := os.WriteFile(dir+"/x", []byte("second"), 0o644); err != nil {
			return errno(err)
		}
		buf := make([]byte, 100)
		n, err := unix.Pread(fd, buf, 0)
		return first(err, expect(string(buf[:max(n, 0)]) == "still here"))
	})

	dirCase := func(name string, want error, fn func(dir string, fd int) error) {
		all = append(all, testCase{name: name + "/removed-dir", want: want, run: func(dir string, _ Options) error {
			if err := unix.Mkdir(dir+"/x", 0o755); err != nil {
				return err
			}
			fd, err := unix.Open(dir+"/x", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Rmdir(dir + "/x"); err != nil {
				return err
			}
			return fn(dir, fd)
		}})
	}
	dirCase("fstat-nlink", nil, func(_ string, fd int) error {
		var st unix.Stat_t
		return first(unix.Fstat(fd, &st), expect(st.Nlink == 0))
	})
	dirCase("getdents", unix.ENOENT, func(_ string, fd int) error {
		_, err := unix.Getdents(fd, make([]byte, 1000))
		return err
	})
	dirCase("create", unix.ENOENT, func(_ string, fd int) error {
		_, err := unix.Openat(fd, "new", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
		return err
	})
	dirCase("mkdir", unix.ENOENT, func(_ string, fd int) error { return unix.Mkdirat(fd, "new", 0o755) })
	dirCase("mknod", unix.ENOENT, func(_ string, fd int) error { return unix.Mknodat(fd, "new", unix.S_IFIFO|0o644, 0) })
	dirCase("symlink", unix.ENOENT, func(_ string, fd int) error { return unix.Symlinkat("t", fd, "new") })
	dirCase("link", unix.ENOENT, func(dir string, fd int) error {
		return first(os.WriteFile(dir+"/f", nil, 0o644), unix.Linkat(unix.AT_FDCWD, dir+"/f", fd, "new", 0))
	})
	dirCase("rename", unix.ENOENT, func(dir string, fd int) error {
		return first(os.WriteFile(dir+"/f", nil, 0o644), unix.Renameat(unix.AT_FDCWD, dir+"/f", fd, "new"))
	})
	dirCase("lookup", unix.ENOENT, func(_ string, fd int) error {
		return unix.Fstatat(fd, "none", new(unix.Stat_t), 0)
	})
	dirCase("stat-itself", nil, func(_ string, fd int) error { return unix.Fstatat(fd, ".", new(unix.Stat_t), 0) })
	dirCase("fchmod", nil, func(_ string, fd int) error { return unix.Fchmod(fd, 0o700) })
	dirCase("fsync", nil, func(_ string, fd int) error { return unix.Fsync(fd) })
	dirCase("mkdir-again", nil, func(dir string, fd int) error { return unix.Mkdir(dir+"/x", 0o755) })
	return all
}
