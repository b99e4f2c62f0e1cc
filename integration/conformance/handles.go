package conformance

import (
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A handleCall is a call on an open file.
type handleCall struct {
	name string
	run  func(fd int) error
	want map[string]error // by how the file is open; what is not there is success
}

// The ways in which a file can be open.
var handles = []struct {
	name string
	open func(dir string) (int, error)
}{
	{"read-only", func(dir string) (int, error) { return unix.Open(dir+"/file", unix.O_RDONLY|unix.O_CLOEXEC, 0) }},
	{"write-only", func(dir string) (int, error) { return unix.Open(dir+"/file", unix.O_WRONLY|unix.O_CLOEXEC, 0) }},
	{"both", func(dir string) (int, error) { return unix.Open(dir+"/file", unix.O_RDWR|unix.O_CLOEXEC, 0) }},
	{"append", func(dir string) (int, error) {
		return unix.Open(dir+"/file", unix.O_RDWR|unix.O_APPEND|unix.O_CLOEXEC, 0)
	}},
	{"dir", func(dir string) (int, error) {
		return unix.Open(dir+"/dir", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}},
	{"fifo", func(dir string) (int, error) {
		return unix.Open(dir+"/fifo", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}},
	{"path", func(dir string) (int, error) { return unix.Open(dir+"/file", unix.O_PATH|unix.O_CLOEXEC, 0) }},
}

// badFD is what a descriptor answers that cannot do that.
func badFD(ways ...string) map[string]error {
	m := map[string]error{}
	for _, way := range ways {
		m[way] = unix.EBADF
	}
	return m
}

func with(m map[string]error, way string, err error) map[string]error {
	out := map[string]error{way: err}
	for k, v := range m {
		if k != way {
			out[k] = v
		}
	}
	return out
}

func always(err error) map[string]error {
	m := map[string]error{}
	for _, h := range handles {
		m[h.name] = err
	}
	return m
}

func handleCases(opt Options) []testCase {
	buf := make([]byte, 8)
	noWrite := badFD("read-only", "dir", "path")
	alloc := with(noWrite, "fifo", unix.ESPIPE)
	calls := []handleCall{
		{"read", func(fd int) error { _, err := unix.Read(fd, buf); return err },
			with(with(badFD("write-only", "path"), "dir", unix.EISDIR), "fifo", unix.EAGAIN)},
		{"pread", func(fd int) error { _, err := unix.Pread(fd, buf, 2); return err },
			with(with(badFD("write-only", "path"), "dir", unix.EISDIR), "fifo", unix.ESPIPE)},
		{"pread-beyond", func(fd int) error { _, err := unix.Pread(fd, buf, 1<<40); return err },
			with(with(badFD("write-only", "path"), "dir", unix.EISDIR), "fifo", unix.ESPIPE)},
		{"pread-negative", func(fd int) error { _, err := unix.Pread(fd, buf, -1); return err }, always(unix.EINVAL)},
		{"write", func(fd int) error { _, err := unix.Write(fd, buf); return err }, noWrite},
		{"write-nothing", func(fd int) error { _, err := unix.Write(fd, nil); return err }, noWrite},
		{"pwrite", func(fd int) error { _, err := unix.Pwrite(fd, buf, 2); return err }, alloc},
		{"pwrite-beyond", func(fd int) error { _, err := unix.Pwrite(fd, buf, 1<<20); return err }, alloc},
		{"pwrite-negative", func(fd int) error { _, err := unix.Pwrite(fd, buf, -1); return err }, always(unix.EINVAL)},
		{"ftruncate", func(fd int) error { return unix.Ftruncate(fd, 2) },
			with(with(with(badFD("path"), "read-only", unix.EINVAL), "dir", unix.EINVAL), "fifo", unix.EINVAL)},
		{"ftruncate-negative", func(fd int) error { return unix.Ftruncate(fd, -2) }, always(unix.EINVAL)},
		{"fstat", func(fd int) error { return unix.Fstat(fd, new(unix.Stat_t)) }, nil},
		{"fstatfs", func(fd int) error { return unix.Fstatfs(fd, new(unix.Statfs_t)) }, nil},
		{"fchmod", func(fd int) error { return unix.Fchmod(fd, 0o640) }, badFD("path")},
		{"fchown", func(fd int) error { return unix.Fchown(fd, os.Getuid(), os.Getgid()) }, badFD("path")},
		{"futimens", func(fd int) error {
			_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, 0, 0, 0, 0)
			if e != 0 {
				return e
			}
			return nil
		}, badFD("path")},
		{"fsync", unix.Fsync, with(badFD("path"), "fifo", unix.EINVAL)},
		{"fdatasync", unix.Fdatasync, with(badFD("path"), "fifo", unix.EINVAL)},
		{"syncfs", unix.Syncfs, badFD("path")},
		{"seek", func(fd int) error { _, err := unix.Seek(fd, 3, unix.SEEK_SET); return err }, with(badFD("path"), "fifo", unix.ESPIPE)},
		{"seek-negative", func(fd int) error { _, err := unix.Seek(fd, -3, unix.SEEK_SET); return err },
			with(with(always(unix.EINVAL), "path", unix.EBADF), "fifo", unix.ESPIPE)},
		{"seek-nowhere", func(fd int) error { _, err := unix.Seek(fd, 0, 77); return err },
			with(always(unix.EINVAL), "path", unix.EBADF)},
		{"getdents", func(fd int) error { _, err := unix.Getdents(fd, make([]byte, 4096)); return err },
			with(with(always(unix.ENOTDIR), "dir", nil), "path", unix.EBADF)},
		{"fchdir-check", func(fd int) error {
			_, err := unix.Openat(fd, "none", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			return err
		}, with(always(unix.ENOTDIR), "dir", unix.ENOENT)},
		{"mkdirat", func(fd int) error { return unix.Mkdirat(fd, "new", 0o755) }, with(always(unix.ENOTDIR), "dir", nil)},
		{"ioctl-unknown", func(fd int) error { _, err := unix.IoctlGetInt(fd, 0x80047a7a); return err },
			with(always(unix.ENOTTY), "path", unix.EBADF)},
		{"mmap", func(fd int) error {
			m, err := unix.Mmap(fd, 0, 8, unix.PROT_READ, unix.MAP_SHARED)
			if err == nil {
				err = unix.Munmap(m)
			}
			return err
		}, with(with(with(badFD("path"), "write-only", unix.EACCES), "dir", unix.ENODEV), "fifo", unix.ENODEV)},
		{"mmap-write", func(fd int) error {
			m, err := unix.Mmap(fd, 0, 8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err == nil {
				err = unix.Munmap(m)
			}
			return err
		}, with(with(with(with(badFD("path"), "write-only", unix.EACCES), "read-only", unix.EACCES), "dir", unix.EACCES), "fifo", unix.ENODEV)},
		{"flock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) }, badFD("path")},
	}
	if !opt.NoFallocate {
		dirs := with(alloc, "dir", unix.EBADF)
		calls = append(calls,
			handleCall{"fallocate", func(fd int) error { return unix.Fallocate(fd, 0, 0, 10_000) }, dirs},
			handleCall{"fallocate-keep", func(fd int) error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 10_000) }, dirs},
			handleCall{"fallocate-punch", func(fd int) error {
				return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE, 0, 4)
			}, dirs},
			handleCall{"fallocate-nothing", func(fd int) error { return unix.Fallocate(fd, 0, 0, 0) }, always(unix.EINVAL)},
			handleCall{"fallocate-punch-and-grow", func(fd int) error { return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE, 0, 4) },
				with(always(unix.EOPNOTSUPP), "path", unix.EBADF)},
		)
	}
	if !opt.NoFallocate {
		// The descriptor is looked up before anything is looked at.
		for i := range calls {
			if strings.HasPrefix(calls[i].name, "fallocate-nothing") {
				calls[i].want = with(calls[i].want, "path", unix.EBADF)
			}
		}
	}
	var all []testCase
	for _, c := range calls {
		for _, h := range handles {
			all = append(all, testCase{name: c.name + "/open-" + h.name, want: c.want[h.name], run: func(dir string, _ Options) error {
				err := first(os.WriteFile(dir+"/file", []byte("contents of a file"), 0o644), unix.Mkdir(dir+"/dir", 0o755))
				if err == nil && h.name == "fifo" {
					err = unix.Mknod(dir+"/fifo", unix.S_IFIFO|0o644, 0)
				}
				if err != nil {
					return err
				}
				fd, err := h.open(dir)
				if err != nil {
					return err
				}
				defer unix.Close(fd)
				return c.run(fd)
			}})
		}
	}
	return append(all, fileCases(opt)...)
}

// fileCases are about one file, or two.
func fileCases(opt Options) []testCase {
	var all []testCase
	add := func(name string, want error, fn func(dir string, f *os.File) error) {
		all = append(all, testCase{name: name, want: want, run: func(dir string, _ Options) error {
			f, err := os.OpenFile(dir+"/f", os.O_RDWR|os.O_CREATE, 0o755)
			if err != nil {
				return err
			}
			defer f.Close()
			if _, err := f.Write([]byte("0123456789")); err != nil {
				return err
			}
			return errno(fn(dir, f))
		}})
	}
	seek := func(off int64, whence int) func(string, *os.File) error {
		return func(_ string, f *os.File) error { _, err := unix.Seek(int(f.Fd()), off, whence); return err }
	}
	add("seek-data/inside", nil, seek(3, unix.SEEK_DATA))
	add("seek-hole/inside", nil, seek(3, unix.SEEK_HOLE))
	add("seek-data/end", unix.ENXIO, seek(10, unix.SEEK_DATA))
	add("seek-hole/end", unix.ENXIO, seek(10, unix.SEEK_HOLE))
	add("seek-data/beyond", unix.ENXIO, seek(1<<40, unix.SEEK_DATA))
	add("seek-data/negative", unix.ENXIO, seek(-1, unix.SEEK_DATA))
	add("seek-end/negative", unix.EINVAL, seek(-11, unix.SEEK_END))
	add("seek-hole/finds-end", nil, func(_ string, f *os.File) error {
		off, err := unix.Seek(int(f.Fd()), 3, unix.SEEK_HOLE)
		if err == nil && off != 10 {
			return unix.EBADMSG
		}
		return err
	})
	copying := func(from, to, n int64) func(string, *os.File) error {
		return func(_ string, f *os.File) error {
			_, err := unix.CopyFileRange(int(f.Fd()), &from, int(f.Fd()), &to, int(n), 0)
			return err
		}
	}
	add("copy_file_range/same-file", nil, copying(0, 20, 10))
	add("copy_file_range/overlap", unix.EINVAL, copying(0, 5, 10))
	add("copy_file_range/beyond", nil, copying(100, 0, 10))
	add("copy_file_range/negative", unix.EOVERFLOW, copying(-1, 0, 10))
	add("copy_file_range/to-append", unix.EBADF, func(dir string, f *os.File) error {
		to, err := os.OpenFile(dir+"/g", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer to.Close()
		_, err = unix.CopyFileRange(int(f.Fd()), nil, int(to.Fd()), nil, 3, 0)
		return err
	})
	add("copy_file_range/to-read-only", unix.EBADF, func(dir string, f *os.File) error {
		from, err := os.Open(dir + "/f")
		if err != nil {
			return err
		}
		defer from.Close()
		off := int64(20)
		_, err = unix.CopyFileRange(int(f.Fd()), nil, int(from.Fd()), &off, 3, 0)
		return err
	})
	add("copy_file_range/from-dir", unix.EISDIR, func(dir string, f *os.File) error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		_, err = unix.CopyFileRange(int(d.Fd()), nil, int(f.Fd()), nil, 3, 0)
		return err
	})
	add("write/append-at-end", nil, func(dir string, f *os.File) error {
		g, err := os.OpenFile(dir+"/f", os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer g.Close()
		if _, err := f.WriteAt([]byte("x"), 99); err != nil {
			return err
		}
		// Linux appends even with pwrite.
		if _, err := unix.Pwrite(int(g.Fd()), []byte("yz"), 0); err != nil {
			return err
		}
		data, err := os.ReadFile(dir + "/f")
		if err == nil && (len(data) != 102 || !strings.HasSuffix(string(data), "xyz") || !strings.HasPrefix(string(data), "0123456789\x00")) {
			return unix.EBADMSG
		}
		return err
	})
	add("open-trunc/contents", nil, func(dir string, f *os.File) error {
		g, err := os.OpenFile(dir+"/f", os.O_RDWR|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		defer g.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err == nil && st.Size != 0 {
			return unix.EBADMSG
		}
		return nil
	})
	add("truncate/zeros", nil, func(dir string, f *os.File) error {
		if err := first(f.Truncate(5), f.Truncate(8)); err != nil {
			return err
		}
		data, err := os.ReadFile(dir + "/f")
		if err == nil && string(data) != "01234\x00\x00\x00" {
			return unix.EBADMSG
		}
		return err
	})
	add("exec/not-executable", unix.EACCES, func(dir string, f *os.File) error {
		f.Close()
		if err := os.Chmod(dir+"/f", 0o644); err != nil {
			return err
		}
		return unix.Access(dir+"/f", unix.X_OK)
	})
	if opt.SameProcess {
		return all
	}
	add("exec/open-for-writing", unix.ETXTBSY, func(dir string, f *os.File) error {
		return exec.Command(dir + "/f").Run()
	})
	add("open-write/running", unix.ETXTBSY, func(dir string, _ *os.File) error {
		return whileRunning(dir, func(program string) error { return opening(unix.O_WRONLY)("", program) })
	})
	add("truncate/running", unix.ETXTBSY, func(dir string, _ *os.File) error {
		return whileRunning(dir, func(program string) error { return unix.Truncate(program, 0) })
	})
	add("unlink/running", nil, func(dir string, _ *os.File) error {
		return whileRunning(dir, unix.Unlink)
	})
	add("rename-over/running", nil, func(dir string, _ *os.File) error {
		return whileRunning(dir, func(program string) error { return unix.Rename(dir+"/f", program) })
	})
	add("exec/no-program", unix.ENOEXEC, func(dir string, f *os.File) error {
		f.Close()
		return exec.Command(dir + "/f").Run()
	})
	return all
}

// whileRunning calls fn while a program in dir runs.
func whileRunning(dir string, fn func(program string) error) error {
	program := dir + "/program"
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		return err
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		return err
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		return err
	}
	cmd := exec.Command(program, "1000")
	// Another test may be starting a program just now, and hold our writing
	// descriptor open in it for a moment.
	for try := 0; ; try++ {
		if err = cmd.Start(); errno(err) != syscall.ETXTBSY || try == 100 {
			break
		}
		cmd = exec.Command(program, "1000")
	}
	if err != nil {
		return err
	}
	err = fn(program)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return err
}
