package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Remnants implements [vfs.Remnants]: free clusters, the log if it is not
// needed, free inodes, room in inodes and their blocks, preallocated blocks,
// what lies behind the ends of files, and what removed names have left in
// directories. Encrypted files are left alone: what lies behind their end is
// part of what is encrypted.
func (fs *FS) Remnants(ctx context.Context) iter.Seq2[vfs.Remnant, error] {
	return vfs.EachRemnant(fs.dev.Size(), func(add func(vfs.Remnant) error) error {
		r := &remnants{fs: fs, ctx: ctx, yield: add}
		return r.all()
	})
}

// remnants is one walk over what is left over.
type remnants struct {
	fs     *FS
	ctx    context.Context
	yield  func(vfs.Remnant) error
	system []span // blocks of the file system's own, merged
}

// add yields n bytes at off.
func (r *remnants) add(kind vfs.RemnantKind, ino uint32, off, n int64, seal *vfs.Seal) error {
	return r.yield(vfs.Remnant{Kind: kind, Off: off, Len: n, Ino: vfs.Ino(ino), Seal: seal})
}

// addSlack yields the part [from, to) of the structure b at off, unless it is
// zeros.
func (r *remnants) addSlack(kind vfs.RemnantKind, ino uint32, b []byte, from, to int, off int64, seal *vfs.Seal) error {
	if from >= to || blockio.IsZero(b[from:to]) {
		return nil
	}
	return r.add(kind, ino, off+int64(from), int64(to-from), seal)
}

func (r *remnants) all() error {
	for g := range r.fs.groups {
		d, err := r.fs.group(g)
		if err != nil {
			return err
		}
		r.system = append(r.system, r.fs.ownBlocks(g, &d)...)
	}
	r.system = mergeSpans(r.system)
	for g := range r.fs.groups {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		d, err := r.fs.group(g)
		if err != nil {
			return err
		}
		if err := r.own(g, &d); err != nil {
			return err
		}
		if err := r.freeBlocks(g, &d); err != nil {
			return err
		}
		if err := r.inodes(g, &d); err != nil {
			return err
		}
	}
	if err := r.log(); err != nil {
		return err
	}
	end := int64(r.fs.blocks) * r.fs.blockSize
	return r.add(vfs.BehindEnd, 0, end, r.fs.dev.Size()-end, nil)
}

// own yields the blocks of group g's own that hold nothing: bitmaps that were
// never written, the rest of a block with a copy of the superblock, and the
// blocks in copies of the descriptors that are kept for more of them.
func (r *remnants) own(g uint64, d *ondisk.GroupDesc) error {
	fs := r.fs
	add := func(block uint64, skip int64, n uint64) error {
		return r.add(vfs.MetaSlack, 0, fs.offset(block)+skip, int64(n)*fs.blockSize-skip, nil)
	}
	if fs.unwrittenBg && d.Flags&ondisk.GroupBlockUninit != 0 && fs.validBlocks(d.BlockBitmap, 1) {
		if err := add(d.BlockBitmap, 0, 1); err != nil {
			return err
		}
	}
	if fs.unwrittenBg && d.Flags&ondisk.GroupInodeUninit != 0 && fs.validBlocks(d.InodeBitmap, 1) {
		if err := add(d.InodeBitmap, 0, 1); err != nil {
			return err
		}
	}
	if g == 0 || !fs.sb.HasSuper(g) {
		return nil
	}
	base := fs.baseBlocks(g)
	if err := add(base.start, ondisk.SuperSize, 1); err != nil {
		return err
	}
	used := base.start + 1 + fs.groupDescBlocks(g)
	if fs.sb.FeatureCompat&ondisk.CompatResizeInode == 0 || used >= base.end {
		return nil
	}
	return add(used, 0, base.end-used)
}

// freeBlocks yields the free clusters of group g. Those of the file system's
// own are not free, whatever the bitmap says: a group that was never used has
// none.
func (r *remnants) freeBlocks(g uint64, d *ondisk.GroupDesc) error {
	clusters := r.fs.clustersIn(g)
	b := make([]byte, r.fs.blockSize)
	if !r.fs.unwrittenBg || d.Flags&ondisk.GroupBlockUninit == 0 {
		m, err := r.fs.block(d.BlockBitmap, fmt.Sprintf("group %d block bitmap", g))
		if err != nil {
			return err
		}
		copy(b, m)
	}
	start := r.fs.groupStart(g)
	for i := int64(0); i < clusters; {
		if b[i/8] == 0xff {
			i += 8 - i%8
			continue
		}
		if hasBit(b, i) {
			i++
			continue
		}
		from := i
		for i < clusters && !hasBit(b, i) {
			i++
		}
		first := start + uint64(from)<<r.fs.clusterShift
		if err := r.freeRun(first, min(start+uint64(i)<<r.fs.clusterShift, r.fs.blocks)); err != nil {
			return err
		}
	}
	return nil
}

