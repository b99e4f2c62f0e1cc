// Package memfs is a file system held in memory, for tests and benchmarks of
// everything that stands on [vfs.FS] and [vfs.WritableFS].
//
// A tree is built from Go code, one file after the other (AddDir, AddFile …),
// or changed through the methods of [vfs.WritableFS], and can be read all the
// while. It has what real formats have: every file type, holes, extended
// attributes, hard links, flags, generations, pinned files without a name, odd
// modes and times. [Options] give it the limits of a format.
//
// As it follows the contract by the letter, it is also the model that drivers
// are compared with. [FS.Snapshot] freezes a state for later comparison; what
// was not changed since is shared, so that a snapshot costs little.
//
// Contents live in memory. In a file system made by [NewOn], those given while
// building it lie on a device, so that they can be mapped and spliced.
//
// It is no model of a disk: no structures to damage, and blocks to run out of
// only if Options say so. Mistakes in building a tree are programming errors,
// and panic.
package memfs

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest/limits"
)

const rootIno vfs.Ino = 2 // as in FFS and ext4

// Epoch is the time that files get which are added by the builder, unless they
// are given another.
var Epoch = time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)

// Options are the limits of a format. The zero value has hardly any.
type Options struct {
	// BlockSize is the unit in which space is allocated, and in which holes are
	// told from data; 4096 if zero.
	BlockSize  int
	NameMax    int    // bytes in a name; 255 if zero
	LinkMax    uint32 // names of a file, subdirectories of a directory and two
	MaxSize    int64  // bytes in a file
	SymlinkMax int    // bytes in the target of a symbolic link; 4095 if zero
	NoXattrs   bool   // there are none: ENOTSUP
	NoFlags    bool   // Setattr of Flags is EOPNOTSUPP
	Capacity   int64  // bytes of contents that there is space for; 0: no end
	MaxFiles   int    // files that there can be; 0: no end
	// Limits are what it cannot hold.
	Limits limits.Limits
}

// What stands for "no end" in Statfs.
const (
	endlessBlocks = 1 << 28
	endlessFiles  = 1 << 24
)

// FS is a file system in memory.
type FS struct {
	dev blockio.Writable // nil: contents in memory
	opt Options

	mu    sync.RWMutex
	now   func() time.Time
	nodes []*node // by inode number; nil where there is none
	free  []vfs.Ino
	gens  map[vfs.Ino]uint32 // generation of the last file with a number that is free now
	pins  map[vfs.Ino]int
	used  int64  // units of 512 bytes that files take
	end   int64  // of what is used of dev
	epoch uint64 // nodes and pages of another epoch are shared with a snapshot
}

// node is a file. Requires fs.mu, and to change it fs.edit.
type node struct {
	epoch  uint64
	attr   vfs.Attr
	target string            // of a symbolic link
	xattrs map[string][]byte // nil: none; replaced, never changed
	content
	names  *names  // of a directory
	parent vfs.Ino // of a directory
}

// The face of a file system.
var (
	_ vfs.WritableFS  = (*FS)(nil)
	_ vfs.Mapper      = (*FS)(nil)
	_ vfs.HoleSeeker  = (*FS)(nil)
	_ vfs.XattrWriter = (*FS)(nil)
	_ vfs.Fallocater  = (*FS)(nil)
	_ vfs.Clocked     = (*FS)(nil)
)

var epochs atomic.Uint64

// New returns an empty file system without limits: a root directory.
func New() *FS { return NewWith(Options{}) }

// NewWith returns an empty file system with limits.
func NewWith(opt Options) *FS {
	if opt.BlockSize == 0 {
		opt.BlockSize = 4096
	}
	if opt.NameMax == 0 {
		opt.NameMax = 255
	}
	if opt.LinkMax == 0 {
		opt.LinkMax = math.MaxUint32
	}
	if opt.MaxSize == 0 {
		opt.MaxSize = math.MaxInt64
	}
	if opt.SymlinkMax == 0 {
		opt.SymlinkMax = 4095
	}
	fs := &FS{
		opt: opt, now: time.Now, epoch: epochs.Add(1),
		nodes: make([]*node, rootIno+1),
		gens:  map[vfs.Ino]uint32{}, pins: map[vfs.Ino]int{},
	}
	root := fs.newNode(rootIno, vfs.Dir|0o755)
	root.parent, root.names = rootIno, newNames(&fs.opt)
	root.attr.Nlink = 2
	fs.nodes[rootIno] = root
	return fs
}

// NewOn returns an empty file system that puts the contents of the files that
// are added to it onto dev, one file behind the other, beginning at byte 0.
func NewOn(dev blockio.Writable) *FS {
	fs := New()
	fs.dev = dev
	return fs
}

