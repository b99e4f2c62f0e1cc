package customize

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/populate"
	"github.com/resflash/resflash/image/vfs"
)

// upload copies one file of the host.
type upload struct{ local, path string }

func parseUpload(arg string) (Operation, error) {
	local, path, err := cutArg(arg)
	if err == nil {
		err = checkPath(path)
	}
	return upload{local, path}, err
}

func (o upload) Apply(ctx context.Context, e *Editor) error {
	f, err := os.Open(o.local)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		return fmt.Errorf("%s: %w: copy-in copies those", o.local, syscall.EISDIR)
	}
	dest, err := e.into(ctx, o.path, filepath.Base(o.local))
	if err != nil {
		return err
	}
	mode := vfs.Mode(st.Mode().Perm())
	for bit, set := range map[os.FileMode]vfs.Mode{os.ModeSetuid: vfs.SetUID, os.ModeSetgid: vfs.SetGID, os.ModeSticky: vfs.Sticky} {
		if st.Mode()&bit != 0 {
			mode |= set
		}
	}
	return e.WriteFrom(ctx, dest, &interruptible{ctx, f}, vfs.NewNode{Mode: vfs.Regular | mode})
}

func (o upload) String() string { return "upload " + o.local + ":" + o.path }

// interruptible is a reader that ends with the context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// copyIn copies a file or a tree of the host into a directory, as cp -a does:
// files that exist are replaced. Everything belongs to 0:0.
type copyIn struct{ local, dir string }

func parseCopyIn(arg string) (Operation, error) {
	local, dir, err := cutArg(arg)
	if err == nil {
		err = checkPath(dir)
	}
	return copyIn{local, dir}, err
}

func (o copyIn) Apply(ctx context.Context, e *Editor) error {
	attr, err := e.Stat(ctx, o.dir)
	if err == nil && !attr.Mode.IsDir() {
		err = pathError("copy", o.dir, syscall.ENOTDIR)
	}
	if err != nil {
		return err
	}
	name := filepath.Base(o.local)
	if name == "." || name == ".." || strings.HasSuffix(o.local, "/.") {
		name = "."
	}
	return e.copyIn(ctx, o.local, o.dir, name)
}

func (o copyIn) String() string { return "copy-in " + o.local + ":" + o.dir }

// copyIn copies a file of the host to a name in a directory; "." is the
// directory itself.
func (e *Editor) copyIn(ctx context.Context, local, dir, name string) error {
	in, err := e.changeFound(ctx, dir, true)
	if err != nil {
		return pathError("copy", dir, err)
	}
	under := join(in.path, name)
	if name == "." {
		under = in.path
	}
	if name == "." || e.mountedIn(under) {
		// A copy stays in its volume, so what others are mounted in is copied
		// name by name.
		if name != "." {
			if err := e.MkdirAll(ctx, dir+"/"+name, vfs.NewNode{Mode: vfs.Dir | 0o755}); err != nil {
				return err
			}
			dir = strings.TrimRight(dir, "/") + "/" + name
		}
		list, err := os.ReadDir(local)
		if err != nil {
			return err
		}
		for _, f := range list {
			if err := e.copyIn(ctx, filepath.Join(local, f.Name()), dir, f.Name()); err != nil {
				return err
			}
		}
		return nil
	}
	if err := e.log.touchHost(ctx, in, local, name); err != nil {
		return err
	}
	opt := populate.Options{Owner: func(uint32, uint32) (uint32, uint32) { return 0, 0 }, Path: in.own}
	if e.opt.Epoch != nil {
		opt.MaxTime = *e.opt.Epoch
	}
	done, err := populate.Copy(ctx, in.vol.w, local, in.attr.Ino, name, opt)
	if done.Xattrs > 0 {
		e.note("%d extended attributes left out: the volume cannot hold them", done.Xattrs)
	}
	return err
}

// mountedIn reports whether a volume is mounted at a path or below.
func (e *Editor) mountedIn(dir string) bool {
	for at := range e.mounts {
		if at == dir || strings.HasPrefix(at, dir+"/") {
			return true
		}
	}
	return false
}

// touchHost is touch for what a copy of a tree of the host is going to replace.
func (r *record) touchHost(ctx context.Context, in place, local, name string) error {
	if !r.on {
		return nil
	}
	root := strings.TrimRight(local, "/")
	return filepath.WalkDir(root, func(host string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		own := path.Join(in.own, name, strings.TrimPrefix(host, root))
		attr, err := in.vol.lookup(ctx, own)
		if err != nil {
			return err
		}
		return r.touchFile(ctx, in.vol, own, attr)
	})
}
