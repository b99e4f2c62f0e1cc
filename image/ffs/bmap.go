package ffs

import (
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// hole is the device offset of bytes that are zeros and lie nowhere.
const hole = -1

// mapWork bounds the pointers that one call of extent looks at: enough to map
// 64 MiB in blocks of 16K at once, and little enough for one FUSE request.
const mapWork = 4096

// run finds what file block lbn is: the address of its first fragment, or 0
// for a hole, and for how many blocks the same goes on (at least 1): a run of
// adjacent blocks, or of holes. It looks no further than the indirect block
// that lbn is in, and at most at work pointers. Like ufs_bmaparray, it trusts
// no pointer that it follows; those that it returns are for the caller to check.
func (f *FS) run(in *inode, lbn int64, work int) (addr, blocks int64, err error) {
	g := &f.geo
	if lbn < ondisk.NDirect {
		addr, blocks = scan(in.Direct[lbn:], g.frag, work)
		return addr, blocks, nil
	}
	rel, span := lbn-ondisk.NDirect, g.nindir
	level := 1
	for ; rel >= span; level++ {
		if level == ondisk.NIndirect {
			return 0, 0, in.corrupt("block %d is beyond the reach of its pointers", lbn)
		}
		rel -= span
		span *= g.nindir
	}
	addr = in.Indirect[level-1]
	for ; ; level-- {
		// Here addr is an indirect block whose pointers cover span blocks, and
		// rel is where in those lbn is.
		if addr == 0 {
			return 0, span - rel, nil
		}
		b, err := f.indirect(in, addr)
		if err != nil {
			return 0, 0, err
		}
		span /= g.nindir
		b = b[rel/span*int64(g.version.PointerSize()):]
		rel %= span
		addr = g.version.Pointer(g.order, b)
		if level == 1 || addr == 0 {
			addr, n := f.scanIndirect(b, work)
			return addr, n*span - rel, nil
		}
	}
}

// scan counts how many pointers from the first one on are adjacent, or zero.
func scan(p []int64, frag int64, work int) (addr, blocks int64) {
	addr = p[0]
	step := frag
	if addr == 0 {
		step = 0
	}
	n := 1
	for n < len(p) && n < work && p[n] == addr+int64(n)*step {
		n++
	}
	return addr, int64(n)
}

// scanIndirect is scan over the bytes of an indirect block.
func (f *FS) scanIndirect(b []byte, work int) (addr, blocks int64) {
	g := &f.geo
	size := g.version.PointerSize()
	addr = g.version.Pointer(g.order, b)
	step := g.frag
	if addr == 0 {
		step = 0
	}
	most := min(len(b)/size, work)
	n := 1
	for want := addr + step; n < most && g.version.Pointer(g.order, b[n*size:]) == want; n++ {
		want += step
	}
	return addr, int64(n)
}

// indirect returns the contents of the indirect block at addr.
func (f *FS) indirect(in *inode, addr int64) ([]byte, error) {
	if err := f.checkAddr(in, addr, f.geo.frag); err != nil {
		return nil, fmt.Errorf("indirect block: %w", err)
	}
	b, err := f.cache.Bytes(addr<<f.geo.fragShift, int(f.geo.blockSize))
	if err != nil {
		return nil, fmt.Errorf("read indirect block of inode %d at byte %d: %w", in.num, addr<<f.geo.fragShift, err)
	}
	return b, nil
}

// checkAddr makes sure that the frags fragments at addr are a legal piece of a
// file: inside the file system and the device, and, if shorter than a block,
// inside one block.
func (f *FS) checkAddr(in *inode, addr, frags int64) error {
	g := &f.geo
	switch {
	case addr <= 0 || addr > g.frags-frags:
		return in.corrupt("block address %d is outside the file system of %d fragments", addr, g.frags)
	case addr > g.devFrags-frags:
		return in.corrupt("block address %d is beyond the end of the device", addr)
	case addr%g.frag != 0 && (frags >= g.frag || addr%g.frag+frags > g.frag):
		return in.corrupt("block address %d for %d fragments is not aligned to a block", addr, frags)
	}
	return nil
}

// extent returns where byte off of the file lies (or hole) and how many bytes
// from there on lie there in one piece, at least 1 and at most to the end of
// the file, which off must be within. It stops looking once it has found want
// bytes, or after mapWork pointers.
func (f *FS) extent(in *inode, off, want int64) (at, n int64, err error) {
	g := &f.geo
	if in.isSnapshot(g) {
		return f.snapshotExtent(in, off)
	}
	lbn, skip := off>>g.blockShift, off&(g.blockSize-1)
	need := (skip+min(want, in.size-off)-1)>>g.blockShift + 1 // blocks
	addr, blocks, err := f.run(in, lbn, int(min(need, mapWork)))
	if err != nil {
		return 0, 0, err
	}
	// Runs end with their indirect block; go on behind it while it fits.
	for work := blocks; blocks < need && work < mapWork; {
		next, more, err := f.run(in, lbn+blocks, int(min(need-blocks, mapWork-work)))
		if err != nil || next != follow(addr, blocks, g.frag) {
			break // an error is for the call that needs that block
		}
		work += min(more, mapWork)
		blocks += more
	}
	n = min(blocks<<g.blockShift-skip, in.size-off)
	if addr == 0 {
		return hole, n, nil
	}
	frags := blocks << (g.blockShift - g.fragShift)
	if end := lbn + blocks; end<<g.blockShift > in.size && end <= ondisk.NDirect {
		// The last block of a small file is only as long as the file needs.
		frags = (in.size+g.fragSize-1)>>g.fragShift - lbn*g.frag
	}
	if err := f.checkAddr(in, addr, frags); err != nil {
		return 0, 0, err
	}
	return addr<<g.fragShift + skip, n, nil
}

// follow is the address that continues a run of blocks at addr.
func follow(addr, blocks, frag int64) int64 {
	if addr == 0 {
		return 0
	}
	return addr + blocks*frag
}

// isSnapshot reports whether in is a snapshot of the file system itself.
// OpenBSD and 4.2BSD have none, and the flag is spare there.
func (in *inode) isSnapshot(g *geometry) bool {
	return vfs.Flags(in.Flags)&vfs.SystemSnapshot != 0 && in.mode().IsRegular() &&
		g.flavour != ondisk.OpenBSD && g.flavour != ondisk.FourTwoBSD
}

// snapshotExtent is extent for a snapshot, one block at a time. A missing
// pointer there means that the block has not changed since, so that it is
// still at its own place; the addresses 1 (BLK_NOCOPY) and 2 (BLK_SNAP) mean that it
// was not in use. Like ufs_bmaparray, this takes anything below frag for those.
func (f *FS) snapshotExtent(in *inode, off int64) (at, n int64, err error) {
	g := &f.geo
	lbn, skip := off>>g.blockShift, off&(g.blockSize-1)
	addr, _, err := f.run(in, lbn, 1)
	if err != nil {
		return 0, 0, err
	}
	n = min(g.blockSize-skip, in.size-off)
	if addr == 0 {
		addr = lbn << (g.blockShift - g.fragShift)
		if addr > min(g.frags, g.devFrags)-g.frag {
			return hole, n, nil // the last, short block
		}
		return addr<<g.fragShift + skip, n, nil
	}
	if addr > 0 && addr < g.frag {
		return hole, n, nil
	}
	if err := f.checkAddr(in, addr, g.frag); err != nil {
		return 0, 0, err
	}
	return addr<<g.fragShift + skip, n, nil
}
