// Package ondisk is the layout of ext2, ext3 and ext4 and of their journal,
// jbd2: constants, structures, decoders and the checksums and name hashes that
// the format defines. It knows where a byte lies and what it is called, and
// nothing else: no device, no cache, no policy.
//
// Everything but the journal is little-endian; the journal is big-endian.
// Names in comments are those of Linux's fs/ext4/ext4.h and
// include/linux/jbd2.h, where the format is defined; the prose description is
// Documentation/filesystems/ext4 of the Linux tree.
//
// Structures that are read once (superblock, journal superblock) are structs
// in C field order, decoded with encoding/binary. Those that are read by the
// thousand (inode, group descriptor, directory entry, extent) have decoders
// written by hand, which tests hold against encoding/binary.
package ondisk

import "encoding/binary"

var le, be = binary.LittleEndian, binary.BigEndian
