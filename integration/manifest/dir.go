package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Options say how [ReadDir] reads.
type Options struct {
	// Quick is for emulated machines, where reading gigabytes takes minutes:
	// no SHA-256, and in large files what the kernel's own map calls a hole
	// (FIBMAP, which needs root) counts as zeros and is not read.
	Quick bool
	// Xattrs reads extended attributes as well.
	Xattrs bool
}

// ReadDir lists the folder root and everything below it, without following symbolic
// links and without leaving anything out: what cannot be read becomes an entry
// with an Err.
func ReadDir(root string, opts Options) Manifest {
	w := walker{opts: opts, links: map[[2]uint64]string{}, buf: make([]byte, 1<<20)}
	w.visit(root, ".")
	w.m.sort()
	w.m.nameLinks()
	return w.m
}

type walker struct {
	opts  Options
	m     Manifest
	links map[[2]uint64]string // device and inode → path first seen
	buf   []byte
}

func (w *walker) visit(abs, rel string) {
	e := Entry{Path: rel, Link: rel}
	var st unix.Stat_t
	if err := unix.Lstat(abs, &st); err != nil {
		e.Err = err.Error()
		w.m = append(w.m, e)
		return
	}
	e.Mode = st.Mode & 0o7777
	e.UID, e.GID, e.Nlink = st.Uid, st.Gid, uint32(st.Nlink)
	e.Sec, e.Nsec = st.Mtim.Unix()
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size = File, st.Size
		err = w.digest(abs, &e)
	case unix.S_IFDIR:
		e.Type = Dir
	case unix.S_IFLNK:
		e.Type = Symlink
		e.Target, err = os.Readlink(abs)
	case unix.S_IFBLK, unix.S_IFCHR:
		e.Type = Block
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			e.Type = Char
		}
		e.Major, e.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFIFO:
		e.Type = FIFO
	case unix.S_IFSOCK:
		e.Type = Socket
	default:
		err = fmt.Errorf("mode %o has no known type", st.Mode)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		id := [2]uint64{st.Dev, st.Ino}
		if first, ok := w.links[id]; ok {
			e.Link = first
		} else {
			w.links[id] = rel
		}
	}
	if err == nil && w.opts.Xattrs {
		e.Xattrs, err = xattrs(abs)
	}
	if err != nil {
		e.Err = err.Error()
	}
	var names []string
	if e.Type == Dir {
		names, err = readNames(abs)
		if err != nil {
			e.Err = err.Error()
		}
	}
	w.m = append(w.m, e)
	for _, name := range names {
		w.visit(abs+"/"+name, filepath.Join(rel, name))
	}
}

func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// digest reads the whole file and sets its sums. A length other than that of
// lstat is an error.
func (w *walker) digest(abs string, e *Entry) error {
	f, err := os.Open(abs)
	if err != nil {
		return err
	}
	defer f.Close()
	d := newDigest(w.opts.Quick)
	if w.opts.Quick && e.Size >= mapMin {
		if done, err := d.readMapped(f, e.Size); done || err != nil {
			d.store(e)
			return err
		}
	}
	n, err := io.CopyBuffer(d, struct{ io.Reader }{f}, w.buf)
	if err != nil {
		return err
	}
	if n != e.Size {
		return fmt.Errorf("read %d bytes of %d", n, e.Size)
	}
	d.store(e)
	return nil
}

func xattrs(path string) (map[string]string, error) {
	size, err := unix.Llistxattr(path, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listxattr: %w", err)
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(path, list); err != nil {
		return nil, fmt.Errorf("listxattr: %w", err)
	}
	out := map[string]string{}
	for name := range bytes.SplitSeq(list[:size], []byte{0}) {
		if len(name) == 0 {
			continue
		}
		val := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(path, string(name), val)
		if errors.Is(err, unix.ENODATA) {
			continue // Linux lists those of a user that are on a link or a device, and hides what they are
		}
		if err != nil {
			return nil, fmt.Errorf("getxattr %s: %w", name, err)
		}
		out[string(name)] = string(val[:n])
	}
	return out, nil
}

// nameLinks makes the Link of every group of hard links its first path, in
// whatever order they were found.
func (m Manifest) nameLinks() {
	first := map[string]string{}
	for _, e := range m { // sorted: the first to name a group is its first path
		if _, ok := first[e.Link]; !ok {
			first[e.Link] = e.Path
		}
	}
	for i := range m {
		m[i].Link = first[m[i].Link]
	}
}
