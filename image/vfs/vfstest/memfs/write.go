package memfs

import (
	"context"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// Where several errors would be right, this is the order in which they are
// looked for: inode numbers (ENOENT, ENOTDIR), names as such (EINVAL,
// ENAMETOOLONG), the directory (ENOENT if it was removed), what the names
// stand for (ENOENT, EEXIST), types (EISDIR, ENOTDIR, EPERM), flags (EPERM),
// ENOTEMPTY, limits (EMLINK, EFBIG), space (ENOSPC).

// The flags that forbid changes.
const (
	immutable  = vfs.UserImmutable | vfs.SystemImmutable
	appendOnly = vfs.UserAppend | vfs.SystemAppend
)

// checkName says what is wrong with a name that is to be made.
func (fs *FS) checkName(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "/\x00"):
		return syscall.EINVAL
	case len(name) > fs.opt.NameMax:
		return syscall.ENAMETOOLONG
	case name == "." || name == ".." || fs.opt.Limits.CheckName == nil:
		return nil
	}
	return fs.opt.Limits.CheckName(name)
}

// newName returns dir as a place for the new name.
func (fs *FS) newName(dir vfs.Ino, name string) (*node, error) {
	d, err := fs.dir(dir)
	if err != nil {
		return nil, err
	}
	if err := fs.checkName(name); err != nil {
		return nil, err
	}
	switch {
	case name == "." || name == "..":
		return nil, syscall.EEXIST
	case d.attr.Nlink == 0:
		return nil, syscall.ENOENT
	case d.names.find(name) != 0:
		return nil, syscall.EEXIST
	case d.attr.Flags&immutable != 0:
		return nil, syscall.EPERM
	}
	return d, nil
}

// touch records that the contents of n have changed.
func (fs *FS) touch(n *node) {
	if n.attr.Ino == rootIno && fs.opt.Limits.BareRoot {
		return
	}
	now := fs.now()
	n.attr.Mtime, n.attr.Ctime = now, now
	if n.attr.Mode.IsRegular() {
		n.attr.Flags |= fs.opt.Limits.Written
	}
	n.attr = fs.opt.Limits.Held(n.attr)
}

// changed records that something else of n has.
func (fs *FS) changed(n *node) {
	if !fs.opt.Limits.NoCtime {
		n.attr.Ctime = fs.now()
	}
}

// Create implements [vfs.WritableFS].
func (fs *FS) Create(_ context.Context, dir vfs.Ino, name string, node vfs.NewNode) (vfs.Attr, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, err := fs.newName(dir, name)
	if err != nil {
		return vfs.Attr{}, err
	}
	switch node.Mode.Type() {
	case vfs.Regular, vfs.Dir, vfs.FIFO, vfs.Socket, vfs.Char, vfs.Block:
		if !fs.opt.Limits.Has(node.Mode) {
			return vfs.Attr{}, syscall.EPERM
		}
	case vfs.Symlink:
		switch {
		case !fs.opt.Limits.Has(vfs.Symlink):
			return vfs.Attr{}, syscall.EPERM
		case node.Target == "":
			return vfs.Attr{}, syscall.ENOENT
		case strings.Contains(node.Target, "\x00"):
			return vfs.Attr{}, syscall.EINVAL
		case len(node.Target) > fs.opt.SymlinkMax:
			return vfs.Attr{}, syscall.ENAMETOOLONG
		}
	default:
		return vfs.Attr{}, syscall.EINVAL
	}
	switch {
	case node.Mode.IsDir() && d.attr.Nlink >= fs.opt.LinkMax:
		return vfs.Attr{}, syscall.EMLINK
	case fs.opt.NoFlags && node.Flags != 0:
		return vfs.Attr{}, syscall.EOPNOTSUPP
	case fs.opt.MaxFiles > 0 && fs.files() >= int64(fs.opt.MaxFiles):
		return vfs.Attr{}, syscall.ENOSPC
	}
	if err := fs.opt.Limits.Refused(node.Mode, vfs.SetAttr{Flags: &node.Flags}); err != nil {
		return vfs.Attr{}, err
	}
	n := fs.newNode(fs.nextIno(), node.Mode&(vfs.TypeMask|0o7777))
	a := &n.attr
	a.UID, a.GID, a.Flags = node.UID, node.GID, node.Flags|d.attr.Flags&fs.opt.Limits.Inherited
	a.Ctime = fs.now()
	a.Btime, a.Mtime = a.Ctime, node.Mtime
	if node.Mtime.IsZero() {
		a.Mtime = a.Ctime
	}
	a.Atime = a.Mtime
	if node.Mode.IsRegular() {
		a.Flags |= fs.opt.Limits.Written
	}
	*a = fs.opt.Limits.Held(*a)
	d = fs.edit(d)
	switch node.Mode.Type() {
	case vfs.Dir:
		n.names, n.parent = newNames(&fs.opt), dir
		a.Nlink = 2
		d.attr.Nlink++
	case vfs.Symlink:
		n.target, a.Size = node.Target, int64(len(node.Target))
	case vfs.Char, vfs.Block:
		a.Rdev = node.Rdev
	case vfs.Regular:
		if err := fs.fill(n, node.Contents); err != nil {
			return vfs.Attr{}, err
		}
	}
	fs.put(n)
	d.names.set(name, n)
	fs.touch(d)
	return n.attr, nil
}

