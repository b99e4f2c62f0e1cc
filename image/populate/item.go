package populate

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// A hostItem is the file of the host that is copied. There is one at a time.
type hostItem struct {
	c     *copier
	st    unix.Stat_t
	from  hostAttrs
	node  vfs.NewNode
	flags vfs.Flags
}

// file copies the regular file that fd is and that c.item.st is about.
func (c *copier) file(ctx context.Context, fd int, at place) error {
	return c.copyItem(ctx, at, hostAttrs{fd: fd}, c.flags(fd), "")
}

// special copies what has no contents to read: links, devices, FIFOs, sockets.
func (c *copier) special(ctx context.Context, fd int, base string, at place, target string) error {
	return c.copyItem(ctx, at, hostAttrs{fd: -1, path: fmt.Sprintf("/proc/self/fd/%d/%s", fd, base)}, 0, target)
}

func (c *copier) copyItem(ctx context.Context, at place, from hostAttrs, flags vfs.Flags, target string) error {
	it := &c.item
	it.from, it.flags, it.node = from, flags, c.node(&it.st)
	it.node.Target = target
	made := Made{Node: it.node}
	if it.node.Mode.IsRegular() {
		made.Size = it.st.Size
	}
	return c.once(ctx, at, hostFile{it.st.Dev, it.st.Ino}, uint64(it.st.Nlink), made, it)
}

func (it *hostItem) whole() ([]byte, error) {
	size := it.st.Size
	if !it.node.Mode.IsRegular() || size > bufferSize || it.st.Blocks*512 < size {
		return nil, nil
	}
	p := it.c.buffer()[:size]
	return p, it.c.read(it.from.fd, p, 0)
}

func (it *hostItem) fill(ctx context.Context, ino vfs.Ino, whole bool) error {
	c, wrote := it.c, false
	switch {
	case !it.node.Mode.IsRegular():
	case whole:
		c.wrote(int(it.st.Size))
	default:
		var err error
		if wrote, err = c.contents(ctx, it.from.fd, ino, &it.st); err != nil {
			return err
		}
	}
	if c.opt.Plain {
		return nil
	}
	if err := c.extended(ctx, it.from, ino); err != nil {
		return err
	}
	if !wrote && it.flags == 0 {
		return nil
	}
	set := vfs.SetAttr{Atime: &it.node.Mtime, Mtime: &it.node.Mtime}
	if it.node.Mode&(vfs.SetUID|vfs.SetGID) != 0 {
		set.Mode = &it.node.Mode // writing may have cleared them
	}
	if it.flags != 0 {
		set.Flags = &it.flags
	}
	return c.setattr(ctx, ino, set, uint64(it.st.Nlink))
}
