package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// CopyOptions adjust what [Copy] does.
type CopyOptions struct {
	Options
	// NoClobber leaves files of the host that exist as they are; each is
	// reported as a problem (EEXIST).
	NoClobber bool
	// Owners gives the copies the owners that they have in the image.
	Owners bool
	// AllXattrs copies extended attributes of every kind, not only the user's
	// own and ACLs.
	AllXattrs bool
}

// Copied counts what [Copy] did, and what the host did not let it do.
type Copied struct {
	Files   int64 // everything that was made, directories as well
	Bytes   int64 // of contents
	Devices int64 // left out: only root may make devices
	Owners  int64 // files that belong to the caller instead
	Xattrs  int64 // extended attributes that the host refused
}

// Copy copies the file at src, with everything below it, to name in the
// directory dir of the host; the name "." stands for dir itself, which then
// takes up the contents of the directory src. A symbolic link at src is copied
// as a link.
//
// Preserved are modes, times, symbolic and hard links, holes, FIFOs, sockets,
// and as far as the host lets it devices, owners and extended attributes. A
// set-id bit is kept only together with its owner.
//
// Every file is written under a temporary name and renamed when it is
// complete. Existing files are replaced, existing directories are filled up;
// symbolic links of the host are neither replaced nor followed.
func Copy(ctx context.Context, tree *vfs.Tree, src, dir, name string, opt CopyOptions) (Copied, error) {
	root, err := openHostDir(dir)
	if err != nil {
		return Copied{}, err
	}
	c := &copier{tree: tree, opt: &opt, name: name, buf: make([]byte, bufferSize)}
	c.stack = []level{{dir: root, path: ""}}
	err = WalkLink(ctx, tree, src, &opt.Options, func(e *Entry) error { return c.add(ctx, e) })
	for len(c.stack) > 0 {
		err = errors.Join(err, c.pop())
	}
	return c.done, err
}

// A level is a directory that is being filled.
type level struct {
	dir  *hostDir
	path string // Entry.Path, "" for the directory above the start
	real string // Entry.Real
	attr vfs.Attr
}

type copier struct {
	tree    *vfs.Tree
	opt     *CopyOptions
	name    string // of the start's copy
	started bool
	stack   []level
	buf     []byte
	done    Copied
}

// pop leaves the innermost directory; now that nothing more is made in it, it
// gets its mode and times.
func (c *copier) pop() error {
	l := c.stack[len(c.stack)-1]
	c.stack = c.stack[:len(c.stack)-1]
	defer l.dir.close()
	if l.path == "" {
		return nil
	}
	if err := c.attributes(l.dir.fd, l.dir, "", &l.attr); err != nil {
		return c.opt.problem(l.real, err)
	}
	return nil
}

// add copies one file.
func (c *copier) add(ctx context.Context, e *Entry) error {
	name := path.Base(e.Path)
	if !c.started {
		name, c.started = c.name, true
	}
	for len(c.stack) > 1 && !inside(e.Path, c.stack[len(c.stack)-1].path) {
		if err := c.pop(); err != nil {
			return err
		}
	}
	err := c.make(ctx, e, name)
	if err == nil {
		c.done.Files++
		return nil
	}
	e.LeftOut = true
	if fatal(ctx, err) {
		return err
	}
	var left leftOut
	if !errors.As(err, &left) {
		err = c.opt.problem(e.Real, err)
	} else {
		err = nil
	}
	if err == nil && e.Attr.Mode.IsDir() {
		err = fs.SkipDir
	}
	return err
}

// leftOut is the error of what was counted and needs no report of its own.
type leftOut struct{}

func (leftOut) Error() string { return "left out" }

// inside reports whether the file at p lies in the directory dir.
func inside(p, dir string) bool {
	return dir == "." && p != "." || strings.HasPrefix(p, dir) && len(p) > len(dir) && p[len(dir)] == '/'
}

