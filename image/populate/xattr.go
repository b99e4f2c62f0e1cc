package populate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// hostAttrs is where the extended attributes of a file of the host are: at fd
// or, if path is not empty, at path, which may be a symbolic link.
type hostAttrs struct {
	fd   int
	path string
}

func (h hostAttrs) list(p []byte) (int, error) {
	if h.path != "" {
		return unix.Llistxattr(h.path, p)
	}
	return unix.Flistxattr(h.fd, p)
}

func (h hostAttrs) get(name string, p []byte) (int, error) {
	if h.path != "" {
		return unix.Lgetxattr(h.path, name, p)
	}
	return unix.Fgetxattr(h.fd, name, p)
}

// whole calls read with room for all that it wants to say.
func whole(read func(p []byte) (int, error)) ([]byte, error) {
	for {
		n, err := read(nil)
		if err != nil || n == 0 {
			return nil, err
		}
		p := make([]byte, n)
		n, err = read(p)
		if err != unix.ERANGE { // it grew
			return p[:max(n, 0)], err
		}
	}
}

// extended copies the extended attributes of a file of the host. What the image
// has no room or name for is counted, not a reason to lose the file.
func (c *copier) extended(ctx context.Context, from hostAttrs, ino vfs.Ino) error {
	list, err := whole(from.list)
	if err != nil || len(list) == 0 {
		if err == unix.ENOTSUP {
			err = nil
		}
		return err
	}
	names := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	slices.Sort(names)
	for _, name := range names {
		if !c.opt.AllXattrs && !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
			continue
		}
		value, err := whole(func(p []byte) (int, error) { return from.get(name, p) })
		if err == unix.ENODATA {
			continue // gone meanwhile
		}
		if err != nil {
			return err
		}
		if err := c.setXattr(ctx, ino, name, value); err != nil {
			return err
		}
	}
	return nil
}

// setXattr sets an extended attribute, or counts it as one that the image
// cannot hold.
func (c *copier) setXattr(ctx context.Context, ino vfs.Ino, name string, value []byte) error {
	if c.xattrs == nil {
		c.done.Xattrs++
		return nil
	}
	err := c.xattrs.SetXattr(ctx, ino, name, value, false, false)
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.E2BIG) {
		c.done.Xattrs++
		return nil
	}
	return err
}
