// Package memfs is a file system held in memory, for tests and benchmarks of
// everything that stands on [vfs.FS].
//
// A tree is built from Go code, one file after the other, and can be read
// while it grows. It has what real formats have: every file type, holes,
// extended attributes, hard links, generations, odd modes and times. Contents
// live in memory, or, for a file system made by [NewOn], on a device, so that
// they can be mapped and spliced.
//
// It is no model of a disk: there are no blocks to run out of and no
// structures to damage. Mistakes in building a tree are programming errors,
// and panic.
package memfs

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

const rootIno vfs.Ino = 2 // as in FFS and ext4

const (
	nameMax   = 255
	blockSize = 4096
)

// Epoch is the time that files get unless they are given another.
var Epoch = time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)

// FS is a file system in memory.
type FS struct {
	dev blockio.Writable // nil: contents in memory

	mu    sync.RWMutex
	nodes []*node // by inode number; nil where there is none
	end   int64   // of what is used of dev
}

type node struct {
	attr    vfs.Attr
	target  string            // of a symbolic link
	xattrs  map[string][]byte // nil: none
	extents []extent          // of a regular file, sorted by off, not overlapping

	// Of a directory. Entries are only ever added, so that the place of an
	// entry in the list is a good cookie.
	parent  vfs.Ino
	entries []vfs.DirEntry
	names   map[string]vfs.Ino
}

// extent is a run of bytes of a file: in memory, or on the device.
type extent struct {
	off, n int64
	data   []byte // nil: at devOff
	devOff int64
}

// The face of a file system.
var (
	_ vfs.FS         = (*FS)(nil)
	_ vfs.Mapper     = (*FS)(nil)
	_ vfs.Xattrer    = (*FS)(nil)
	_ vfs.HoleSeeker = (*FS)(nil)
)

// New returns an empty file system: a root directory.
func New() *FS {
	fs := &FS{nodes: make([]*node, rootIno+1)}
	root := newNode(rootIno, vfs.Dir|0o755)
	root.parent, root.names = rootIno, map[string]vfs.Ino{}
	root.attr.Nlink = 2
	fs.nodes[rootIno] = root
	return fs
}

// NewOn returns an empty file system that puts the contents of its files onto
// dev, one file behind the other, beginning at byte 0.
func NewOn(dev blockio.Writable) *FS {
	fs := New()
	fs.dev = dev
	return fs
}

func newNode(ino vfs.Ino, mode vfs.Mode) *node {
	return &node{attr: vfs.Attr{
		Ino: ino, Gen: 1, Mode: mode, Nlink: 1,
		Atime: Epoch, Mtime: Epoch, Ctime: Epoch, Btime: Epoch,
	}}
}

// Info implements [vfs.FS].
func (fs *FS) Info() vfs.Info {
	return vfs.Info{Type: "memory", State: vfs.Clean, BlockSize: blockSize, FragSize: blockSize}
}

// Root implements [vfs.FS].
func (fs *FS) Root() vfs.Ino { return rootIno }

// Close implements [vfs.FS].
func (fs *FS) Close() error { return nil }

// Statfs implements [vfs.FS].
func (fs *FS) Statfs(context.Context) (vfs.Statfs, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	var blocks int64
	for _, n := range fs.nodes {
		if n != nil {
			blocks += n.attr.Blocks
		}
	}
	return vfs.Statfs{
		BlockSize: blockSize, Blocks: uint64(blocks * 512 / blockSize),
		Files: uint64(len(fs.nodes)), NameMax: nameMax,
	}, nil
}

// node returns the node ino.
//
// Requires fs.mu.
func (fs *FS) node(ino vfs.Ino) (*node, error) {
	if ino >= vfs.Ino(len(fs.nodes)) || fs.nodes[ino] == nil {
		return nil, syscall.ENOENT
	}
	return fs.nodes[ino], nil
}

// dir returns the directory ino.
//
// Requires fs.mu.
func (fs *FS) dir(ino vfs.Ino) (*node, error) {
	n, err := fs.node(ino)
	if err == nil && !n.attr.Mode.IsDir() {
		return nil, syscall.ENOTDIR
	}
	return n, err
}