func (c *copier) make(ctx context.Context, e *Entry, name string) error {
	top := c.stack[len(c.stack)-1].dir
	a := &e.Attr
	if a.Mode.IsDir() && len(c.stack) == 1 && c.name == "." {
		fd, err := unix.Dup(top.fd)
		if err != nil {
			return err
		}
		unix.CloseOnExec(fd)
		c.stack = append(c.stack, level{newHostDir(fd), e.Path, e.Real, *a})
		return nil
	}
	if err := safeName(name); err != nil {
		return fmt.Errorf("name %q: %w", name, err)
	}
	if a.Mode.IsDir() {
		dir, err := top.enter(name)
		if err != nil {
			return err
		}
		c.stack = append(c.stack, level{dir, e.Path, e.Real, *a})
		return nil
	}
	if e.First != "" {
		// The start is at level 1 if it is a directory, and then all paths
		// are relative to it; otherwise there is only one file.
		return top.linkTo(c.stack[1].dir, e.First, name, c.placing(a))
	}
	switch a.Mode.Type() {
	case vfs.Regular:
		return c.file(ctx, e, top, name)
	case vfs.Symlink:
		return c.special(top, name, a, func(tmp string) error { return unix.Symlinkat(e.Target, top.fd, tmp) })
	case vfs.FIFO, vfs.Socket, vfs.Char, vfs.Block:
		mode := uint32(a.Mode.Type()) | 0o600
		dev := int(a.Rdev.Linux())
		if !a.Mode.IsDevice() {
			dev = 0
		}
		err := c.special(top, name, a, func(tmp string) error { return unix.Mknodat(top.fd, tmp, mode, dev) })
		if err == unix.EPERM && a.Mode.IsDevice() {
			c.done.Devices++
			return leftOut{}
		}
		return err
	}
	return fmt.Errorf("file type %#o does not exist on this host", uint32(a.Mode.Type()))
}

// special makes something without contents.
func (c *copier) special(d *hostDir, name string, a *vfs.Attr, mk func(tmp string) error) error {
	return d.place(name, c.placing(a), func(tmp string) error {
		if err := mk(tmp); err != nil {
			return err
		}
		if err := c.attributes(-1, d, tmp, a); err != nil {
			unix.Unlinkat(d.fd, tmp, 0)
			return err
		}
		return nil
	})
}

func (c *copier) placing(a *vfs.Attr) placing {
	return placing{keep: c.opt.NoClobber, link: a.Mode.IsSymlink()}
}

// file copies a regular file, holes as holes.
func (c *copier) file(ctx context.Context, e *Entry, d *hostDir, name string) error {
	return d.place(name, c.placing(&e.Attr), func(tmp string) error {
		fd, err := unix.Openat(d.fd, tmp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), tmp)
		if err := c.fill(ctx, f, e, d); err != nil {
			f.Close()
			unix.Unlinkat(d.fd, tmp, 0)
			return err
		}
		// Full disks and quotas may show only now.
		if err := f.Close(); err != nil {
			unix.Unlinkat(d.fd, tmp, 0)
			return hostError(err)
		}
		return nil
	})
}

func (c *copier) fill(ctx context.Context, f *os.File, e *Entry, d *hostDir) error {
	runs, err := Runs(ctx, c.tree.FS(), e.Attr)
	if err != nil {
		return err
	}
	if len(runs) == 0 || runs[len(runs)-1].End() < e.Attr.Size {
		if err := f.Truncate(e.Attr.Size); err != nil {
			return hostError(err)
		}
	}
	for _, r := range runs {
		err := stream(ctx, c.tree.FS(), e.Attr.Ino, r, c.buf, func(p []byte, off int64) error {
			n, err := f.WriteAt(p, off)
			c.done.Bytes += int64(n)
			c.opt.progress(int64(n))
			return err
		})
		if err != nil {
			return hostError(err)
		}
	}
	return c.attributes(int(f.Fd()), d, "", &e.Attr)
}

// hostError marks a host that is full as the end of the whole copy, and takes
// the temporary name out of an error.
func hostError(err error) error {
	var sink *sinkError
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	} else if errors.As(err, &sink) {
		err = sink.err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS) {
		return &sinkError{err}
	}
	return err
}
