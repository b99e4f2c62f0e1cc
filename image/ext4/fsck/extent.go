package fsck

import (
	"fmt"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// maxExtentBlocks is how many blocks a file with extents can have.
const maxExtentBlocks = 1 << 32

// walkExtents goes over an extent tree whose root is in the inode.
func (c *checker) walkExtents(w *walk, root []byte) error {
	h := ondisk.DecodeExtentHeader(root)
	if why := headerProblem(h, len(root), int(h.Depth)); why != "" || h.Depth > ondisk.MaxExtentDepth {
		if why == "" {
			why = fmt.Sprintf("%d levels", h.Depth)
		}
		w.note(issueNode, "root of the extent tree: %s", why)
		w.bad++
		if w.edit {
			emptyRoot(root)
		}
		return nil
	}
	left, _, err := c.walkNode(w, root, int(h.Depth), 0, maxExtentBlocks)
	if err == nil && w.edit && left == 0 {
		emptyRoot(root)
	}
	return err
}

// emptyRoot makes i_block a tree without extents.
func emptyRoot(b []byte) {
	clear(b)
	ondisk.EncodeExtentHeader(b, ondisk.ExtentHeader{
		Magic: ondisk.ExtentMagic, Max: uint16((len(b) - ondisk.ExtentHeaderSize) / ondisk.ExtentEntrySize),
	})
}

// headerProblem says what is wrong with the header of a node of size bytes, or
// "". Like ext2fs_extent_header_verify, it lets two entries of room go unused.
func headerProblem(h ondisk.ExtentHeader, size, depth int) string {
	room := (size - ondisk.ExtentHeaderSize) / ondisk.ExtentEntrySize
	switch {
	case h.Magic != ondisk.ExtentMagic:
		return fmt.Sprintf("bad magic %#04x", h.Magic)
	case int(h.Max) > room || int(h.Max) < room-2:
		return fmt.Sprintf("room for %d entries, want %d", h.Max, room)
	case h.Entries > h.Max:
		return fmt.Sprintf("%d entries in room for %d", h.Entries, h.Max)
	case int(h.Depth) != depth:
		return fmt.Sprintf("%d levels above the leaves, want %d", h.Depth, depth)
	case h.Entries == 0 && depth > 0:
		return "an index without entries"
	}
	return ""
}

// walkNode goes over the entries of a node, whose header is sound, for blocks
// [lo, hi) of the file. It returns how many entries are left, and the first
// block of the file that it leads to.
func (c *checker) walkNode(w *walk, b []byte, depth int, lo, hi uint64) (left int, first uint64, err error) {
	h := ondisk.DecodeExtentHeader(b)
	first = lo
	next := lo // the least block that the next entry may begin with
	keep := 0
	for i := range int(h.Entries) {
		ok, at := false, uint64(0)
		if depth == 0 {
			ok, at, next, err = c.leafEntry(w, b, i, next, hi)
		} else {
			end := hi
			if i+1 < int(h.Entries) {
				if e := uint64(ondisk.ExtentEntryBlock(b, i+1)); e > next && e < hi {
					end = e
				}
			}
			ok, at, next, err = c.indexEntry(w, b, i, depth, next, end)
		}
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			continue
		}
		if keep == 0 {
			first = at
		}
		if w.edit && keep != i {
			copy(b[ondisk.ExtentHeaderSize+keep*ondisk.ExtentEntrySize:][:ondisk.ExtentEntrySize],
				b[ondisk.ExtentHeaderSize+i*ondisk.ExtentEntrySize:])
		}
		keep++
	}
	if w.edit && keep != int(h.Entries) {
		h.Entries = uint16(keep)
		ondisk.EncodeExtentHeader(b, h)
	}
	return keep, first, nil
}

