package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// A hostDir is an open directory of the host. All names are taken relative to
// its descriptor, have one component, and are never followed when they are
// symbolic links, so nothing that an image holds can lead out of it.
type hostDir struct {
	fd int
	// made holds the inode numbers of what was made in this directory, so that
	// two names of an image that are one name on the host (on a file system
	// that folds case) do not overwrite each other.
	made map[uint64]struct{}
}

func openHostDir(name string) (*hostDir, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return newHostDir(fd), nil
}

func newHostDir(fd int) *hostDir { return &hostDir{fd: fd, made: map[uint64]struct{}{}} }

func (d *hostDir) close() { unix.Close(d.fd) }

// errCollision is two names of an image that the host takes for one.
var errCollision = errors.New("another file of the image has this name already (does the host's file system fold case?)")

// replaceable says why name cannot be replaced, or nil if it can (or is not
// there). Only a link replaces a link: a file where the user has a link to
// another place is most likely not what they want.
func (d *hostDir) replaceable(name string, link bool) error {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	if _, ours := d.made[st.Ino]; ours {
		return errCollision
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		if link {
			return nil
		}
		return errors.New("there is a symbolic link of that name on the host; not replaced, not followed")
	case unix.S_IFDIR:
		return syscall.EISDIR
	}
	return nil
}

// note remembers that name was made here.
func (d *hostDir) note(name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	d.made[st.Ino] = struct{}{}
	return nil
}

var tempCount atomic.Uint64

// temp calls try with temporary names until one of them is free.
func temp(try func(name string) error) (string, error) {
	for range 1000 {
		name := fmt.Sprintf(".resflash-%d-%d.part", os.Getpid(), tempCount.Add(1))
		if err := try(name); err != unix.EEXIST {
			return name, err
		}
	}
	return "", unix.EEXIST
}

// placing says what may be in the way of a new file.
type placing struct {
	keep bool // nothing is replaced
	link bool // the file is a symbolic link
}

// place makes a file with make under a temporary name, and gives it its own
// name when it is complete: an interrupted copy leaves nothing half done.
func (d *hostDir) place(name string, how placing, make func(temp string) error) error {
	// Asked before as well as after, so as not to copy in vain.
	if err := d.free(name, how); err != nil {
		return err
	}
	tmp, err := temp(make)
	if err != nil {
		return err
	}
	if err := d.rename(tmp, name, how); err != nil {
		unix.Unlinkat(d.fd, tmp, 0)
		return err
	}
	return d.note(name)
}

// free says whether a file may be put at name.
func (d *hostDir) free(name string, how placing) error {
	if how.keep {
		var st unix.Stat_t
		if unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return syscall.EEXIST
		}
	}
	return d.replaceable(name, how.link)
}

func (d *hostDir) rename(tmp, name string, how placing) error {
	err := unix.Renameat2(d.fd, tmp, d.fd, name, unix.RENAME_NOREPLACE)
	switch err {
	case unix.EEXIST, unix.EINVAL, unix.ENOSYS:
		// There is something, or this file system cannot tell.
		if err := d.free(name, how); err != nil {
			return err
		}
		return unix.Renameat(d.fd, tmp, d.fd, name)
	}
	return err
}

// enter opens the directory name, which it makes if need be; an existing
// directory is used, an existing link to one is not.
func (d *hostDir) enter(name string) (*hostDir, error) {
	err := unix.Mkdirat(d.fd, name, 0o700)
	if err != nil && err != unix.EEXIST {
		return nil, err
	}
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, err
		}
		if _, ours := d.made[st.Ino]; ours {
			return nil, errCollision
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return nil, errors.New("exists on the host and is no directory")
		}
	}
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := d.note(name); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newHostDir(fd), nil
}

// linkTo makes name in d another name of the file rel below root. No component
// of rel may be a symbolic link.
func (d *hostDir) linkTo(root *hostDir, rel, name string, how placing) error {
	from := root.fd
	if dir := path.Dir(rel); dir != "." {
		fd, err := unix.Openat2(root.fd, dir, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
		})
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		from = fd
	}
	return d.place(name, how, func(tmp string) error {
		return unix.Linkat(from, path.Base(rel), d.fd, tmp, 0)
	})
}

// timespecs are the access and modification times of a as utimensat(2) takes
// them.
func timespecs(a *vfs.Attr) []unix.Timespec {
	spec := func(t time.Time) unix.Timespec {
		if t.IsZero() {
			return unix.Timespec{Nsec: unix.UTIME_OMIT}
		}
		return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	}
	return []unix.Timespec{spec(a.Atime), spec(a.Mtime)}
}

// setOwner changes the owner of name, or of d itself if name is empty, and
// reports whether the host let it.
func (d *hostDir) setOwner(name string, a *vfs.Attr) (bool, error) {
	var err error
	if name == "" {
		err = unix.Fchown(d.fd, int(a.UID), int(a.GID))
	} else {
		err = unix.Fchownat(d.fd, name, int(a.UID), int(a.GID), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == unix.EPERM || err == unix.EINVAL {
		// EINVAL: an id that the user name space does not map.
		return false, nil
	}
	return err == nil, err
}

// procPath names fd for the system calls that take only paths.
func procPath(fd int, name string) string {
	s := fmt.Sprintf("/proc/self/fd/%d", fd)
	if name != "" {
		s += "/" + name
	}
	return strings.TrimSuffix(s, "/")
}
