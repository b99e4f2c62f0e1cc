package conformance

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// A call is a system call that takes a path, x, in a directory where there are
// also "file", "dir" and nothing else.
type call struct {
	name string
	run  func(dir, x string) error
	want func(k kind) error // by what x is
}

// pathCases are calls on the name of a file of each kind, on a name below it,
// and on its name with a slash behind.
func pathCases(Options) []testCase {
	var all []testCase
	add := func(suffix, where string, calls []call) {
		for k := range kinds {
			for _, c := range calls {
				all = append(all, testCase{
					name: c.name + "/" + where + k.String(),
					skip: func(opt Options) bool { return k.isDevice() && opt.NoDevices },
					run: func(dir string, _ Options) error {
						err := first(os.WriteFile(dir+"/file", []byte("file"), 0o644), unix.Mkdir(dir+"/dir", 0o755), k.make(dir))
						if err != nil {
							return errors.New("set up: " + err.Error())
						}
						return c.run(dir, dir+"/x"+suffix)
					},
					want: c.want(k),
				})
			}
		}
	}
	add("", "", namedCalls())
	add("/below", "below-", belowCalls())
	add("/", "slash-", slashCalls())
	return all
}

// The rules that several calls follow.

// exists: the name itself must be there.
func exists(k kind) error {
	if k == missing {
		return unix.ENOENT
	}
	return nil
}

// taken: the name must not be there.
func taken(k kind) error {
	if k == missing {
		return nil
	}
	return unix.EEXIST
}

// leads: the path must lead to something.
func leads(k kind) error {
	_, err := k.followed()
	return err
}

// leadsTo is leads, with an error for each kind that is found.
func leadsTo(errs map[kind]error, otherwise error) func(kind) error {
	return func(k kind) error {
		k, err := k.followed()
		if err != nil {
			return err
		}
		if err, ok := errs[k]; ok {
			return err
		}
		return otherwise
	}
}

var aDir = map[kind]error{emptyDir: nil, fullDir: nil}