func (fs *FS) newNode(ino vfs.Ino, mode vfs.Mode) *node {
	return &node{epoch: fs.epoch, attr: vfs.Attr{
		Ino: ino, Gen: fs.gens[ino] + 1, Mode: mode, Nlink: 1,
		Atime: Epoch, Mtime: Epoch, Ctime: Epoch, Btime: Epoch,
	}}
}

// nextIno is the number that the next new file gets: one that is free again
// right away, as drivers do it. Requires fs.mu.
func (fs *FS) nextIno() vfs.Ino {
	if n := len(fs.free); n > 0 {
		return fs.free[n-1]
	}
	return vfs.Ino(len(fs.nodes))
}

// put enters n under its number. Requires fs.mu.
func (fs *FS) put(n *node) {
	if ino := n.attr.Ino; ino == vfs.Ino(len(fs.nodes)) {
		fs.nodes = append(fs.nodes, n)
	} else {
		fs.free = fs.free[:len(fs.free)-1]
		fs.nodes[ino] = n
	}
	fs.used += n.attr.Blocks
}

// reap frees n if it has neither a name nor a pin left. Requires fs.mu.
func (fs *FS) reap(n *node) {
	ino := n.attr.Ino
	if n.attr.Nlink > 0 || fs.pins[ino] > 0 {
		return
	}
	fs.nodes[ino] = nil
	fs.used -= n.attr.Blocks
	fs.gens[ino] = n.attr.Gen
	fs.free = append(fs.free, ino)
}

// Snapshot returns the file system as it is now, as one of its own: neither
// sees later changes of the other. Files without a name are left out, as they
// are from a commit, and so are pins.
func (fs *FS) Snapshot() *FS {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	s := &FS{
		dev: fs.dev, opt: fs.opt, now: fs.now, end: fs.end, used: fs.used,
		nodes: append([]*node(nil), fs.nodes...),
		free:  append([]vfs.Ino(nil), fs.free...),
		gens:  map[vfs.Ino]uint32{}, pins: map[vfs.Ino]int{},
		epoch: epochs.Add(1),
	}
	for ino, gen := range fs.gens {
		s.gens[ino] = gen
	}
	for ino := range fs.pins {
		if n := s.nodes[ino]; n != nil {
			s.reap(n)
		}
	}
	fs.epoch = epochs.Add(1)
	return s
}

// Info implements [vfs.FS].
func (fs *FS) Info() vfs.Info {
	return vfs.Info{Type: "memory", State: vfs.Clean, BlockSize: fs.opt.BlockSize, FragSize: fs.opt.BlockSize}
}

// Options are those that the file system was made with, none of them zero that
// has a default.
func (fs *FS) Options() Options { return fs.opt }

// Root implements [vfs.FS].
func (fs *FS) Root() vfs.Ino { return rootIno }

// Close implements [vfs.FS].
func (fs *FS) Close() error { return nil }

// SetClock implements [vfs.Clocked].
func (fs *FS) SetClock(now func() time.Time) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.now = now
}

// Statfs implements [vfs.FS].
func (fs *FS) Statfs(context.Context) (vfs.Statfs, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	bs := int64(fs.opt.BlockSize)
	blocks, files := int64(endlessBlocks), int64(endlessFiles)
	if fs.opt.Capacity > 0 {
		blocks = fs.opt.Capacity / bs
	}
	if fs.opt.MaxFiles > 0 {
		files = int64(fs.opt.MaxFiles)
	}
	free := uint64(max(blocks-fs.used*512/bs, 0))
	return vfs.Statfs{
		BlockSize: bs, Blocks: uint64(blocks), Free: free, Avail: free,
		Files: uint64(files), FilesFree: uint64(max(files-fs.files(), 0)), NameMax: fs.opt.NameMax,
	}, nil
}

// files counts the files there are. Requires fs.mu.
func (fs *FS) files() int64 { return int64(len(fs.nodes)-int(rootIno)) - int64(len(fs.free)) }

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

// edit returns n, which is in fs.nodes, as it may be changed: if a snapshot
// shares it, a copy in its place. Pages stay shared; see page.
//
// Requires fs.mu.
func (fs *FS) edit(n *node) *node {
	if cur := fs.nodes[n.attr.Ino]; cur.epoch == fs.epoch {
		return cur
	}
	c := *n
	c.epoch = fs.epoch
	c.blocks = append([]block(nil), n.blocks...)
	if n.names != nil {
		c.names = n.names.clone()
	}
	fs.nodes[n.attr.Ino] = &c
	return &c
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
