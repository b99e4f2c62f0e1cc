package customize

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// The methods below change the system. Errors are *fs.PathError.

// WriteFile makes data the whole contents of the regular file at path, found
// through symbolic links. A file that is there keeps its owner, mode, extended
// attributes and flags; one that is not is made as node says (its type does
// not matter).
func (e *Editor) WriteFile(ctx context.Context, path string, data []byte, node vfs.NewNode) error {
	return e.WriteFrom(ctx, path, bytes.NewReader(data), node)
}

// WriteFrom is [Editor.WriteFile] with what r gives until its end.
func (e *Editor) WriteFrom(ctx context.Context, path string, r io.Reader, node vfs.NewNode) error {
	at, err := e.change(ctx, path, true)
	if err == nil && at.attr != nil {
		err = regular(at)
	}
	if err == nil {
		err = e.log.touch(ctx, at)
	}
	if err != nil {
		return pathError("write", path, err)
	}
	attr, err := at.vol.tree().WriteFile(ctx, at.own, r, node)
	if err == nil && at.attr != nil && attr.Mode != at.attr.Mode {
		// Writing takes set-id bits away; here nobody is fooled.
		_, err = at.vol.w.Setattr(ctx, attr.Ino, vfs.SetAttr{Mode: &at.attr.Mode})
	}
	return pathError("write", path, err)
}

// WriteAt overwrites a part of the regular file at path, in its place.
func (e *Editor) WriteAt(ctx context.Context, path string, data []byte, off int64) error {
	at, err := e.changeFound(ctx, path, true)
	if err == nil {
		err = regular(at)
	}
	if err == nil {
		err = e.log.touch(ctx, at)
	}
	if err == nil {
		_, err = at.vol.w.WriteAt(ctx, at.attr.Ino, data, off)
	}
	return pathError("write", path, err)
}

// Create makes a file of any type at path, which must not be there.
func (e *Editor) Create(ctx context.Context, path string, node vfs.NewNode) error {
	at, err := e.change(ctx, strings.TrimRight(path, "/"), false)
	if err == nil && at.attr != nil {
		err = syscall.EEXIST
	}
	if err == nil {
		err = e.log.touch(ctx, at)
	}
	if err == nil {
		_, err = at.vol.w.Create(ctx, at.dir, at.name, node)
	}
	return pathError("create", path, err)
}

// Symlink makes a symbolic link to target, which is stored as it is, of 0:0.
func (e *Editor) Symlink(ctx context.Context, target, path string) error {
	return e.Create(ctx, path, vfs.NewNode{Mode: vfs.Symlink | 0o777, Target: target})
}

// MkdirAll makes the directory at path and those above it that are missing,
// all of them as node says (its type does not matter). What is there already
// is left alone; symbolic links to directories will do.
func (e *Editor) MkdirAll(ctx context.Context, path string, node vfs.NewNode) error {
	volume, rest, err := cutVolume(path)
	if err != nil {
		return pathError("mkdir", path, err)
	}
	if volume != "" {
		volume += ":"
	}
	node.Mode = vfs.Dir | node.Mode.Perm()
	for end := 0; end < len(rest); {
		for end++; end < len(rest) && rest[end] != '/'; end++ {
		}
		dir := volume + rest[:end]
		at, err := e.resolve(ctx, dir, true)
		switch {
		case err != nil:
		case at.attr == nil:
			err = e.Create(ctx, prefix(volume, at), node)
		case !at.attr.Mode.IsDir():
			err = syscall.ENOTDIR
		}
		if err != nil {
			return pathError("mkdir", dir, err)
		}
	}
	return nil
}

// prefix is the path of a place, in its volume or in the system.
func prefix(volume string, at place) string {
	if volume != "" {
		return volume + at.own
	}
	return at.path
}

// Link gives the file at old, a symbolic link itself if it is one, another
// name, which must not be taken.
func (e *Editor) Link(ctx context.Context, old, new string) error {
	from, to, err := e.pair(ctx, old, new)
	if err == nil && to.attr != nil {
		err = syscall.EEXIST
	}
	if err == nil {
		err = e.log.touch(ctx, from)
	}
	if err == nil {
		err = e.log.touch(ctx, to)
	}
	if err == nil {
		_, err = to.vol.w.Link(ctx, from.attr.Ino, to.dir, to.name)
	}
	return pathError("link", new, err)
}

// Rename moves a file or directory within its volume, replacing what is there
// by the rules of rename(2). Across volumes it is EXDEV.
func (e *Editor) Rename(ctx context.Context, old, new string) error {
	from, to, err := e.pair(ctx, old, new)
	if err == nil && (from.isRoot() || to.isRoot()) {
		err = syscall.EBUSY
	}
	if err == nil {
		err = e.log.touchMove(ctx, from, to)
	}
	if err == nil {
		err = from.vol.w.Rename(ctx, from.dir, from.name, to.dir, to.name, 0)
	}
	return pathError("rename", old, err)
}

