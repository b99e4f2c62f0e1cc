package ext4

import (
	"context"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// pieces calls fn for all blocks that are allocated to a file, also behind its
// end, and says whether they were written. lblk is where they are in the file.
func (r *remnants) pieces(in *inode, fn func(lblk uint64, at run, written bool) error) error {
	m := r.fs.mapper(in)
	if !in.has(ondisk.FlExtents) {
		// Nothing is allocated behind the end.
		end := uint64(in.size+r.fs.blockSize-1) / uint64(r.fs.blockSize)
		most := 4*r.fs.blocks + 1024 // as in nextChange
		for lblk, step := uint64(0), uint64(0); lblk < end; step++ {
			if err := checkpoint(r.ctx, int(step)); err != nil {
				return err
			}
			if step > most {
				return in.corrupt("more pieces than there are blocks")
			}
			at, err := m.onDisk(lblk)
			if err != nil {
				return err
			}
			if at.start != 0 {
				if err := fn(lblk, at, true); err != nil {
					return err
				}
			}
			lblk += at.n
		}
		return nil
	}
	return r.fs.eachNode(r.ctx, in, func(b []byte, _ int64, h ondisk.ExtentHeader) error {
		if h.Depth > 0 {
			return nil
		}
		for i := range int(h.Entries) {
			x := ondisk.DecodeExtent(b, i)
			if err := fn(uint64(x.Block), run{x.Start, uint64(x.Len)}, !x.Unwritten); err != nil {
				return err
			}
		}
		return nil
	})
}

// extents yields the room in the blocks of an extent tree that no entry takes
// up.
func (r *remnants) extents(in *inode) error {
	return r.fs.eachNode(r.ctx, in, func(b []byte, off int64, h ondisk.ExtentHeader) error {
		if len(b) < int(r.fs.blockSize) {
			return nil // the root, in the inode
		}
		from := ondisk.ExtentHeaderSize + int(h.Entries)*ondisk.ExtentEntrySize
		to := len(b)
		var seal *vfs.Seal
		if r.fs.metadataCsum {
			to = ondisk.ExtentHeaderSize + int(h.Max)*ondisk.ExtentEntrySize
			seed := in.seed
			seal = &vfs.Seal{Off: off, Len: len(b), Sum: func(b []byte) { ondisk.SealExtentNode(seed, b, h.Max) }}
		}
		if err := r.clusterOf(in, uint64(off/r.fs.blockSize)); err != nil {
			return err
		}
		return r.addSlack(vfs.MetaSlack, in.num, b, from, to, off, seal)
	})
}

// cluster returns the cluster that a block lies in.
func (fs *FS) cluster(block uint64) span {
	start := (block-fs.firstBlock)>>fs.clusterShift<<fs.clusterShift + fs.firstBlock
	return span{start, min(start+1<<fs.clusterShift, fs.blocks)}
}

// addBlocks yields blocks of a file's clusters that are none of the file's.
func (r *remnants) addBlocks(in *inode, from, to uint64) error {
	if from >= to {
		return nil
	}
	return r.add(vfs.FileSlack, in.num, r.fs.offset(from), int64(to-from)*r.fs.blockSize, nil)
}

// clusterOf yields the rest of the cluster that was taken for one block.
func (r *remnants) clusterOf(in *inode, block uint64) error {
	c := r.fs.cluster(block)
	if err := r.addBlocks(in, c.start, block); err != nil {
		return err
	}
	return r.addBlocks(in, block+1, c.end)
}

// clusters yields the blocks in the clusters of a file that it does not use. A
// cluster has one file, whose blocks lie in it as they do in the file.
func (r *remnants) clusters(in *inode) error {
	if r.fs.clusterShift == 0 {
		return nil
	}
	var last span // behind the piece before, to the end of its cluster
	err := r.pieces(in, func(_ uint64, at run, _ bool) error {
		c := r.fs.cluster(at.start)
		if c.end == last.end {
			c.start = last.start
		} else if err := r.addBlocks(in, last.start, last.end); err != nil {
			return err
		}
		end := at.start + at.n
		last = span{end, r.fs.cluster(end - 1).end}
		return r.addBlocks(in, c.start, at.start)
	})
	if err != nil {
		return err
	}
	return r.addBlocks(in, last.start, last.end)
}

// eachNode calls fn for the nodes of an extent tree, each before those below it.
// b is fn's to look at, for the moment.
func (fs *FS) eachNode(ctx context.Context, in *inode, fn func(b []byte, off int64, h ondisk.ExtentHeader) error) error {
	m := fs.mapper(in)
	root := ondisk.DecodeExtentHeader(in.Block[:])
	if root.Depth > ondisk.MaxExtentDepth {
		return m.corrupt(in.off+0x28, "depth %d", root.Depth)
	}
	var visit func(b []byte, off int64, depth uint16, lo, hi uint64, root bool) error
	visit = func(b []byte, off int64, depth uint16, lo, hi uint64, root bool) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.checkNode(b, off, depth, lo, hi, root); err != nil {
			return err
		}
		h := ondisk.DecodeExtentHeader(b)
		if err := fn(b, off, h); err != nil || depth == 0 {
			return err
		}
		for i := range int(h.Entries) {
			first, child := ondisk.DecodeExtentIndex(b, i)
			end := hi
			if i+1 < int(h.Entries) {
				end = uint64(ondisk.ExtentEntryBlock(b, i+1))
			}
			c, err := fs.block(child, m.nodeName())
			if err != nil {
				return err
			}
			if err := visit(c, fs.offset(child), depth-1, uint64(first), end, false); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(in.Block[:], in.off+0x28, root.Depth, 0, fileBlocks, true)
}

// dir yields what lies between the names of a directory, and behind the entries
// of its index.
func (r *remnants) dir(in *inode) error {
	fs := r.fs
	m := fs.mapper(in)
	bs := uint64(fs.blockSize)
	for lblk := uint64(0); lblk*bs < uint64(in.size); lblk++ {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		b, off, err := fs.dirBlock(&m, lblk)
		if err != nil {
			return err
		}
		if fs.indexed(in) && (lblk == 0 || isDxNode(b)) {
			if err := r.indexBlock(in, b, off, lblk == 0); err != nil {
				return err
			}
			continue
		}
		a := fs.blockArea(in, b, off)
		var seal *vfs.Seal
		if a.block != nil {
			seed := in.seed
			seal = &vfs.Seal{Off: off, Len: len(b), Sum: func(b []byte) { ondisk.SealDir(seed, b) }}
		}
		if err := r.area(&a, seal); err != nil {
			return err
		}
	}
	return nil
}

// area yields what lies between the names of a part of a directory.
func (r *remnants) area(a *dirArea, seal *vfs.Seal) error {
	for pos := 0; pos < len(a.b); {
		d, _, err := a.next(pos)
		if err != nil {
			return err
		}
		used := ondisk.DirEntryHeader
		if d.Ino != 0 {
			used += d.NameLen
		}
		if err := r.addSlack(vfs.DirSlack, a.in.num, a.b, pos+used, pos+d.RecLen, a.off, seal); err != nil {
			return err
		}
		pos += d.RecLen
	}
	return nil
}

// indexBlock yields what lies behind the entries of a block of a hash tree,
// which the checksum does not cover. Without checksums, a block that looks like
// one may be one of names that were all removed; its limit tells.
func (r *remnants) indexBlock(in *inode, b []byte, off int64, root bool) error {
	at := ondisk.DxNodeEntries
	if root {
		at = ondisk.DxRootEntries
	}
	e := ondisk.DxEntries(b[at:])
	switch {
	case e.Limit() != ondisk.DxLimit(len(b), at, r.fs.metadataCsum):
		if root {
			return vfs.Corruptf(off, in.dirName(), "index of %d entries", e.Limit())
		}
		return nil
	case e.Count() == 0 || e.Count() > e.Limit():
		return vfs.Corruptf(off, in.dirName(), "index of %d entries has %d", e.Limit(), e.Count())
	}
	return r.addSlack(vfs.DirSlack, in.num, b, at+e.Count()*ondisk.DxEntrySize, at+e.Limit()*ondisk.DxEntrySize, off, nil)
}

// ownBlocks are the blocks that group g needs for itself.
func (fs *FS) ownBlocks(g uint64, d *ondisk.GroupDesc) []span {
	own := []span{{d.InodeTable, d.InodeTable + fs.tableBlocks}}
	for _, b := range [...]uint64{d.BlockBitmap, d.InodeBitmap} {
		if fs.validBlocks(b, 1) {
			own = append(own, span{b, b + 1})
		}
	}
	if base := fs.baseBlocks(g); base.end > base.start {
		own = append(own, base)
	}
	return own
}
