package audit

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// A view is a tree of files as rules see it: one volume, or several in their
// places. Paths are absolute and clean. Symbolic links are followed inside the
// view, as for a process in a chroot.
type view struct {
	name      string
	volume    *Volume    // of a view of one
	at        string     // where it is mounted in the system that it belongs to
	installed *Installed // nil: no system's root
	final     bool       // a system as it is at run time
	systems   System
	layers    []layer         // the root first; later ones are on top
	owners    *owners         // once they were read
	starters  *[]starter      // likewise
	packaged  map[string]bool // files that a package has, once its lists were read
}

type layer struct{ Mount }

// A part is what one volume has at a place.
type part struct {
	vol  *Volume
	path string // in the volume
	attr vfs.Attr
}

// A node is a place in a view: the topmost part is what is seen there, and the
// others are directories that show through. A node without parts is a directory
// that is only the way to a mount.
type node struct {
	path  string
	parts []part
}

func (n *node) isDir() bool { return len(n.parts) == 0 || n.parts[0].attr.Mode.IsDir() }

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// missing reports whether err says that nothing is there, as opposed to that
// it cannot be told.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG)
}

// mount puts the layers of a place on what is below.
func (v *view) mount(ctx context.Context, n *node) error {
	onWay := n.path == "/"
	for _, l := range v.layers {
		if l.At != n.path {
			onWay = onWay || strings.HasPrefix(l.At, strings.TrimSuffix(n.path, "/")+"/")
			continue
		}
		attr, err := l.Volume.Tree.ResolveLink(ctx, l.From)
		if err != nil {
			if l.Over && missing(err) {
				continue
			}
			return &fault{l.Volume, l.From, err}
		}
		p := part{l.Volume, l.From, attr}
		switch {
		case !l.Over:
			n.parts = []part{p}
		case attr.Mode.IsDir():
			n.parts = append([]part{p}, n.parts...)
		}
	}
	if len(n.parts) == 0 && !onWay {
		return fs.ErrNotExist
	}
	return nil
}

// A fault is an error of a volume.
type fault struct {
	vol  *Volume
	path string // in the volume
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func (v *view) root(ctx context.Context) (*node, error) {
	n := &node{path: "/"}
	return n, v.mount(ctx, n)
}

// child finds a name in a directory.
func (v *view) child(ctx context.Context, dir *node, name string) (*node, error) {
	n := &node{path: join(dir.path, name)}
	for _, p := range dir.parts {
		if !p.attr.Mode.IsDir() {
			continue
		}
		attr, err := p.vol.Tree.FS().Lookup(ctx, p.attr.Ino, name)
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, &fault{p.vol, join(p.path, name), err}
		}
		if len(n.parts) == 0 || attr.Mode.IsDir() {
			n.parts = append(n.parts, part{p.vol, join(p.path, name), attr})
		}
		if !attr.Mode.IsDir() {
			break // it hides what is below, or is hidden as no directory
		}
	}
	return n, v.mount(ctx, n)
}

// The limits of resolution, as on Linux.
const (
	maxLinks = 40
	maxPath  = 1 << 16
	maxDepth = 256
)

// resolve finds the node at a path, following symbolic links on the way, and
// in the last place if follow is set.
func (v *view) resolve(ctx context.Context, name string, follow bool) (*node, error) {
	root, err := v.root(ctx)
	if err != nil {
		return nil, err
	}
	here := []*node{root}
	links := 0
	for rest := name; rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, "/")
		switch word {
		case "", ".":
			continue
		case "..":
			here = here[:max(len(here)-1, 1)]
			continue
		}
		dir := here[len(here)-1]
		if !dir.isDir() {
			return nil, syscall.ENOTDIR
		}
		n, err := v.child(ctx, dir, word)
		if err != nil {
			return nil, err
		}
		last := strings.Trim(rest, "/") == ""
		if len(n.parts) > 0 && n.parts[0].attr.Mode.IsSymlink() && (follow || !last) {
			p := n.parts[0]
			if links++; links > maxLinks {
				return nil, syscall.ENOENT // it leads nowhere
			}
			target, err := p.vol.Tree.FS().Readlink(ctx, p.attr.Ino)
			if err != nil {
				return nil, &fault{p.vol, p.path, err}
			}
			if target == "" {
				return nil, syscall.ENOENT
			}
			if strings.HasPrefix(target, "/") {
				here = here[:1]
			}
			if rest = target + "/" + rest; len(rest) > maxPath {
				return nil, syscall.ENAMETOOLONG
			}
			continue
		}
		if len(here) > maxDepth {
			return nil, syscall.ENAMETOOLONG
		}
		here = append(here, n)
	}
	return here[len(here)-1], nil
}

// names lists a directory: what all its parts have, and the ways to mounts. A
// part that cannot be read is the error; the others are listed all the same.
func (v *view) names(ctx context.Context, dir *node) ([]string, error) {
	seen := map[string]bool{}
	var errs []error
	for _, p := range dir.parts {
		if !p.attr.Mode.IsDir() {
			continue
		}
		for e, err := range p.vol.Tree.FS().ReadDir(ctx, p.attr.Ino, 0) {
			if err != nil {
				errs = append(errs, &fault{p.vol, p.path, err})
				break
			}
			seen[e.Name] = true
		}
	}
	for _, l := range v.layers {
		if rest, ok := strings.CutPrefix(l.At, strings.TrimSuffix(dir.path, "/")+"/"); ok && rest != "" && !l.Over {
			first, _, _ := strings.Cut(rest, "/")
			seen[first] = true
		}
	}
	list := make([]string, 0, len(seen))
	for name := range seen {
		list = append(list, name)
	}
	slices.Sort(list)
	return list, errors.Join(errs...)
}

// glob finds what matches a pattern, whose components are those of
// [path.Match]. Symbolic links are followed on the way, not in the last place.
// fail is told of what could not be read.
func (v *view) glob(ctx context.Context, pattern string, fail func(string, error)) []*node {
	if !hasMeta(pattern) {
		n, err := v.resolve(ctx, pattern, false)
		if err != nil {
			if !missing(err) {
				fail(pattern, err)
			}
			return nil
		}
		return []*node{n}
	}
	// The part in front of the first wildcard needs no listing.
	words := strings.Split(strings.Trim(pattern, "/"), "/")
	first := slices.IndexFunc(words, hasMeta)
	dirs := []string{"/" + strings.Join(words[:first], "/")}
	for i, word := range words[first:] {
		lastWord := first+i == len(words)-1
		var next []string
		var found []*node
		for _, dir := range dirs {
			n, err := v.resolve(ctx, dir, true)
			if err != nil || !n.isDir() {
				if err != nil && !missing(err) {
					fail(dir, err)
				}
				continue
			}
			names := []string{word}
			if hasMeta(word) {
				if names, err = v.names(ctx, n); err != nil {
					fail(dir, err)
				}
			}
			for _, name := range names {
				if ok, _ := path.Match(word, name); !ok {
					continue
				}
				if !lastWord {
					next = append(next, join(dir, name))
					continue
				}
				c, err := v.child(ctx, n, name)
				if err != nil {
					if !missing(err) {
						fail(join(dir, name), err)
					}
					continue
				}
				found = append(found, c)
			}
		}
		if lastWord {
			return found
		}
		dirs = next
	}
	return nil
}

func hasMeta(s string) bool { return strings.ContainsAny(s, `*?[`) }
