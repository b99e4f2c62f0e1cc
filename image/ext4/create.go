package ext4

import (
	"context"
	"encoding/binary"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// maxLinks is EXT4_LINK_MAX: how many names a file can have, and how many
// subdirectories a directory without the feature dir_nlink.
const maxLinks = 65000

// maxTarget is the longest target of a symbolic link: PATH_MAX without the NUL.
const maxTarget = 4095

// Create implements [vfs.WritableFS].
func (w *Writer) Create(ctx context.Context, dir vfs.Ino, name string, node vfs.NewNode) (vfs.Attr, error) {
	var attr vfs.Attr
	err := w.do(ctx, func(o *op) error {
		in, err := o.create(dir, name, &node)
		if err == nil {
			attr = w.attr(in)
		}
		return err
	})
	return attr, err
}

func (o *op) create(dirIno vfs.Ino, name string, node *vfs.NewNode) (*inode, error) {
	dir, err := o.newName(dirIno, name)
	if err != nil {
		return nil, err
	}
	flags, err := o.checkNode(node)
	if err != nil {
		return nil, err
	}
	if node.Mode.IsDir() && o.f.manyDirs(dir) {
		return nil, syscall.EMLINK
	}
	in, err := o.allocInode(dir, node.Mode)
	if err != nil {
		return nil, err
	}
	in.Flags |= flags
	if err := o.fillNode(in, dir, node); err != nil {
		return nil, err
	}
	return in, o.addName(dir, name, in.num, node.Mode)
}

// checkNode says what is wrong with a node before anything is done, and returns
// its flags as inodes have them.
func (o *op) checkNode(node *vfs.NewNode) (flags uint32, err error) {
	if node.Mode&^(vfs.TypeMask|0o7777) != 0 {
		return 0, syscall.EINVAL
	}
	switch node.Mode.Type() {
	case vfs.Regular, vfs.Dir, vfs.FIFO, vfs.Socket:
	case vfs.Char, vfs.Block:
		if node.Rdev.Major > maxMajor || node.Rdev.Minor > maxMinor {
			return 0, syscall.EINVAL
		}
	case vfs.Symlink:
		switch {
		case node.Target == "":
			return 0, syscall.ENOENT
		case len(node.Target) > o.f.maxSymlink():
			return 0, syscall.ENAMETOOLONG
		case strings.IndexByte(node.Target, 0) >= 0:
			return 0, syscall.EINVAL
		}
	default:
		return 0, syscall.EINVAL
	}
	return inodeFlags(0, node.Mode, node.Flags)
}

// maxSymlink is the longest target: it lies in one block, with a NUL behind it.
func (fs *FS) maxSymlink() int { return int(min(maxTarget, fs.blockSize-1)) }

// fillNode makes a fresh inode what node says.
func (o *op) fillNode(in, dir *inode, node *vfs.NewNode) error {
	in.Mode, in.Links = uint16(node.Mode), 1
	in.UID, in.GID = node.UID, node.GID
	if !node.Mtime.IsZero() {
		in.Mtime = in.time(node.Mtime)
		in.Atime = in.Mtime
	}
	switch node.Mode.Type() {
	case vfs.Regular:
		return o.putContents(in, node.Contents)
	case vfs.Dir:
		in.Links = 2
		o.f.addDir(dir)
		return o.makeDir(in, dir.num)
	case vfs.Char, vfs.Block:
		putDevice(&in.Inode, node.Rdev)
	case vfs.Symlink:
		return o.makeSymlink(in, node.Target)
	}
	return nil
}

// putContents gives a fresh file its contents.
func (o *op) putContents(in *inode, p []byte) error {
	if int64(len(p)) > o.f.maxSize(in) {
		return syscall.EFBIG
	}
	_, err := o.write(in, p, 0)
	return err
}

// makeSymlink stores a target: in place of the block pointers if it is short, or
// else in a block, whose rest is zeros.
func (o *op) makeSymlink(in *inode, target string) error {
	if len(target) < ondisk.BlockLen {
		in.size = int64(len(target))
		in.Flags &^= ondisk.FlExtents
		in.Block = [ondisk.BlockLen]byte{}
		copy(in.Block[:], target)
		return nil
	}
	_, err := o.write(in, []byte(target), 0)
	return err
}

// The largest device numbers that an inode can hold: 12 and 20 bits.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// putDevice encodes a device number, in 16 bits where that is enough: see
// [device].
func putDevice(in *ondisk.Inode, d vfs.Dev) {
	in.Block = [ondisk.BlockLen]byte{}
	if d.Major < 256 && d.Minor < 256 {
		binary.LittleEndian.PutUint32(in.Block[0:], d.Major<<8|d.Minor)
		return
	}
	binary.LittleEndian.PutUint32(in.Block[4:], d.Minor&0xFF|d.Major<<8|d.Minor&^0xFF<<12)
}

// manyDirs reports whether a directory can have no more subdirectories
// (EXT4_DIR_LINK_MAX). With the feature dir_nlink those with an index have no
// limit.
func (fs *FS) manyDirs(dir *inode) bool {
	return dir.Links >= maxLinks &&
		!(fs.sb.FeatureROCompat&ondisk.ROCompatDirNlink != 0 && fs.indexed(dir))
}

// addDir counts another subdirectory (ext4_inc_count). A link count of 1 says
// that there are more than can be counted.
func (fs *FS) addDir(dir *inode) {
	dir.Links++
	if fs.indexed(dir) && (dir.Links > maxLinks || dir.Links == 2) {
		dir.Links = 1
	}
	dir.dirty = true
}

// dropDir counts a subdirectory less (ext4_dec_count).
func (fs *FS) dropDir(dir *inode) {
	if dir.Links > 2 {
		dir.Links--
	}
	dir.dirty = true
}
