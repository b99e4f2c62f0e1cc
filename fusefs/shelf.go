package fusefs

import (
	"context"
	"fmt"
	"iter"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// shelf is the root directory of a mount of several volumes: a file system
// that holds an empty directory for each of them, to be mounted over, and a
// symbolic link for each alias.
type shelf struct {
	made  time.Time
	items []shelfItem // the inode number of an item is shelfRoot + 1 + its index
	names map[string]vfs.Ino
}

type shelfItem struct {
	name   string
	target string // of a symbolic link; "" is a directory
}

const shelfRoot vfs.Ino = 1

func newShelf(vols []Volume) (*shelf, error) {
	s := &shelf{made: time.Now(), names: map[string]vfs.Ino{}}
	add := func(name, target string) error {
		if !goodName(name) {
			return fmt.Errorf("a volume cannot be mounted under the name %q", name)
		}
		if s.names[name] != 0 {
			return fmt.Errorf("two volumes of the name %q", name)
		}
		s.items = append(s.items, shelfItem{name, target})
		s.names[name] = shelfRoot + vfs.Ino(len(s.items))
		return nil
	}
	for _, vol := range vols {
		if err := add(vol.Name, ""); err != nil {
			return nil, err
		}
	}
	for _, vol := range vols {
		for _, alias := range vol.Aliases {
			if err := add(alias, vol.Name); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func (s *shelf) Info() vfs.Info { return vfs.Info{Type: "volumes", BlockSize: 4096} }
func (s *shelf) Root() vfs.Ino  { return shelfRoot }
func (s *shelf) Close() error   { return nil }

func (s *shelf) Statfs(context.Context) (vfs.Statfs, error) {
	return vfs.Statfs{BlockSize: 4096, Files: uint64(len(s.items)) + 1, NameMax: 255}, nil
}

// item returns the item ino, which is not the root.
func (s *shelf) item(ino vfs.Ino) (*shelfItem, error) {
	if ino <= shelfRoot || ino-shelfRoot > vfs.Ino(len(s.items)) {
		return nil, syscall.ENOENT
	}
	return &s.items[ino-shelfRoot-1], nil
}

func (s *shelf) Getattr(_ context.Context, ino vfs.Ino) (vfs.Attr, error) {
	attr := vfs.Attr{
		Ino: ino, Mode: vfs.Dir | 0o555, Nlink: 2,
		Atime: s.made, Mtime: s.made, Ctime: s.made, Btime: s.made,
	}
	if ino == shelfRoot {
		for _, item := range s.items {
			if item.target == "" {
				attr.Nlink++
			}
		}
		return attr, nil
	}
	item, err := s.item(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	if item.target != "" {
		attr.Mode, attr.Nlink, attr.Size = vfs.Symlink|0o777, 1, int64(len(item.target))
	}
	return attr, nil
}

func (s *shelf) Lookup(ctx context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	attr, err := s.Getattr(ctx, dir)
	switch {
	case err != nil:
		return vfs.Attr{}, err
	case !attr.Mode.IsDir():
		return vfs.Attr{}, syscall.ENOTDIR
	case name == ".":
		return attr, nil
	case name == "..":
		return s.Getattr(ctx, shelfRoot)
	case len(name) > 255:
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	if ino := s.names[name]; ino != 0 && dir == shelfRoot {
		return s.Getattr(ctx, ino)
	}
	return vfs.Attr{}, syscall.ENOENT
}

func (s *shelf) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		attr, err := s.Getattr(ctx, dir)
		if err == nil && !attr.Mode.IsDir() {
			err = syscall.ENOTDIR
		}
		if err != nil {
			yield(vfs.DirEntry{}, err)
			return
		}
		if dir != shelfRoot {
			return
		}
		for i := cookie; i < uint64(len(s.items)); i++ {
			typ := vfs.Dir
			if s.items[i].target != "" {
				typ = vfs.Symlink
			}
			if !yield(vfs.DirEntry{Name: s.items[i].name, Ino: shelfRoot + 1 + vfs.Ino(i), Type: typ, Next: i + 1}, nil) {
				return
			}
		}
	}
}

func (s *shelf) ReadAt(ctx context.Context, ino vfs.Ino, _ []byte, _ int64) (int, error) {
	attr, err := s.Getattr(ctx, ino)
	switch {
	case err != nil:
		return 0, err
	case attr.Mode.IsDir():
		return 0, syscall.EISDIR
	}
	return 0, syscall.EINVAL
}

func (s *shelf) Readlink(_ context.Context, ino vfs.Ino) (string, error) {
	if ino == shelfRoot {
		return "", syscall.EINVAL
	}
	item, err := s.item(ino)
	if err == nil && item.target == "" {
		err = syscall.EINVAL
	}
	if err != nil {
		return "", err
	}
	return item.target, nil
}
