package ffs

import (
	"context"
	"fmt"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// audit counts everything anew from the inodes and holds it against the maps
// and the counts. It shares the reader with the writer, and nothing else.
func audit(t testing.TB, dev blockio.Device) {
	t.Helper()
	fsys, err := Open(context.Background(), dev)
	require.NoError(t, err)
	a := &auditor{t: t, f: fsys.(*FS), g: &fsys.(*FS).geo, owner: map[int64]uint64{}, links: map[uint64]int{}}
	require.Equal(t, vfs.Clean, a.f.info.State)
	a.inodes()
	a.tree()
	a.groups()
	require.Empty(t, a.problems)
}

type auditor struct {
	t        testing.TB
	f        *FS
	g        *geometry
	super    *ondisk.Super
	owner    map[int64]uint64 // by fragment
	links    map[uint64]int
	used     []*inode // by number
	problems []string
}

func (a *auditor) problem(format string, args ...any) {
	if len(a.problems) < 20 {
		a.problems = append(a.problems, fmt.Sprintf(format, args...))
	}
}

func (a *auditor) inodes() {
	a.used = make([]*inode, a.g.inodes())
	for n := range a.g.inodes() {
		b, _, err := a.f.inodeBytes(n)
		require.NoError(a.t, err)
		if n < ondisk.RootIno || a.g.version == ondisk.V2 && !a.f.isInited(n) {
			continue
		}
		in := new(inode)
		if err := a.f.read(vfs.Ino(n), in); err != nil {
			in.Decode(b, a.g.order, a.g.version)
			if in.Inode != (ondisk.Inode{Gen: in.Gen}) {
				a.problem("inode %d is free but not empty (%v): %+v", n, err, in.Inode)
			}
			continue
		}
		a.used[n] = in
		a.blocks(in)
	}
}

// claim counts fragments of a file.
func (a *auditor) claim(in *inode, addr, n int64) int64 {
	if err := a.f.checkAddr(in, addr, n); err != nil {
		a.problem("%v", err)
		return 0
	}
	for i := addr; i < addr+n; i++ {
		if was, ok := a.owner[i]; ok {
			a.problem("fragment %d belongs to inodes %d and %d", i, was, in.num)
		}
		a.owner[i] = in.num
	}
	return n
}

func (a *auditor) blocks(in *inode) {
	held := int64(0)
	isFile := in.mode().IsRegular() || in.mode().IsDir() || in.mode().IsSymlink() && !a.f.isInline(in)
	if isFile {
		for lbn, addr := range in.Direct {
			n := a.g.tailFrags(in.size, int64(lbn))
			if addr == 0 {
				continue
			}
			if n <= 0 {
				a.problem("inode %d: block %d beyond its end", in.num, lbn)
				continue
			}
			held += a.claim(in, addr, n)
		}
		first, span := int64(ondisk.NDirect), a.g.nindir
		for level := 1; level <= ondisk.NIndirect; level++ {
			if addr := in.Indirect[level-1]; addr != 0 {
				if first<<a.g.blockShift >= in.size {
					a.problem("inode %d: indirect block of level %d beyond its end", in.num, level)
				}
				held += a.indirect(in, addr, level, first)
			}
			first += span
			span *= a.g.nindir
		}
	}
	if ext := in.ExtSize; a.f.hasXattrs(in) && ext > 0 {
		held += a.claim(in, in.Ext[0], (int64(ext)+a.g.fragSize-1)>>a.g.fragShift)
	}
	if in.Blocks != a.g.sectors(held) {
		a.problem("inode %d (%v) says %d sectors, holds %d", in.num, in.mode(), in.Blocks, a.g.sectors(held))
	}
}

func (a *auditor) indirect(in *inode, addr int64, level int, first int64) int64 {
	held := a.claim(in, addr, a.g.frag)
	b, err := a.f.indirect(in, addr)
	if err != nil {
		a.problem("%v", err)
		return held
	}
	span := int64(1)
	for range level - 1 {
		span *= a.g.nindir
	}
	size := int64(a.g.version.PointerSize())
	any := false
	for i := range a.g.nindir {
		child := a.g.version.Pointer(a.g.order, b[i*size:])
		if child == 0 {
			continue
		}
		any = true
		if (first+i*span)<<a.g.blockShift >= in.size {
			a.problem("inode %d: block %d beyond its end", in.num, first+i*span)
		}
		if level == 1 {
			held += a.claim(in, child, a.g.frag)
		} else {
			held += a.indirect(in, child, level-1, first+i*span)
		}
	}
	if !any {
		a.problem("inode %d has an empty indirect block", in.num)
	}
	return held
}

// tree follows the directories from the root and counts links.
func (a *auditor) tree() {
	seen := map[uint64]bool{}
	a.links[ondisk.RootIno]++
	var visit func(num, parent uint64)
	visit = func(num, parent uint64) {
		if seen[num] {
			a.problem("directory %d has two parents", num)
			return
		}
		seen[num] = true
		in := a.used[num]
		if in.size%ondisk.DirChunk != 0 || in.size == 0 {
			a.problem("directory %d has %d bytes", num, in.size)
		}
		var subs []uint64
		names := map[string]bool{}
		count := 0
		err := a.f.scanDir(context.Background(), in, 0, func(e *entry) bool {
			count++
			name := string(e.name)
			if names[name] {
				a.problem("directory %d has %q twice", num, name)
			}
			names[name] = true
			if e.isWhiteout() {
				return true
			}
			a.links[uint64(e.ino)]++
			child := a.used[e.ino]
			switch {
			case child == nil:
				a.problem("directory %d: %q refers to free inode %d", num, name, e.ino)
				return true
			case uint8(child.mode()>>12) != e.typ:
				a.problem("directory %d: %q has type %d, is %v", num, name, e.typ, child.mode())
			}
			switch {
			case count == 1:
				if name != "." || uint64(e.ino) != num || e.next != 12 {
					a.problem("directory %d begins with %q", num, name)
				}
			case count == 2:
				if name != ".." || uint64(e.ino) != parent {
					a.problem("directory %d: second is %q -> %d, want .. -> %d", num, name, e.ino, parent)
				}
			case child.mode().IsDir():
				subs = append(subs, uint64(e.ino))
			}
			return true
		})
		if err != nil {
			a.problem("%v", err)
		}
		for _, sub := range subs {
			visit(sub, num)
		}
	}
	visit(ondisk.RootIno, ondisk.RootIno)
	a.links[ondisk.RootIno]-- // the root has no name but its own two
	for n, in := range a.used {
		if in != nil && int(in.Nlink) != a.links[uint64(n)] {
			a.problem("inode %d (%v) has %d links, found %d", n, in.mode(), in.Nlink, a.links[uint64(n)])
		}
	}
}

// groups holds maps and counts against what was found.
func (a *auditor) groups() {
	c, ok, err := readSuper(a.f.dev, a.f.info.UsedOffset)
	require.NoError(a.t, err)
	require.True(a.t, ok)
	s, err := ondisk.DecodeSuper(c.data, a.g.order)
	require.NoError(a.t, err)
	a.super = s
	cs, total := s.SummaryAddr, s.Total
	if a.g.version == ondisk.V1 {
		cs = int64(s.OldSummaryAddr)
		total.Dirs, total.FreeBlocks = int64(s.OldTotal.Dirs), int64(s.OldTotal.FreeBlocks)
		total.FreeInodes, total.FreeFrags = int64(s.OldTotal.FreeInodes), int64(s.OldTotal.FreeFrags)
	}
	csFrags := (int64(s.SummarySize) + a.g.fragSize - 1) >> a.g.fragShift
	for i := cs; i < cs+csFrags; i++ {
		a.owner[i] = 0
	}
	var sum ondisk.SummaryTotal
	for n := range a.g.groups {
		got := a.group(n)
		b, err := a.f.cache.Bytes(cs<<a.g.fragShift+int64(n)*16, 16)
		require.NoError(a.t, err)
		if rec := decodeSummary(b, a.g.order); rec != got {
			a.problem("group %d: summary area says %+v, found %+v", n, rec, got)
		}
		sum.Dirs += int64(got.Dirs)
		sum.FreeBlocks += int64(got.FreeBlocks)
		sum.FreeInodes += int64(got.FreeInodes)
		sum.FreeFrags += int64(got.FreeFrags)
	}
	total.FreeClusters, total.Spare = 0, [3]int64{}
	if sum != total {
		a.problem("superblock says %+v, found %+v", total, sum)
	}
}

func decodeSummary(b []byte, o ondisk.Order) ondisk.Summary {
	return ondisk.Summary{
		Dirs: int32(o.U32(b)), FreeBlocks: int32(o.U32(b[4:])),
		FreeInodes: int32(o.U32(b[8:])), FreeFrags: int32(o.U32(b[12:])),
	}
}

func (a *auditor) group(n uint64) ondisk.Summary {
	g := a.g
	off := (g.groupStart(n) + g.groupHeader) << g.fragShift
	b, err := a.f.cache.Bytes(off, int(g.blockSize))
	require.NoError(a.t, err)
	h, err := ondisk.DecodeGroup(b, g.order)
	require.NoError(a.t, err)
	var s ondisk.Summary
	for i := range g.inodesPerGroup {
		in := a.used[n*g.inodesPerGroup+i]
		is := b[uint64(h.InodeMapOff)+i/8]>>(i%8)&1 != 0
		want := in != nil || n*g.inodesPerGroup+i < ondisk.RootIno
		if is != want {
			a.problem("group %d: map says %t of inode %d", n, is, n*g.inodesPerGroup+i)
		}
		if !want {
			s.FreeInodes++
		} else if in != nil && in.mode().IsDir() {
			s.Dirs++
		}
	}
	start := int64(n) * g.fragsPerGroup
	reservedFrom, reservedTo := g.groupStart(n)+g.superCopy, g.groupStart(n)+g.dataStart
	if n == 0 {
		reservedFrom = 0
	}
	var runs [ondisk.MaxFrag]uint32
	clusters := make([]bool, int64(h.Frags)/g.frag)
	for i := int64(0); i < int64(h.Frags); i += g.frag {
		v := uint8(0)
		for j := range min(g.frag, int64(h.Frags)-i) {
			addr := start + i + j
			_, owned := a.owner[addr]
			want := !owned && (addr < reservedFrom || addr >= reservedTo)
			is := b[int64(h.FreeMapOff)+(i+j)/8]>>((i+j)%8)&1 != 0
			if is != want {
				a.problem("group %d: map says free %t of fragment %d (owner %d)", n, is, addr, a.owner[addr])
			}
			if want {
				v |= 1 << j
			}
		}
		if v == uint8(1<<g.frag-1) {
			s.FreeBlocks++
			clusters[i/g.frag] = true
			continue
		}
		s.FreeFrags += int32(bits.OnesCount8(v))
		for v != 0 {
			v >>= bits.TrailingZeros8(v)
			k := bits.TrailingZeros8(^v)
			runs[k]++
			v >>= k
		}
	}
	if runs != h.FreeRuns {
		a.problem("group %d: runs of free fragments %v, found %v", n, h.FreeRuns, runs)
	}
	if s != h.Summary {
		a.problem("group %d: header says %+v, found %+v", n, h.Summary, s)
	}
	if h.Rotor >= h.Frags || h.FragRotor >= h.Frags || uint64(h.InodeRotor) >= g.inodesPerGroup {
		a.problem("group %d: rotors %d %d %d", n, h.Rotor, h.FragRotor, h.InodeRotor)
	}
	a.clusters(n, h, b, clusters)
	if g.version == ondisk.V1 && g.flavour == ondisk.OpenBSD { // others do not keep them
		if got := int32(g.order.U32(b[h.OldBtotOff:])); got != s.FreeBlocks {
			a.problem("group %d: cg_blktot says %d, found %d", n, got, s.FreeBlocks)
		}
		if got := g.order.U16(b[h.OldBOff:]); got != uint16(s.FreeBlocks) {
			a.problem("group %d: cg_blks says %d, found %d", n, got, s.FreeBlocks)
		}
	}
	return s
}

func (a *auditor) clusters(n uint64, h *ondisk.Group, b []byte, free []bool) {
	most := int(a.super.ContigSumSize)
	if most <= 0 {
		return
	}
	want := make([]uint32, most+1)
	run := 0
	for i := 0; i <= int(h.ClusterBlocks); i++ {
		if i < int(h.ClusterBlocks) {
			if is := b[int(h.ClusterOff)+i/8]>>(i%8)&1 != 0; is != free[i] {
				a.problem("group %d: cluster map says %t of block %d", n, is, i)
			}
			if free[i] {
				run++
				continue
			}
		}
		if run > 0 {
			want[min(run, most)]++
		}
		run = 0
	}
	for k := 1; k <= most; k++ {
		if got := a.g.order.U32(b[int(h.ClusterSumOff)+4*k:]); got != want[k] {
			a.problem("group %d: %d clusters of %d, found %d", n, got, k, want[k])
		}
	}
}
