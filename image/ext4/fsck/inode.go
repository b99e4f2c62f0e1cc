package fsck

import (
	"bytes"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// Types of files, in i_mode.
const (
	typeMask    = 0o170000
	typeFIFO    = 0o010000
	typeChar    = 0o020000
	typeDir     = 0o040000
	typeBlock   = 0o060000
	typeReg     = 0o100000
	typeSymlink = 0o120000
	typeSocket  = 0o140000
)

// kindOf is what an inode of this mode is, inoFree if of no type.
func kindOf(mode uint16) uint8 {
	switch mode & typeMask {
	case typeReg:
		return inoReg
	case typeDir:
		return inoDir
	case typeSymlink:
		return inoSymlink
	case typeChar:
		return inoChar
	case typeBlock:
		return inoBlock
	case typeFIFO:
		return inoFIFO
	case typeSocket:
		return inoSocket
	}
	return inoFree
}

// entryType is the type in directory entries of the kinds of inodes.
var entryType = [8]uint8{0, 1, 2, 7, 3, 4, 5, 6}

// An inode is a decoded inode, and its bytes.
type inode struct {
	ondisk.Inode
	num  uint32
	raw  []byte
	base uint32 // seed of all metadata checksums
	seed uint32 // of those of this inode
}

// decode decodes raw again after it has been changed.
func (in *inode) decode() {
	ondisk.DecodeInode(in.raw, &in.Inode)
	in.seed = ondisk.InodeSeed(in.base, in.num, in.Generation)
}

func (in *inode) has(flag uint32) bool { return in.Flags&flag != 0 }
func (in *inode) isDir() bool          { return in.Mode&typeMask == typeDir }
func (in *inode) isReg() bool          { return in.Mode&typeMask == typeReg }
func (in *inode) isSymlink() bool      { return in.Mode&typeMask == typeSymlink }

// isFastSymlink reports whether the target of a symbolic link lies in i_block
// by its length.
func (in *inode) isFastSymlink() bool {
	return in.isSymlink() && in.Size > 0 && in.Size < ondisk.BlockLen
}

// hasBlocks reports whether i_block leads to blocks, as
// ext2fs_inode_has_valid_blocks2 does.
func (c *checker) hasBlocks(in *inode) bool {
	switch {
	case !in.isReg() && !in.isDir() && !in.isSymlink():
		return false
	case in.has(ondisk.FlInlineData):
		return false
	case !in.isSymlink():
		return true
	case c.fileACL(in) == 0:
		return in.BlocksLo != 0
	case in.Size >= ondisk.BlockLen:
		return true
	}
	return in.Size > 4 && le.Uint32(in.Block[4:]) == 0
}

// fileACL is the block of attributes: its upper half counts only with the
// feature 64bit.
func (c *checker) fileACL(in *inode) uint64 {
	if !c.hasIncompat(ondisk.Incompat64Bit) {
		return uint64(in.FileACLLo)
	}
	return in.FileACL
}

// inodeOff is where an inode lies, or -1.
func (c *checker) inodeOff(ino uint32) int64 {
	if ino < 1 || ino > c.inodes {
		return -1
	}
	g, i := c.inodePlace(ino)
	return c.off(c.desc[g].InodeTable) + int64(i)*c.isize
}

// load reads an inode.
func (c *checker) load(ino uint32, in *inode) error {
	in.raw = buffer(in.raw, c.isize)
	in.num, in.base = ino, c.seed
	if err := c.read(in.raw, c.inodeOff(ino)); err != nil {
		return err
	}
	in.decode()
	return nil
}

// store writes an inode with the right checksum.
func (c *checker) store(in *inode) error {
	in.decode()
	if c.csum {
		ondisk.SealInode(in.seed, in.raw)
	}
	in.decode()
	return c.write(in.raw, c.inodeOff(in.num))
}

// sumGood verifies the checksum of an inode; one that is all zeros needs none.
func (c *checker) sumGood(in *inode) bool {
	if !c.csum {
		return true
	}
	return in.Checksum == ondisk.InodeChecksum(in.seed, in.raw, in.HasHi) || blockio.IsZero(in.raw)
}

// clearInode makes an inode one that was never used.
func (c *checker) clearInode(ino uint32) error {
	return c.write(make([]byte, c.isize), c.inodeOff(ino))
}

// extraIsize is what inodes have behind their first 128 bytes.
func (c *checker) extraIsize() uint16 {
	room := uint16(c.isize - ondisk.InodeSizeOld)
	if n := c.sb.WantExtraIsize; n >= 4 && n <= room && n%4 == 0 {
		return n
	}
	return min(32, room)
}

// iBlocks is what i_blocks of n clusters is, in its unit.
func (c *checker) iBlocks(in *inode, clusters uint64) uint64 {
	n := clusters << c.clusterShift
	if in.has(ondisk.FlHugeFile) && c.hasRO(ondisk.ROCompatHugeFile) {
		return n
	}
	return n << (c.bshift - 9)
}

// deviceProblem says what a device, FIFO or socket must not have, or "".
func deviceProblem(in *inode) string {
	if in.has(ondisk.FlIndex | ondisk.FlExtents) {
		return "has the flags of a directory or of extents"
	}
	if in.has(ondisk.FlImmutable|ondisk.FlAppend) && !blockio.IsZero(in.Block[16:]) {
		return "is immutable and has block pointers"
	}
	return ""
}

// symlinkProblem says why a symbolic link has no legible target, or "". Like
// e2fsck_pass1_check_symlink.
func (c *checker) symlinkProblem(in *inode) (string, error) {
	if in.Size>>32 != 0 || in.Size == 0 {
		return "its length makes no sense", nil
	}
	if in.has(ondisk.FlIndex) {
		return "it has the flag of an indexed directory", nil
	}
	if in.has(ondisk.FlInlineData) && !in.has(ondisk.FlExtents) {
		if n, ok := c.inlineSize(in); !ok || n != in.Size {
			return "its length is not that of its inline data", nil
		}
		return "", nil
	}
	block := uint64(0)
	switch {
	case in.has(ondisk.FlExtents) && (in.has(ondisk.FlInlineData) || c.hasBlocks(in)):
		h := ondisk.DecodeExtentHeader(in.Block[:])
		if in.has(ondisk.FlInlineData) || in.isFastSymlink() || in.Size > uint64(c.bsize) || headerProblem(h, ondisk.BlockLen, 0) != "" || h.Entries != 1 {
			return "it has not just one block", nil
		}
		x := ondisk.DecodeExtent(in.Block[:], 0)
		if x.Block != 0 || x.Len != 1 {
			return "it has not just one block", nil
		}
		block = x.Start
	case in.isFastSymlink():
		n := bytes.IndexByte(in.Block[:], 0)
		if in.has(ondisk.FlEncrypt) {
			return "", nil
		}
		if n < 0 || uint64(n) != in.Size {
			return "its target is not as long as it says", nil
		}
		return "", nil
	default:
		if !blockio.IsZero(in.Block[4:]) || in.Size >= uint64(c.bsize) {
			return "it has more than one block", nil
		}
		block = uint64(le.Uint32(in.Block[:]))
	}
	if !c.fits(block, 1) {
		return "its block is outside the file system", nil
	}
	c.scan.block = buffer(c.scan.block, c.bsize)
	b := c.scan.block
	if err := c.readBlock(b, block); err != nil {
		return "", err
	}
	if in.has(ondisk.FlEncrypt) {
		return "", nil
	}
	if n := bytes.IndexByte(b, 0); n < 0 || uint64(n) != in.Size {
		return "its target is not as long as it says", nil
	}
	return "", nil
}
