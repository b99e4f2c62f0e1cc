package ext4

import (
	"bytes"
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Readlink returns the target of a symbolic link.
func (fs *FS) Readlink(ctx context.Context, ino vfs.Ino) (string, error) {
	var in inode
	if err := fs.readInode(ino, &in); err != nil {
		return "", err
	}
	return fs.target(ctx, &in)
}

// target returns the target of the symbolic link in.
func (fs *FS) target(ctx context.Context, in *inode) (string, error) {
	if !in.mode().IsSymlink() {
		return "", syscall.EINVAL
	}
	if err := in.readable(); err != nil {
		return "", err
	}
	// A target takes one block at most.
	if in.size == 0 || in.size > fs.blockSize {
		return "", in.corrupt("symbolic link of %d bytes", in.size)
	}
	var target []byte
	if fs.fastSymlink(in) {
		target = in.Block[:in.size]
	} else {
		target = make([]byte, in.size)
		if _, err := fs.readData(ctx, in, target, 0); err != nil {
			return "", err
		}
	}
	// Linux sees the target as a C string.
	if i := bytes.IndexByte(target, 0); i >= 0 {
		target = target[:i]
	}
	if len(target) == 0 {
		return "", in.corrupt("symbolic link without a target")
	}
	return string(target), nil
}

// fastSymlink reports whether the target is in the inode in place of the block
// pointers. Counting the inode's blocks would not tell: an attribute block, or
// attributes in inodes, count as well. Targets that fit are always stored so,
// but somebody may have put a short one into a block, which shows in a valid
// extent tree.
func (fs *FS) fastSymlink(in *inode) bool {
	if in.size >= ondisk.BlockLen || in.has(ondisk.FlInlineData) {
		return false
	}
	return !in.has(ondisk.FlExtents) || ondisk.DecodeExtentHeader(in.Block[:]).Magic != ondisk.ExtentMagic
}
