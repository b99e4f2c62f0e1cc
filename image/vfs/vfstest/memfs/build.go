package memfs

import (
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
		n.names = newNames(&fs.opt)
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
		bs := int64(fs.opt.BlockSize)
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
			used += (length + bs - 1) / bs
			ext := extent{off: piece.Off, n: length, data: piece.Bytes}
			if fs.dev != nil {
				ext.data, ext.devOff = nil, fs.end
				if _, err := fs.dev.WriteAt(piece.Bytes, fs.end); err != nil {
					bug("%s: %v", path, err)
				}
				// One block stays free behind each extent, so that
				// no two of them are one run on the device.
				fs.end += (length+bs-1)/bs*bs + bs
			}
			n.extents = append(n.extents, ext)
		}
		n.attr.Blocks = used * (bs / 512)
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

// AddLink adds another name for the file at old.
func (fs *FS) AddLink(old, path string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.edit(fs.find(old))
	if n.attr.Mode.IsDir() {
		bug("link to the directory %s", old)
	}
	fs.enter(path, n)
	n.attr.Nlink++
}

// AddXattr gives the file at path an extended attribute.
func (fs *FS) AddXattr(path, name string, value []byte) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.edit(fs.find(path)).setXattr(name, value)
}

// SetAttr changes attributes of the file at path.
func (fs *FS) SetAttr(path string, set ...Setter) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.edit(fs.find(path))
	fs.used -= n.attr.Blocks
	n.set(set)
	fs.used += n.attr.Blocks
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
	n := fs.newNode(fs.nextIno(), mode)
	if fill != nil {
		fill(n)
	}
	n.set(set)
	parent := fs.enter(path, n)
	if mode.IsDir() {
		n.parent = parent.attr.Ino
		parent.attr.Nlink++
	}
	fs.put(n)
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
	case name == "" || name == "." || name == ".." || len(name) > fs.opt.NameMax:
		bug("bad name %q", name)
	case dir.names.find(name) != 0:
		bug("%s exists", path)
	}
	dir = fs.edit(dir)
	dir.names.set(name, n)
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
		ino := vfs.Ino(0)
		if n.names != nil {
			ino = n.names.find(name)
		}
		if ino == 0 {
			bug("%s is not there", path)
		}
		n = fs.nodes[ino]
	}
	return n
}
