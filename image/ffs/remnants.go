package ffs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"syscall"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Remnants implements [vfs.Remnants]: the free fragments of every cylinder
// group, free inodes, what lies behind the ends of files in their last
// fragments, and what removed names have left in directories. The journals of
// FreeBSD and NetBSD are not looked at.
func (f *FS) Remnants(ctx context.Context) iter.Seq2[vfs.Remnant, error] {
	return vfs.EachRemnant(f.dev.Size(), func(add func(vfs.Remnant) error) error {
		r := &remnants{f: f, ctx: ctx, yield: add}
		return r.all()
	})
}

// remnants is one walk over what is left over.
type remnants struct {
	f     *FS
	ctx   context.Context
	yield func(vfs.Remnant) error
}

// add yields n bytes at off.
func (r *remnants) add(kind vfs.RemnantKind, ino uint64, off, n int64) error {
	return r.yield(vfs.Remnant{Kind: kind, Off: off, Len: n, Ino: vfs.Ino(ino)})
}

func (r *remnants) all() error {
	g := &r.f.geo
	for c := range g.groups {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := r.group(c); err != nil {
			return err
		}
	}
	// Between the superblock and the first of its copies.
	gap := r.f.info.UsedOffset + superRoom
	if err := r.add(vfs.MetaSlack, 0, gap, (g.groupStart(0)+g.superCopy)<<g.fragShift-gap); err != nil {
		return err
	}
	end := g.frags << g.fragShift
	return r.add(vfs.BehindEnd, 0, end, r.f.dev.Size()-end)
}

// superRoom is what a superblock may take: SBLOCKSIZE.
const superRoom = 8192

// group yields what cylinder group c has. Its maps are copied, because the
// cache may drop their page while inodes are read.
func (r *remnants) group(c uint64) error {
	g := &r.f.geo
	off := (g.groupStart(c) + g.groupHeader) << g.fragShift
	bad := func(field int64, format string, args ...any) error {
		return vfs.Corruptf(off+field, fmt.Sprintf("cylinder group %d", c), format, args...)
	}
	if off > r.f.cache.Size()-g.blockSize {
		return bad(0, "its header lies beyond the end of the device")
	}
	b, err := r.f.cache.Bytes(off, int(g.blockSize))
	if err != nil {
		return fmt.Errorf("read cylinder group %d at byte %d: %w", c, off, err)
	}
	h, err := ondisk.DecodeGroup(b, g.order)
	if err != nil {
		return err
	}
	frags := min(g.fragsPerGroup, g.frags-int64(c)*g.fragsPerGroup)
	inodeBytes, freeBytes := int64(g.inodesPerGroup+7)/8, (frags+7)/8
	switch {
	case h.Magic != ondisk.GroupMagic:
		return bad(4, "magic %#x", h.Magic)
	case int64(h.InodeMapOff) < 0 || int64(h.InodeMapOff) > g.blockSize-inodeBytes:
		return bad(92, "inode map at %d", h.InodeMapOff)
	case int64(h.FreeMapOff) < 0 || int64(h.FreeMapOff) > g.blockSize-freeBytes:
		return bad(96, "free map at %d", h.FreeMapOff)
	}
	inodes := append([]byte(nil), b[h.InodeMapOff:int64(h.InodeMapOff)+inodeBytes]...)
	free := append([]byte(nil), b[h.FreeMapOff:int64(h.FreeMapOff)+freeBytes]...)
	inited := g.inodesPerGroup
	if g.version == ondisk.V2 {
		inited = min(uint64(h.InitedInodes), inited)
	}
	if err := r.freeFrags(int64(c)*g.fragsPerGroup, frags, free); err != nil {
		return err
	}
	return r.inodes(c, inodes, inited)
}

// freeFrags yields the runs of free fragments of a map, whose first is start.
func (r *remnants) freeFrags(start, n int64, free []byte) error {
	g := &r.f.geo
	isFree := func(i int64) bool { return free[i/8]>>(i%8)&1 != 0 }
	for i := int64(0); i < n; {
		if free[i/8] == 0 {
			i += 8 - i%8
			continue
		}
		if !isFree(i) {
			i++
			continue
		}
		from := i
		for i < n && isFree(i) {
			i++
		}
		if err := r.add(vfs.FreeSpace, 0, (start+from)<<g.fragShift, (i-from)<<g.fragShift); err != nil {
			return err
		}
	}
	return nil
}

// inodes yields what the inodes of group c have left over, by the map of those
// in use. The ones from inited on have never been written: whatever lies there
// is from before.
func (r *remnants) inodes(c uint64, used []byte, inited uint64) error {
	g := &r.f.geo
	for i := range inited {
		if i%64 == 0 && r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		num := c*g.inodesPerGroup + i
		var err error
		if used[i/8]>>(i%8)&1 == 0 {
			err = r.freeInode(num)
		} else if num >= ondisk.RootIno {
			err = r.usedInode(num)
		}
		if err != nil {
			return err
		}
	}
	from := g.inodeOffset(c * g.inodesPerGroup)
	size := int64(g.version.InodeSize())
	return r.add(vfs.MetaSlack, 0, from+int64(inited)*size, int64(g.inodesPerGroup-inited)*size)
}