// freeRun yields the blocks [from, to) without the file system's own.
func (r *remnants) freeRun(from, to uint64) error {
	i := sort.Search(len(r.system), func(i int) bool { return r.system[i].end > from })
	for from < to {
		end, next := to, to
		if i < len(r.system) && r.system[i].start < to {
			end, next = max(r.system[i].start, from), r.system[i].end
			i++
		}
		if err := r.add(vfs.FreeSpace, 0, r.fs.offset(from), int64(end-from)*r.fs.blockSize, nil); err != nil {
			return err
		}
		from = next
	}
	return nil
}

// inodes yields what the inodes of group g have left over.
func (r *remnants) inodes(g uint64, d *ondisk.GroupDesc) error {
	fs := r.fs
	table, total := fs.offset(d.InodeTable), uint64(fs.inodesPerGroup)
	written := total
	var used []byte
	if fs.unwrittenBg {
		written -= min(uint64(d.ItableUnused), total)
		if d.Flags&ondisk.GroupInodeUninit != 0 {
			written = 0
		}
	}
	if written > 0 {
		b, err := fs.block(d.InodeBitmap, fmt.Sprintf("group %d inode bitmap", g))
		if err != nil {
			return err
		}
		used = append(used, b[:(total+7)/8]...)
	}
	for i := range written {
		if i%64 == 0 && r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		num := uint32(g)*fs.inodesPerGroup + uint32(i) + 1
		var err error
		if hasBit(used, int64(i)) {
			err = r.usedInode(num)
		} else {
			err = r.freeInode(table + int64(i)*fs.inodeSize)
		}
		if err != nil {
			return err
		}
	}
	// Behind the inodes that were ever written lies what was there before.
	from := int64(written) * fs.inodeSize
	return r.add(vfs.MetaSlack, 0, table+from, int64(fs.tableBlocks)*fs.blockSize-from, nil)
}

// freeInode yields the free inode at off, unless it is zeros. A free inode of
// zeros is one that was never used, and needs no checksum.
func (r *remnants) freeInode(off int64) error {
	b, err := r.fs.cache.Bytes(off, int(r.fs.inodeSize))
	if err != nil {
		return fmt.Errorf("read inode at byte %d: %w", off, err)
	}
	return r.addSlack(vfs.MetaSlack, 0, b, 0, len(b), off, nil)
}

// usedInode yields the slack of a file. The inodes of the file system's own are
// not looked at: their sizes mean other things.
func (r *remnants) usedInode(num uint32) error {
	in := new(inode) // the mapper and the seals keep it
	switch err := r.fs.readInode(vfs.Ino(num), in); {
	case errors.Is(err, syscall.ENOENT):
		return nil
	case err != nil:
		return err
	}
	if in.has(ondisk.FlEncrypt | ondisk.FlCompressed) {
		return nil
	}
	if err := r.inInode(in); err != nil {
		return err
	}
	if err := r.attrBlock(in); err != nil {
		return err
	}
	mode := in.mode().Type()
	if in.has(ondisk.FlInlineData) || mode != vfs.Regular && mode != vfs.Dir && mode != vfs.Symlink ||
		mode == vfs.Symlink && r.fs.fastSymlink(in) {
		return nil
	}
	if in.has(ondisk.FlExtents) {
		if err := r.extents(in); err != nil {
			return err
		}
	}
	if err := r.clusters(in); err != nil {
		return err
	}
	if mode == vfs.Dir {
		return r.dir(in)
	}
	return r.contents(in)
}

// inodeSeal is the checksum of an inode.
func (r *remnants) inodeSeal(in *inode) *vfs.Seal {
	if !r.fs.metadataCsum {
		return nil
	}
	seed := in.seed
	return &vfs.Seal{Off: in.off, Len: len(in.raw), Sum: func(b []byte) { ondisk.SealInode(seed, b) }}
}

