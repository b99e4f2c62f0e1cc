package export

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// attributes gives owner, extended attributes, mode and times to the file open
// as fd, or (fd is -1) to name in d.
func (c *copier) attributes(fd int, d *hostDir, name string, a *vfs.Attr) error {
	at := d
	if fd >= 0 {
		at, name = &hostDir{fd: fd}, ""
	}
	owned := false
	if c.opt.Owners {
		var err error
		if owned, err = at.setOwner(name, a); err != nil {
			return err
		}
		if !owned {
			c.done.Owners++
		}
	}
	if err := c.xattrs(at.fd, name, a); err != nil {
		return err
	}
	if !a.Mode.IsSymlink() {
		mode := uint32(a.Mode.Perm())
		// A program that runs as somebody must not run as somebody else.
		if !owned && (a.UID != uint32(os.Geteuid()) || a.GID != uint32(os.Getegid())) {
			mode &^= uint32(vfs.SetUID | vfs.SetGID)
		}
		var err error
		if fd >= 0 {
			err = unix.Fchmod(fd, mode)
		} else {
			// The file is new and ours, so it is no symbolic link.
			err = unix.Fchmodat(d.fd, name, mode, 0)
		}
		if err != nil {
			return err
		}
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	var err error
	if fd >= 0 {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, procPath(fd, ""), timespecs(a), 0)
	} else {
		err = unix.UtimesNanoAt(d.fd, name, timespecs(a), flags)
	}
	return err
}

func (c *copier) xattrs(fd int, name string, a *vfs.Attr) error {
	x, ok := c.tree.FS().(vfs.Xattrer)
	if !ok {
		return nil
	}
	attrs, err := x.Xattrs(context.Background(), a.Ino)
	if err != nil {
		return fmt.Errorf("extended attributes: %w", err)
	}
	keys := make([]string, 0, len(attrs))
	for k := range attrs {
		if c.opt.AllXattrs || strings.HasPrefix(k, "user.") || strings.HasPrefix(k, "system.posix_acl_") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if name == "" {
			err = unix.Fsetxattr(fd, k, attrs[k], 0)
		} else {
			err = unix.Lsetxattr(procPath(fd, name), k, attrs[k], 0)
		}
		if err != nil {
			// What the host's file system has no room or name for is counted,
			// not a reason to lose the file.
			c.done.Xattrs++
		}
	}
	return nil
}
