package ext4

import (
	"fmt"
	"sort"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// extent finds lblk in the file's extent tree.
func (m *mapper) extent(lblk uint64) (run, error) {
	if m.leaf == nil || lblk < m.lo || lblk >= m.hi {
		hole, err := m.descend(lblk)
		if err != nil || hole.n != 0 {
			return hole, err
		}
	}
	// The last extent that begins at or before lblk.
	n := int(ondisk.DecodeExtentHeader(m.leaf).Entries)
	i := sort.Search(n, func(i int) bool { return uint64(ondisk.ExtentEntryBlock(m.leaf, i)) > lblk })
	if i > 0 {
		x := ondisk.DecodeExtent(m.leaf, i-1)
		if in := lblk - uint64(x.Block); in < uint64(x.Len) {
			r := run{n: uint64(x.Len) - in}
			if !x.Unwritten {
				r.start = x.Start + in
			}
			return r, nil
		}
	}
	next := m.hi
	if i < n {
		next = uint64(ondisk.ExtentEntryBlock(m.leaf, i))
	}
	return run{n: next - lblk}, nil
}

// descend walks from the root to the leaf that speaks for lblk. If an index
// node shows that there is none, it returns the hole.
func (m *mapper) descend(lblk uint64) (hole run, err error) {
	node, off := m.in.Block[:], m.in.off+0x28
	lo, hi := uint64(0), uint64(fileBlocks)
	depth := ondisk.DecodeExtentHeader(node).Depth
	if depth > ondisk.MaxExtentDepth {
		return run{}, m.corrupt(off, "depth %d", depth)
	}
	for root := true; ; root = false {
		if err := m.checkNode(node, off, depth, lo, hi, root); err != nil {
			return run{}, err
		}
		if depth == 0 {
			m.leaf, m.lo, m.hi = node, lo, hi
			return run{}, nil
		}
		n := int(ondisk.DecodeExtentHeader(node).Entries)
		i := sort.Search(n, func(i int) bool { return uint64(ondisk.ExtentEntryBlock(node, i)) > lblk })
		if i == 0 {
			return run{n: uint64(ondisk.ExtentEntryBlock(node, 0)) - lblk}, nil
		}
		if i < n {
			hi = uint64(ondisk.ExtentEntryBlock(node, i))
		}
		block, child := ondisk.DecodeExtentIndex(node, i-1)
		lo = uint64(block)
		if node, err = m.fs.block(child, m.nodeName()); err != nil {
			return run{}, err
		}
		off = m.fs.offset(child)
		depth--
	}
}

func (m *mapper) nodeName() string { return fmt.Sprintf("inode %d extent node", m.in.num) }

func (m *mapper) corrupt(off int64, format string, args ...any) error {
	return vfs.Corruptf(off, m.nodeName(), format, args...)
}

// checkNode checks a node of the extent tree, which must speak for blocks
// [lo, hi) of the file (__ext4_ext_check). Entries in order and within their
// parent's bounds are what keeps a walk through a hostile tree finite.
func (m *mapper) checkNode(b []byte, off int64, depth uint16, lo, hi uint64, root bool) error {
	h := ondisk.DecodeExtentHeader(b)
	room := (len(b) - ondisk.ExtentHeaderSize) / ondisk.ExtentEntrySize
	switch {
	case h.Magic != ondisk.ExtentMagic:
		return m.corrupt(off, "bad magic %#04x, want %#04x", h.Magic, ondisk.ExtentMagic)
	case h.Depth != depth:
		return m.corrupt(off, "depth %d, want %d", h.Depth, depth)
	case h.Max == 0 || int(h.Max) > room:
		return m.corrupt(off, "room for %d entries, but the node holds %d", h.Max, room)
	case h.Entries > h.Max:
		return m.corrupt(off, "%d entries in a node of %d", h.Entries, h.Max)
	case h.Entries == 0 && depth > 0:
		return m.corrupt(off, "index node without entries")
	}
	if m.fs.metadataCsum && !root {
		if got, want := ondisk.ExtentTail(m.in.seed, b, h.Max); got != want {
			return m.corrupt(off, "checksum %#08x, want %#08x", got, want)
		}
	}
	for i := range int(h.Entries) {
		at := uint64(ondisk.ExtentEntryBlock(b, i))
		if at < lo || at >= hi {
			return m.corrupt(off, "entry %d begins at block %d, outside %d to %d", i, at, lo, hi)
		}
		if depth > 0 {
			lo = at + 1
			continue
		}
		x := ondisk.DecodeExtent(b, i)
		lo = at + uint64(x.Len)
		if x.Len == 0 || lo > hi {
			return m.corrupt(off, "extent %d of %d blocks at block %d overlaps the next", i, x.Len, at)
		}
		if !m.fs.validBlocks(x.Start, uint64(x.Len)) {
			return m.corrupt(off, "extent %d of %d blocks at device block %d lies outside the file system", i, x.Len, x.Start)
		}
	}
	return nil
}
