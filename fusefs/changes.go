package fusefs

import (
	"sync"
	"sync/atomic"

	"github.com/resflash/resflash/image/vfs"
)

// Changes sums up what has been done to a volume through a mount.
type Changes struct {
	Volume  string // its name
	Created int64  // names made: files, directories, links
	Removed int64  // names taken away, also by renaming over them
	Renamed int64
	Changed int64 // files written to, or given other attributes, that were there before
	Written int64 // bytes of file contents
	// Names are some of the names that were made, removed or renamed, by
	// their paths in the volume as they are now, oldest first. More says that
	// there were more. Of a directory that is gone, what was in it is left
	// out.
	Names []NameChange
	More  bool
}

// Any reports whether there were any changes.
func (c Changes) Any() bool {
	return c.Created+c.Removed+c.Renamed+c.Changed+c.Written > 0
}

// NameChange is a name that was made, removed or renamed.
type NameChange struct {
	Kind ChangeKind
	Path string
	To   string // of Renamed: the new path
}

// ChangeKind says what happened to a name.
type ChangeKind int

// The kinds.
const (
	Created ChangeKind = iota
	Removed
	Renamed
)

func (k ChangeKind) String() string {
	return [...]string{"created", "removed", "renamed"}[k]
}

const (
	changedNamesMax = 1000    // names that are remembered
	changedFilesMax = 1 << 16 // files that are told apart
)

// changes collects them.
type changes struct {
	created, removed, renamed, changed, written atomic.Int64

	mu    sync.Mutex
	names []nameChange
	more  bool
	files map[vfs.Ino]struct{} // made or changed
}

type nameChange struct {
	kind    ChangeKind
	dir, to vfs.Ino
	name    string
	toName  string
	lost    bool // a directory that it was in is gone
}

func (c *changes) name(n nameChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.names) < changedNamesMax {
		c.names = append(c.names, n)
	} else {
		c.more = true
	}
}

// made notes a new name, of a file that is new as well if ino is not 0.
func (c *changes) made(dir vfs.Ino, name string, ino vfs.Ino) {
	c.created.Add(1)
	c.name(nameChange{kind: Created, dir: dir, name: name})
	if ino != 0 {
		c.mu.Lock()
		c.know(ino)
		c.mu.Unlock()
	}
}

func (c *changes) gone(dir vfs.Ino, name string) {
	c.removed.Add(1)
	c.name(nameChange{kind: Removed, dir: dir, name: name})
}

func (c *changes) moved(dir vfs.Ino, name string, to vfs.Ino, toName string, over bool) {
	c.renamed.Add(1)
	if over {
		c.removed.Add(1)
	}
	c.name(nameChange{kind: Renamed, dir: dir, name: name, to: to, toName: toName})
}

// forget takes the directory ino out of what is remembered: it is gone, and its
// number may be that of another before long.
func (c *changes) forget(ino vfs.Ino) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.names {
		if n := &c.names[i]; n.dir == ino || n.kind == Renamed && n.to == ino {
			n.lost = true
		}
	}
}

// file notes that the file ino has been changed.
func (c *changes) file(ino vfs.Ino, bytes int64) {
	if bytes > 0 {
		c.written.Add(bytes)
	}
	c.mu.Lock()
	if c.know(ino) {
		c.changed.Add(1)
	}
	c.mu.Unlock()
}

// know reports whether ino is new to it. Requires c.mu.
func (c *changes) know(ino vfs.Ino) bool {
	if _, ok := c.files[ino]; ok || len(c.files) >= changedFilesMax {
		return false
	}
	if c.files == nil {
		c.files = map[vfs.Ino]struct{}{}
	}
	c.files[ino] = struct{}{}
	return true
}

// sum returns the changes to a volume.
func (v *volume) sum() Changes {
	c := &v.w.changes
	sum := Changes{
		Volume:  v.name,
		Created: c.created.Load(), Removed: c.removed.Load(), Renamed: c.renamed.Load(),
		Changed: c.changed.Load(), Written: c.written.Load(),
	}
	c.mu.Lock()
	names := append([]nameChange(nil), c.names...)
	sum.More = c.more
	c.mu.Unlock()
	paths := map[vfs.Ino]string{v.root: ""}
	for _, n := range names {
		if n.lost {
			continue
		}
		out := NameChange{Kind: n.kind}
		dir, known := v.path(n.dir, paths)
		out.Path = dir + "/" + n.name
		if n.kind == Renamed && known {
			dir, known = v.path(n.to, paths)
			out.To = dir + "/" + n.toName
		}
		if known {
			sum.Names = append(sum.Names, out)
		}
	}
	return sum
}

// gone is the path of a directory that has none any more. No path is like it.
const gone = "."

// path returns the path of a directory, without a slash at its end, if it has
// one. It remembers what it finds in known.
func (v *volume) path(dir vfs.Ino, known map[vfs.Ino]string) (string, bool) {
	if path, ok := known[dir]; ok {
		return path, path != gone
	}
	known[dir] = gone // also if it is its own parent
	above, err := v.fs.Lookup(background, dir, "..")
	if err != nil {
		return "", false
	}
	top, ok := v.path(above.Ino, known)
	if !ok {
		return "", false
	}
	for e, err := range v.fs.ReadDir(background, above.Ino, 0) {
		if err != nil {
			break
		}
		if e.Ino == dir {
			known[dir] = top + "/" + e.Name
			return known[dir], true
		}
	}
	return "", false
}
