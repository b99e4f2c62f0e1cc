package ext4

import (
	"bytes"
	"context"
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A resealer makes the checksums of inodes, and of the blocks that belong to
// them, start from another seed. Each is verified first: what was damaged is
// not made to look sound.
type resealer struct {
	w      *Writer
	seed   uint32          // the new one
	xattrs map[uint64]bool // blocks of attributes, which files share
}

// reseal does it for all inodes and bitmaps, with the seed that the superblock
// next gives. The descriptors of groups get their own checksums at the commit.
// Requires w.mu.
func (w *Writer) reseal(ctx context.Context, next *ondisk.Superblock) error {
	r := &resealer{w: w, seed: next.Seed(), xattrs: map[uint64]bool{}}
	for n := range w.FS.groups {
		for i := range w.inodesPerGroup {
			num := uint32(n)*w.inodesPerGroup + i + 1
			at, err := w.locateInode(num)
			if err != nil {
				return err
			}
			if at.unwritten {
				break // nor are those behind it
			}
			if err := r.inode(num, at.off); err != nil {
				return err
			}
		}
		if err := w.bitmaps(n, next); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// bitmaps computes the checksums of the bitmaps of a group, which lie in its
// descriptor. What was never written has none.
func (w *Writer) bitmaps(n uint64, next *ondisk.Superblock) error {
	gr, d := w.groupState(n), &w.live[n]
	for _, m := range [...]struct {
		what    string
		uninit  uint16
		changed bool // its checksum is made at the commit
		block   uint64
		bits    uint64
		sum     *uint32
	}{
		{"block bitmap", ondisk.GroupBlockUninit, gr.newBlocks, d.BlockBitmap, w.blocksPerGroup >> w.clusterShift, &d.BlockBitmapSum},
		{"inode bitmap", ondisk.GroupInodeUninit, gr.newInodes, d.InodeBitmap, uint64(w.inodesPerGroup), &d.InodeBitmapSum},
	} {
		if w.unwrittenBg && d.Flags&m.uninit != 0 {
			continue
		}
		b, err := w.cache.Bytes(w.offset(m.block), int(m.bits/8))
		if err != nil {
			return fmt.Errorf("read %s of group %d: %w", m.what, n, err)
		}
		if want := ondisk.BitmapChecksum(w.sb, b); !m.changed && *m.sum != want {
			return vfs.Corruptf(w.offset(m.block), fmt.Sprintf("group %d %s", n, m.what), "checksum %#08x, want %#08x", *m.sum, want)
		}
		*m.sum = ondisk.BitmapChecksum(next, b)
	}
	return nil
}

// inode reseals an inode that was ever in use.
func (r *resealer) inode(num uint32, off int64) error {
	w := r.w
	raw, err := w.cache.Bytes(off, int(w.inodeSize))
	if err != nil {
		return fmt.Errorf("read inode %d at byte %d: %w", num, off, err)
	}
	if len(bytes.TrimLeft(raw, "\x00")) == 0 {
		return nil
	}
	in := inode{num: num, off: off, raw: raw}
	ondisk.DecodeInode(raw, &in.Inode)
	sound := in.Checksum == ondisk.InodeChecksum(ondisk.InodeSeed(w.seed, num, in.Generation), raw, in.HasHi)
	if in.Links == 0 && !sound {
		return nil // nobody looks at it until it is used anew
	}
	if in.Links > 0 {
		// Verified as whenever a file is looked at.
		if err := w.fetchInode(vfs.Ino(num), &in); err != nil {
			return err
		}
		if err := r.blocks(&in); err != nil {
			return err
		}
	}
	b, err := w.cache.Modify(off, int(w.inodeSize))
	if err != nil {
		return err
	}
	ondisk.SealInode(ondisk.InodeSeed(r.seed, num, in.Generation), b)
	return w.spill()
}

// blocks reseals the blocks of metadata that belong to an inode.
func (r *resealer) blocks(in *inode) error {
	w := r.w
	if in.FileACL != 0 && !r.xattrs[in.FileACL] {
		r.xattrs[in.FileACL] = true
		b, err := w.block(in.FileACL, "attributes")
		if err != nil {
			return err
		}
		if got, want := ondisk.XattrChecksum(w.seed, in.FileACL, b); got != want {
			return vfs.Corruptf(w.offset(in.FileACL), "attributes of "+in.name(), "checksum %#08x, want %#08x", got, want)
		}
		if err := r.change(in.FileACL, func(b []byte) { ondisk.SealXattrs(r.seed, in.FileACL, b) }); err != nil {
			return err
		}
	}
	// The blocks of a directory are found by its extents: these come after.
	orphans := w.sb.FeatureCompat&ondisk.CompatOrphanFile != 0 && in.num == w.sb.OrphanFileIno
	if (in.mode().IsDir() || orphans) && !in.has(ondisk.FlInlineData) {
		m := w.mapper(in)
		for lblk := range uint64(in.size) / uint64(w.blockSize) {
			if err := r.dirBlock(&m, lblk, orphans); err != nil {
				return err
			}
		}
	}
	if in.has(ondisk.FlExtents) {
		m := w.mapper(in)
		depth := ondisk.DecodeExtentHeader(in.Block[:]).Depth
		if depth > ondisk.MaxExtentDepth {
			return m.corrupt(in.off+0x28, "depth %d", depth)
		}
		return r.extents(&m, in.Block[:], in.off+0x28, depth, 0, fileBlocks, 0)
	}
	return nil
}

// change hands a block to seal. What was read of the block before is no longer
// to be used.
func (r *resealer) change(block uint64, seal func(b []byte)) error {
	b, err := r.w.cache.Modify(r.w.offset(block), int(r.w.blockSize))
	if err != nil {
		return err
	}
	seal(b)
	return nil
}

// dirBlock reseals a block of a directory or of the orphan file.
func (r *resealer) dirBlock(m *mapper, lblk uint64, orphans bool) error {
	w, in := r.w, m.in
	seed := ondisk.InodeSeed(r.seed, in.num, in.Generation)
	found, err := m.at(lblk)
	if err != nil {
		return err
	}
	if orphans {
		if found.start == 0 {
			return nil
		}
		b, err := w.block(found.start, "orphan file")
		if err != nil {
			return err
		}
		if magic, got, want := ondisk.OrphanTail(in.seed, found.start, b); magic != ondisk.OrphanMagic || got != want {
			return vfs.Corruptf(w.offset(found.start), "orphan file", "checksum %#08x, want %#08x", got, want)
		}
		return r.change(found.start, func(b []byte) { ondisk.PutOrphanTail(seed, found.start, b, true) })
	}
	if _, _, err := w.dirBlock(m, lblk); err != nil {
		return err
	}
	return r.change(found.start, func(b []byte) {
		switch {
		case w.indexed(in) && isDxNode(b):
			ondisk.SealDx(seed, b, ondisk.DxNodeEntries)
		case w.indexed(in) && lblk == 0:
			ondisk.SealDx(seed, b, ondisk.DxRootEntries)
		default:
			ondisk.SealDir(seed, b)
		}
	})
}

// extents reseals the nodes below a node, which speaks for the blocks [lo, hi)
// of the file, and then itself; addr is 0 for the root, in the inode.
func (r *resealer) extents(m *mapper, node []byte, off int64, depth uint16, lo, hi, addr uint64) error {
	if err := m.checkNode(node, off, depth, lo, hi, addr == 0); err != nil {
		return err
	}
	node = bytes.Clone(node) // what comes may take it out of the cache
	h := ondisk.DecodeExtentHeader(node)
	for i := 0; depth > 0 && i < int(h.Entries); i++ {
		first, child := ondisk.DecodeExtentIndex(node, i)
		end := hi
		if i+1 < int(h.Entries) {
			end = uint64(ondisk.ExtentEntryBlock(node, i+1))
		}
		b, err := r.w.block(child, m.nodeName())
		if err != nil {
			return err
		}
		if err := r.extents(m, b, r.w.offset(child), depth-1, uint64(first), end, child); err != nil {
			return err
		}
	}
	if addr == 0 {
		return nil
	}
	seed := ondisk.InodeSeed(r.seed, m.in.num, m.in.Generation)
	return r.change(addr, func(b []byte) { ondisk.SealExtentNode(seed, b, h.Max) })
}
