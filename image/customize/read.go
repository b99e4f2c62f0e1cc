package customize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// The methods below look at the system as changed so far. Errors are
// *fs.PathError.

// Stat returns the attributes of the file at path, following symbolic links.
func (e *Editor) Stat(ctx context.Context, path string) (vfs.Attr, error) {
	at, err := e.find(ctx, path, true)
	if err != nil {
		return vfs.Attr{}, pathError("stat", path, err)
	}
	return *at.attr, nil
}

// Lstat is [Editor.Stat] without following a symbolic link in the last place.
func (e *Editor) Lstat(ctx context.Context, path string) (vfs.Attr, error) {
	at, err := e.find(ctx, path, false)
	if err != nil {
		return vfs.Attr{}, pathError("lstat", path, err)
	}
	return *at.attr, nil
}

// Exists reports whether there is a file at path, following symbolic links.
func (e *Editor) Exists(ctx context.Context, path string) (bool, error) {
	_, err := e.find(ctx, path, true)
	if missing(err) {
		return false, nil
	}
	return err == nil, pathError("stat", path, err)
}

// RealPath returns the path of a file in the system, free of symbolic links.
func (e *Editor) RealPath(ctx context.Context, path string) (string, error) {
	at, err := e.find(ctx, path, true)
	return at.path, pathError("realpath", path, err)
}

// Readlink returns the target of a symbolic link.
func (e *Editor) Readlink(ctx context.Context, path string) (string, error) {
	at, err := e.find(ctx, path, false)
	if err == nil && !at.attr.Mode.IsSymlink() {
		err = syscall.EINVAL
	}
	if err != nil {
		return "", pathError("readlink", path, err)
	}
	target, err := at.vol.fs.Readlink(ctx, at.attr.Ino)
	return target, pathError("readlink", path, err)
}

// ReadDir lists a directory, sorted by name.
func (e *Editor) ReadDir(ctx context.Context, path string) ([]vfs.DirEntry, error) {
	at, err := e.find(ctx, path, true)
	if err == nil && !at.attr.Mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("readdir", path, err)
	}
	list, err := at.vol.tree().List(ctx, at.attr.Ino)
	return list, pathError("readdir", path, err)
}

// Open returns the contents of a regular file.
func (e *Editor) Open(ctx context.Context, path string) (*io.SectionReader, vfs.Attr, error) {
	at, err := e.find(ctx, path, true)
	if err == nil {
		err = regular(at)
	}
	if err != nil {
		return nil, vfs.Attr{}, pathError("open", path, err)
	}
	return at.vol.tree().Reader(ctx, *at.attr), *at.attr, nil
}

// MaxText is a limit for files that are read and written whole: configuration.
const MaxText = 64 << 20

// ReadFile reads a regular file, which must not be larger than limit bytes.
func (e *Editor) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	r, attr, err := e.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	if attr.Size > limit {
		return nil, pathError("read", path, fmt.Errorf("has %d bytes, more than the %d that make sense here", attr.Size, limit))
	}
	b, err := io.ReadAll(r)
	return b, pathError("read", path, err)
}

// regular refuses what has no contents.
func regular(at place) error {
	switch {
	case at.attr.Mode.IsDir():
		return syscall.EISDIR
	case !at.attr.Mode.IsRegular():
		return errors.New("is no regular file")
	}
	return nil
}

// Glob finds what matches a pattern, whose components are those of
// [path.Match], in byte order. Symbolic links are followed on the way, not in
// the last place. A pattern without a wildcard matches what is there.
func (e *Editor) Glob(ctx context.Context, pattern string) ([]string, error) {
	volume, rest, err := cutVolume(pattern)
	if err != nil {
		return nil, pathError("glob", pattern, err)
	}
	if _, err := path.Match(rest, ""); err != nil {
		return nil, pathError("glob", pattern, err)
	}
	if volume != "" {
		volume += ":"
	}
	found := []string{volume + "/"}
	for _, word := range strings.Split(strings.Trim(rest, "/"), "/") {
		if word == "" {
			continue
		}
		var next []string
		for _, dir := range found {
			names := []string{word}
			if strings.ContainsAny(word, `*?[\`) {
				if names, err = e.matching(ctx, dir, word); err != nil {
					return nil, err
				}
			}
			for _, name := range names {
				p := strings.TrimSuffix(dir, "/") + "/" + name
				if _, err := e.find(ctx, p, false); err == nil {
					next = append(next, p)
				} else if !missing(err) {
					return nil, pathError("glob", p, err)
				}
			}
		}
		found = next
	}
	return found, nil
}

// matching are the names in a directory that match a pattern. What is no
// directory has none.
func (e *Editor) matching(ctx context.Context, dir, pattern string) ([]string, error) {
	list, err := e.ReadDir(ctx, dir)
	if err != nil && !missing(err) {
		return nil, err
	}
	var names []string
	for _, entry := range list {
		// As in a shell, what is hidden must be asked for.
		if strings.HasPrefix(entry.Name, ".") && !strings.HasPrefix(pattern, ".") {
			continue
		}
		if ok, _ := path.Match(pattern, entry.Name); ok {
			names = append(names, entry.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