// leafEntry judges entry i of a leaf.
func (c *checker) leafEntry(w *walk, b []byte, i int, lo, hi uint64) (ok bool, at, next uint64, err error) {
	x := ondisk.DecodeExtent(b, i)
	r := run{uint64(x.Block), x.Start, uint64(x.Len), x.Unwritten}
	bad := func(issue int, format string, args ...any) (bool, uint64, uint64, error) {
		w.note(issue, "extent of %d blocks for block %d at block %d: %s", r.n, r.lblk, r.start, fmt.Sprintf(format, args...))
		w.bad += max(r.n, 1)
		return false, 0, lo, nil
	}
	switch {
	case r.n == 0:
		return bad(issuePointer, "no length")
	case !c.fits(r.start, r.n):
		return bad(issuePointer, "outside the file system")
	case c.isMeta(r.start, r.n):
		return bad(issuePointer, "metadata is there")
	case r.lblk < lo:
		return bad(issueOrder, "blocks before %d have been mapped already", lo)
	case r.lblk+r.n > hi:
		return bad(issueOrder, "crosses the end of its node at block %d", hi)
	case c.misplaced(w, r):
		return bad(issuePointer, "breaks a cluster in two")
	case w.in.isDir() && !c.hasIncompat(ondisk.IncompatLargeDir) && (r.lblk+r.n)<<c.bshift > maxDirSize:
		return bad(issuePointer, "too large for a directory")
	case w.mapped+r.n > c.maxMapped():
		return bad(issuePointer, "more blocks than there are")
	}
	if w.edit && w.truncate && r.lblk+r.n > w.cut {
		if r.lblk >= w.cut {
			return false, 0, lo, nil
		}
		x.Len = uint32(w.cut - r.lblk)
		r.n = uint64(x.Len)
		ondisk.EncodeExtent(b, i, x)
	}
	if w.edit && w.remap != nil {
		if r.start, err = w.remap(r, false); err != nil || r.start == 0 {
			return false, 0, lo, err
		}
		x.Start = r.start
		ondisk.EncodeExtent(b, i, x)
	}
	if w.edit && w.pack {
		next := r.lblk + r.n
		x.Block, r.lblk = uint32(w.packed), w.packed
		w.packed += r.n
		ondisk.EncodeExtent(b, i, x)
		return true, r.lblk, next, w.see(r)
	}
	if r.unwritten && w.in.isDir() {
		w.note(issueUnwritten, "extent of %d unwritten blocks for block %d of a directory", r.n, r.lblk)
		if w.edit {
			x.Unwritten = false
			if x.Len == 1<<15 {
				x.Len-- // the longest written one has a block less than this
			}
			ondisk.EncodeExtent(b, i, x)
		}
	}
	return true, r.lblk, r.lblk + r.n, w.see(r)
}

// maxDirSize is how large a directory may be without the feature large_dir.
const maxDirSize = 2 << 30

// indexEntry judges entry i of an index node and goes on below it.
func (c *checker) indexEntry(w *walk, b []byte, i, depth int, lo, hi uint64) (ok bool, at, next uint64, err error) {
	block, leaf := ondisk.DecodeExtentIndex(b, i)
	lblk := uint64(block)
	bad := func(issue int, format string, args ...any) (bool, uint64, uint64, error) {
		w.note(issue, "index entry for block %d, node at block %d: %s", lblk, leaf, fmt.Sprintf(format, args...))
		w.bad++
		return false, 0, lo, nil
	}
	switch {
	case !c.fits(leaf, 1):
		return bad(issuePointer, "outside the file system")
	case c.isMeta(leaf, 1):
		return bad(issuePointer, "metadata is there")
	case lblk < lo:
		return bad(issueOrder, "blocks before %d have been mapped already", lo)
	case lblk >= hi:
		return bad(issueOrder, "behind what leads to it, which ends at block %d", hi)
	}
	if err := c.ctx.Err(); err != nil {
		return false, 0, lo, err
	}
	n := w.buf(depth-1, c.bsize)
	if err := c.readBlock(n, leaf); err != nil {
		return false, 0, lo, err
	}
	h := ondisk.DecodeExtentHeader(n)
	if why := headerProblem(h, len(n), depth-1); why != "" {
		return bad(issueNode, "%s", why)
	}
	if h.Entries == 0 {
		return bad(issueNode, "no entries")
	}
	if w.node != nil {
		if err := w.node(leaf, depth); err != nil {
			return false, 0, lo, err
		}
	}
	var before []byte
	home := leaf
	if w.edit {
		before = append(before, n...)
		if w.remap != nil {
			if home, err = w.remap(run{lblk: lblk, start: leaf, n: 1}, true); err != nil || home == 0 {
				return false, 0, lo, err
			}
			ondisk.EncodeExtentIndex(b, i, block, home)
		}
	}
	above := w.frozen
	w.frozen = above || w.shared[leaf]
	frozen, sumWrong := w.frozen, false
	if c.csum {
		got, want := ondisk.ExtentTail(w.in.seed, n, h.Max)
		if sumWrong = got != want; sumWrong {
			w.note(issueSum, "node of the extent tree at block %d: checksum %#08x, want %#08x", leaf, got, want)
		}
	}
	// What begins before the index says is taken in, where there is room.
	left, first, err := c.walkNode(w, n, depth-1, lo, hi)
	if err != nil {
		return false, 0, lo, err
	}
	w.frozen = above
	if left == 0 {
		w.note(issueNode, "node at block %d has no good entry", leaf)
		return false, 0, lo, nil
	}
	if first != lblk {
		w.note(issueIndex, "index entry says that its node begins with block %d, which begins with %d", lblk, first)
		if w.edit {
			ondisk.SetExtentEntryBlock(b, i, uint32(first))
		}
	}
	if w.edit && !frozen && (sumWrong || home != leaf || string(before) != string(n)) {
		if c.csum {
			ondisk.SealExtentNode(w.in.seed, n, h.Max)
		}
		if err := c.writeBlock(n, home); err != nil {
			return false, 0, lo, err
		}
		w.wrote = true
	}
	if w.pack {
		return true, first, max(lo, lblk), nil
	}
	return true, first, uint64(w.last) + 1, nil
}
