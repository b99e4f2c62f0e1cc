package populate

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// make copies one file, and what is below it.
func (c *copier) make(ctx context.Context, fd int, base string, open bool, at place) error {
	if open {
		return c.opened(ctx, fd, base, at)
	}
	st := &c.item.st
	if err := unix.Fstatat(fd, base, st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch vfs.Mode(st.Mode).Type() {
	case vfs.Regular, vfs.Dir:
		return c.opened(ctx, fd, base, at)
	case vfs.Symlink:
		target, err := readlinkat(fd, base, st.Size)
		if err != nil {
			return err
		}
		return c.special(ctx, fd, base, at, target)
	}
	return c.special(ctx, fd, base, at, "")
}

// opened copies a regular file or a directory.
func (c *copier) opened(ctx context.Context, dirfd int, base string, at place) error {
	fd, err := c.closer.openAt(dirfd, base)
	if err != nil {
		return err
	}
	defer c.closer.close(fd)
	st := &c.item.st
	if err := unix.Fstat(fd, st); err != nil {
		return err
	}
	switch vfs.Mode(st.Mode).Type() {
	case vfs.Dir:
		dir := at // which has to be in the heap
		return c.directory(ctx, fd, &dir, c.node(st))
	case vfs.Regular:
		return c.file(ctx, fd, at)
	}
	return errors.New("changed its type while it was looked at")
}

// node is what a file is to be in the image.
func (c *copier) node(st *unix.Stat_t) vfs.NewNode {
	n := vfs.NewNode{
		Mode: vfs.Mode(st.Mode), UID: st.Uid, GID: st.Gid,
		Mtime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec),
	}
	if c.opt.Owner != nil {
		n.UID, n.GID = c.opt.Owner(n.UID, n.GID)
	}
	if !c.opt.MaxTime.IsZero() && n.Mtime.After(c.opt.MaxTime) {
		n.Mtime = c.opt.MaxTime
	}
	if n.Mode.IsDevice() {
		n.Rdev = vfs.Dev{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}
	}
	c.plain(&n)
	return n
}

// plain takes away what a plain copy does not preserve.
func (c *copier) plain(n *vfs.NewNode) {
	if c.opt.Plain {
		n.Mode, n.Mtime, n.Flags = n.Mode&(vfs.TypeMask|0o777), time.Time{}, 0
	}
}

// made tells of a file that was made.
func (c *copier) made(at *place, m Made) {
	c.done.Files++
	if c.opt.Made == nil {
		return
	}
	m.From, m.Path, m.Replaced = at.from(), at.to(), c.replaced
	c.opt.Made(m)
}

// A filler makes of a file that was made what its original is.
type filler interface {
	// whole returns all the contents, if they are so few that the file can be
	// made with them; otherwise nil.
	whole() ([]byte, error)
	// fill does the rest; whole says that the contents are there.
	fill(ctx context.Context, ino vfs.Ino, whole bool) error
}

// once makes a file, or a link to it if it was made under another name before.
func (c *copier) once(ctx context.Context, at place, key hostFile, names uint64, m Made, f filler) error {
	if at.name == "." {
		return syscall.ENOTDIR
	}
	c.replaced = false
	if names > 1 {
		if first, ok := c.links[key]; ok {
			err := c.link(ctx, first, at)
			if !errors.Is(err, syscall.EMLINK) && !beyond(err) {
				if err == nil {
					m.Link = true
					c.made(&at, m)
				}
				return err
			}
			// The file can have no more names, or no file can: another one begins.
		}
	}
	ino, err := c.put(ctx, at, m.Node, f)
	if err != nil {
		return err
	}
	if names > 1 {
		c.links[key] = ino
	}
	c.made(&at, m)
	return nil
}

// link gives a file in the image another name.
func (c *copier) link(ctx context.Context, first vfs.Ino, at place) error {
	_, err := c.fs.Link(ctx, first, at.dir, at.name)
	if !errors.Is(err, syscall.EEXIST) {
		return err
	}
	if there, err := c.fs.Lookup(ctx, at.dir, at.name); err == nil && there.Ino == first {
		return nil
	}
	return c.replace(ctx, at, func(temp string) error {
		_, err := c.fs.Link(ctx, first, at.dir, temp)
		return err
	})
}

