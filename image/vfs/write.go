package vfs

import (
	"context"
	"time"
)

// WritableFS is a file system that can be changed. Like those of [FS], all its
// methods are safe for concurrent use.
//
// A method that fails has changed nothing; only WriteAt and Fallocate may have
// done the first part of their work, and say so. Changes are seen at once by
// every reader of the same WritableFS, and are on the medium, all of them or
// none, when the transaction below is committed (see blockio.Transaction).
//
// Nobody's permissions are checked, since the image is a file of the person
// who edits it. What the file itself forbids is: files whose flags make them
// immutable or append-only answer EPERM until the flags are taken away, and
// so do directories for their names (append-only: new names may be added).
//
// Times are kept as a kernel does: contents changed set Mtime and Ctime,
// attributes and link counts changed set Ctime, names changed set both of the
// directory. Reading does not set Atime.
type WritableFS interface {
	FS

	// Create makes a file of any type and gives it a name: a regular file, a
	// directory, a symbolic link, a device …, as node.Mode says.
	//
	// EEXIST if the name is taken ("." and ".." always are); EINVAL for a name
	// that is empty or has a slash or NUL in it, and for a mode that is no
	// type; ENAMETOOLONG; ENOTDIR; ENOENT if the directory has been removed,
	// and for an empty symbolic link; EMLINK when a directory can have no more
	// subdirectories; EFBIG; ENOSPC. After an error there is no such file, not
	// even one with some of its contents.
	Create(ctx context.Context, dir Ino, name string, node NewNode) (Attr, error)

	// Link gives ino, which is no directory (EPERM), another name. EEXIST,
	// EMLINK, ENOSPC and so on as for Create; ENOENT if ino has no name left.
	Link(ctx context.Context, ino, dir Ino, name string) (Attr, error)

	// Unlink takes away a name of what is not a directory (EISDIR). With the
	// last name goes the file, at once or, if it is pinned, at the last Unpin.
	Unlink(ctx context.Context, dir Ino, name string) error

	// Rmdir removes an empty directory: ENOTDIR, ENOTEMPTY (also for ".."),
	// EINVAL for ".".
	Rmdir(ctx context.Context, dir Ino, name string) error

	// Rename moves a name, replacing what bears the new one, by the rules of
	// rename(2) and renameat2(2): two names of one file stay as they are; EISDIR,
	// ENOTDIR, ENOTEMPTY for what must not replace each other; EINVAL to move a
	// directory below itself, and for "." and ".." on either side.
	Rename(ctx context.Context, oldDir Ino, oldName string, newDir Ino, newName string, flags RenameFlags) error

	// Setattr changes attributes; what is nil in set stays. A changed size
	// truncates, or extends by a hole: EISDIR for directories, EINVAL for what
	// has no contents and for negative sizes, EFBIG.
	Setattr(ctx context.Context, ino Ino, set SetAttr) (Attr, error)

	// WriteAt writes file contents, extending the file if need be, with a hole
	// if off lies beyond its end. EISDIR, EINVAL, EFBIG. With ENOSPC and after
	// an I/O error, n bytes have been written.
	WriteAt(ctx context.Context, ino Ino, p []byte, off int64) (n int, err error)

	// Pin keeps ino, which exists, readable, writable and changeable even when
	// its last name is taken away, and its inode number from being used again,
	// until Unpin has been called as often. An unlinked file never reaches the
	// medium in a commit, so no crash leaves an orphan behind. A pinned
	// directory that was removed is empty, and stays so.
	Pin(ino Ino)
	Unpin(ctx context.Context, ino Ino) error

	// Sync commits: what was done before is on the medium when it returns.
	// Where the transaction is one that only its owner may commit, Sync does
	// nothing.
	Sync(ctx context.Context) error
}

// NewNode is what a file is to be when it is made.
type NewNode struct {
	Mode   Mode // type and permissions
	UID    uint32
	GID    uint32
	Rdev   Dev    // of Char and Block
	Target string // of Symlink
	Flags  Flags
	// Contents are what a regular file holds from its beginning on. To make
	// small files whole is faster than to write to them when they are there.
	Contents []byte
	// Mtime is the modification time, and that of the last access; zero is
	// now. The other times are always now.
	Mtime time.Time
}

