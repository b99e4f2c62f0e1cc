package customize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"sort"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/resflash/resflash/image/export"
	"github.com/resflash/resflash/image/vfs"
)

// A Change is a file that is not what it was, or something else of the disk
// that is not.
type Change struct {
	Action string `json:"action"` // create, change, remove; set, of what is no file
	Volume string `json:"volume,omitempty"`
	Path   string `json:"path,omitempty"` // in the volume
	// PathBytes are the path where that is no UTF-8, which JSON cannot hold.
	PathBytes []byte `json:"pathBytes,omitempty"`
	Before    *State `json:"before,omitempty"`
	After     *State `json:"after,omitempty"`

	Property string `json:"property,omitempty"` // what was set: "uuid"
	From     string `json:"from,omitempty"`
	To       string `json:"to,omitempty"`

	Operations []int `json:"operations"` // that had to do with it, from 1
}

// A State is what a file is.
type State struct {
	Type   string    `json:"type"`
	Mode   string    `json:"mode"` // octal
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Size   int64     `json:"size"`             // bytes, of a regular file
	SHA256 string    `json:"sha256,omitempty"` // left out of what is little but a hole of more than 4 GiB
	Target string    `json:"target,omitempty"` // of a symbolic link
	Device string    `json:"device,omitempty"` // "MAJOR:MINOR"
	Flags  string    `json:"flags,omitempty"`  // as chflags(1) names them
	Mtime  time.Time `json:"mtime"`
}

// record remembers what files were before they were touched.
type record struct {
	on    bool
	steps []Step
	files map[recordKey]*recorded
	names map[*volume]map[vfs.Ino][]string // of files with several, when first asked for
	set   []Change
}

type recordKey struct {
	vol  *volume
	path string // in the volume
}

type recorded struct {
	before *State // nil: there was none
	steps  []int
}

// begin says which step is the next.
func (r *record) begin(s Step) { r.steps = append(r.steps, s) }

// touch notes what is at a place, before the first time that it is changed,
// with the other names that it has.
func (r *record) touch(ctx context.Context, at place) error {
	if !r.on {
		return nil
	}
	if at.attr != nil && at.attr.Nlink > 1 && !at.attr.Mode.IsDir() {
		names, err := r.namesOf(ctx, at.vol, at.attr.Ino)
		if err != nil {
			return err
		}
		for _, name := range names {
			attr, err := at.vol.lookup(ctx, name)
			if err != nil {
				return err
			}
			if attr == nil || attr.Ino != at.attr.Ino {
				continue // it was moved or removed, and noted then
			}
			if err := r.touchFile(ctx, at.vol, name, attr); err != nil {
				return err
			}
		}
	}
	return r.touchFile(ctx, at.vol, at.own, at.attr)
}

