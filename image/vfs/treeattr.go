package vfs

import (
	"context"
	"time"
)

// Setattr changes attributes of the file at path, which may be a symbolic link
// to it.
func (t *Tree) Setattr(ctx context.Context, path string, set SetAttr) error {
	return t.setattr(ctx, "setattr", path, true, set)
}

// SetattrLink is [Tree.Setattr] for a symbolic link itself, if path is one.
func (t *Tree) SetattrLink(ctx context.Context, path string, set SetAttr) error {
	return t.setattr(ctx, "setattr", path, false, set)
}

func (t *Tree) setattr(ctx context.Context, op, path string, follow bool, set SetAttr) error {
	w, err := t.writable()
	if err != nil {
		return pathError(op, path, err)
	}
	_, attr, err := t.resolve(ctx, op, path, follow)
	if err != nil {
		return err
	}
	_, err = w.Setattr(ctx, attr.Ino, set)
	return pathError(op, path, err)
}

// Chmod changes permissions, set-id and sticky bits.
func (t *Tree) Chmod(ctx context.Context, path string, perm Mode) error {
	return t.setattr(ctx, "chmod", path, true, SetAttr{Mode: &perm})
}

// Chown changes the owner and group. The set-id bits stay.
func (t *Tree) Chown(ctx context.Context, path string, uid, gid uint32) error {
	return t.setattr(ctx, "chown", path, true, SetAttr{UID: &uid, GID: &gid})
}

// Lchown is [Tree.Chown] for a symbolic link itself, if path is one.
func (t *Tree) Lchown(ctx context.Context, path string, uid, gid uint32) error {
	return t.setattr(ctx, "lchown", path, false, SetAttr{UID: &uid, GID: &gid})
}

// Chtimes changes the times of last access and modification; those that are
// zero stay.
func (t *Tree) Chtimes(ctx context.Context, path string, atime, mtime time.Time) error {
	var set SetAttr
	if !atime.IsZero() {
		set.Atime = &atime
	}
	if !mtime.IsZero() {
		set.Mtime = &mtime
	}
	return t.setattr(ctx, "chtimes", path, true, set)
}

// Chflags changes the file flags.
func (t *Tree) Chflags(ctx context.Context, path string, flags Flags) error {
	return t.setattr(ctx, "chflags", path, true, SetAttr{Flags: &flags})
}

// Truncate makes a file shorter, or longer by a hole.
func (t *Tree) Truncate(ctx context.Context, path string, size int64) error {
	return t.setattr(ctx, "truncate", path, true, SetAttr{Size: &size})
}