func opening(flags int) func(dir, x string) error {
	return func(_, x string) error {
		fd, err := unix.Open(x, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// opened is the rule for opening a file that is there.
func opened(flags int) func(kind) error {
	writing := flags&unix.O_ACCMODE != unix.O_RDONLY
	return func(k kind) error {
		if flags&unix.O_CREAT != 0 && flags&unix.O_EXCL != 0 {
			return taken(k) // links are not followed
		}
		if flags&unix.O_NOFOLLOW != 0 && k.isLink() {
			if flags&unix.O_DIRECTORY != 0 {
				return unix.ENOTDIR
			}
			return unix.ELOOP
		}
		at, err := k.followed()
		if err == unix.ENOENT && flags&unix.O_CREAT != 0 {
			return nil // made, also where a dangling link leads to
		}
		switch {
		case err != nil:
			return err
		case flags&unix.O_DIRECTORY != 0 && !at.isDir():
			return unix.ENOTDIR
		case at.isDir() && (writing || flags&(unix.O_CREAT|unix.O_TRUNC) != 0):
			return unix.EISDIR
		case at == fifo && flags&unix.O_ACCMODE == unix.O_WRONLY, at == socket:
			return unix.ENXIO // nobody reads it
		case at.isDevice():
			return unix.EACCES // the mount is nodev
		}
		return nil
	}
}

// statted calls fn with room for what stat tells.
func statted(fn func(string, *unix.Stat_t) error) func(dir, x string) error {
	return func(_, x string) error { return fn(x, new(unix.Stat_t)) }
}

func on(fn func(x string) error) func(dir, x string) error {
	return func(_, x string) error { return fn(x) }
}

func renaming(flags uint, from, to func(dir, x string) string) func(dir, x string) error {
	return func(dir, x string) error {
		return unix.Renameat2(unix.AT_FDCWD, from(dir, x), unix.AT_FDCWD, to(dir, x), flags)
	}
}

func itself(_, x string) string { return x }
func sub(name string) func(dir, x string) string {
	return func(dir, _ string) string { return dir + "/" + name }
}

var then = []unix.Timespec{{Sec: 5}, {Sec: 6, Nsec: 7}}

func namedCalls() []call {
	calls := []call{
		{"stat", statted(unix.Stat), leads},
		{"lstat", statted(unix.Lstat), exists},
		{"statfs", on(func(x string) error { return unix.Statfs(x, new(unix.Statfs_t)) }), leads},
		{"access", on(func(x string) error { return unix.Access(x, unix.F_OK) }), leads},
		{"access-write", on(func(x string) error { return unix.Access(x, unix.W_OK) }), leads},
		{"readlink", on(func(x string) error { _, err := unix.Readlink(x, make([]byte, 10)); return err }), func(k kind) error {
			if k != missing && !k.isLink() {
				return unix.EINVAL
			}
			return exists(k)
		}},
		{"chdir", on(func(x string) error { // not for real: the tests share a process
			fd, err := unix.Open(x, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			return err
		}), leadsTo(aDir, unix.ENOTDIR)},
		{"getdents", on(func(x string) error {
			fd, err := unix.Open(x, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			_, err = unix.Getdents(fd, make([]byte, 4096))
			return err
		}), leadsTo(aDir, unix.ENOTDIR)},

		{"chmod", on(func(x string) error { return unix.Chmod(x, 0o4711) }), leads},
		{"chown", on(func(x string) error { return unix.Chown(x, os.Getuid(), os.Getgid()) }), leads},
		{"lchown", on(func(x string) error { return unix.Lchown(x, os.Getuid(), os.Getgid()) }), exists},
		{"utimensat", on(func(x string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, x, then, 0) }), leads},
		{"lutimens", on(func(x string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, x, then, unix.AT_SYMLINK_NOFOLLOW) }), exists},
		{"truncate", on(func(x string) error { return unix.Truncate(x, 3) }), leadsTo(map[kind]error{
			file: nil, emptyDir: unix.EISDIR, fullDir: unix.EISDIR}, unix.EINVAL)},
		{"truncate-longer", on(func(x string) error { return unix.Truncate(x, 100_000) }), leadsTo(map[kind]error{
			file: nil, emptyDir: unix.EISDIR, fullDir: unix.EISDIR}, unix.EINVAL)},
		{"truncate-negative", on(func(x string) error { return unix.Truncate(x, -1) }), func(kind) error { return unix.EINVAL }},

		{"mkdir", on(func(x string) error { return unix.Mkdir(x, 0o755) }), taken},
		{"mknod-file", on(func(x string) error { return unix.Mknod(x, unix.S_IFREG|0o644, 0) }), taken},
		{"mknod-fifo", on(func(x string) error { return unix.Mknod(x, unix.S_IFIFO|0o644, 0) }), taken},
		{"mknod-socket", on(func(x string) error { return unix.Mknod(x, unix.S_IFSOCK|0o644, 0) }), taken},
		{"mknod-dir", on(func(x string) error { return unix.Mknod(x, unix.S_IFDIR|0o755, 0) }), func(k kind) error {
			return unix.EPERM
		}},
		{"symlink", on(func(x string) error { return unix.Symlink("somewhere", x) }), taken},
		{"symlink-empty", on(func(x string) error { return unix.Symlink("", x) }), func(kind) error { return unix.ENOENT }},

		{"link-from", func(dir, x string) error { return unix.Link(x, dir+"/new") }, func(k kind) error {
			if k.isDir() {
				return unix.EPERM
			}
			return exists(k) // a link to a symbolic link is one to the link
		}},
		{"link-from-followed", func(dir, x string) error {
			return unix.Linkat(unix.AT_FDCWD, x, unix.AT_FDCWD, dir+"/new", unix.AT_SYMLINK_FOLLOW)
		}, func(k kind) error {
			k, err := k.followed()
			if err == nil && k.isDir() {
				return unix.EPERM
			}
			return err
		}},
		{"link-to", func(dir, x string) error { return unix.Link(dir+"/file", x) }, taken},
		{"link-dir-to", func(dir, x string) error { return unix.Link(dir+"/dir", x) }, func(k kind) error {
			if k != missing {
				return unix.EEXIST
			}
			return unix.EPERM
		}},
		{"unlink", on(unix.Unlink), func(k kind) error {
			if k.isDir() {
				return unix.EISDIR
			}
			return exists(k)
		}},
		{"unlink-twice", on(func(x string) error { return first(unix.Unlink(x), unix.Unlink(x)) }), func(k kind) error {
			if k.isDir() {
				return unix.EISDIR
			}
			return unix.ENOENT
		}},
		{"rmdir", on(unix.Rmdir), removedDir},

		{"rename-away", renaming(0, itself, sub("new")), exists},
		{"rename-into-dir", renaming(0, itself, sub("dir/x")), exists},
		{"rename-to-itself", renaming(0, itself, itself), exists},
		{"rename-into-itself", renaming(0, itself, func(_, x string) string { return x + "/y" }), func(k kind) error {
			switch k {
			case missing, toNothing:
				return unix.ENOENT
			case emptyDir, fullDir:
				return unix.EINVAL
			case toDir: // the link moves to where it leads
				return nil
			case toItself:
				return unix.ELOOP
			}
			return unix.ENOTDIR
		}},
		{"rename-file-over", renaming(0, sub("file"), itself), func(k kind) error {
			if k.isDir() {
				return unix.EISDIR
			}
			return nil
		}},
		{"rename-dir-over", renaming(0, sub("dir"), itself), func(k kind) error {
			switch k {
			case missing, emptyDir:
				return nil
			case fullDir:
				return unix.ENOTEMPTY
			}
			return unix.ENOTDIR
		}},
		{"rename-missing-over", renaming(0, sub("none"), itself), func(kind) error { return unix.ENOENT }},
		{"rename-file-noreplace", renaming(unix.RENAME_NOREPLACE, sub("file"), itself), taken},
		{"rename-dir-noreplace", renaming(unix.RENAME_NOREPLACE, sub("dir"), itself), taken},
		{"exchange-file", renaming(unix.RENAME_EXCHANGE, sub("file"), itself), exists},
		{"exchange-dir", renaming(unix.RENAME_EXCHANGE, sub("dir"), itself), exists},
		{"exchange-itself", renaming(unix.RENAME_EXCHANGE, itself, itself), exists},
		{"rename-bad-flags", renaming(unix.RENAME_EXCHANGE|unix.RENAME_NOREPLACE, sub("file"), itself), func(kind) error { return unix.EINVAL }},
	}
	for name, flags := range map[string]int{
		"open-read":              unix.O_RDONLY,
		"open-write":             unix.O_WRONLY,
		"open-both":              unix.O_RDWR,
		"open-append":            unix.O_WRONLY | unix.O_APPEND,
		"open-trunc":             unix.O_WRONLY | unix.O_TRUNC,
		"open-read-trunc":        unix.O_RDONLY | unix.O_TRUNC,
		"open-dir":               unix.O_RDONLY | unix.O_DIRECTORY,
		"open-nofollow":          unix.O_RDONLY | unix.O_NOFOLLOW,
		"open-dir-nofollow":      unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW,
		"open-create":            unix.O_RDWR | unix.O_CREAT,
		"open-create-read":       unix.O_RDONLY | unix.O_CREAT,
		"open-create-trunc":      unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC,
		"open-create-excl":       unix.O_RDWR | unix.O_CREAT | unix.O_EXCL,
		"open-create-nofollow":   unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW,
		"open-create-excl-trunc": unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_TRUNC,
	} {
		calls = append(calls, call{name, opening(flags), opened(flags)})
	}
	return calls
}

// belowCalls are calls on a name that is not there, below the file.
func belowCalls() []call {
	// inside: the file must be a directory, and then the name is missing.
	inside := leadsTo(map[kind]error{emptyDir: unix.ENOENT, fullDir: unix.ENOENT}, unix.ENOTDIR)
	makes := leadsTo(aDir, unix.ENOTDIR)
	return []call{
		{"stat", statted(unix.Stat), inside},
		{"lstat", statted(unix.Lstat), inside},
		{"open", opening(unix.O_RDONLY), inside},
		{"open-create", opening(unix.O_RDWR | unix.O_CREAT), makes},
		{"open-create-excl", opening(unix.O_RDWR | unix.O_CREAT | unix.O_EXCL), makes},
		{"mkdir", on(func(x string) error { return unix.Mkdir(x, 0o755) }), makes},
		{"mknod", on(func(x string) error { return unix.Mknod(x, unix.S_IFIFO|0o644, 0) }), makes},
		{"symlink", on(func(x string) error { return unix.Symlink("t", x) }), makes},
		{"link-to", func(dir, x string) error { return unix.Link(dir+"/file", x) }, makes},
		{"link-from", func(dir, x string) error { return unix.Link(x, dir+"/new") }, inside},
		{"unlink", on(unix.Unlink), inside},
		{"rmdir", on(unix.Rmdir), inside},
		{"rename-to", renaming(0, sub("file"), itself), makes},
		{"rename-dir-to", renaming(0, sub("dir"), itself), makes},
		{"rename-from", renaming(0, itself, sub("new")), inside},
		{"chmod", on(func(x string) error { return unix.Chmod(x, 0o600) }), inside},
		{"truncate", on(func(x string) error { return unix.Truncate(x, 0) }), inside},
		{"readlink", on(func(x string) error { _, err := unix.Readlink(x, make([]byte, 10)); return err }), inside},
	}
}

// removedDir is what rmdir(2) says.
func removedDir(k kind) error {
	switch k {
	case missing:
		return unix.ENOENT
	case emptyDir:
		return nil
	case fullDir:
		return unix.ENOTEMPTY
	}
	return unix.ENOTDIR
}

// slashCalls are calls on the name with a slash behind, which makes it a
// directory's.
func slashCalls() []call {
	must := leadsTo(aDir, unix.ENOTDIR)
	return []call{
		{"stat", statted(unix.Stat), must},
		{"lstat", statted(unix.Lstat), must}, // follows
		{"open", opening(unix.O_RDONLY), must},
		{"open-create", opening(unix.O_RDWR | unix.O_CREAT), func(kind) error { return unix.EISDIR }},
		{"mkdir", on(func(x string) error { return unix.Mkdir(x, 0o755) }), taken},
		{"rmdir", on(unix.Rmdir), removedDir},
		{"unlink", on(unix.Unlink), func(k kind) error {
			if k.isDir() {
				return unix.EISDIR
			}
			if k == missing {
				return unix.ENOENT
			}
			return unix.ENOTDIR
		}},
		{"rename-dir-to", renaming(0, sub("dir"), itself), func(k kind) error {
			switch k {
			case missing, emptyDir:
				return nil
			case fullDir:
				return unix.ENOTEMPTY
			}
			return unix.ENOTDIR
		}},
	}
}
