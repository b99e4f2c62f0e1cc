package ondisk

import "fmt"

// CompressSize is the size of the header of the index of a compressed file,
// which lies behind inode and attributes, aligned to as much.
const CompressSize = 8

// A Compress is that header (z_erofs_map_header).
type Compress struct {
	Advise      Advise
	Heads       [2]Algorithm // h_algorithmtype
	ClusterBits uint8        // by how much a logical cluster exceeds a block
	Packed      bool         // the whole file is in the packed inode
}

// DecodeCompress decodes it.
func DecodeCompress(b []byte) Compress {
	return Compress{
		Advise:      Advise(le.Uint16(b[4:])),
		Heads:       [2]Algorithm{Algorithm(b[6] & 15), Algorithm(b[6] >> 4)},
		ClusterBits: b[7] & 15,
		Packed:      b[7]&0x80 != 0,
	}
}

// Advise are the flags of the header.
type Advise uint16

// The flags that say that some contents are not where the index leads.
const (
	InlinePcluster   Advise = 0x08 // the end is behind the index
	FragmentPcluster Advise = 0x20 // the end is in the packed inode
)

// An Algorithm is one of compression.
type Algorithm uint8

func (a Algorithm) String() string {
	names := [...]string{"lz4", "lzma", "deflate", "zstd"}
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("algorithm %d", uint8(a))
}
