package ondisk

// DirentSize is the size of an entry without its name.
const DirentSize = 12

// MaxName is the longest name in bytes.
const MaxName = 255

// A Dirent is an entry of a block of a directory. All of a block stand at its
// beginning; their names follow in the same order, without gaps, so that a name
// ends where the next begins. Only the last may end with a NUL.
type Dirent struct {
	Nid     uint64
	NameOff uint16 // in the block
	Type    uint8
}

// DecodeDirent decodes one.
func DecodeDirent(b []byte) Dirent {
	return Dirent{le.Uint64(b), le.Uint16(b[8:]), b[10]}
}

// Types of an entry.
const (
	TypeUnknown = iota
	TypeFile
	TypeDir
	TypeChar
	TypeBlock
	TypeFIFO
	TypeSocket
	TypeSymlink
)
