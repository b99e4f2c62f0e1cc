package ext4

import (
	"encoding/binary"
	"slices"

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

// inlineData is what a file has inline, which may be less than its size: the
// rest reads as zeros, as on Linux. (mke2fs -d makes such a file of one that is
// nothing but a hole.)
func (fs *FS) inlineData(in *inode) ([]byte, error) {
	first, rest, err := fs.inlineParts(in)
	if err != nil {
		return nil, err
	}
	data := slices.Concat(first, rest)
	return data[:min(in.size, int64(len(data)))], nil
}

// inlineParent is the parent of an inline directory.
func inlineParent(in *inode) uint32 { return binary.LittleEndian.Uint32(in.Block[:]) }
