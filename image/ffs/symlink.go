package ffs

import (
	"bytes"
	"context"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// maxTarget bounds the length of a symbolic link: MAXPATHLEN of the BSDs is
// 1024, but a link of a whole block is legal on disk.
const maxTarget = ondisk.MaxBlockSize

// Readlink implements [vfs.FS].
func (f *FS) Readlink(ctx context.Context, ino vfs.Ino) (string, error) {
	var in inode
	if err := f.read(ino, &in); err != nil {
		return "", err
	}
	if !in.mode().IsSymlink() {
		return "", syscall.EINVAL
	}
	if f.isInline(&in) {
		b, _, err := f.inodeBytes(in.num)
		if err != nil {
			return "", err
		}
		area := f.geo.version.Inline(b)
		if in.size > int64(len(area)) {
			return "", in.corrupt("symbolic link of %d bytes without blocks", in.size)
		}
		return in.target(area[:in.size])
	}
	if in.size > maxTarget {
		return "", in.corrupt("symbolic link of %d bytes", in.size)
	}
	p := make([]byte, in.size)
	if _, err := f.readAt(ctx, &in, p, 0); err != nil {
		return "", err
	}
	return in.target(p)
}

// target makes a string of the bytes of a symbolic link. Holes and wrong sizes
// show as NULs, which no link has.
func (in *inode) target(b []byte) (string, error) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return "", in.corrupt("symbolic link of %d bytes has a NUL at %d", in.size, i)
	}
	return string(b), nil
}

// isInline reports whether the target of a symbolic link lies in the inode.
// The kernels decide by length, which has to be less than fs_maxsymlinklen;
// makefs stores links of just below that in a block all the same, and file
// systems made before there were short links say 0. Whether the inode holds
// blocks is right for all of them, like in Linux.
func (f *FS) isInline(in *inode) bool {
	if f.geo.maxSymlink < 0 {
		return false // 4.2BSD
	}
	blocks := in.Blocks
	if f.geo.version == ondisk.V2 && in.ExtSize > 0 {
		// Extended attributes are counted too, in whole fragments.
		ext := (uint64(in.ExtSize) + uint64(f.geo.fragSize) - 1) >> f.geo.fragShift << (f.geo.fragShift - 9)
		blocks -= min(blocks, ext)
	}
	return blocks == 0
}