// inInode yields the room in an inode that nothing takes up.
func (r *remnants) inInode(in *inode) error {
	const blockOff = 0x28
	seal := r.inodeSeal(in)
	slack := func(kind vfs.RemnantKind, from, to int) error {
		return r.addSlack(kind, in.num, in.raw, from, to, in.off, seal)
	}
	switch {
	case in.has(ondisk.FlInlineData) && in.mode().IsDir():
		a := dirArea{fs: r.fs, in: in, b: in.Block[inlineDirHeader:], off: in.off + blockOff + inlineDirHeader}
		if err := r.area(&a, seal); err != nil {
			return err
		}
	case in.has(ondisk.FlInlineData), in.mode().IsSymlink() && r.fs.fastSymlink(in):
		end := blockOff + ondisk.BlockLen
		if err := slack(vfs.MetaSlack, blockOff+int(min(in.size, ondisk.BlockLen)), end); err != nil {
			return err
		}
	}
	start := ondisk.InodeSizeOld + int(in.ExtraIsize)
	if len(in.raw) < start+ondisk.XattrInodeHeader || in.ExtraIsize == 0 {
		return nil
	}
	if binary.LittleEndian.Uint32(in.raw[start:]) != ondisk.XattrMagic {
		return slack(vfs.MetaSlack, start, len(in.raw))
	}
	start += ondisk.XattrInodeHeader
	from, to, err := attrGap(in.raw[start:], 0, in.off+int64(start), in.name()+" attributes")
	if err != nil {
		return err
	}
	return slack(vfs.MetaSlack, start+from, start+to)
}

// attrGap returns what lies between a list of attributes, which begins at byte
// head of values, and the first of their values.
func attrGap(values []byte, head int, off int64, what string) (from, to int, err error) {
	from, to = head, len(values)
	err = eachXattr(values[head:], values, off, what, func(e ondisk.XattrEntry, _, _ []byte) error {
		from += e.Size()
		if e.ValueIno == 0 && e.ValueSize > 0 {
			to = min(to, int(e.ValueOff))
		}
		return nil
	})
	return from + 4, to, err // behind the word that ends the list
}

// attrBlock yields the room in the block of attributes of a file, which other
// files may have too.
func (r *remnants) attrBlock(in *inode) error {
	if in.FileACL == 0 {
		return nil
	}
	// For its checks; the block is in the cache then.
	if err := r.fs.eachBlockXattr(in, func(ondisk.XattrEntry, []byte, []byte) error { return nil }); err != nil {
		return err
	}
	what := in.name() + " attribute block"
	b, err := r.fs.block(in.FileACL, what)
	if err != nil {
		return err
	}
	off := r.fs.offset(in.FileACL)
	from, to, err := attrGap(b, ondisk.XattrBlockHeader, off, what)
	if err != nil {
		return err
	}
	var seal *vfs.Seal
	if r.fs.metadataCsum {
		seed, num := r.fs.seed, in.FileACL
		seal = &vfs.Seal{Off: off, Len: len(b), Sum: func(b []byte) { ondisk.SealXattrs(seed, num, b) }}
	}
	if err := r.clusterOf(in, in.FileACL); err != nil {
		return err
	}
	return r.addSlack(vfs.MetaSlack, in.num, b, from, to, off, seal)
}

// contents yields what a file has allocated and does not show: blocks that were
// never written, and all behind its end. The Merkle tree of fs-verity lies
// there, and where files share blocks the contents of another may.
func (r *remnants) contents(in *inode) error {
	bs := r.fs.blockSize
	if r.fs.sb.FeatureROCompat&ondisk.ROCompatSharedBlocks != 0 {
		return nil
	}
	return r.pieces(in, func(lblk uint64, at run, written bool) error {
		from, n := int64(0), int64(at.n)*bs
		if written {
			if in.has(ondisk.FlVerity) {
				return nil
			}
			from = min(max(in.size-int64(lblk)*bs, 0), n)
		}
		return r.add(vfs.FileSlack, in.num, r.fs.offset(at.start)+from, n-from, nil)
	})
}

// log yields the journal, if everything in it has been written home.
func (r *remnants) log() error {
	fs := r.fs
	if fs.sb.FeatureCompat&ondisk.CompatHasJournal == 0 || fs.sb.JournalIno == 0 ||
		fs.sb.FeatureIncompat&ondisk.IncompatRecover != 0 {
		return nil
	}
	j, err := fs.openJournal()
	if err != nil || j.js.Start != 0 {
		return err
	}
	in := j.m.in
	return r.pieces(in, func(lblk uint64, at run, _ bool) error {
		if skip := max(uint64(j.js.First), 1); lblk < skip {
			skip = min(skip-lblk, at.n)
			at.start, at.n = at.start+skip, at.n-skip
		}
		return r.add(vfs.LogSlack, in.num, fs.offset(at.start), int64(at.n)*fs.blockSize, nil)
	})
}
