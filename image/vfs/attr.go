package vfs

import (
	"io/fs"
	"time"
)

// Mode is the mode of a file in the encoding of stat(2) on Linux: type bits
// (S_IFMT), set-id and sticky bits, permissions. FFS and ext4 store just that.
type Mode uint32

// The file types, and the bits above the permissions.
const (
	TypeMask Mode = 0o170000 // S_IFMT
	FIFO     Mode = 0o010000 // S_IFIFO
	Char     Mode = 0o020000 // S_IFCHR
	Dir      Mode = 0o040000 // S_IFDIR
	Block    Mode = 0o060000 // S_IFBLK
	Regular  Mode = 0o100000 // S_IFREG
	Symlink  Mode = 0o120000 // S_IFLNK
	Socket   Mode = 0o140000 // S_IFSOCK
	Whiteout Mode = 0o160000 // S_IFWHT of the BSDs' union mounts

	SetUID Mode = 0o4000
	SetGID Mode = 0o2000
	Sticky Mode = 0o1000
)

// Type returns the type bits alone.
func (m Mode) Type() Mode { return m & TypeMask }

// Perm returns the permission, set-id and sticky bits.
func (m Mode) Perm() Mode { return m & 0o7777 }

// IsDir reports whether m is a directory.
func (m Mode) IsDir() bool { return m.Type() == Dir }

// IsRegular reports whether m is a regular file.
func (m Mode) IsRegular() bool { return m.Type() == Regular }

// IsSymlink reports whether m is a symbolic link.
func (m Mode) IsSymlink() bool { return m.Type() == Symlink }

// IsDevice reports whether m is a block or character device.
func (m Mode) IsDevice() bool { return m.Type() == Block || m.Type() == Char }

// String prints m as ls -l does: "drwxr-sr-x".
func (m Mode) String() string {
	const types = "?pc?d?b?-?l?s?w?"
	s := []byte{types[m>>12&15], 'r', 'w', 'x', 'r', 'w', 'x', 'r', 'w', 'x'}
	for i := range 9 {
		if m&(0o400>>i) == 0 {
			s[i+1] = '-'
		}
	}
	special := func(at int, bit Mode, set, clear byte) {
		if m&bit == 0 {
			return
		}
		if s[at] == 'x' {
			s[at] = set
		} else {
			s[at] = clear
		}
	}
	special(3, SetUID, 's', 'S')
	special(6, SetGID, 's', 'S')
	special(9, Sticky, 't', 'T')
	return string(s)
}

// FileMode converts m to the encoding of the standard library.
func (m Mode) FileMode() fs.FileMode {
	f := fs.FileMode(m & 0o777)
	switch m.Type() {
	case Dir:
		f |= fs.ModeDir
	case Symlink:
		f |= fs.ModeSymlink
	case FIFO:
		f |= fs.ModeNamedPipe
	case Socket:
		f |= fs.ModeSocket
	case Char:
		f |= fs.ModeDevice | fs.ModeCharDevice
	case Block:
		f |= fs.ModeDevice
	case Regular:
	default:
		f |= fs.ModeIrregular
	}
	if m&SetUID != 0 {
		f |= fs.ModeSetuid
	}
	if m&SetGID != 0 {
		f |= fs.ModeSetgid
	}
	if m&Sticky != 0 {
		f |= fs.ModeSticky
	}
	return f
}

// Dev is a device number, taken apart: how it is packed differs between
// systems, and between inode versions of one system.
type Dev struct {
	Major, Minor uint32
}

// Linux returns d as Linux packs it into a st_rdev of 64 bits (makedev(3)).
func (d Dev) Linux() uint64 {
	ma, mi := uint64(d.Major), uint64(d.Minor)
	return mi&0xff | ma&0xfff<<8 | mi&^0xff<<12 | ma&^0xfff<<32
}

// Flags are the file flags of chflags(2), in the encoding of the BSDs. Other
// file systems map theirs to the flag of the same meaning (ext4's immutable
// attribute is SystemImmutable).
type Flags uint32

// The file flags.
const (
	UserNoDump      Flags = 0x0001  // UF_NODUMP
	UserImmutable   Flags = 0x0002  // UF_IMMUTABLE, uchg
	UserAppend      Flags = 0x0004  // UF_APPEND, uappnd
	UserOpaque      Flags = 0x0008  // UF_OPAQUE
	UserSystem      Flags = 0x0080  // UF_SYSTEM: FAT's system attribute
	UserArchive     Flags = 0x0800  // UF_ARCHIVE: FAT's archive attribute
	UserReadOnly    Flags = 0x1000  // UF_READONLY: FAT's read-only attribute
	UserHidden      Flags = 0x8000  // UF_HIDDEN: FAT's hidden attribute
	SystemArchived  Flags = 0x10000 // SF_ARCHIVED, arch
	SystemImmutable Flags = 0x20000 // SF_IMMUTABLE, schg
	SystemAppend    Flags = 0x40000 // SF_APPEND, sappnd
	SystemSnapshot  Flags = 0x200000
)

// Attr is what stat(2) tells of a file, and what the BSDs add.
type Attr struct {
	Ino    Ino
	Gen    uint32 // generation: changes when an inode number is used again
	Mode   Mode
	Nlink  uint32
	UID    uint32
	GID    uint32
	Rdev   Dev   // of Char and Block
	Size   int64 // bytes
	Blocks int64 // allocated, in units of 512 bytes
	Flags  Flags
	Atime  time.Time // zero where the format does not record it
	Mtime  time.Time
	Ctime  time.Time
	Btime  time.Time // birth; zero where the format does not record it
}