// namesOf finds the names that a file had when the first file with several was
// touched. Those that are made later are noted as they are made.
func (r *record) namesOf(ctx context.Context, v *volume, ino vfs.Ino) ([]string, error) {
	if r.names[v] == nil {
		all := map[vfs.Ino][]string{}
		err := v.tree().Walk(ctx, "/", func(path string, attr vfs.Attr, err error) error {
			if err == nil && attr.Nlink > 1 && !attr.Mode.IsDir() {
				all[attr.Ino] = append(all[attr.Ino], path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if r.names == nil {
			r.names = map[*volume]map[vfs.Ino][]string{}
		}
		r.names[v] = all
	}
	return r.names[v][ino], nil
}

func (r *record) touchFile(ctx context.Context, v *volume, path string, attr *vfs.Attr) error {
	key := recordKey{v, path}
	f := r.files[key]
	if f == nil {
		f = &recorded{}
		if attr != nil {
			var err error
			if f.before, err = stateOf(ctx, v, *attr); err != nil {
				return err
			}
		}
		if r.files == nil {
			r.files = map[recordKey]*recorded{}
		}
		r.files[key] = f
	}
	if n := len(r.steps); n > 0 && (len(f.steps) == 0 || f.steps[len(f.steps)-1] != n) {
		f.steps = append(f.steps, n)
	}
	return nil
}

// touchTree is touch for everything below a place as well.
func (r *record) touchTree(ctx context.Context, at place) error {
	if !r.on || at.attr == nil {
		return nil
	}
	return at.vol.tree().Walk(ctx, at.own, func(path string, attr vfs.Attr, err error) error {
		if err != nil {
			return err
		}
		return r.touchFile(ctx, at.vol, path, &attr)
	})
}

// touchMove is touch for what a rename changes: what is moved, what is
// replaced, and the new names.
func (r *record) touchMove(ctx context.Context, from, to place) error {
	if !r.on {
		return nil
	}
	if err := r.touchTree(ctx, from); err != nil {
		return err
	}
	if err := r.touch(ctx, to); err != nil {
		return err
	}
	return from.vol.tree().Walk(ctx, from.own, func(path string, _ vfs.Attr, err error) error {
		if err != nil || path == from.own {
			return err
		}
		return r.touchFile(ctx, to.vol, to.own+strings.TrimPrefix(path, from.own), nil)
	})
}

// Set records that something that is no file was changed: an identity of the
// disk (volume is empty) or of a volume.
func (e *Editor) Set(volume, property, from, to string) {
	if from == to {
		return
	}
	c := Change{Action: "set", Volume: volume, Property: property, From: from, To: to}
	if n := len(e.log.steps); n > 0 {
		c.Operations = []int{n}
	}
	e.log.set = append(e.log.set, c)
}

// Steps are those that were applied, or begun.
func (e *Editor) Steps() []Step { return e.log.steps }

// Changes returns what is different from when the editor was made, by volume
// and path. What is as it was again, is not among it.
func (e *Editor) Changes(ctx context.Context) ([]Change, error) {
	var list []Change
	for key, f := range e.log.files {
		attr, err := key.vol.lookup(ctx, key.path)
		if err != nil {
			return nil, pathError("stat", key.path, err)
		}
		c := Change{Volume: key.vol.id, Path: key.path, Before: f.before, Operations: f.steps}
		if !utf8.ValidString(key.path) {
			c.PathBytes = []byte(key.path)
		}
		if attr != nil {
			if c.After, err = stateOf(ctx, key.vol, *attr); err != nil {
				return nil, pathError("read", key.path, err)
			}
		}
		switch {
		case reflect.DeepEqual(c.Before, c.After):
			continue
		case c.Before == nil:
			c.Action = "create"
		case c.After == nil:
			c.Action = "remove"
		default:
			c.Action = "change"
		}
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Volume != list[j].Volume {
			return list[i].Volume < list[j].Volume
		}
		return list[i].Path < list[j].Path
	})
	return append(list, e.log.set...), nil
}

// lookup finds a file by its path in the volume, which is free of symbolic
// links; nil if there is none.
func (v *volume) lookup(ctx context.Context, path string) (*vfs.Attr, error) {
	attr, err := v.fs.Getattr(ctx, v.fs.Root())
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if err == nil && name != "" {
			attr, err = v.fs.Lookup(ctx, attr.Ino, name)
		}
	}
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	return &attr, err
}

// maxHole is how much of nothing is read for a digest: a file may claim to have
// exabytes of it.
const maxHole = 4 << 30

// stateOf looks at a file as it is now.
func stateOf(ctx context.Context, v *volume, attr vfs.Attr) (*State, error) {
	s := &State{
		Type: typeName(attr.Mode), Mode: octal(attr.Mode), UID: attr.UID, GID: attr.GID,
		Flags: export.FlagNames(attr.Flags), Mtime: attr.Mtime.UTC(),
	}
	switch {
	case attr.Mode.IsRegular():
		s.Size = attr.Size
		if attr.Size-attr.Blocks*512 > maxHole {
			break
		}
		h := sha256.New()
		if _, err := io.Copy(h, &interruptible{ctx, v.tree().Reader(ctx, attr)}); err != nil {
			return nil, err
		}
		s.SHA256 = hex.EncodeToString(h.Sum(nil))
	case attr.Mode.IsSymlink():
		var err error
		if s.Target, err = v.fs.Readlink(ctx, attr.Ino); err != nil {
			return nil, err
		}
	case attr.Mode.IsDevice():
		s.Device = device(attr.Rdev)
	}
	return s, nil
}