// Getattr implements [vfs.FS].
func (fs *FS) Getattr(_ context.Context, ino vfs.Ino) (vfs.Attr, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.node(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	return n.attr, nil
}

// Lookup implements [vfs.FS].
func (fs *FS) Lookup(_ context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	d, err := fs.dir(dir)
	if err != nil {
		return vfs.Attr{}, err
	}
	if len(name) > nameMax {
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	var ino vfs.Ino
	switch name {
	case ".":
		ino = dir
	case "..":
		ino = d.parent
	default:
		ino = d.names[name]
	}
	n, err := fs.node(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	return n.attr, nil
}

// ReadDir implements [vfs.FS]. The cookie of an entry is its place in the
// directory, counted from 1.
func (fs *FS) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		fs.mu.RLock()
		d, err := fs.dir(dir)
		var entries []vfs.DirEntry
		if err == nil {
			// Appending does not touch what is there already.
			entries = d.entries
		}
		fs.mu.RUnlock()
		if err != nil {
			yield(vfs.DirEntry{}, err)
			return
		}
		for cookie < uint64(len(entries)) {
			if err := ctx.Err(); err != nil {
				yield(vfs.DirEntry{}, err)
				return
			}
			if !yield(entries[cookie], nil) {
				return
			}
			cookie++
		}
	}
}

// Readlink implements [vfs.FS].
func (fs *FS) Readlink(_ context.Context, ino vfs.Ino) (string, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.node(ino)
	if err != nil {
		return "", err
	}
	if !n.attr.Mode.IsSymlink() {
		return "", syscall.EINVAL
	}
	return n.target, nil
}

// Xattrs implements [vfs.Xattrer].
func (fs *FS) Xattrs(_ context.Context, ino vfs.Ino) (map[string][]byte, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.node(ino)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte, len(n.xattrs))
	for name, value := range n.xattrs {
		all[name] = append([]byte{}, value...)
	}
	return all, nil
}

// file returns the size and extents of the regular file ino. Extents do not
// change once the file is there.
func (fs *FS) file(ino vfs.Ino) (size int64, extents []extent, err error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.node(ino)
	switch {
	case err != nil:
		return 0, nil, err
	case n.attr.Mode.IsDir():
		return 0, nil, syscall.EISDIR
	case !n.attr.Mode.IsRegular():
		return 0, nil, syscall.EINVAL
	}
	return n.attr.Size, n.extents, nil
}

// ReadAt implements [vfs.FS].
func (fs *FS) ReadAt(_ context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	size, extents, err := fs.file(ino)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, syscall.EINVAL
	case off >= size:
		return 0, io.EOF
	}
	short := int64(len(p)) > size-off
	if short {
		p = p[:size-off]
	}
	// A piece at a time: of an extent, or of the hole before the next one.
	done := 0
	for done < len(p) {
		at := off + int64(done)
		ext, hole := find(extents, at, size)
		if ext == nil {
			n := min(hole-at, int64(len(p)-done))
			clear(p[done : done+int(n)])
			done += int(n)
			continue
		}
		piece := p[done:min(len(p), done+int(ext.off+ext.n-at))]
		if ext.data != nil {
			copy(piece, ext.data[at-ext.off:])
		} else if n, err := fs.dev.ReadAt(piece, ext.devOff+at-ext.off); n < len(piece) {
			if err == io.EOF { // of the device, not of the file
				err = io.ErrUnexpectedEOF
			}
			return done + n, err
		}
		done += len(piece)
	}
	if short {
		return done, io.EOF
	}
	return done, nil
}

// find returns the extent that holds byte at, or nil and where the hole ends.
func find(extents []extent, at, size int64) (*extent, int64) {
	lo, hi := 0, len(extents)
	for lo < hi {
		mid := (lo + hi) / 2
		if extents[mid].off+extents[mid].n <= at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	switch {
	case lo == len(extents):
		return nil, size
	case extents[lo].off > at:
		return nil, extents[lo].off
	}
	return &extents[lo], 0
}

// Map implements [vfs.Mapper].
func (fs *FS) Map(_ context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	size, extents, err := fs.file(ino)
	switch {
	case err != nil:
		return 0, 0, err
	case off < 0:
		return 0, 0, syscall.EINVAL
	case off >= size:
		return 0, 0, io.EOF
	}
	ext, hole := find(extents, off, size)
	switch {
	case ext == nil:
		return -1, hole - off, nil
	case ext.data != nil:
		return -1, ext.off + ext.n - off, nil
	}
	return ext.devOff + off - ext.off, ext.off + ext.n - off, nil
}

// SeekData implements [vfs.HoleSeeker].
func (fs *FS) SeekData(_ context.Context, ino vfs.Ino, off int64) (int64, error) {
	size, extents, err := fs.file(ino)
	if err != nil {
		return 0, err
	}
	if off < 0 || off >= size {
		return 0, syscall.ENXIO
	}
	ext, hole := find(extents, off, size)
	switch {
	case ext != nil:
		return off, nil
	case hole >= size:
		return 0, syscall.ENXIO
	}
	return hole, nil
}

// SeekHole implements [vfs.HoleSeeker].
func (fs *FS) SeekHole(_ context.Context, ino vfs.Ino, off int64) (int64, error) {
	size, extents, err := fs.file(ino)
	if err != nil {
		return 0, err
	}
	if off < 0 || off >= size {
		return 0, syscall.ENXIO
	}
	for {
		ext, _ := find(extents, off, size)
		if ext == nil {
			return off, nil
		}
		if off = ext.off + ext.n; off >= size {
			return size, nil
		}
	}
}

// split takes the directory off a path.
func split(path string) (dir, name string) {
	path = strings.Trim(path, "/")
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func bug(format string, args ...any) {
	panic("bug: memfs: " + fmt.Sprintf(format, args...))
}
