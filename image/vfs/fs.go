// Package vfs is the contract between file systems and everything that uses
// them: mounts, audits, edits, builds.
//
// A driver implements [FS]: operations on inode numbers, with attributes
// returned by value. On top of it a [Tree] resolves paths and symbolic links
// inside the volume and is an io/fs file system, so that fs.WalkDir and the
// rest of the standard library work on an image.
//
// A driver that can also change a file system gives a [WritableFS], whose
// changes become part of a transaction of the device below.
//
// What only some file systems can do is found by type assertion: [Mapper],
// [Xattrer], [HoleSeeker], [Fallocater], [XattrWriter], [Remnants].
//
// Errors are syscall.Errno where POSIX has a word for them, [*CorruptError]
// where the medium is damaged, and [*NotSupportedError] where the medium is
// fine but beyond what the driver reads. The package vfstest holds the suite
// that every driver must pass.
package vfs

import (
	"context"
	"iter"
)

// Ino is an inode number: the name of a file within one file system, stable
// for as long as the file system is open. File systems without inodes (FAT,
// plain ISO 9660) make them up.
type Ino uint64

// FS is a file system that can be read. All methods are safe for concurrent
// use; a cancelled context may end a long one with its error.
type FS interface {
	// Info describes the file system as a whole.
	Info() Info
	// Root is the inode number of the root directory.
	Root() Ino
	// Statfs counts space and inodes.
	Statfs(ctx context.Context) (Statfs, error)
	// Getattr returns the attributes of ino. An inode number that is out of
	// range or not in use is ENOENT (or ESTALE), never a panic.
	Getattr(ctx context.Context, ino Ino) (Attr, error)
	// Lookup finds name in the directory dir and returns its attributes.
	// Missing names are ENOENT, names over NameMax bytes ENAMETOOLONG, and a
	// dir that is no directory ENOTDIR. "." and ".." are answered like any
	// other name.
	Lookup(ctx context.Context, dir Ino, name string) (Attr, error)
	// ReadDir yields the entries of dir other than "." and "..", beginning
	// behind the entry whose Next is cookie (0: from the start), in an order
	// that does not change while the directory does not. After an error the
	// sequence ends.
	ReadDir(ctx context.Context, dir Ino, cookie uint64) iter.Seq2[DirEntry, error]
	// ReadAt reads file contents by the rules of io.ReaderAt; holes are zeros.
	// A directory is EISDIR, anything else that has no contents EINVAL.
	ReadAt(ctx context.Context, ino Ino, p []byte, off int64) (int, error)
	// Readlink returns the target of a symbolic link, EINVAL for anything else.
	Readlink(ctx context.Context, ino Ino) (string, error)
	// Close releases what the driver holds; the device stays open.
	Close() error
}

// DirEntry is one name in a directory.
type DirEntry struct {
	Name string
	Ino  Ino
	Type Mode   // the type bits alone (S_IFREG, …), or 0 if the directory does not say
	Next uint64 // cookie to resume behind this entry; never 0
}

// A Mapper knows where on the device the contents of a file lie, so that they
// can be spliced from there.
type Mapper interface {
	// Map returns where the byte off of the file lies: its offset on the
	// device, and how many bytes follow it contiguously there and in the file
	// (never beyond the file's end). A hole has devOff -1, and so has anything
	// that must be read through ReadAt (inline and compressed data); n then
	// says how far that goes. At or beyond the end of the file it returns
	// io.EOF. A driver may map directories too, for reports that say where one
	// lies.
	Map(ctx context.Context, ino Ino, off int64) (devOff, n int64, err error)
}

// An Xattrer has extended attributes.
type Xattrer interface {
	// Xattrs returns all extended attributes of ino, by their Linux names
	// ("user.comment", "security.capability"), with POSIX ACLs in the form
	// that Linux's getxattr(2) returns. The map and its values are the
	// caller's. No attributes is an empty map.
	Xattrs(ctx context.Context, ino Ino) (map[string][]byte, error)
}

// A HoleSeeker tells holes from data in a file, by the rules of lseek(2):
// ENXIO beyond the end of the file, and SeekData also when only a hole follows;
// SeekHole always finds the implicit hole at the end.
type HoleSeeker interface {
	SeekData(ctx context.Context, ino Ino, off int64) (int64, error)
	SeekHole(ctx context.Context, ino Ino, off int64) (int64, error)
}

// Info describes a file system as a whole.
type Info struct {
	Type       string   // "FFS1", "FFS2", "ext4", "FAT32", "ISO 9660": as people say it
	Label      string   // volume label or name
	UUID       string   // as blkid prints it: UUID, FAT serial "ABCD-1234", FFS id in hex
	State      State    // was it unmounted cleanly?
	StateNote  string   // why State is not Clean, or what else the reader must know
	LastMount  string   // where it was last mounted, if recorded
	BlockSize  int      // bytes
	FragSize   int      // bytes; equal to BlockSize where there are no fragments
	BigEndian  bool     // byte order of the structures on disk
	FoldsCase  bool     // names that differ only in case are one name
	Features   []string // feature and flag names of the format, in on-disk order
	UsedOffset int64    // byte offset of the superblock that was used
}

// State says whether a file system was unmounted cleanly.
type State int

// The states of a file system.
const (
	StateUnknown State = iota // the format does not record it
	Clean
	Dirty
)

func (s State) String() string {
	switch s {
	case Clean:
		return "clean"
	case Dirty:
		return "dirty"
	}
	return "unknown"
}

// Statfs counts space and inodes, like statvfs(3).
type Statfs struct {
	BlockSize int64  // bytes; the unit of the counts below
	Blocks    uint64 // data blocks in the file system
	Free      uint64 // free blocks
	Avail     uint64 // free blocks for an ordinary user
	Files     uint64 // inodes; 0 where the format has none
	FilesFree uint64
	NameMax   int // longest name in bytes
}
