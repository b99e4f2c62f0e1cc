package fsck

import (
	"bytes"
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// Pass 5 computes every group header, with its maps, the summary area and the
// totals from what the passes before have found, and compares. When it is done,
// in a repair, all of them are right.

func (c *checker) pass5() error {
	c.summary = grow(c.summary, c.cssize)
	if err := c.read(c.summary, c.csaddr<<c.fshift); err != nil {
		return err
	}
	c.total = ondisk.SummaryTotal{}
	changed := false
	for g := range c.ncg {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		h, err := c.checkGroup(g)
		if err != nil {
			return err
		}
		s := h.Summary
		c.total.Dirs += int64(s.Dirs)
		c.total.FreeBlocks += int64(s.FreeBlocks)
		c.total.FreeInodes += int64(s.FreeInodes)
		c.total.FreeFrags += int64(s.FreeFrags)
		b := c.summary[16*g:][:16]
		got := ondisk.Summary{
			Dirs: int32(c.order.U32(b)), FreeBlocks: int32(c.order.U32(b[4:])),
			FreeInodes: int32(c.order.U32(b[8:])), FreeFrags: int32(c.order.U32(b[12:])),
		}
		if got == s {
			continue
		}
		f := c.aboutGroup(codeSummary, g, 0, true, "its summary has %s", counts(got, s))
		f.Off = c.csaddr<<c.fshift + 16*g
		if _, mend := c.problem(f); mend {
			for i, v := range []int32{s.Dirs, s.FreeBlocks, s.FreeInodes, s.FreeFrags} {
				c.order.PutU32(b[4*i:], uint32(v))
			}
			changed = true
		}
	}
	if changed {
		if err := c.write(c.summary, c.csaddr<<c.fshift); err != nil {
			return err
		}
	}
	c.checkTotals()
	return nil
}

// counts tells the difference of two summaries.
func counts(got, want ondisk.Summary) string {
	return fmt.Sprintf("%d directories, %d blocks, %d inodes and %d fragments free; counted %d, %d, %d and %d",
		got.Dirs, got.FreeBlocks, got.FreeInodes, got.FreeFrags,
		want.Dirs, want.FreeBlocks, want.FreeInodes, want.FreeFrags)
}

// checkGroup compares the header of a group, and returns what it should be.
func (c *checker) checkGroup(g int64) (*ondisk.Group, error) {
	off := (c.start(g) + c.cblkno) << c.fshift
	c.cg = buffer(c.cg, c.cgsize)
	if err := c.read(c.cg, off); err != nil {
		return nil, err
	}
	c.expect = grow(c.expect, c.cgsize)
	own, err := ondisk.DecodeGroup(c.cg, c.order)
	if err != nil {
		return nil, err
	}
	if own.Magic != ondisk.GroupMagic || own.Index != uint32(g) {
		h := c.fillGroup(g, c.expect, nil, c.cgLayout())
		if c.ffs2() {
			h.Time = c.super.Time
		} else {
			h.OldTime = c.super.OldTime
		}
		copy(c.expect, h.Append(c.hbuf[:0], c.order))
		_, mend := c.problem(c.aboutGroup(codeGroupMagic, g, 0, false,
			"no header: magic %#x of group %d, want %#x of group %d", own.Magic, own.Index, ondisk.GroupMagic, g))
		if mend {
			c.fillBlockCounters(c.expect, h)
			return h, c.write(c.expect, off)
		}
		return h, nil
	}
	l := c.layoutOf(c.cg, true)
	h := c.fillGroup(g, c.expect, own, l)
	mend := c.compareHeader(g, own, h)
	mend = c.compareMaps(g, l) || mend
	if !mend {
		return h, nil
	}
	// Everything that was found was mended, or nothing: what is between and
	// behind the maps stays.
	copy(c.cg, c.expect[:ondisk.GroupSize])
	is, want := c.mapsAt(c.cg, l), c.mapsAt(c.expect, l)
	copy(is.inodes, want.inodes)
	copy(is.free, want.free)
	copy(is.clusters, want.clusters)
	copy(is.clusterSum, want.clusterSum)
	c.fillBlockCounters(c.cg, h)
	return h, c.write(c.cg, off)
}

// headerFields names the fields of a group header by offset, those that count
// what is free apart.
var headerFields = []struct {
	name    string
	from    int
	to      int
	counter bool
}{
	{"firstfield", 0, 4, false}, {"time", 8, 12, false}, {"ncyl", 16, 18, false}, {"niblk", 18, 20, false}, {"ndblk", 20, 24, false},
	{"directories", 24, 28, true}, {"free blocks", 28, 32, true}, {"free inodes", 32, 36, true}, {"free fragments", 36, 40, true},
	{"rotor", 40, 44, false}, {"frotor", 44, 48, false}, {"irotor", 48, 52, false},
	{"free runs of 0", 52, 56, true}, {"free runs of 1", 56, 60, true}, {"free runs of 2", 60, 64, true}, {"free runs of 3", 64, 68, true},
	{"free runs of 4", 68, 72, true}, {"free runs of 5", 72, 76, true}, {"free runs of 6", 76, 80, true}, {"free runs of 7", 80, 84, true},
	{"btotoff", 84, 88, false}, {"boff", 88, 92, false}, {"iusedoff", 92, 96, false}, {"freeoff", 96, 100, false},
	{"nextfreeoff", 100, 104, false}, {"clustersumoff", 104, 108, false}, {"clusteroff", 108, 112, false},
	{"nclusterblks", 112, 116, false}, {"ffs2_niblk", 116, 120, false}, {"initediblk", 120, 124, false},
	{"spare at 124", 124, 128, false}, {"spare at 128", 128, 132, false}, {"spare at 132", 132, 136, false},
	{"spare at 144", 144, 152, false}, {"spare at 152", 152, 160, false}, {"spare at 160", 160, 168, false},
}

// compareHeader compares all of a header, and reports whether to mend it.
func (c *checker) compareHeader(g int64, own, want *ondisk.Group) (mend bool) {
	if bytes.Equal(c.cg[:ondisk.GroupSize], c.expect[:ondisk.GroupSize]) {
		return false
	}
	value := func(b []byte) int64 {
		if len(b) == 2 {
			return int64(int16(c.order.U16(b)))
		}
		return int64(int32(c.order.U32(b)))
	}
	for _, counter := range []bool{false, true} {
		detail, first := "", -1
		for _, f := range headerFields {
			is, should := c.cg[f.from:f.to], c.expect[f.from:f.to]
			if f.counter != counter || bytes.Equal(is, should) {
				continue
			}
			if first < 0 {
				first = f.from
			} else {
				detail += ", "
			}
			if len(is) == 8 {
				detail += fmt.Sprintf("%s is %#x, want 0", f.name, c.order.U64(is))
			} else {
				detail += fmt.Sprintf("%s is %d, want %d", f.name, value(is), value(should))
			}
		}
		if first < 0 {
			continue
		}
		code, preen := codeGroupCounts, true
		if !counter {
			code = codeGroupHeader
			// How many inodes are initialised is a guess if not the header
			// tells.
			preen = own.InitedInodes == want.InitedInodes
			if why := c.groups[g].guess; why != "" {
				detail += " (" + why + ")"
			}
		}
		_, m := c.problem(c.aboutGroup(code, g, int64(first), preen, "%s", detail))
		mend = mend || m
	}
	return mend
}

// compareMaps compares the maps, and reports whether to mend them.
func (c *checker) compareMaps(g int64, l cgLayout) (mend bool) {
	is, want := c.mapsAt(c.cg, l), c.mapsAt(c.expect, l)
	report := func(code string, off int64, format string, args ...any) {
		_, m := c.problem(c.aboutGroup(code, g, off, true, format, args...))
		mend = mend || m
	}
	if !bytes.Equal(is.inodes, want.inodes) {
		extra, missing, first := differences(is.inodes, want.inodes)
		report(codeInodeMap, l.inodes+first/8, "%d inodes that are free are marked as used, %d that are used as free; the first is inode %d",
			extra, missing, g*c.ipg+first)
	}
	if !bytes.Equal(is.free, want.free) {
		extra, missing, first := differences(is.free, want.free)
		report(codeFreeMap, l.free+first/8, "%d fragments that are used are marked as free, %d that are free as used; the first is fragment %d",
			extra, missing, c.base(g)+first)
	}
	if !bytes.Equal(is.clusters, want.clusters) || !bytes.Equal(is.clusterSum, want.clusterSum) {
		extra, missing, _ := differences(is.clusters, want.clusters)
		report(codeClusterMap, l.clusters, "%d blocks that are used are marked as free, %d that are free as used; their summary is %v, want %v",
			extra, missing, is.clusterSum, want.clusterSum)
	}
	return mend
}

// checkTotals compares the totals in the superblock. FFS1 has them in 32 bits;
// its new fields are filled by kernels, and count nowhere.
func (c *checker) checkTotals() {
	s, t := c.super, c.total
	type four struct{ dirs, blocks, inodes, frags int64 }
	want := four{t.Dirs, t.FreeBlocks, t.FreeInodes, t.FreeFrags}
	off, got := int64(1008), four{s.Total.Dirs, s.Total.FreeBlocks, s.Total.FreeInodes, s.Total.FreeFrags}
	if !c.ffs2() {
		o := s.OldTotal
		off, got = 192, four{int64(o.Dirs), int64(o.FreeBlocks), int64(o.FreeInodes), int64(o.FreeFrags)}
	}
	if got == want {
		return
	}
	if !c.fromCopy {
		f := c.aboutSuper(codeSuperTotals, off, true,
			"%d directories, %d blocks, %d inodes and %d fragments free in all; counted %d, %d, %d and %d",
			got.dirs, got.blocks, got.inodes, got.frags, want.dirs, want.blocks, want.inodes, want.frags)
		if _, mend := c.problem(f); !mend {
			return
		}
	}
	c.superDirty = true
	s.Total.Dirs, s.Total.FreeBlocks, s.Total.FreeInodes, s.Total.FreeFrags = t.Dirs, t.FreeBlocks, t.FreeInodes, t.FreeFrags
	s.OldTotal = ondisk.Summary{
		Dirs: int32(t.Dirs), FreeBlocks: int32(t.FreeBlocks), FreeInodes: int32(t.FreeInodes), FreeFrags: int32(t.FreeFrags),
	}
}
