package fusefs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// The numbers of a file. Three spaces of numbers meet here:
//
//	vfs.Ino   within a volume
//	st_ino    volume<<48 | ino: what stat(2) shows
//	node id   (volume+1)<<48 | ino: what the kernel calls the file by
//
// Node id 0 means "no such file" and 1 (fuse.FUSE_ROOT_ID) is the root of the
// mount, whatever its inode number; counting volumes from 1 keeps both free.
const (
	inoBits   = 48
	inoMask   = 1<<inoBits - 1
	maxVolume = 1<<(64-inoBits) - 3 // go-fuse keeps the node id ^0 for itself
)

// volume is one that is mounted. Everything in it is set before the first
// request comes, and not changed after.
type volume struct {
	name    string
	fs      vfs.FS
	w       *writer // nil: only read
	root    vfs.Ino
	index   uint64
	blksize uint32
	folds   bool // names that differ only in case are one

	// Abilities; nil where the file system has them not.
	mapper vfs.Mapper
	file   blockio.FileBacked
	xattrs vfs.Xattrer
	holes  vfs.HoleSeeker

	grafts map[vfs.Ino]*volume // mounted over directories of this one
	above  uint64              // st_ino of the directory above the root
}

// raw answers the requests of the kernel.
type raw struct {
	fuse.RawFileSystem // ENOSYS for what is not implemented

	volumes  []*volume
	writable bool // a volume is
	logf     func(format string, args ...any)
	logged   once

	// Whom new files belong to: owner, else with keepOwner the one who made
	// them, else 0:0.
	owner     *Owner
	keepOwner bool

	// What the kernel offers.
	noOpen, noOpenDir bool
}

func newRaw(vols []Volume, opt Options) (*raw, error) {
	if len(vols) > maxVolume {
		return nil, fmt.Errorf("cannot mount %d volumes at once", len(vols))
	}
	r := &raw{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), logf: opt.Logf,
		owner: opt.Owner, keepOwner: opt.KeepOwner,
	}
	for i, vol := range vols {
		v := &volume{name: vol.Name, fs: vol.FS, root: vol.FS.Root(), index: uint64(i)}
		if uint64(v.root) > inoMask {
			return nil, fmt.Errorf("volume %s: inode number %d of the root: %w", vol.Name, v.root, syscall.EOVERFLOW)
		}
		// The kernel wants a power of two, and shows it as st_blksize.
		info := vol.FS.Info()
		v.folds = info.FoldsCase
		if size := info.BlockSize; size >= 512 && size <= 1<<20 && size&(size-1) == 0 {
			v.blksize = uint32(size)
		}
		v.holes, _ = vol.FS.(vfs.HoleSeeker)
		if fsys, ok := vol.FS.(vfs.WritableFS); ok && !opt.ReadOnly && !vol.ReadOnly {
			v.w = newWriter(fsys)
			r.writable = true
			if v.w.xattrs != nil {
				v.xattrs = v.w.xattrs
			}
		} else {
			// What is written to cannot be spliced: it may change in between,
			// and what has not been committed may lie elsewhere.
			v.mapper, _ = vol.FS.(vfs.Mapper)
			v.xattrs, _ = vol.FS.(vfs.Xattrer)
			v.file, _ = vol.Device.(blockio.FileBacked)
		}
		v.above = v.stIno(v.root)
		r.volumes = append(r.volumes, v)
	}
	return r, nil
}

func (v *volume) stIno(ino vfs.Ino) uint64 { return v.index<<inoBits | uint64(ino)&inoMask }

func (v *volume) nodeID(ino vfs.Ino) uint64 {
	if v.index == 0 && ino == v.root {
		return fuse.FUSE_ROOT_ID
	}
	return (v.index+1)<<inoBits | uint64(ino)
}

// find returns what node id means.
func (r *raw) find(id uint64) (*volume, vfs.Ino, error) {
	if id == fuse.FUSE_ROOT_ID {
		return r.volumes[0], r.volumes[0].root, nil
	}
	index := id >> inoBits
	if index == 0 || index > uint64(len(r.volumes)) {
		return nil, 0, syscall.ESTALE // the kernel made it up
	}
	return r.volumes[index-1], vfs.Ino(id & inoMask), nil
}

// visible returns what is seen in place of the file ino of v: itself, or the
// root of the volume that is mounted over it.
func (v *volume) visible(ino vfs.Ino) (*volume, vfs.Ino) {
	if over, ok := v.grafts[ino]; ok {
		return over, over.root
	}
	return v, ino
}

// graft mounts a volume over a directory.
func (r *raw) graft(ctx context.Context, g Graft) error {
	if g.Volume <= 0 || g.Volume >= len(r.volumes) {
		return fmt.Errorf("there is no volume %d", g.Volume)
	}
	over := r.volumes[g.Volume]
	v, ino := r.volumes[0], r.volumes[0].root
	upper, upperIno := v, ino
	for name := range strings.SplitSeq(g.Path, "/") {
		switch name {
		case "", ".":
			continue
		case "..":
			return syscall.EINVAL
		}
		attr, err := v.fs.Lookup(ctx, ino, name)
		if err != nil {
			return err
		}
		if !attr.Mode.IsDir() {
			return syscall.ENOTDIR
		}
		upper, upperIno = v, ino
		v, ino = v.visible(attr.Ino)
		if uint64(attr.Ino) > inoMask {
			return syscall.EOVERFLOW
		}
	}
	if ino == v.root {
		// The root of the tree, or a directory that is taken already.
		return syscall.EBUSY
	}
	for _, other := range r.volumes {
		for _, taken := range other.grafts {
			if taken == over {
				return errors.New("the volume is mounted elsewhere in the tree")
			}
		}
	}
	if v.grafts == nil {
		v.grafts = map[vfs.Ino]*volume{}
	}
	v.grafts[ino] = over
	over.above = upper.stIno(upperIno)
	return nil
}

// String names the file system in go-fuse's messages.
func (r *raw) String() string { return fsType }

// connected is called before the first request is read, with what the kernel
// offers.
func (r *raw) connected(flags uint64) {
	r.noOpen = flags&fuse.CAP_NO_OPEN_SUPPORT != 0
	r.noOpenDir = flags&fuse.CAP_NO_OPENDIR_SUPPORT != 0
}

// Forget implements [fuse.RawFileSystem]. Node ids are not kept, and only of
// what is written to it matters which are in use.
func (r *raw) Forget(nodeID, nlookup uint64) {
	v, ino, err := r.find(nodeID)
	if err == nil && v.w != nil {
		err = v.w.forget(ino, nlookup)
	}
	if err != nil {
		r.logOnce(err.Error(), "forget %s: %v", inode(ino), err)
	}
}