// Where the generation of an inode lies. It says nothing, and outlives the file
// so that the next one gets another.
const (
	genOff1 = 108
	genOff2 = 80
)

// freeInode yields a free inode, without its generation, unless it is zeros.
func (r *remnants) freeInode(num uint64) error {
	b, off, err := r.f.inodeBytes(num)
	if err != nil {
		return err
	}
	gen := genOff1
	if r.f.geo.version == ondisk.V2 {
		gen = genOff2
	}
	for _, part := range [][2]int{{0, gen}, {gen + 4, len(b)}} {
		if blockio.IsZero(b[part[0]:part[1]]) {
			continue
		}
		if err := r.add(vfs.MetaSlack, 0, off+int64(part[0]), int64(part[1]-part[0])); err != nil {
			return err
		}
	}
	return nil
}

// usedInode yields the slack of a file.
func (r *remnants) usedInode(num uint64) error {
	var in inode
	switch err := r.f.read(vfs.Ino(num), &in); {
	case errors.Is(err, syscall.ENOENT):
		return nil // the map is wrong
	case err != nil:
		return err
	}
	if in.isSnapshot(&r.f.geo) {
		return nil // its pointers mean other things
	}
	if err := r.attrTail(&in); err != nil {
		return err
	}
	switch in.mode().Type() {
	case vfs.Regular:
		return r.tail(&in)
	case vfs.Symlink:
		if r.f.isInline(&in) {
			return nil
		}
		return r.tail(&in)
	case vfs.Dir:
		if err := r.f.checkDir(&in); err != nil {
			return err
		}
		if err := r.dir(&in); err != nil {
			return err
		}
		return r.tail(&in)
	}
	return nil
}

// tail yields what the last block of a file has behind the file's end.
func (r *remnants) tail(in *inode) error {
	g := &r.f.geo
	skip := in.size & (g.blockSize - 1)
	if in.size == 0 || skip == 0 {
		return nil
	}
	lbn := in.size >> g.blockShift
	addr, _, err := r.f.run(in, lbn, 1)
	if err != nil || addr == 0 {
		return err
	}
	frags := g.tailFrags(in.size, lbn)
	if err := r.f.checkAddr(in, addr, frags); err != nil {
		return err
	}
	return r.add(vfs.FileSlack, in.num, addr<<g.fragShift+skip, frags<<g.fragShift-skip)
}

// attrTail is tail for extended attributes.
func (r *remnants) attrTail(in *inode) error {
	g := &r.f.geo
	size := int64(in.ExtSize)
	skip := size & (g.blockSize - 1)
	if !r.f.hasXattrs(in) || skip == 0 || size > ondisk.NExt*g.blockSize {
		return nil
	}
	addr, frags := in.Ext[size>>g.blockShift], (skip+g.fragSize-1)>>g.fragShift
	if err := r.f.checkAddr(in, addr, frags); err != nil {
		return err
	}
	return r.add(vfs.FileSlack, in.num, addr<<g.fragShift+skip, frags<<g.fragShift-skip)
}

// dir yields what lies behind the names of a directory.
func (r *remnants) dir(in *inode) error {
	g := &r.f.geo
	for off := int64(0); off < in.size; {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		at, n, err := r.f.extent(in, off, g.blockSize-off&(g.blockSize-1))
		if err != nil {
			return err
		}
		if at == hole {
			return in.corrupt("directory has a hole at byte %d", off)
		}
		n = min(n, g.blockSize-off&(g.blockSize-1))
		b := make([]byte, n)
		if _, err := r.f.cache.ReadAt(b, at); err != nil {
			return fmt.Errorf("read directory %d at byte %d: %w", in.num, at, err)
		}
		for i := 0; i+ondisk.DirChunk <= len(b); i += ondisk.DirChunk {
			if err := r.chunk(in, b[i:i+ondisk.DirChunk], at+int64(i), off+int64(i)); err != nil {
				return err
			}
		}
		off += n
	}
	return nil
}

// chunk is dir for a chunk, which lies at byte off of the directory and at byte
// at of the volume.
func (r *remnants) chunk(in *inode, b []byte, at, off int64) error {
	for i := 0; i < len(b); {
		if len(b)-i < ondisk.DirentHeader {
			return r.f.badEntry(in, at+int64(i), off+int64(i), "entry does not fit into its chunk")
		}
		d := ondisk.DecodeDirent(b[i:], r.f.geo.order, r.f.geo.oldDirs)
		size, used := int(d.Len), ondisk.DirentHeader
		if d.Ino != 0 {
			used += int(d.NameLen) + 1 // the NUL behind the name belongs to it
		}
		if size%4 != 0 || size < ondisk.DirentHeader || size > len(b)-i || d.Ino != 0 && used > size {
			return r.f.badEntry(in, at+int64(i), off+int64(i), "entry length %d", size)
		}
		if slack := b[i+used : i+size]; !blockio.IsZero(slack) {
			if err := r.add(vfs.DirSlack, in.num, at+int64(i+used), int64(len(slack))); err != nil {
				return err
			}
		}
		i += size
	}
	return nil
}
