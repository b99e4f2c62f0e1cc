package ext4

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A fastReplay makes the changes of fast commits. What comes of them all together
// is known from the reader, which shows them in memory: it is put in place step
// by step, in operations like any others.
type fastReplay struct {
	w    *Writer
	fast *fastCommits
	ctx  context.Context
}

// replayFast makes the changes of fast commits (ext4_fc_replay).
func (w *Writer) replayFast(ctx context.Context, re *fastRecords) error {
	view, err := load(w.tx)
	if err == nil {
		err = view.applyFastCommits(ctx, re)
	}
	if isCorrupt(err) || isNotSupported(err) {
		return &vfs.DirtyError{Why: fmt.Sprintf("its journal has fast commits that cannot be replayed: %v", err)}
	}
	if err != nil {
		return err
	}
	r := &fastReplay{w, view.fast, ctx}
	// Nothing must be allocated where files have blocks already, as the fast
	// commits say.
	claimed := &orphan{runs: r.claims()}
	if err := w.do(ctx, func(o *op) error { return o.knowGroups(claimed.runs) }); err != nil {
		return err
	}
	w.hold(claimed, true)
	defer w.hold(claimed, false)
	inodes, ranges, dirs := sortedKeys(r.fast.inodes), sortedKeys(r.fast.ranges), sortedKeys(r.fast.dirs)
	for _, step := range []struct {
		inodes []uint32
		do     func(o *op, num uint32) error
	}{
		{inodes, r.remove},
		{inodes, r.putInode},
		{ranges, r.unmap},
		{ranges, r.remap},
		{dirs, r.putDir},
		{dirs, r.putNames},
		{dirs, r.countLinks},
		{inodes, r.countBlocks},
		{ranges, r.countBlocks},
	} {
		for _, num := range step.inodes {
			if err := w.do(ctx, func(o *op) error { return step.do(o, num) }); err != nil {
				return fmt.Errorf("fast commit of inode %d: %w", num, err)
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[uint32]V) []uint32 { return slices.Sorted(maps.Keys(m)) }

// isNewDir reports whether an inode is a directory that the fast commits made:
// the blocks that they say it has are not looked at.
func (r *fastReplay) isNewDir(num uint32) bool {
	d := r.fast.dirs[num]
	return d != nil && d.fresh
}

// isGone reports whether the fast commits deleted an inode.
func (r *fastReplay) isGone(num uint32) bool {
	raw, ok := r.fast.inodes[num]
	return ok && raw == nil
}

// claims are the clusters that files have by the fast commits.
func (r *fastReplay) claims() []blockRun {
	f := r.w.FS
	size := uint64(1) << f.clusterShift
	var spans []span
	for num, ranges := range r.fast.ranges {
		if r.isNewDir(num) || r.isGone(num) {
			continue
		}
		for _, x := range ranges {
			if x.start != 0 {
				from := (x.start - f.firstBlock) &^ (size - 1)
				end := (x.start - f.firstBlock + x.end - x.first + size - 1) &^ (size - 1)
				spans = append(spans, span{from + f.firstBlock, min(end+f.firstBlock, f.blocks)})
			}
		}
	}
	var runs []blockRun
	for _, s := range mergeSpans(spans) {
		runs = append(runs, blockRun{start: s.start, n: s.end - s.start})
	}
	return runs
}

// knowGroups reads the bitmaps of the groups that blocks lie in, none of which
// may be the file system's own.
func (o *op) knowGroups(runs []blockRun) error {
	for _, r := range runs {
		if o.w.isSystem(r.start, r.n) {
			return vfs.Corruptf(o.f.offset(r.start), "fast commit", "%d blocks at block %d are not for files", r.n, r.start)
		}
		for at := r.start; at < r.start+r.n; {
			gr, _, err := o.groupOf(at)
			if err != nil {
				return err
			}
			at = gr.start + o.f.blocksPerGroup
		}
	}
	return nil
}

// remove deletes an inode that is gone.
func (r *fastReplay) remove(o *op, num uint32) error {
	if !r.isGone(num) {
		return nil
	}
	in, err := o.load(vfs.Ino(num))
	if errors.Is(err, syscall.ENOENT) {
		return nil // it came and went
	}
	if err != nil {
		return err
	}
	return o.dropFile(in)
}

// putInode writes an inode as it is now, in place of what had its number before.
func (r *fastReplay) putInode(o *op, num uint32) error {
	raw := r.fast.inodes[num]
	if raw == nil {
		return nil
	}
	var now ondisk.Inode
	ondisk.DecodeInode(raw, &now)
	group, i := uint64((num-1)/o.f.inodesPerGroup), int((num-1)%o.f.inodesPerGroup)
	old, err := o.load(vfs.Ino(num))
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	same := err == nil && old.Generation == now.Generation && old.mode().Type() == vfs.Mode(now.Mode).Type()
	if err == nil && !same {
		// Another file had the number. Its blocks go now, its bit when the
		// operation ends; so the rest is for the next one.
		if err := o.dropFile(old); err != nil {
			return err
		}
		if err := o.finishPart(); err != nil {
			return err
		}
		o.nInodes = 0
	}
	gr, err := o.inodeMap(group)
	if err != nil {
		return err
	}
	if err := o.useInodeTable(gr, uint32(i)); err != nil {
		return err
	}
	b, err := o.f.cache.Bytes(o.f.offset(o.w.live[group].InodeBitmap), int(o.f.blockSize))
	if err != nil {
		return err
	}
	if !hasBit(b, int64(i)) {
		if err := o.setInode(gr, i, true, vfs.Mode(now.Mode).IsDir()); err != nil {
			return err
		}
	}
	at, err := o.f.locateInode(num)
	if err != nil {
		return err
	}
	in := old
	if !same {
		in = o.newInode()
	}
	block, size, indexed := in.Block, in.size, in.Flags&ondisk.FlIndex
	copy(in.raw, raw)
	in.Inode, in.num, in.off, in.size = now, num, at.off, int64(now.Size)
	if o.f.metadataCsum {
		in.seed = ondisk.InodeSeed(o.f.seed, num, now.Generation)
	}
	switch {
	case same && in.mode().IsDir():
		// What a directory looks like is what is in its blocks.
		in.Block, in.size, in.Flags = block, size, in.Flags&^ondisk.FlIndex|indexed
	case !same && in.has(ondisk.FlExtents):
		in.initExtents()
	}
	if err := o.f.setSectors(in, 0); err != nil {
		return err
	}
	in.dirty = true
	return nil
}

// unmap takes the blocks out of a file that it has no more, or that are somewhere
// else now.
func (r *fastReplay) unmap(o *op, num uint32) error {
	return r.eachRange(o, num, func(in *inode, x fastRange) error {
		return o.removeExtents(in, x.first, x.end, false)
	})
}

// remap gives a file the blocks that it has got.
func (r *fastReplay) remap(o *op, num uint32) error {
	return r.eachRange(o, num, func(in *inode, x fastRange) error {
		if x.start == 0 {
			return nil
		}
		if err := o.useBlocks(x.start, x.end-x.first); err != nil {
			return err
		}
		for at := x.first; at < x.end; {
			n := min(x.end-at, ondisk.MaxUnwrittenLen)
			err := o.insertExtent(in, ondisk.Extent{
				Block: uint32(at), Len: uint32(n), Start: x.start + at - x.first, Unwritten: x.unwritten,
			})
			if err != nil {
				return err
			}
			at += n
		}
		return nil
	})
}

func (r *fastReplay) eachRange(o *op, num uint32, fn func(in *inode, x fastRange) error) error {
	if r.isNewDir(num) || r.isGone(num) {
		return nil
	}
	in, err := o.load(vfs.Ino(num))
	if err != nil || !in.has(ondisk.FlExtents) {
		return ignoreErrno(err)
	}
	for _, x := range r.fast.ranges[num] {
		if err := fn(in, x); err != nil {
			return err
		}
	}
	in.dirty = true
	return nil
}

// useBlocks marks the clusters of blocks as in use that are not yet.
func (o *op) useBlocks(start, n uint64) error {
	for end := start + n; start < end; {
		gr, i, err := o.groupOf(start)
		if err != nil {
			return err
		}
		b, err := o.f.cache.Bytes(o.f.offset(o.w.live[gr.num].BlockBitmap), int(o.f.blockSize))
		if err != nil {
			return err
		}
		if !hasBit(b, i) {
			if err := o.setClusters(gr, i, 1, true); err != nil {
				return err
			}
		}
		start = o.blockAt(gr, i+1)
	}
	return nil
}

// putDir gives a directory that is new its "." and "..".
func (r *fastReplay) putDir(o *op, num uint32) error {
	if !r.isNewDir(num) || r.isGone(num) {
		return nil
	}
	in, err := o.load(vfs.Ino(num))
	if err != nil {
		return ignoreErrno(err)
	}
	in.size, in.Flags = 0, in.Flags&^ondisk.FlIndex
	if in.has(ondisk.FlExtents) {
		in.initExtents()
	} else {
		in.Block = [ondisk.BlockLen]byte{}
	}
	return o.makeDir(in, r.fast.dirs[num].names[".."])
}

// putNames makes and removes names in a directory.
func (r *fastReplay) putNames(o *op, num uint32) error {
	dir, err := o.load(vfs.Ino(num))
	if err != nil {
		return ignoreErrno(err)
	}
	kept := dir.Inode
	names := r.fast.dirs[num].names
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if name == ".." {
			continue
		}
		s, err := o.locate(dir, name)
		if err != nil {
			return err
		}
		ino, mode := names[name], vfs.Mode(0)
		if ino != 0 {
			var in inode
			if err := o.f.readInode(vfs.Ino(ino), &in); err != nil {
				return err
			}
			mode = in.mode()
		}
		switch {
		case ino == 0 && s.ino != 0:
			err = o.removeName(dir, s)
		case ino != 0 && s.ino == 0:
			err = o.addName(dir, name, ino, mode)
		case ino != 0 && s.ino != ino:
			err = o.setName(dir, s, ino, mode)
		}
		if err != nil {
			return err
		}
	}
	dir.Mtime, dir.Ctime = kept.Mtime, kept.Ctime
	return nil
}

// countLinks sets the links of a directory to what its subdirectories make. The
// kernel forgets those that were made.
func (r *fastReplay) countLinks(o *op, num uint32) error {
	dir, err := o.load(vfs.Ino(num))
	if err != nil || dir.Links == 1 { // not counted: see dir_nlink
		return ignoreErrno(err)
	}
	links := uint16(2)
	var failed error
	err = o.f.scan(o.ctx, dir, 0, func(e *entry) bool {
		if e.isDot() {
			return true
		}
		var in inode
		if failed = o.f.readInode(vfs.Ino(e.ino), &in); in.mode().IsDir() {
			links++
		}
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err == nil && dir.Links != links {
		dir.Links, dir.dirty = links, true
	}
	return err
}

// countBlocks sets i_blocks to what the file has.
func (r *fastReplay) countBlocks(o *op, num uint32) error {
	in, err := o.load(vfs.Ino(num))
	if err != nil {
		return ignoreErrno(err)
	}
	m := o.mark(in, nil)
	from := len(o.frees)
	if in.hasBlocks(o.f) {
		if err := o.releaseAll(in, false); err != nil {
			return err
		}
	}
	blocks := uint64(0)
	for _, run := range o.frees[from:] {
		blocks += run.n
	}
	o.restore(m, in)
	if in.FileACL != 0 {
		blocks += 1 << o.f.clusterShift
	}
	return o.f.setSectors(in, int64(blocks)*(o.f.blockSize/512))
}
