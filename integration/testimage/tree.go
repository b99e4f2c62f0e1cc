package testimage

import (
	"fmt"
	"path"
	"sort"
	"strings"
	"time"
)

// The type bits of Node.Mode, as stat(2) has them.
const (
	ModeFIFO    = 0o010000
	ModeChar    = 0o020000
	ModeDir     = 0o040000
	ModeBlock   = 0o060000
	ModeRegular = 0o100000
	ModeSymlink = 0o120000
	ModeSocket  = 0o140000
	modeType    = 0o170000
)

// A Node is one file of a tree.
type Node struct {
	Mode     uint32 // type and permissions
	UID, GID uint32
	Mtime    time.Time // zero: the time of the file system
	Data     []byte    // of a regular file
	Holes    bool      // leave out the blocks of Data that are all zeros
	Target   string    // of a symbolic link
	Major    uint32    // of a device
	Minor    uint32
	Flags    uint32 // chflags(2) bits
	// HardLink makes this path another name of the file at that path (a name
	// of the same tree); all other fields are ignored.
	HardLink string
}

// A Tree describes a file system by paths: "etc/fstab". The root is "", and
// parents that are not there are made on the way.
type Tree map[string]*Node

// clean turns any spelling of a path into a key.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// Set puts a node at name and makes the directories above it.
func (t Tree) Set(name string, n *Node) *Node {
	name = clean(name)
	t[name] = n
	t.parents(name)
	return n
}

func (t Tree) parents(name string) {
	for name != "" {
		name = clean(path.Dir(name))
		if t[name] == nil {
			t[name] = &Node{Mode: ModeDir | 0o755}
		}
	}
}

// Dir adds a directory.
func (t Tree) Dir(name string, perm uint32) *Node {
	return t.Set(name, &Node{Mode: ModeDir | perm})
}

// File adds a regular file.
func (t Tree) File(name string, perm uint32, data []byte) *Node {
	return t.Set(name, &Node{Mode: ModeRegular | perm, Data: data})
}

// Text adds a regular file of the lines given.
func (t Tree) Text(name string, perm uint32, lines ...string) *Node {
	return t.File(name, perm, []byte(strings.Join(lines, "\n")+"\n"))
}

// Symlink adds a symbolic link.
func (t Tree) Symlink(name, target string) *Node {
	return t.Set(name, &Node{Mode: ModeSymlink | 0o755, Target: target})
}

// Link adds another name for the file at old.
func (t Tree) Link(name, old string) *Node {
	return t.Set(name, &Node{HardLink: clean(old)})
}

// Device adds a device node; kind is ModeChar or ModeBlock.
func (t Tree) Device(name string, kind, perm, gid, major, minor uint32) *Node {
	return t.Set(name, &Node{Mode: kind | perm, GID: gid, Major: major, Minor: minor})
}

// children lists the names in each directory, sorted, and checks the tree.
func (t Tree) children() (map[string][]string, error) {
	if t[""] == nil {
		t[""] = &Node{Mode: ModeDir | 0o755}
	}
	list := map[string][]string{}
	for name, n := range t {
		if n.HardLink != "" {
			if old := t[n.HardLink]; old == nil || old.HardLink != "" || old.Mode&modeType == ModeDir {
				return nil, fmt.Errorf("%s: hard link to %s, which is no file", name, n.HardLink)
			}
		}
		if name == "" {
			if n.Mode&modeType != ModeDir {
				return nil, fmt.Errorf("the root is no directory")
			}
			continue
		}
		parent := t[clean(path.Dir(name))]
		if parent == nil || parent.HardLink != "" || parent.Mode&modeType != ModeDir {
			return nil, fmt.Errorf("%s: its parent is no directory", name)
		}
		list[clean(path.Dir(name))] = append(list[clean(path.Dir(name))], name)
	}
	for _, names := range list {
		sort.Strings(names)
	}
	return list, nil
}

// directories returns the paths of all directories, parents first.
func (t Tree) directories() []string {
	var dirs []string
	for name, n := range t {
		if n.HardLink == "" && n.Mode&modeType == ModeDir {
			dirs = append(dirs, name)
		}
	}
	sort.Slice(dirs, func(i, j int) bool {
		if a, b := depth(dirs[i]), depth(dirs[j]); a != b {
			return a < b
		}
		return dirs[i] < dirs[j]
	})
	return dirs
}

func depth(name string) int {
	if name == "" {
		return 0
	}
	return strings.Count(name, "/") + 1
}