// pair finds two names in one volume.
func (e *Editor) pair(ctx context.Context, old, new string) (from, to place, err error) {
	if to, err = e.change(ctx, strings.TrimRight(new, "/"), false); err != nil {
		return from, to, err
	}
	if from, err = e.changeFound(ctx, old, false); err == nil && from.vol != to.vol {
		err = syscall.EXDEV
	}
	return from, to, err
}

// Remove removes a name, or an empty directory.
func (e *Editor) Remove(ctx context.Context, path string) error {
	at, err := e.changeFound(ctx, path, false)
	switch {
	case err != nil:
	case at.isRoot():
		err = syscall.EBUSY
	default:
		if err = e.log.touch(ctx, at); err == nil {
			err = at.vol.tree().Remove(ctx, at.own)
		}
	}
	return pathError("remove", path, err)
}

// RemoveAll removes the file at path and everything below it, symbolic links
// not followed. A path that is not there is no error; a directory on which a
// volume is mounted is one.
func (e *Editor) RemoveAll(ctx context.Context, path string) error {
	at, err := e.resolve(ctx, path, false)
	if missing(err) || err == nil && at.attr == nil {
		return nil
	}
	if err == nil {
		err = e.unmounted(at)
	}
	if err == nil {
		at, err = e.changeFound(ctx, path, false)
	}
	if err == nil {
		err = e.log.touchTree(ctx, at)
	}
	if err == nil {
		err = at.vol.tree().RemoveAll(ctx, at.own)
	}
	return pathError("remove", path, err)
}

// unmounted refuses a directory that is, or contains, the root of a volume.
func (e *Editor) unmounted(at place) error {
	if at.isRoot() {
		return syscall.EBUSY
	}
	for mount, v := range e.mounts {
		if strings.HasPrefix(mount, at.path+"/") && at.vol != v {
			return errors.New("volume " + v.id + " is mounted below it, at " + mount)
		}
	}
	return nil
}

// Setattr changes attributes of the file at path, which may be a symbolic link
// to it.
func (e *Editor) Setattr(ctx context.Context, path string, set vfs.SetAttr) error {
	return pathError("setattr", path, e.setattr(ctx, path, true, set))
}

func (e *Editor) setattr(ctx context.Context, path string, follow bool, set vfs.SetAttr) error {
	at, err := e.changeFound(ctx, path, follow)
	if err == nil {
		err = e.log.touch(ctx, at)
	}
	if err == nil {
		_, err = at.vol.w.Setattr(ctx, at.attr.Ino, set)
	}
	return err
}

// Chmod changes permissions, set-id and sticky bits.
func (e *Editor) Chmod(ctx context.Context, path string, perm vfs.Mode) error {
	return pathError("chmod", path, e.setattr(ctx, path, true, vfs.SetAttr{Mode: &perm}))
}

// Chown changes the owner and group. The set-id bits stay.
func (e *Editor) Chown(ctx context.Context, path string, uid, gid uint32) error {
	return pathError("chown", path, e.setattr(ctx, path, true, vfs.SetAttr{UID: &uid, GID: &gid}))
}

// Lchown is [Editor.Chown] for a symbolic link itself, if path is one.
func (e *Editor) Lchown(ctx context.Context, path string, uid, gid uint32) error {
	return pathError("lchown", path, e.setattr(ctx, path, false, vfs.SetAttr{UID: &uid, GID: &gid}))
}

// Chflags changes the file flags.
func (e *Editor) Chflags(ctx context.Context, path string, flags vfs.Flags) error {
	return pathError("chflags", path, e.setattr(ctx, path, true, vfs.SetAttr{Flags: &flags}))
}

// Chtimes sets the times of last access and modification.
func (e *Editor) Chtimes(ctx context.Context, path string, t time.Time) error {
	return pathError("chtimes", path, e.setattr(ctx, path, true, vfs.SetAttr{Atime: &t, Mtime: &t}))
}

// Truncate makes a file shorter, or longer by a hole.
func (e *Editor) Truncate(ctx context.Context, path string, size int64) error {
	return pathError("truncate", path, e.setattr(ctx, path, true, vfs.SetAttr{Size: &size}))
}

// SetXattr sets an extended attribute of the file at path, a symbolic link
// itself if it is one: ENOTSUP if the format cannot hold it.
func (e *Editor) SetXattr(ctx context.Context, path, name string, value []byte) error {
	at, err := e.changeFound(ctx, path, false)
	if err == nil {
		err = e.log.touch(ctx, at)
	}
	if err == nil {
		x, ok := at.vol.w.(vfs.XattrWriter)
		if !ok {
			return pathError("setxattr", path, syscall.ENOTSUP)
		}
		err = x.SetXattr(ctx, at.attr.Ino, name, value, false, false)
	}
	return pathError("setxattr", path, err)
}
