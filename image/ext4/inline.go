package ext4

import (
	"encoding/binary"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// inlineDirHeader is the parent's inode number, which an inline directory has
// in place of "." and "..", in bytes.
const inlineDirHeader = 4

// inlineParts are the two places where an inode keeps data inline: i_block,
// and the attribute "system.data" behind its fields.
func (fs *FS) inlineParts(in *inode) (first, rest []byte, err error) {
	err = fs.eachInodeXattr(in, func(e ondisk.XattrEntry, name, value []byte) error {
		if e.NameIndex == ondisk.XattrSystem && string(name) == "data" && rest == nil {
			rest = value
		}
		return nil
	})
	return in.Block[:], rest, err
}

// inlineData is the whole contents of a file with inline data.
func (fs *FS) inlineData(in *inode) ([]byte, error) {
	first, rest, err := fs.inlineParts(in)
	if err != nil {
		return nil, err
	}
	if in.size > int64(len(first)+len(rest)) {
		return nil, in.corrupt("%d bytes of inline data, but room for %d", in.size, len(first)+len(rest))
	}
	data := make([]byte, in.size)
	copy(data[copy(data, first):], rest)
	return data, nil
}

// inlineParent is the parent of an inline directory.
func inlineParent(in *inode) uint32 { return binary.LittleEndian.Uint32(in.Block[:]) }
