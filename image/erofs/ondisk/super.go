// Package ondisk is the layout of erofs: constants, structures and their
// decoders. It knows where a byte lies and what it is called, and nothing else:
// no device, no cache, no compression.
//
// Everything is little-endian. Names in comments are those of Linux's
// fs/erofs/erofs_fs.h, where the format is defined.
package ondisk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var le = binary.LittleEndian

// SuperOffset is where the superblock lies, whatever the size of a block.
const SuperOffset = 1024

// SuperSize is the size of the superblock in bytes, without the slots that may
// follow it (sb_extslots).
const SuperSize = 128

// Magic is the first word of the superblock.
const Magic = 0xE0F5E1E2

// The logarithms of the sizes of a block that there are: 512 bytes to 64 KiB.
const (
	MinBlockBits = 9
	MaxBlockBits = 16
)

// NoBlock is the address of a block that stands for a hole.
const NoBlock = 1<<32 - 1

// Super is the superblock.
type Super struct {
	Magic         uint32
	Checksum      uint32
	Compat        Compat // feature_compat
	BlockBits     uint8  // blkszbits
	ExtraSlots    uint8  // sb_extslots
	Root          uint16 // rootnid_2b
	Inodes        uint64 // inos
	Epoch         int64  // seconds since 1970: the time of all compact inodes
	FixedNsec     uint32
	Blocks        uint32 // blocks_lo
	MetaBlock     uint32 // meta_blkaddr: nids count from here
	XattrBlock    uint32 // xattr_blkaddr: shared attributes
	UUID          [16]byte
	Name          [16]byte // volume_name
	Incompat      Incompat // feature_incompat
	Algorithms    uint16   // available_compr_algs
	ExtraDevices  uint16
	DeviceSlots   uint16 // devt_slotoff
	DirBlockBits  uint8  // dirblkbits
	Prefixes      uint8  // xattr_prefix_count
	PrefixStart   uint32 // in units of 4 bytes
	PackedNid     uint64
	FilterReserve uint8 // xattr_filter_reserved
	Reserved      [3]byte
	BuildTime     uint32
	Root8         uint64 // rootnid_8b
	MetaboxNid    uint64
}

// DecodeSuper decodes the SuperSize bytes of a superblock.
func DecodeSuper(b []byte) (s Super) {
	// The only error is a buffer that is too short.
	_, _ = binary.Decode(b[:SuperSize], le, &s)
	return s
}

// checksumOff is where the checksum is in the superblock.
const checksumOff = 4

// ChecksumSize is how many bytes from the superblock on have a checksum: the
// rest of the block that it is in.
func (s *Super) ChecksumSize() int {
	n := 1 << s.BlockBits
	if n > SuperOffset {
		n -= SuperOffset
	}
	return n
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SuperChecksum is the checksum of b, which begins with the superblock. The
// field of the checksum counts as zero, and there is no inversion at the end.
func SuperChecksum(b []byte) uint32 {
	crc := crc32.Update(0, castagnoli, b[:checksumOff])
	crc = crc32.Update(crc, castagnoli, make([]byte, 4))
	return ^crc32.Update(crc, castagnoli, b[checksumOff+4:])
}

// Compat are features that a reader need not know.
type Compat uint32

// The compatible features.
const (
	SuperChecksummed Compat = 1 << iota // SB_CHKSUM
	Mtime                               // the time of compact inodes is a modification time
	XattrFilter                         // inodes tell which names they do not have
	SharedInMetabox                     // SHARED_EA_IN_METABOX
	PlainXattrPrefix                    // PLAIN_XATTR_PFX: the prefixes are not in the packed inode
)

// Incompat are features that a reader must know.
type Incompat uint32

// The incompatible features. Two have two meanings.
const (
	ZeroPadding   Incompat = 1 << iota // LZ4_0PADDING
	BigPcluster                        // and COMPR_CFGS
	Chunked                            // CHUNKED_FILE
	DeviceTable                        // and COMPR_HEAD2
	Ztailpacking                       // ends of compressed files are in the inode
	Fragments                          // and DEDUPE
	XattrPrefixes                      // long prefixes of the names of extended attributes
	Layout48                           // 48BIT: addresses of blocks have 48 bits
	Metabox                            // metadata is compressed
)

// KnownIncompat are the features that the tables above have.
const KnownIncompat = Metabox<<1 - 1

var (
	compatNames   = []string{"sb_csum", "mtime", "xattr_filter", "shared_ea_in_metabox", "plain_xattr_pfx"}
	incompatNames = []string{"0padding", "big_pcluster", "chunked_file", "device_table", "ztailpacking",
		"fragments", "xattr_prefixes", "48bit", "metabox"}
)

// Names lists the features that are set, as dump.erofs calls them.
func (c Compat) Names() []string { return names(uint32(c), compatNames, "compat") }

// Names lists the features that are set, as dump.erofs calls them.
func (c Incompat) Names() []string { return names(uint32(c), incompatNames, "incompat") }

func names(set uint32, known []string, kind string) (list []string) {
	for i := range 32 {
		switch {
		case set>>i&1 == 0:
		case i < len(known):
			list = append(list, known[i])
		default:
			list = append(list, fmt.Sprintf("%s bit %#x", kind, uint32(1)<<i))
		}
	}
	return list
}
