// Package export takes files out of an image: as a tar archive ([Tar]), as an
// mtree(5) manifest ([Mtree]), or as files of the host ([Copy]).
//
// All three go the same way: the files below a start, parents first, names in
// byte order, each as an [Entry] with its path relative to the start. A file
// with several names is an entry with contents once, and a link to its first
// name after that. What cannot be read is handed to [Options.Problem] and left
// out, and the rest goes on.
//
// Contents are streamed in pieces of 1 MiB and holes are never read: [Runs]
// finds the parts of a file that hold data.
//
// Nothing here writes to an image, and nothing follows a symbolic link of the
// image on the host.
package export

import (
	"context"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// Options say how to deal with what goes wrong, and who wants to watch.
type Options struct {
	// Problem is told of every file that is left out, or incomplete. Its path
	// is that of the file in the volume ("/etc/fstab"). If it is nil or
	// returns an error, the export ends with that error.
	Problem func(path string, err error) error
	// Progress is told of bytes of contents that have been dealt with.
	Progress func(n int64)
}

func (o *Options) problem(path string, err error) error {
	if o.Problem == nil {
		return &fs.PathError{Op: "export", Path: path, Err: err}
	}
	return o.Problem(path, err)
}

func (o *Options) progress(n int64) {
	if o.Progress != nil {
		o.Progress(n)
	}
}

// An Entry is one file on the way.
type Entry struct {
	// Path is relative to the start and clean: "etc/fstab". The start itself
	// is "." if it is a directory, and its own name if it is not.
	Path string
	// Real is the absolute path in the volume.
	Real string
	Attr vfs.Attr
	// Target is what a symbolic link points to.
	Target string
	// First is the Path of the first name of a file of which this is another
	// name, and empty otherwise.
	First string
	// LeftOut is set by the receiver when this name did not make it, so that
	// no other name is made a link to it.
	LeftOut bool
}

// errTwice says that a directory is met a second time. File systems have no
// hard links to directories; following them could take for ever.
const errTwice = "has two parents (a hard link to a directory)"

// Walk calls fn for the file at start, which may be a symbolic link, and for
// everything below it. fn may return [fs.SkipDir] for a directory.
func Walk(ctx context.Context, tree *vfs.Tree, start string, opt *Options, fn func(e *Entry) error) error {
	real, attr, err := tree.RealPath(ctx, start)
	if err != nil {
		return err
	}
	return walkReal(ctx, tree, real, attr.Mode.IsDir(), opt, fn)
}

// WalkLink is [Walk] for a start that is taken as it is when it is a symbolic
// link.
func WalkLink(ctx context.Context, tree *vfs.Tree, start string, opt *Options, fn func(e *Entry) error) error {
	attr, err := tree.ResolveLink(ctx, start)
	if err != nil {
		return err
	}
	if attr.Mode.IsDir() {
		return Walk(ctx, tree, start, opt, fn)
	}
	dir, _, err := tree.RealPath(ctx, parent(start))
	if err != nil {
		return err
	}
	return walkReal(ctx, tree, path.Join(dir, path.Base(start)), false, opt, fn)
}

// parent is path.Dir without its cleaning, which would take "link/.." for ".".
func parent(p string) string {
	p = strings.TrimRight(p, "/")
	return p[:strings.LastIndexByte(p, '/')+1]
}

func walkReal(ctx context.Context, tree *vfs.Tree, real string, dir bool, opt *Options, fn func(e *Entry) error) error {
	base := strings.TrimSuffix(real, "/") + "/"
	if !dir {
		base = real[:strings.LastIndexByte(real, '/')+1]
	}
	seen := map[vfs.Ino]struct{}{} // directories
	first := map[vfs.Ino]string{}  // files with several names
	return tree.Walk(ctx, real, func(p string, attr vfs.Attr, err error) error {
		e := Entry{Path: ".", Real: p, Attr: attr}
		if len(p) > len(base) {
			e.Path = p[len(base):]
		}
		if err != nil {
			return opt.problem(p, err)
		}
		switch {
		case attr.Mode.IsDir():
			if _, twice := seen[attr.Ino]; twice {
				if err := opt.problem(p, vfs.Corruptf(-1, "directory", errTwice)); err != nil {
					return err
				}
				return fs.SkipDir
			}
			seen[attr.Ino] = struct{}{}
		case attr.Nlink > 1:
			e.First = first[attr.Ino]
		}
		if attr.Mode.IsSymlink() {
			if e.Target, err = tree.FS().Readlink(ctx, attr.Ino); err != nil {
				return opt.problem(p, err)
			}
		}
		if err := fn(&e); err != nil {
			return err
		}
		if e.First == "" && attr.Nlink > 1 && !attr.Mode.IsDir() && !e.LeftOut {
			first[attr.Ino] = e.Path
		}
		return nil
	})
}

// safeName reports whether a name from an image may be used as the name of a
// file of the host. Drivers refuse such names already; this is the second lock
// on the door.
func safeName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return syscall.EINVAL
	}
	return nil
}
