package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Options say how [ReadDir] reads.
type Options struct {
	// SumMax is the size in bytes above which files get no SHA-256, but only
	// the cheaper sparse digest; 0 is no limit. An emulated machine needs
	// minutes for the SHA-256 of a few gigabytes of zeros.
	SumMax int64
	// Xattrs reads extended attributes as well.
	Xattrs bool
}

// sparseMin is the size from which a file gets a sparse digest.
const sparseMin = 64 << 20

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
	d := NewDigest(e.Size, w.opts.SumMax)
	n, err := io.CopyBuffer(d, struct{ io.Reader }{f}, w.buf)
	if err != nil {
		return err
	}
	if n != e.Size {
		return fmt.Errorf("read %d bytes of %d", n, e.Size)
	}
	d.Store(e)
	return nil
}

// A Digest computes the sums of one file from what is written to it.
type Digest struct {
	sum, sparse hash.Hash // nil: not wanted
	block       []byte    // the block being collected, for sparse
	off         int64     // where it starts
	size        int64
}

// NewDigest starts the digest of a file of size bytes. Above max bytes (0: no
// limit) there is no SHA-256.
func NewDigest(size, max int64) *Digest {
	d := &Digest{size: size}
	if max == 0 || size <= max {
		d.sum = sha256.New()
	}
	if size >= sparseMin {
		d.sparse = sha256.New()
		d.block = make([]byte, 0, sparseBlock)
	}
	return d
}

const sparseBlock = 4096

var zeroBlock [sparseBlock]byte

func (d *Digest) Write(p []byte) (int, error) {
	n := len(p)
	if d.sum != nil {
		d.sum.Write(p)
	}
	for d.sparse != nil && len(p) > 0 {
		if len(d.block) == 0 && len(p) >= sparseBlock {
			d.add(p[:sparseBlock])
			p = p[sparseBlock:]
			continue
		}
		take := min(len(p), sparseBlock-len(d.block))
		d.block = append(d.block, p[:take]...)
		p = p[take:]
		if len(d.block) == sparseBlock {
			d.flush()
		}
	}
	return n, nil
}

func (d *Digest) flush() {
	b := d.block
	d.block = d.block[:0]
	d.add(b)
}

// add digests one block with its offset, unless it is all zeros.
func (d *Digest) add(b []byte) {
	if !bytes.Equal(b, zeroBlock[:len(b)]) {
		var at [8]byte
		binary.BigEndian.PutUint64(at[:], uint64(d.off))
		d.sparse.Write(at[:])
		d.sparse.Write(b)
	}
	d.off += int64(len(b))
}

// Store ends the digest and puts the sums into e.
func (d *Digest) Store(e *Entry) {
	if d.sum != nil {
		e.Sum = hex.EncodeToString(d.sum.Sum(nil))
	}
	if d.sparse != nil {
		d.flush()
		e.Sparse = hex.EncodeToString(d.sparse.Sum(nil))
	}
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
