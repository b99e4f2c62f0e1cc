package customize

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// A place is a name in a directory of a volume, which may be taken or not.
type place struct {
	vol  *volume
	dir  vfs.Ino   // the directory that the name is in
	name string    // empty: the root directory of the volume
	attr *vfs.Attr // nil: nothing is there
	path string    // in the system, absolute and free of symbolic links
	own  string    // in the volume
}

func (p place) isRoot() bool { return p.name == "" }

// The limits of resolution, as on Linux.
const (
	maxLinks = 40
	maxPath  = 1 << 16
	maxDepth = 4096
)

// cutVolume splits "VOLUME:/path".
func cutVolume(path string) (name, rest string, err error) {
	if strings.HasPrefix(path, "/") {
		return "", path, nil
	}
	if at := strings.Index(path, ":/"); at > 0 {
		return path[:at], path[at+1:], nil
	}
	return "", "", errors.New("a path in an image begins with a slash, or with VOLUME:/")
}

// start finds the directory that a path begins in, and the rest of the path.
// system says that other volumes are mounted there.
func (e *Editor) start(ctx context.Context, path string) (at place, rest string, system bool, err error) {
	name, rest, err := cutVolume(path)
	if err != nil {
		return at, "", false, err
	}
	vol := e.root
	if name != "" {
		if e.disk == nil {
			return at, "", false, fmt.Errorf("this is no disk, and has no volume %q", name)
		}
		p, err := e.disk.Find(ctx, name)
		if err != nil {
			return at, "", false, err
		}
		if vol, err = e.volume(ctx, p); err != nil {
			return at, "", false, err
		}
	}
	at, err = rootOf(ctx, vol, "/")
	return at, rest, name == "", err
}

// rootOf is the root directory of a volume that is mounted at path.
func rootOf(ctx context.Context, v *volume, path string) (place, error) {
	attr, err := v.fs.Getattr(ctx, v.fs.Root())
	return place{vol: v, dir: attr.Ino, attr: &attr, path: path, own: "/"}, err
}

// resolve finds the place that a path names. Symbolic links are followed, in
// the last component only if follow is set or a slash is behind it, and also
// to where there is nothing yet. That the directory above is missing is an
// error. Errors are without the path.
func (e *Editor) resolve(ctx context.Context, path string, follow bool) (place, error) {
	root, rest, system, err := e.start(ctx, path)
	if err != nil {
		return place{}, err
	}
	if strings.IndexByte(path, 0) >= 0 {
		return place{}, syscall.EINVAL
	}
	here := []place{root}
	for links := 0; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		dir := here[len(here)-1]
		switch {
		case !dir.attr.Mode.IsDir():
			return place{}, syscall.ENOTDIR
		case name == "" || name == ".":
			continue
		case name == "..":
			here = here[:max(len(here)-1, 1)]
			continue
		}
		slash := rest != ""
		last := strings.Trim(rest, "/") == ""
		at, err := e.child(ctx, dir, name, system)
		switch {
		case err != nil:
			return place{}, err
		case at.attr == nil && !last:
			return place{}, syscall.ENOENT
		case at.attr == nil:
			return at, nil
		case at.attr.Mode.IsSymlink() && (follow || slash || !last):
			if links++; links > maxLinks {
				return place{}, syscall.ELOOP
			}
			target, err := at.vol.fs.Readlink(ctx, at.attr.Ino)
			if err != nil {
				return place{}, err
			}
			if target == "" {
				return place{}, syscall.ENOENT
			}
			if strings.HasPrefix(target, "/") {
				here = here[:1]
			}
			if slash {
				target += "/" + rest
			}
			if rest = target; len(rest) > maxPath {
				return place{}, syscall.ENAMETOOLONG
			}
			continue
		case len(here) >= maxDepth:
			return place{}, syscall.ENAMETOOLONG
		}
		here = append(here, at)
	}
	at := here[len(here)-1]
	if strings.HasSuffix(path, "/") && !at.attr.Mode.IsDir() {
		return place{}, syscall.ENOTDIR
	}
	return at, nil
}

// child looks a name up in a directory.
func (e *Editor) child(ctx context.Context, dir place, name string, system bool) (place, error) {
	at := place{vol: dir.vol, dir: dir.attr.Ino, name: name, path: join(dir.path, name), own: join(dir.own, name)}
	if v := e.mounts[at.path]; system && v != nil {
		return rootOf(ctx, v, at.path)
	}
	attr, err := dir.vol.fs.Lookup(ctx, dir.attr.Ino, name)
	switch {
	case err == nil:
		at.attr = &attr
	case !errors.Is(err, syscall.ENOENT):
		return place{}, err
	}
	return at, nil
}

func join(dir, name string) string {
	if dir == "/" {
		return "/" + name
	}
	return dir + "/" + name
}

// find is resolve for what must be there.
func (e *Editor) find(ctx context.Context, path string, follow bool) (place, error) {
	at, err := e.resolve(ctx, path, follow)
	if err == nil && at.attr == nil {
		err = syscall.ENOENT
	}
	return at, err
}

// change is resolve for what is about to be changed.
func (e *Editor) change(ctx context.Context, path string, follow bool) (place, error) {
	at, err := e.resolve(ctx, path, follow)
	if err != nil {
		return at, err
	}
	fresh, err := e.writable(ctx, at.vol)
	if err == nil && fresh {
		at, err = e.resolve(ctx, path, follow)
	}
	return at, err
}

// changeFound is change for what must be there.
func (e *Editor) changeFound(ctx context.Context, path string, follow bool) (place, error) {
	at, err := e.change(ctx, path, follow)
	if err == nil && at.attr == nil {
		err = syscall.ENOENT
	}
	return at, err
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: leaf(err)}
}
