package customize

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// An unpacker makes the members of a tar archive below a directory. Owners and
// modes are those of the archive, by number. What is in the way is replaced,
// but for directories; a symbolic link to a directory is as good as one. Links
// lead through the system as ever, and never out of it.
type unpacker struct {
	e    *Editor
	dir  string
	dirs []dirTime // times that come last: files that are made change them
	lost int       // extended attributes
}

type dirTime struct {
	path string
	time time.Time
}

func (u *unpacker) all(ctx context.Context, r *tar.Reader) error {
	attr, err := u.e.Stat(ctx, u.dir)
	if err == nil && !attr.Mode.IsDir() {
		err = pathError("unpack", u.dir, syscall.ENOTDIR)
	}
	if err != nil {
		return err
	}
	some := false
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if !some {
				return fmt.Errorf("is no tar archive: %w", err)
			}
			return err
		}
		some = true
		if err := u.member(ctx, h, r); err != nil {
			return fmt.Errorf("member %q: %w", h.Name, err)
		}
	}
	if u.lost > 0 {
		u.e.note("%d extended attributes left out: the volume cannot hold them", u.lost)
	}
	for _, d := range slices.Backward(u.dirs) {
		if err := u.e.Chtimes(ctx, d.path, d.time); err != nil {
			return err
		}
	}
	return nil
}

// at is where a member goes; the directory itself is "".
func (u *unpacker) at(name string) (string, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errors.New(`has ".." in its name`)
	}
	if name = path.Clean("/" + name); name == "/" {
		return "", nil
	}
	return strings.TrimRight(u.dir, "/") + name, nil
}

func (u *unpacker) member(ctx context.Context, h *tar.Header, r io.Reader) error {
	at, err := u.at(h.Name)
	if err != nil || at == "" {
		return err // the directory stays what it is
	}
	node := vfs.NewNode{Mode: vfs.Mode(h.Mode) & 0o7777, UID: uint32(h.Uid), GID: uint32(h.Gid), Mtime: h.ModTime}
	if epoch := u.e.opt.Epoch; epoch != nil && node.Mtime.After(*epoch) {
		node.Mtime = *epoch
	}
	if err := u.e.MkdirAll(ctx, path.Dir(at), vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		return u.directory(ctx, at, node, h)
	}
	if err := u.clear(ctx, at); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		err = u.e.WriteFrom(ctx, at, r, node)
	case tar.TypeLink:
		old, err := u.at(h.Linkname)
		if err != nil {
			return err
		}
		return u.e.Link(ctx, old, at)
	case tar.TypeSymlink:
		node.Mode, node.Target = vfs.Symlink|0o777, h.Linkname
		err = u.e.Create(ctx, at, node)
	case tar.TypeChar, tar.TypeBlock:
		node.Mode |= map[byte]vfs.Mode{tar.TypeChar: vfs.Char, tar.TypeBlock: vfs.Block}[h.Typeflag]
		node.Rdev = vfs.Dev{Major: uint32(h.Devmajor), Minor: uint32(h.Devminor)}
		err = u.e.Create(ctx, at, node)
	case tar.TypeFifo:
		node.Mode |= vfs.FIFO
		err = u.e.Create(ctx, at, node)
	default:
		return &vfs.NotSupportedError{What: fmt.Sprintf("tar member of type %q", h.Typeflag), Off: -1}
	}
	if err != nil {
		return err
	}
	return u.xattrs(ctx, at, h)
}

// directory makes a directory, or gives the one that is there what the archive
// says.
func (u *unpacker) directory(ctx context.Context, at string, node vfs.NewNode, h *tar.Header) error {
	attr, err := u.e.Stat(ctx, at)
	switch {
	case err == nil && attr.Mode.IsDir():
		set := vfs.SetAttr{Mode: &node.Mode, UID: &node.UID, GID: &node.GID}
		err = u.e.Setattr(ctx, at, set)
		if limit := (*vfs.LimitError)(nil); errors.As(err, &limit) {
			err = nil // a format without owners
		}
	case err == nil:
		if err = u.e.Remove(ctx, at); err == nil {
			err = u.e.MkdirAll(ctx, at, node)
		}
	case missing(err):
		if err = u.clear(ctx, at); err == nil { // a link to nothing
			err = u.e.MkdirAll(ctx, at, node)
		}
	}
	if err != nil {
		return err
	}
	u.dirs = append(u.dirs, dirTime{at, node.Mtime})
	return u.xattrs(ctx, at, h)
}

// clear takes away what is in the way of a member.
func (u *unpacker) clear(ctx context.Context, at string) error {
	attr, err := u.e.Lstat(ctx, at)
	switch {
	case missing(err):
		return nil
	case err != nil:
		return err
	case attr.Mode.IsDir():
		return pathError("replace", at, syscall.EISDIR)
	}
	return u.e.Remove(ctx, at)
}

// xattrs sets the extended attributes that GNU tar and others record in PAX
// headers.
func (u *unpacker) xattrs(ctx context.Context, at string, h *tar.Header) error {
	const prefix = "SCHILY.xattr."
	var names []string
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, prefix) {
			names = append(names, key)
		}
	}
	sort.Strings(names)
	for _, key := range names {
		err := u.e.SetXattr(ctx, at, strings.TrimPrefix(key, prefix), []byte(h.PAXRecords[key]))
		if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.E2BIG) {
			u.lost++
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