// SetAttr is what Setattr is to change. Nil leaves an attribute as it is.
type SetAttr struct {
	Mode  *Mode // permissions, set-id and sticky bits; type bits are ignored
	UID   *uint32
	GID   *uint32
	Size  *int64
	Flags *Flags
	Atime *time.Time
	Mtime *time.Time
	Btime *time.Time // ignored where the format has none
}

// RenameFlags are the flags of renameat2(2).
type RenameFlags uint32

// The flags of a rename. Any others are EINVAL.
const (
	RenameNoReplace RenameFlags = 1 << 0 // RENAME_NOREPLACE: EEXIST if the new name is taken
	RenameExchange  RenameFlags = 1 << 1 // RENAME_EXCHANGE: swap two files; ENOENT if either is not there
)

// AllocMode is what Fallocate is to do, in the bits of fallocate(2).
type AllocMode uint32

// The modes. 0 reserves space and extends the file. Any others are EOPNOTSUPP.
const (
	AllocKeepSize  AllocMode = 0x01 // FALLOC_FL_KEEP_SIZE
	AllocPunchHole AllocMode = 0x02 // FALLOC_FL_PUNCH_HOLE; only with AllocKeepSize
	AllocZeroRange AllocMode = 0x10 // FALLOC_FL_ZERO_RANGE
)

// A Fallocater can reserve and release space inside a file.
type Fallocater interface {
	// Fallocate follows fallocate(2). EINVAL for a bad range, EFBIG, ENOSPC;
	// EISDIR and ENODEV for what is no regular file.
	Fallocate(ctx context.Context, ino Ino, mode AllocMode, off, n int64) error
}

// A HostWriter can have the host copy contents into a file, so that they do not
// pass through this program: where the file system of the host shares blocks,
// nothing is copied at all.
type HostWriter interface {
	// WriteFile is WriteAt of the n bytes that lie at from in the file fd of
	// the host. It may write less, or nothing, without an error; WriteAt does
	// the rest then. io.ErrUnexpectedEOF if the file of the host ends before.
	WriteFile(ctx context.Context, ino Ino, fd int, from, n, off int64) (int64, error)
}

// An XattrWriter can change extended attributes, named as [Xattrer] names them.
type XattrWriter interface {
	Xattrer
	// SetXattr sets one attribute. With create it must not exist yet (EEXIST),
	// with replace it must (ENODATA). ENOTSUP for a namespace that the format
	// has not, ENOSPC or E2BIG for what does not fit.
	SetXattr(ctx context.Context, ino Ino, name string, value []byte, create, replace bool) error
	// RemoveXattr removes one: ENODATA if it is not there.
	RemoveXattr(ctx context.Context, ino Ino, name string) error
}

// A Clocked file system takes its notion of "now" from elsewhere, for images
// that come out the same every time.
type Clocked interface {
	SetClock(now func() time.Time)
}

// A Seeded file system can have everything that is random (generations of
// inodes, the choice between places that are as good) follow from a seed, for
// the same reason.
type Seeded interface {
	SetSeed(seed uint64)
}

// A Recovered file system may have been mounted by a system that never
// unmounted it. Opening it for writing then does what its format provides for.
type Recovered interface {
	// Recovered says what that was; nothing if there was nothing to do.
	Recovered() string
}

// A Reserver keeps part of its space for the superuser. By default nothing is
// allocated from it.
type Reserver interface {
	UseReserve(use bool)
}

// A UUIDSetter is a file system that is known by an identifier, which can be
// changed.
type UUIDSetter interface {
	// SetUUID gives it another identifier, written as Info has it. What would
	// not be the same file system any more afterwards, or cannot be changed, is a
	// *NotSupportedError. After any other error the transaction must be given up.
	SetUUID(ctx context.Context, id string) error
}
