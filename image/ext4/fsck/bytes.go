package fsck

import "encoding/binary"

// The file system is little-endian, its journal big-endian.
var le, be = binary.LittleEndian, binary.BigEndian
