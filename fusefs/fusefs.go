// Package fusefs mounts file systems for reading through FUSE, as an ordinary
// user.
//
// What is mounted are [Volume]s: a [vfs.FS] with a name. [MountOne] mounts a
// single one; [MountVolumes] mounts several, each as a directory of its own;
// [MountTree] mounts one as the root and the others over directories in it, as
// the system in the image would.
//
// The person who mounts may read everything in the image: owners and modes are
// shown as stored, but the kernel is not asked to enforce them. Nobody else
// gets in, unless with AllowOther, and then everybody reads everything. Device
// nodes are shown and cannot be opened, set-id bits are shown and have no
// effect (nodev, nosuid); everything that would write fails with EROFS.
//
// # How it works
//
// A vfs.FS names files by inode number, and FUSE names them by a node number
// of 64 bits. One is made into the other by arithmetic (see node.go), so there
// are no objects per file, no locks, and nothing to forget: a million looked-up
// files cost nothing here. For the same reason there are no handles: files and
// directories are opened without a message, where the kernel can (Linux 3.16
// and 5.1).
//
// An image that is mounted for reading does not change. So names, missing
// names, attributes, symbolic links, directory listings and contents may stay
// in the kernel's caches for as long as it likes.
//
// Inode numbers: st_ino is volume<<48 | inode number, where the volume that is
// the root of the mount is 0. A file whose inode number needs more than 48
// bits cannot be told apart from others, and looking it up fails with
// EOVERFLOW; no known format has one.
//
// Nothing here parses an image, and nothing above the package knows go-fuse.
package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// Volume is a file system to mount.
type Volume struct {
	Name    string         // of its directory, for [MountVolumes]
	Aliases []string       // symbolic links to that directory
	FS      vfs.FS         // must stay open until the mount has ended
	Device  blockio.Device // what FS was opened on, to splice from; may be nil
}

// Options change how a mount is made. The zero value is good.
type Options struct {
	// FSName is what df(1) and findmnt(8) show as the source: the path of the
	// image.
	FSName string
	// AllowOther lets every user of the host read everything in the image.
	// Ordinary users may set it only if /etc/fuse.conf has user_allow_other.
	AllowOther bool
	// Debug logs every request.
	Debug bool
	// MaxReadAhead is how far the kernel reads ahead, in bytes. 0 is 512 KiB
	// for root; for ordinary users the kernel allows 128 KiB and no more.
	MaxReadAhead int
	// Logf gets what goes wrong while the mount is in use: damage in the
	// image (each structure once) and bugs. nil is log.Printf.
	Logf func(format string, args ...any)
}

// Graft says over which directory of the tree a volume is mounted.
type Graft struct {
	Path   string // absolute, in the tree as it is with the grafts before this one
	Volume int    // index in the volumes given
}

// Server is a mount that is being served.
type Server struct {
	fuse *fuse.Server
	at   *mountPoint
	done chan struct{} // closed when the last request has been answered
}

// MountOne mounts a volume; its root directory is dir.
func MountOne(dir string, vol Volume, opt Options) (*Server, error) {
	return MountTree(dir, []Volume{vol}, nil, opt)
}

// MountVolumes mounts every volume on a directory of its own name below dir,
// with its aliases as symbolic links to it.
func MountVolumes(dir string, vols []Volume, opt Options) (*Server, error) {
	shelf, err := newShelf(vols)
	if err != nil {
		return nil, err
	}
	all := append([]Volume{{FS: shelf}}, vols...)
	grafts := make([]Graft, len(vols))
	for i, vol := range vols {
		grafts[i] = Graft{Path: "/" + vol.Name, Volume: i + 1}
	}
	return MountTree(dir, all, grafts, opt)
}

// MountTree mounts vols[0] on dir, and others over directories in it, in the
// order given. A path that is not there, or is no directory, is an error: the
// caller knows whether the tree makes sense without it. Symbolic links in the
// path are not followed.
func MountTree(dir string, vols []Volume, grafts []Graft, opt Options) (*Server, error) {
	if len(vols) == 0 {
		return nil, errors.New("nothing to mount")
	}
	if opt.Logf == nil {
		opt.Logf = log.Printf
	}
	raw, err := newRaw(vols, opt.Logf)
	if err != nil {
		return nil, err
	}
	for _, graft := range grafts {
		if err := raw.graft(context.Background(), graft); err != nil {
			return nil, fmt.Errorf("mount volume %d on %s: %w", graft.Volume, graft.Path, err)
		}
	}
	return serve(dir, raw, opt)
}

// requestMax is the largest read the kernel may ask for, in bytes. An answer
// that is spliced must fit into a pipe with its header, and the pipes of
// ordinary users end at 1 MiB.
const requestMax = 512 << 10

