// Package ext4 reads, changes and makes ext2, ext3 and ext4 file systems.
//
// Its nouns are those of the format. The superblock (super.go) gives the
// geometry, a group descriptor (group.go) says where a group's inodes lie, an
// inode (inode.go) says what a file is, and a mapper (bmap.go) turns a block
// of the file into a block of the device, by extents (extent.go) or by the
// indirect blocks of ext2 (indirect.go). Directories are lists of entries
// (dir.go), found by name through the hash tree that the format has (htree.go)
// or through an index of our own (names.go). The layout itself is in the
// package ondisk below.
//
// A file system that was not unmounted has its newest metadata in the journal.
// It is shown as the system would see it after mounting: the journal is read
// (journal.go) and its blocks are laid over the device in memory (overlay.go),
// as are the logical records of fast commits (fastcommit.go). Nothing is
// written by reading.
//
// All checksums that the format has on metadata are verified when the metadata
// is read; a mismatch is a *vfs.CorruptError for that structure.
//
// A [Writer] (writer.go) changes a file system, as part of a transaction, in
// operations that can be undone (undo.go). What is not to be written to it
// refuses (refuse.go); what the system left unfinished it finishes first
// (replay.go, fastreplay.go, cleanorphans.go). It allocates inodes (ialloc.go)
// and blocks (balloc.go) from the bitmaps of groups (wgroup.go), and changes
// trees of extents (extentwrite.go) and pointers (indirectwrite.go). FORMAT.md
// says what it relies on and what it keeps. Format (mkfs.go) makes file systems:
// see MKFS.md.
//
// What is not here: the contents and names of encrypted files (each is refused
// singly); case-insensitive lookup (directories with the casefold flag are
// read, and names in them match exactly, but are not changed); compressed files
// and Lustre's directories (refused at open); checks of quota and of the Merkle
// trees of fs-verity (such files read as any other, and are not written to).
package ext4

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

var (
	_ vfs.FS         = (*FS)(nil)
	_ vfs.Mapper     = (*FS)(nil)
	_ vfs.HoleSeeker = (*FS)(nil)
	_ vfs.Xattrer    = (*FS)(nil)
	_ vfs.Remnants   = (*FS)(nil)
)

// metadataCache is how much metadata is kept in memory, in bytes.
const metadataCache = 16 << 20

// FS is an open file system. Its methods are safe for concurrent use: nothing
// in it changes after Open but caches, unless it is part of a [Writer].
type FS struct {
	dev   blockio.Device // with the journal's blocks laid over it, if there are any
	over  *overlay       // the same, or nil
	cache *blockio.Cache // metadata of dev

	geometry
	seed   uint32 // of metadata checksums
	info   vfs.Info
	names  nameCache
	recent recentFiles
	// checked are blocks of directories that need no look at their checksum.
	checked [8]atomic.Pointer[checkedBlock]
	descs   recentGroups
	fast    *fastCommits // logical changes in the journal, or nil

	live []ondisk.GroupDesc // all descriptors as they are now, in a writer
}

// Info describes the file system.
func (fs *FS) Info() vfs.Info { return fs.info }

// Root is inode 2.
func (fs *FS) Root() vfs.Ino { return ondisk.RootIno }

// Close does nothing: the device belongs to the caller.
func (fs *FS) Close() error { return nil }

// load reads the superblock of dev and prepares to read the rest.
func load(dev blockio.Device) (*FS, error) {
	geo, err := readSuper(dev)
	if err != nil {
		return nil, err
	}
	fs := &FS{
		dev:      dev,
		cache:    blockio.NewCache(dev, int(geo.blockSize), metadataCache),
		geometry: geo,
		seed:     geo.sb.Seed(),
	}
	sb := geo.sb
	fs.info = vfs.Info{
		Type:       sb.TypeName(),
		Label:      cString(sb.VolumeName[:]),
		UUID:       uuidString(sb.UUID),
		LastMount:  cString(sb.LastMounted[:]),
		BlockSize:  int(geo.blockSize),
		FragSize:   int(geo.blockSize),
		UsedOffset: ondisk.SuperOff,
	}
	fs.info.Features = append(fs.info.Features, sb.FeatureCompat.Names()...)
	fs.info.Features = append(fs.info.Features, sb.FeatureIncompat.Names()...)
	fs.info.Features = append(fs.info.Features, sb.FeatureROCompat.Names()...)
	return fs, nil
}

// checkRoot makes sure that there is a root directory.
func (fs *FS) checkRoot() error {
	var in inode
	if err := fs.readInode(ondisk.RootIno, &in); err != nil {
		if isErrno(err) {
			return vfs.Corruptf(in.off, "inode 2", "root directory is not in use")
		}
		return fmt.Errorf("root directory: %w", err)
	}
	if !in.mode().IsDir() {
		return vfs.Corruptf(in.off, "inode 2", "root is not a directory: mode %#o", in.Mode)
	}
	return nil
}

// block returns the block n, through the cache. what names the structure that
// the block should hold.
func (fs *FS) block(n uint64, what string) ([]byte, error) {
	if !fs.validBlocks(n, 1) {
		return nil, vfs.Corruptf(fs.offset(n), what, "block %d lies outside the file system", n)
	}
	b, err := fs.cache.Bytes(int64(n)*fs.blockSize, int(fs.blockSize))
	if err != nil {
		return nil, fmt.Errorf("read %s at byte %d: %w", what, fs.offset(n), err)
	}
	return b, nil
}

// devRead fills p from the device at off, around the cache.
func devRead(dev blockio.Device, p []byte, off int64) error {
	n, err := dev.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at byte %d: %w", len(p), off, err)
}

// isCorrupt reports whether err says that the medium is damaged, rather than
// that it could not be read.
func isCorrupt(err error) bool {
	var corrupt *vfs.CorruptError
	return errors.As(err, &corrupt)
}

// checkpoint returns the context's error now and then: every 256th step.
func checkpoint(ctx context.Context, step int) error {
	if step&0xFF == 0 {
		return ctx.Err()
	}
	return nil
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// uuidString prints a UUID as blkid does; a zero one is none.
func uuidString(u [16]byte) string {
	if u == [16]byte{} {
		return ""
	}
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