// put makes a file of the image that is no directory, and fills it. If that
// fails, it is not there, and what was there before is.
func (c *copier) put(ctx context.Context, at place, node vfs.NewNode, f filler) (ino vfs.Ino, err error) {
	if node.Contents, err = f.whole(); err != nil {
		return 0, err
	}
	ino, err = c.fresh(ctx, at.dir, at.name, node, f)
	if err == nil || !errors.Is(err, syscall.EEXIST) {
		return ino, err
	}
	if c.opt.Plain && !c.opt.NoClobber && node.Mode.IsRegular() {
		there, err := c.fs.Lookup(ctx, at.dir, at.name)
		if err != nil {
			return 0, err
		}
		if there.Mode.IsRegular() {
			return there.Ino, c.refill(ctx, there.Ino, f)
		}
	}
	err = c.replace(ctx, at, func(temp string) error {
		made, err := c.fresh(ctx, at.dir, temp, node, f)
		ino = made
		return err
	})
	return ino, err
}

// fresh makes a file under a name that is not taken, and fills it.
func (c *copier) fresh(ctx context.Context, dir vfs.Ino, name string, node vfs.NewNode, f filler) (vfs.Ino, error) {
	attr, err := c.fs.Create(ctx, dir, name, node)
	if err != nil {
		return 0, err
	}
	if err := f.fill(ctx, attr.Ino, node.Contents != nil); err != nil {
		// Not even a cancelled context keeps a torn file.
		return 0, errors.Join(err, c.fs.Unlink(context.WithoutCancel(ctx), dir, name))
	}
	return attr.Ino, nil
}

// refill gives a file that is there new contents.
func (c *copier) refill(ctx context.Context, ino vfs.Ino, f filler) error {
	c.replaced = true
	zero := int64(0)
	if _, err := c.fs.Setattr(ctx, ino, vfs.SetAttr{Size: &zero}); err != nil {
		return err
	}
	return f.fill(ctx, ino, false)
}

// replace makes a file under a temporary name, and puts it in the place of what
// has its name.
func (c *copier) replace(ctx context.Context, at place, make func(temp string) error) error {
	there, err := c.fs.Lookup(ctx, at.dir, at.name)
	if err != nil {
		return err
	}
	switch {
	case c.opt.NoClobber:
		return syscall.EEXIST
	case there.Mode.IsDir():
		return fmt.Errorf("there is a directory of that name in the image: %w", syscall.EISDIR)
	}
	c.replaced = true
	for i := range 1000 {
		temp := fmt.Sprintf(".resflash-%d.part", i)
		err := make(temp)
		if errors.Is(err, syscall.EEXIST) {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.fs.Rename(ctx, at.dir, temp, at.dir, at.name, 0); err != nil {
			return errors.Join(err, c.fs.Unlink(context.WithoutCancel(ctx), at.dir, temp))
		}
		return nil
	}
	return syscall.EEXIST
}

// directory copies a directory with everything in it.
func (c *copier) directory(ctx context.Context, fd int, at *place, node vfs.NewNode) error {
	ino, isNew, err := c.enter(ctx, at, node)
	if err != nil {
		return err
	}
	entries, err := readDir(fd, c.buffer())
	if err != nil {
		return err
	}
	for _, e := range entries {
		open := e.typ == vfs.Regular || e.typ == vfs.Dir
		if err := c.add(ctx, fd, e.name, open, at.in(ino, e.name)); err != nil {
			return err
		}
	}
	if c.opt.Plain {
		return nil
	}
	// Now that nothing more is made in it, it gets its times, and the flags
	// that would have kept files out.
	if err := c.extended(ctx, hostAttrs{fd: fd}, ino); err != nil {
		return err
	}
	set := vfs.SetAttr{Atime: &node.Mtime, Mtime: &node.Mtime}
	if !isNew {
		set.Mode, set.UID, set.GID = &node.Mode, &node.UID, &node.GID
	}
	if flags := c.flags(fd); flags != 0 {
		set.Flags = &flags
	}
	return c.setattr(ctx, ino, set, 1)
}

// enter makes a directory of the image, or finds the one that is there.
func (c *copier) enter(ctx context.Context, at *place, node vfs.NewNode) (ino vfs.Ino, isNew bool, err error) {
	if at.name == "." {
		c.done.Files++
		return at.dir, false, nil
	}
	attr, err := c.fs.Create(ctx, at.dir, at.name, node)
	if err == nil {
		if c.first == 0 {
			c.first = attr.Ino
		}
		c.replaced = false
		c.made(at, Made{Node: node})
		return attr.Ino, true, nil
	}
	if !errors.Is(err, syscall.EEXIST) {
		return 0, false, err
	}
	if attr, err = c.fs.Lookup(ctx, at.dir, at.name); err != nil {
		return 0, false, err
	}
	if !attr.Mode.IsDir() {
		return 0, false, fmt.Errorf("there is a file of that name in the image: %w", syscall.ENOTDIR)
	}
	c.done.Files++
	return attr.Ino, false, nil
}