func serve(dir string, raw *raw, opt Options) (*Server, error) {
	at, fd, err := mount(dir, opt)
	if err != nil {
		return nil, err
	}
	logger := log.New(logWriter(raw.logOnceWriter(opt.Debug)), "", 0)
	srv, err := fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		Name:          fsType,
		Debug:         opt.Debug,
		Logger:        logger,
		MaxWrite:      requestMax, // go-fuse: also of reads
		MaxReadAhead:  opt.MaxReadAhead,
		MaxBackground: 64, // requests of read-ahead in flight
		// The image does not change: no need to drop what is cached.
		ExplicitDataCacheControl: true,
		EnableSymlinkCaching:     true,
		ExtraCapabilities:        fuse.CAP_NO_OPENDIR_SUPPORT,
		PanicHandler:             raw.panicked,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mount on %s: %w", dir, err), at.unmount(true))
	}
	s := &Server{fuse: srv, at: at, done: make(chan struct{})}
	go func() {
		srv.Serve()
		close(s.done)
	}()
	at.disarmPoll()
	at.readAhead(opt.MaxReadAhead)
	return s, nil
}

// Wait returns when the mount has ended, by Unmount or by the hand of someone
// else.
func (s *Server) Wait() { <-s.done }

// Dir is the absolute path of the mount point.
func (s *Server) Dir() string { return s.at.dir }

// detachTimeout is how long Unmount waits for the kernel to let go.
const detachTimeout = 10 * time.Second

// Unmount ends the mount, and waits until the last request has been answered.
// While a program has a file open below the mount point, or its working
// directory there, the error is a [*MountError] that wraps EBUSY. Unmounting
// what is unmounted already is no error.
func (s *Server) Unmount() error { return s.end(false) }

// Detach takes the mount out of the tree at once; programs that have files
// open there may go on reading, and Wait returns when they are done.
func (s *Server) Detach() error { return s.end(true) }

func (s *Server) end(lazy bool) error {
	select {
	case <-s.done:
		return nil
	default:
	}
	if err := s.at.unmount(lazy); err != nil {
		select {
		case <-s.done: // someone else was faster
			return nil
		default:
			return err
		}
	}
	if lazy {
		return nil
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(detachTimeout):
		return &MountError{Op: "unmount", Dir: s.at.dir, Err: syscall.EBUSY,
			Hint: "it is gone here, but still in use in another mount namespace (a container?)"}
	}
}

// MountError says why something could not be mounted or unmounted.
type MountError struct {
	Op   string // "mount on" or "unmount"
	Dir  string
	Err  error
	Hint string // what the person can do about it; may be empty
}

func (e *MountError) Error() string {
	s := fmt.Sprintf("%s %s: %v", e.Op, e.Dir, e.Err)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *MountError) Unwrap() error { return e.Err }

// Reasons why nothing can be mounted on this host, or not there. A
// [*MountError] wraps them.
var (
	ErrNoDevice  = errors.New("the kernel has no FUSE: /dev/fuse is missing")
	ErrNoAccess  = errors.New("no permission to use /dev/fuse")
	ErrNoHelper  = errors.New("the program fusermount3 is missing")
	ErrNotEmpty  = errors.New("the directory is not empty")
	ErrDead      = errors.New("a mount that nobody serves any more is in the way")
	errNotFolder = syscall.ENOTDIR
)

// checkDir returns the absolute path of dir, free of symbolic links, if it is
// a directory that can be mounted on. Mounting over files hides them, which is
// never what was meant.
func checkDir(dir string) (string, error) {
	fail := func(err error, hint string) (string, error) {
		return "", &MountError{Op: "mount on", Dir: dir, Err: err, Hint: hint}
	}
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	switch {
	case errors.Is(err, syscall.ENOTCONN):
		return fail(ErrDead, "fusermount3 -u "+dir)
	case errors.Is(err, fs.ErrNotExist):
		return fail(syscall.ENOENT, "mkdir "+dir)
	case err != nil:
		return fail(reason(err), "")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return fail(errNotFolder, "")
	case errors.Is(err, syscall.ENOTCONN):
		return fail(ErrDead, "fusermount3 -u "+dir)
	case err != nil:
		return fail(reason(err), "")
	}
	defer f.Close()
	if names, _ := f.Readdirnames(1); len(names) > 0 {
		return fail(ErrNotEmpty, "")
	}
	return path, nil
}

// reason takes the path off an error that will name it anyway.
func reason(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// logWriter turns lines into calls of a Logf.
type logWriter func(format string, args ...any)

func (w logWriter) Write(p []byte) (int, error) {
	w("%s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// once reports whether something is to be logged: not when it was before, and
// not when very much was. An image can be damaged in a million places.
type once struct {
	mu   sync.Mutex
	seen map[string]struct{}
}

const onceMax = 1000

func (o *once) first(key string) (log, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = map[string]struct{}{}
	}
	if _, ok := o.seen[key]; ok || len(o.seen) >= onceMax {
		return false, false
	}
	o.seen[key] = struct{}{}
	return true, len(o.seen) == onceMax
}
