// Package ondisk is the layout of squashfs 4.0: constants, structures and their
// decoders. It knows where a byte lies and what it is called, and nothing else:
// no device, no cache, no compression.
//
// Everything is little-endian. Names in comments are those of Linux's
// fs/squashfs/squashfs_fs.h, where the format is defined.
package ondisk

import "encoding/binary"

var le = binary.LittleEndian

// Magic is s_magic, at the very start.
const Magic = "hsqs"

// The sizes that the format fixes, in bytes.
const (
	SuperSize    = 96
	MetadataSize = 8192 // of a metadata block, uncompressed
	MinBlockSize = 4 << 10
	MaxBlockSize = 1 << 20
)

// The version that is read.
const (
	Major = 4
	Minor = 0
)

// What stands for "there is none".
const (
	NoTable    = 1<<64 - 1 // a table's place
	NoFragment = 1<<32 - 1 // a file's fragment
	NoXattrs   = 1<<32 - 1 // an inode's index of extended attributes
)

// Super is the superblock.
type Super struct {
	Magic       [4]byte
	Inodes      uint32
	MkfsTime    uint32 // mkfs_time: seconds since 1970
	BlockSize   uint32
	Fragments   uint32
	Compression Compression
	BlockLog    uint16
	Flags       Flags
	IDs         uint16 // no_ids
	Major       uint16 // s_major
	Minor       uint16 // s_minor
	Root        Ref    // root_inode
	BytesUsed   uint64

	// Where the tables begin. Those of inodes and directories are metadata
	// blocks one behind the other; the others are lists of the places of their
	// metadata blocks.
	IDTable        uint64
	XattrTable     uint64 // xattr_id_table_start
	InodeTable     uint64
	DirectoryTable uint64
	FragmentTable  uint64
	ExportTable    uint64 // lookup_table_start
}

// DecodeSuper decodes the SuperSize bytes of a superblock.
func DecodeSuper(b []byte) (s Super) {
	// The only error is a buffer that is too short.
	_, _ = binary.Decode(b[:SuperSize], le, &s)
	return s
}

// Compression says how blocks are compressed.
type Compression uint16

// The compressions.
const (
	Gzip Compression = 1 + iota // zlib streams
	LZMA                        // streams of the old form "lzma alone"
	LZO
	XZ
	LZ4 // blocks without a frame
	Zstd
)

func (c Compression) String() string {
	names := [...]string{Gzip: "gzip", LZMA: "lzma", LZO: "lzo", XZ: "xz", LZ4: "lz4", Zstd: "zstd"}
	if int(c) < len(names) && c > 0 {
		return names[c]
	}
	return "unknown"
}

// Flags are s_flags of the superblock.
type Flags uint16

// The flags.
const (
	RawInodes       Flags = 1 << iota // inodes are not compressed
	RawData                           // nor is data
	_                                 // of older versions
	RawFragments                      // nor are fragments
	NoFragments                       // there are no fragments
	AlwaysFragments                   // the ends of large files are fragments, too
	Duplicates                        // equal files are stored once
	Exportable                        // there is an export table
	RawXattrs                         // extended attributes are not compressed
	NoXattrTable                      // there are no extended attributes
	HasOptions                        // the options of the compressor follow the superblock
	RawIDs                            // ids are not compressed
)

// flagNames are what Names calls the flags, as mksquashfs calls its options.
var flagNames = []struct {
	flag Flags
	name string
}{
	{RawInodes, "uncompressed inodes"},
	{RawData, "uncompressed data"},
	{RawFragments, "uncompressed fragments"},
	{NoFragments, "no fragments"},
	{AlwaysFragments, "always fragments"},
	{Duplicates, "duplicates removed"},
	{Exportable, "exportable"},
	{RawXattrs, "uncompressed xattrs"},
	{NoXattrTable, "no xattrs"},
	{HasOptions, "compressor options"},
	{RawIDs, "uncompressed ids"},
}

// Names lists the flags that are set.
func (f Flags) Names() (names []string) {
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// Options are what follows the superblock where HasOptions is set: a metadata
// block that is never compressed. Which fields count depends on the
// compression.
type Options struct {
	DictSize uint32 // of xz
	Filters  uint32 // of xz: the branch converters that may have been used
	Version  uint32 // of lz4: 1, blocks without a frame
}

// DecodeOptions decodes the options of c. Fields that are not there are zero.
func DecodeOptions(c Compression, b []byte) (o Options) {
	if len(b) < 8 {
		return o
	}
	switch c {
	case XZ:
		o.DictSize, o.Filters = le.Uint32(b), le.Uint32(b[4:])
	case LZ4:
		o.Version = le.Uint32(b)
	}
	return o
}
