// Package populate takes files of the host into an image: the way back of
// package export, and the fast way to fill a volume, without a mount.
//
// A directory is taken in the byte order of its names, files before
// directories, so that the same tree gives the same image and the files of a
// directory lie next to each other. Files that are not large are made whole, in
// one operation; of large ones the host copies the contents itself, if it can, or
// they are read and written in pieces. Holes stay holes.
//
// The host is walked from directory to directory by descriptors, and no
// symbolic link in the tree is followed.
package populate

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
)

// Options adjust what [Copy] does. The zero value keeps everything as it is on
// the host, replaces files that are in the way, and stops at the first error.
type Options struct {
	// Problem is told of every file that is left out, by its path on the host;
	// err names both places. If it is nil or returns an error, the copy ends
	// with that error. An image that is full always ends it.
	Problem func(path string, err error) error
	// Progress is told of bytes of contents that have been dealt with.
	Progress func(n int64)
	// Path is the path of the directory dir in the image, for messages.
	Path string
	// Owner says who owns in the image what uid and gid own on the host.
	Owner func(uid, gid uint32) (newUID, newGID uint32)
	// MaxTime is the latest modification time that a file may have; a later one
	// becomes this. It is what SOURCE_DATE_EPOCH asks for. The times of change
	// are those of the file system's own clock: see [vfs.Clocked].
	MaxTime time.Time
	// NoClobber leaves files of the image that exist as they are; each is
	// reported as a problem (EEXIST).
	NoClobber bool
	// Flags takes over immutable, append-only and no-dump, the flags of
	// chattr(1) that have a counterpart.
	Flags bool
	// AllXattrs copies extended attributes of every kind, not only the user's
	// own and ACLs.
	AllXattrs bool
	// Plain preserves no more than permissions (without set-id and sticky
	// bits), links, types and holes, as cp(1) does by itself: what is made is of
	// now, and a regular file that is there already gets new contents and stays
	// what it is in all else. A copy that fails may then leave it empty.
	Plain bool
	// Made is told of everything that was made, when it is complete. Nil: of
	// nothing.
	Made func(m Made)
}

// Made is a file that was made by a copy.
type Made struct {
	From, Path string // where it was, and where it is in the image
	Node       vfs.NewNode
	Size       int64
	Link       bool // it is another name of one that was made before
	Replaced   bool // something was there
}

// Result counts what [Copy] did, and what the image had no room for.
type Result struct {
	Files  int64 // everything that was made, directories as well
	Bytes  int64 // of contents
	Xattrs int64 // extended attributes that the file system cannot hold
	Flags  int64 // files with flags that the format has not
}

// Copy copies the file of the host at src, with everything below it, to name in
// the directory dir of fsys; the name "." stands for dir itself, which then
// takes up the contents of the directory src, and its attributes. A symbolic
// link at src is copied as a link, unless a slash follows.
//
// Preserved are owners, modes with their set-id bits, modification times,
// devices, FIFOs, sockets, symbolic links, hard links within the tree, and
// holes. The time of the last access is that of the modification: the host's
// depends on who has looked. A format without hard links gets copies of the
// file; owners, set-id bits and flags that it has not are left out.
//
// Files that exist are replaced, existing directories are filled up. What
// cannot be copied in full is not there at all. Nothing is committed.
func Copy(ctx context.Context, fsys vfs.WritableFS, src string, dir vfs.Ino, name string, opt Options) (Result, error) {
	c := newCopier(fsys, &opt)
	// The parent is opened through links, src itself is not, unless a slash
	// says that it is a directory.
	parent, base := filepath.Dir(src), filepath.Base(src)
	if base == "." || base == ".." || strings.HasSuffix(src, "/") {
		parent, base = src, "."
	}
	fd, err := unix.Open(parent, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return c.done, &os.PathError{Op: "open", Path: parent, Err: err}
	}
	defer unix.Close(fd)
	defer c.closer.flush()
	if err := c.add(ctx, fd, base, base == ".", c.start(strings.TrimRight(src, "/"), dir, name)); err != nil {
		return c.done, err
	}
	err = c.finishFlags(ctx)
	return c.done, err
}

// A hostFile is a file of the host, whatever its names.
type hostFile struct{ dev, ino uint64 }

type copier struct {
	fs     vfs.WritableFS
	xattrs vfs.XattrWriter // nil if fs has none
	host   vfs.HostWriter  // nil if fs is none
	opt    *Options
	links  map[hostFile]vfs.Ino // files with several names
	buf    []byte
	work   int // since the last pause
	done   Result
	closer closer
	item   hostItem // the file that is copied

	later    []flagged
	replaced bool    // what was made last, in place of something
	first    vfs.Ino // the first directory that was made
}

func newCopier(fsys vfs.WritableFS, opt *Options) *copier {
	c := &copier{fs: fsys, opt: opt, links: map[hostFile]vfs.Ino{}}
	c.xattrs, _ = fsys.(vfs.XattrWriter)
	c.host, _ = fsys.(vfs.HostWriter)
	c.item.c = c
	return c
}

// A place is where a file comes from and where it goes. Its paths are put
// together when somebody wants to know them.
type place struct {
	up   *place // nil: where the copy begins
	dir  vfs.Ino
	name string

	fromPath, toPath string // if up is nil
}

// start is where a copy begins.
func (c *copier) start(from string, dir vfs.Ino, name string) place {
	return place{dir: dir, name: name, fromPath: from, toPath: path.Join("/", c.opt.Path, name)}
}

// in is the place of a file of a directory whose place p is.
func (p *place) in(dir vfs.Ino, name string) place { return place{up: p, dir: dir, name: name} }

// from is the path of the original.
func (p *place) from() string {
	if p.up == nil {
		return p.fromPath
	}
	return p.up.from() + "/" + p.name
}

// to is the path in the image.
func (p *place) to() string {
	if p.up == nil {
		return p.toPath
	}
	return path.Join(p.up.to(), p.name)
}

// add copies the file base of the directory fd of the host. If it is known to be
// a regular file or a directory, it is opened right away, and then asked what
// it is: that saves looking it up twice.
func (c *copier) add(ctx context.Context, fd int, base string, open bool, at place) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.breathe(1)
	err := c.make(ctx, fd, base, open, at)
	if err == nil {
		return nil
	}
	var told *toldError
	if errors.As(err, &told) {
		return err
	}
	return c.problem(ctx, at, err)
}

// breathe makes a pause, if there was much work since the last one, which is
// counted in files. A goroutine that has none for 10 ms loses its processor in
// some system call, and the runtime's monitor stays awake for that: that took a
// fifteenth of the time of a copy.
func (c *copier) breathe(work int) {
	if c.work += work; c.work >= 128 {
		c.work = 0
		runtime.Gosched()
	}
}

// problem tells of a file that could not be copied.
func (c *copier) problem(ctx context.Context, at place, err error) error {
	err = &os.LinkError{Op: "copy", Old: at.from(), New: at.to(), Err: err}
	if c.opt.Problem == nil || ctx.Err() != nil || fatal(err) {
		return &toldError{err}
	}
	if err := c.opt.Problem(at.from(), err); err != nil {
		return &toldError{err}
	}
	return nil
}

// A toldError ends the copy, and says already where.
type toldError struct{ error }

func (e *toldError) Unwrap() error { return e.error }

// fatal says that the rest would fail as well.
func fatal(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EROFS)
}
