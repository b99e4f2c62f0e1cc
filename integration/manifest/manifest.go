// Package manifest lists trees of files, so that two readers of one file
// system can be compared: path, type, mode, owner, links, size, time, target,
// device number, extended attributes and a digest of the contents.
//
// A [Manifest] comes from a folder of this machine ([ReadDir]), which may be a
// mount, or from a tar stream ([ReadTar]); tests fill others in from what foreign
// tools print. [Diff] says where two of them differ, in words.
//
// The package uses nothing but the standard library and x/sys, because it is
// also a part of the program that runs alone in a virtual machine.
package manifest

import (
	"encoding/gob"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The types of files, as the first column of ls -l has them, with 'f' for
// regular files.
const (
	File    = 'f'
	Dir     = 'd'
	Symlink = 'l'
	Block   = 'b'
	Char    = 'c'
	FIFO    = 'p'
	Socket  = 's'
)

// An Entry is one file. Fields that its source does not know stay zero, and are
// left out of comparisons by the [Fields] given to [Diff].
type Entry struct {
	Path   string // relative, with slashes; "." is the root
	Type   byte
	Mode   uint32 // permissions, set-id and sticky bits
	UID    uint32
	GID    uint32
	Nlink  uint32
	Size   int64 // of regular files
	Sec    int64 // modification time
	Nsec   int64
	Target string // of a symbolic link
	Major  uint32 // of devices
	Minor  uint32
	Sum    string // SHA-256 of the contents in hex, holes read as zeros
	Quick  string // a cheaper sum, of the blocks that are not all zeros
	Link   string // first path of those that share this inode; its own if alone
	Xattrs map[string]string
	Err    string // what could not be read
}

// A Manifest is a list of entries, sorted by path.
type Manifest []Entry

func (m Manifest) sort() {
	slices.SortFunc(m, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// Map returns the entries by path.
func (m Manifest) Map() map[string]Entry {
	byPath := make(map[string]Entry, len(m))
	for _, e := range m {
		byPath[e.Path] = e
	}
	return byPath
}

// Edit returns a copy in which fn has changed the entries; those for which it
// returns false are left out.
func (m Manifest) Edit(fn func(e *Entry) bool) Manifest {
	out := make(Manifest, 0, len(m))
	for _, e := range m {
		if fn(&e) {
			out = append(out, e)
		}
	}
	out.sort()
	return out
}

// Below returns the entries below the folder dir, with paths relative to it.
func (m Manifest) Below(dir string) Manifest {
	return m.Edit(func(e *Entry) bool {
		if e.Path == dir {
			e.Path, e.Link = ".", "."
			return true
		}
		rest, ok := strings.CutPrefix(e.Path, dir+"/")
		e.Path = rest
		e.Link = strings.TrimPrefix(e.Link, dir+"/")
		return ok
	})
}

// Errors returns what could not be read, one line each.
func (m Manifest) Errors() []string {
	var out []string
	for _, e := range m {
		if e.Err != "" {
			out = append(out, fmt.Sprintf("%q: %s", e.Path, e.Err))
		}
	}
	return out
}

// Encode writes m for [Decode].
func (m Manifest) Encode(w io.Writer) error { return gob.NewEncoder(w).Encode(m) }

// Decode reads what [Manifest.Encode] wrote.
func Decode(r io.Reader) (Manifest, error) {
	var m Manifest
	err := gob.NewDecoder(r).Decode(&m)
	return m, err
}