// Link implements [vfs.WritableFS].
func (fs *FS) Link(_ context.Context, ino, dir vfs.Ino, name string) (vfs.Attr, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.node(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	d, err := fs.newName(dir, name)
	switch {
	case err != nil:
		return vfs.Attr{}, err
	case n.attr.Mode.IsDir():
		return vfs.Attr{}, syscall.EPERM
	case n.attr.Nlink == 0:
		return vfs.Attr{}, syscall.ENOENT
	case fs.opt.Limits.NoLinks:
		return vfs.Attr{}, syscall.EPERM
	case n.attr.Flags&(immutable|appendOnly) != 0:
		return vfs.Attr{}, syscall.EPERM
	case n.attr.Nlink >= fs.opt.LinkMax:
		return vfs.Attr{}, syscall.EMLINK
	}
	n, d = fs.edit(n), fs.edit(d)
	n.attr.Nlink++
	fs.changed(n)
	d.names.set(name, n)
	fs.touch(d)
	return n.attr, nil
}

// oldName returns dir and what bears the name in it that is to go.
func (fs *FS) oldName(dir vfs.Ino, name string) (d, n *node, err error) {
	d, err = fs.dir(dir)
	if err != nil {
		return nil, nil, err
	}
	n, err = fs.lookup(d, name)
	return d, n, err
}

// mayGo says whether the flags let the name of n be taken from d.
func mayGo(d, n *node) error {
	if d.attr.Flags&(immutable|appendOnly) != 0 || n.attr.Flags&(immutable|appendOnly) != 0 {
		return syscall.EPERM
	}
	return nil
}

// Unlink implements [vfs.WritableFS].
func (fs *FS) Unlink(_ context.Context, dir vfs.Ino, name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, n, err := fs.oldName(dir, name)
	if err != nil {
		return err
	}
	if n.attr.Mode.IsDir() {
		return syscall.EISDIR
	}
	if err := mayGo(d, n); err != nil {
		return err
	}
	d = fs.edit(d)
	d.names.remove(name)
	fs.touch(d)
	fs.drop(n)
	return nil
}

// drop takes from n the name that has been taken from its directory.
func (fs *FS) drop(n *node) {
	n = fs.edit(n)
	if n.attr.Nlink--; n.attr.Mode.IsDir() {
		n.attr.Nlink = 0
	}
	fs.changed(n)
	fs.reap(n)
}

// Rmdir implements [vfs.WritableFS].
func (fs *FS) Rmdir(_ context.Context, dir vfs.Ino, name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	d, err := fs.dir(dir)
	switch {
	case err != nil:
		return err
	case name == ".":
		return syscall.EINVAL
	case name == "..":
		return syscall.ENOTEMPTY
	}
	n, err := fs.lookup(d, name)
	if err != nil {
		return err
	}
	if !n.attr.Mode.IsDir() {
		return syscall.ENOTDIR
	}
	if err := mayGo(d, n); err != nil {
		return err
	}
	if len(n.names.at) > 0 {
		return syscall.ENOTEMPTY
	}
	d = fs.edit(d)
	d.names.remove(name)
	d.attr.Nlink--
	fs.touch(d)
	fs.drop(n)
	return nil
}

// Pin implements [vfs.WritableFS].
func (fs *FS) Pin(ino vfs.Ino) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, err := fs.node(ino); err == nil {
		fs.pins[ino]++
	}
}

// Unpin implements [vfs.WritableFS].
func (fs *FS) Unpin(_ context.Context, ino vfs.Ino) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.node(ino)
	if err != nil {
		return err
	}
	if fs.pins[ino] == 0 {
		return syscall.EINVAL
	}
	if fs.pins[ino]--; fs.pins[ino] == 0 {
		delete(fs.pins, ino)
		fs.reap(n)
	}
	return nil
}

// Sync implements [vfs.WritableFS]. There is no medium.
func (fs *FS) Sync(context.Context) error { return nil }
