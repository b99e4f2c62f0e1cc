package memfs

import (
	"maps"
	"strings"

	"github.com/resflash/resflash/image/vfs"
)

// A Setter changes attributes of a file as it is added. Everything may be
// changed but Ino; Mode keeps its type bits if the Setter leaves them out.
type Setter func(*vfs.Attr)

// Data is a piece of a sparse file: Bytes at the offset Off.
type Data struct {
	Off   int64
	Bytes []byte
}

// AddDir adds a directory. The directories above it must be there.
func (fs *FS) AddDir(path string, set ...Setter) vfs.Ino {
	return fs.add(path, vfs.Dir|0o755, set, func(n *node) {
		n.names = map[string]vfs.Ino{}
		n.attr.Nlink = 2
	})
}

// AddFile adds a regular file. It keeps content, which must not change.
func (fs *FS) AddFile(path string, content []byte, set ...Setter) vfs.Ino {
	return fs.AddSparse(path, int64(len(content)), []Data{{0, content}}, set...)
}

// AddSparse adds a regular file of size bytes with data in some places and
// holes between. The pieces are sorted by offset and do not overlap. On a
// device each piece is an extent of its own: two that follow each other in the
// file are kept apart there.
func (fs *FS) AddSparse(path string, size int64, pieces []Data, set ...Setter) vfs.Ino {
	return fs.add(path, vfs.Regular|0o644, set, func(n *node) {
		n.attr.Size = size
		var at, used int64
		for _, piece := range pieces {
			if len(piece.Bytes) == 0 {
				continue
			}
			length := int64(len(piece.Bytes))
			if piece.Off < at || piece.Off > size-length {
				bug("%s: data at byte %d overlaps, or lies beyond the end", path, piece.Off)
			}
			at = piece.Off + length
			used += (length + blockSize - 1) / blockSize
			ext := extent{off: piece.Off, n: length, data: piece.Bytes}
			if fs.dev != nil {
				ext.data, ext.devOff = nil, fs.end
				if _, err := fs.dev.WriteAt(piece.Bytes, fs.end); err != nil {
					bug("%s: %v", path, err)
				}
				// One block stays free behind each extent, so that
				// no two of them are one run on the device.
				fs.end += (length+blockSize-1)/blockSize*blockSize + blockSize
			}
			n.extents = append(n.extents, ext)
		}
		n.attr.Blocks = used * (blockSize / 512)
	})
}

// AddSymlink adds a symbolic link to target.
func (fs *FS) AddSymlink(path, target string, set ...Setter) vfs.Ino {
	return fs.add(path, vfs.Symlink|0o777, set, func(n *node) {
		n.target = target
		n.attr.Size = int64(len(target))
	})
}

// AddDevice adds a device node; mode is [vfs.Char] or [vfs.Block].
func (fs *FS) AddDevice(path string, mode vfs.Mode, dev vfs.Dev, set ...Setter) vfs.Ino {
	return fs.add(path, mode.Type()|0o600, set, func(n *node) { n.attr.Rdev = dev })
}

// AddFIFO adds a named pipe.
func (fs *FS) AddFIFO(path string, set ...Setter) vfs.Ino {
	return fs.add(path, vfs.FIFO|0o644, set, nil)
}

// AddSocket adds a socket.
func (fs *FS) AddSocket(path string, set ...Setter) vfs.Ino {
	return fs.add(path, vfs.Socket|0o755, set, nil)
}

// Link adds another name for the file at old.
func (fs *FS) Link(old, path string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.find(old)
	if n.attr.Mode.IsDir() {
		bug("link to the directory %s", old)
	}
	fs.enter(path, n)
	n.attr.Nlink++
}

// SetXattr gives the file at path an extended attribute.
func (fs *FS) SetXattr(path, name string, value []byte) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.find(path)
	// A copy: Xattrs may be reading the old map.
	all := maps.Clone(n.xattrs)
	if all == nil {
		all = map[string][]byte{}
	}
	all[name] = append([]byte{}, value...)
	n.xattrs = all
}

// SetAttr changes attributes of the file at path.
func (fs *FS) SetAttr(path string, set ...Setter) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.find(path).set(set)
}

func (n *node) set(set []Setter) {
	ino, typ := n.attr.Ino, n.attr.Mode.Type()
	for _, fn := range set {
		fn(&n.attr)
	}
	n.attr.Ino = ino
	if n.attr.Mode.Type() == 0 {
		n.attr.Mode |= typ
	}
}

// add makes a node of type and permissions mode and enters it under path.
func (fs *FS) add(path string, mode vfs.Mode, set []Setter, fill func(*node)) vfs.Ino {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := newNode(vfs.Ino(len(fs.nodes)), mode)
	if fill != nil {
		fill(n)
	}
	n.set(set)
	parent := fs.enter(path, n)
	if mode.IsDir() {
		n.parent = parent.attr.Ino
		parent.attr.Nlink++
	}
	fs.nodes = append(fs.nodes, n)
	return n.attr.Ino
}

// enter adds a name for n to its directory, which it returns.
//
// Requires fs.mu.
func (fs *FS) enter(path string, n *node) *node {
	dirPath, name := split(path)
	dir := fs.find(dirPath)
	switch {
	case dir.names == nil:
		bug("%s is no directory", dirPath)
	case name == "" || name == "." || name == ".." || len(name) > nameMax:
		bug("bad name %q", name)
	case dir.names[name] != 0:
		bug("%s exists", path)
	}
	dir.names[name] = n.attr.Ino
	dir.entries = append(dir.entries, vfs.DirEntry{
		Name: name, Ino: n.attr.Ino, Type: n.attr.Mode.Type(), Next: uint64(len(dir.entries)) + 1,
	})
	return dir
}

// find returns the node at path. Symbolic links are not followed.
//
// Requires fs.mu.
func (fs *FS) find(path string) *node {
	n := fs.nodes[rootIno]
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue
		}
		ino, ok := n.names[name]
		if !ok {
			bug("%s is not there", path)
		}
		n = fs.nodes[ino]
	}
	return n
}
