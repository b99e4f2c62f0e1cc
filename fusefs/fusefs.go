// Package fusefs mounts file systems through FUSE, as an ordinary user.
//
// What is mounted are [Volume]s: a [vfs.FS] with a name. [MountOne] mounts a
// single one; [MountVolumes] mounts several, each as a directory of its own;
// [MountTree] mounts one as the root and the others over directories in it, as
// the system in the image would.
//
// A volume whose FS is a [vfs.WritableFS] is mounted for writing, unless the
// options say otherwise. In the others everything that would write fails with
// EROFS, and so it does in the directory that holds the volumes.
//
// # Whose files
//
// The person who mounts may read and change everything in the image: owners
// and modes are shown as stored, but the kernel is not asked to enforce them.
// Nobody else gets in, unless with AllowOther, and then everybody may do
// everything. Device nodes are shown and cannot be opened, set-id bits are
// shown and have no effect (nodev, nosuid).
//
// What is new belongs to 0:0, as it does when root installs a system, or to
// whom the options say; in a set-group-id directory, to the group of that.
// (Programs that ask whether a file is their user's own, as git does, are
// content only with KeepOwner.) The umask of the one who makes it applies.
// Modes, owners and times are stored as given, with one exception that every
// file system makes: set-id bits go when a file changes hands, and when someone
// who is not root writes to it.
//
// Some things the kernel decides before anybody asks here, by the owners and
// modes that it sees. To an ordinary user it refuses, for files that are not
// recorded as theirs: making device nodes (EPERM, whatever the file system);
// chattr(1) and opening with O_NOATIME (EPERM); hard links to what is no
// regular file, or has set-id bits (EPERM, fs.protected_hardlinks); extended
// attributes in the namespaces trusted and security. Root, and the commands that
// edit an image without mounting it, are not so restricted. The sticky bit of a
// directory restricts nobody: who mounts acts as the owner of everything.
//
// A file that is immutable or append-only can be opened for writing, since
// nobody asks here, but not written to.
//
// # When changes are saved
//
// Changes become durable all together, in a commit: when a program asks with
// fsync(2), every few seconds, and when the mount ends (see commit.go). A crash
// takes back what came after the last one, and leaves no damage.
//
// # How it works
//
// A vfs.FS names files by inode number, and FUSE names them by a node number
// of 64 bits. One is made into the other by arithmetic (see node.go), so there
// are no objects per file. There are no handles either: files and directories
// are opened without a message, where the kernel can (Linux 3.16 and 5.1). Of a
// volume that is only read there is nothing to forget: a million looked-up
// files cost nothing here. Of one that is written to, the references that the
// kernel holds are counted, so that a file lives on without a name while it is
// open (see refs.go).
//
// An image that is mounted for reading does not change, and all changes to one
// that is mounted for writing come through the kernel, which knows what they
// make untrue. So names, missing names, attributes, symbolic links, directory
// listings and contents may stay in the kernel's caches.
//
// Writes go through the kernel's cache at once, in requests of up to 1 MiB that
// are passed on without being copied. Writing back later would make nothing
// faster: a small file is one write anyway, and every file written would need
// another request for its times.
//
// Most of what a small request costs is waking: the program wakes the server, and
// is woken by it. So one goroutine reads the requests, answers by itself what is
// answered quickly, and asks for the next one a few times before it sleeps (see
// loop.go).
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

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// Volume is a file system to mount.
type Volume struct {
	Name    string         // of its directory, for [MountVolumes]
	Aliases []string       // symbolic links to that directory
	FS      vfs.FS         // must stay open until the mount has ended
	Device  blockio.Device // what FS was opened on, to splice from; may be nil
	// ReadOnly keeps the volume from being written to, even if it can be.
	ReadOnly bool
}

// Options change how a mount is made. The zero value is good.
type Options struct {
	// FSName is what df(1) and findmnt(8) show as the source: the path of the
	// image.
	FSName string
	// AllowOther lets every user of the host read and change everything in the
	// image.
	// Ordinary users may set it only if /etc/fuse.conf has user_allow_other.
	AllowOther bool
	// ReadOnly mounts all volumes for reading, even those that can be written
	// to.
	ReadOnly bool
	// Owner is whom new files belong to. nil is 0:0, or with KeepOwner the one
	// who makes them.
	Owner     *Owner
	KeepOwner bool
	// CommitEvery is how long a change waits for a commit that nobody asks
	// for; 0 is 5 seconds.
	CommitEvery time.Duration
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
	if opt.CommitEvery == 0 {
		opt.CommitEvery = commitDefault
	}
	raw, err := newRaw(vols, opt)
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
