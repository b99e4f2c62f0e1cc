package fsck

import (
	"bytes"
	"fmt"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

const tableName = "file allocation table"

// checkTables makes the tables alike, and looks for entries that cannot be.
func (c *checker) checkTables() error {
	if c.mirrored && c.bpb.FATs > 1 {
		if err := c.compareTables(); err != nil {
			return err
		}
	}
	if err := c.checkFirstEntries(); err != nil {
		return err
	}
	return c.table.each(func(cluster, v uint32) error {
		if v == 0 || c.holds(v) || v >= c.bits.Bad() {
			return nil
		}
		if !c.problem(vfs.Finding{
			Code: codeTableValue, Structure: tableName, Off: c.entryOff(cluster),
			Detail: fmt.Sprintf("entry %d is %#x: clusters %d to %d exist", cluster, v, ondisk.FirstCluster, c.end-1),
			Lost:   "what followed in the chain, unless it is found as a chain of its own",
		}) {
			return nil
		}
		return c.table.set(cluster, c.endMark())
	})
}

// A difference is what two tables do not agree in.
type difference struct {
	first   uint32 // cluster
	entries int
	bad     [2]int // entries that cannot be, among those that differ
}

// compareTables compares all tables with the first. What counts is the first,
// which is the one that systems read, unless it has entries that cannot be where
// another has none.
func (c *checker) compareTables() error {
	for n := 1; n < int(c.bpb.FATs); n++ {
		d, err := c.compareTable(n)
		if err != nil {
			return err
		}
		if d.entries == 0 {
			continue
		}
		right, wrong := 0, n
		if d.bad[0] > 0 && d.bad[1] == 0 {
			right, wrong = n, 0
		}
		if !c.problem(vfs.Finding{
			Code: codeTablesDiffer, Structure: tableName, Off: c.tableOff(n) + c.bits.Offset(d.first),
			// Systems read the first table only: a copy of it changes nothing for them.
			Preen: right == 0 && d.bad[0] == 0 || right != 0,
			Detail: fmt.Sprintf("table %d differs from the first in %d entries, from that of cluster %d on; impossible are %d of them, %d in the first",
				n+1, d.entries, d.first, d.bad[1], d.bad[0]),
		}) {
			if right != 0 {
				c.active = right // to look further in the one that makes sense
				c.table.drop()
			}
			continue
		}
		if err := c.copyTable(right, wrong); err != nil {
			return err
		}
		c.table.drop()
	}
	return nil
}

// compareChunk is how much of two tables is compared at a time: whole entries of
// any width.
const compareChunk = 3 << 18

func (c *checker) compareTable(n int) (d difference, err error) {
	a, b := make([]byte, compareChunk), make([]byte, compareChunk)
	perChunk := uint32(c.bits.Entries(compareChunk))
	for first := uint32(0); first < c.end; first += perChunk {
		if err := c.ctx.Err(); err != nil {
			return d, err
		}
		off := c.bits.Offset(first)
		size := min(compareChunk, c.fatBytes-off)
		if err := c.read(a[:size], c.tableOff(0)+off); err != nil {
			return d, err
		}
		if err := c.read(b[:size], c.tableOff(n)+off); err != nil {
			return d, err
		}
		if bytes.Equal(a[:size], b[:size]) {
			continue
		}
		for i := uint32(0); i < perChunk && first+i < c.end; i++ {
			at := c.bits.Offset(i)
			x, y := c.bits.Entry(a[at:size], i), c.bits.Entry(b[at:size], i)
			if x == y {
				continue
			}
			if d.entries == 0 {
				d.first = first + i
			}
			d.entries++
			for k, v := range [2]uint32{x, y} {
				if !c.possible(first+i, v) {
					d.bad[k]++
				}
			}
		}
	}
	return d, nil
}

// possible reports whether v can be the entry of a cluster.
func (c *checker) possible(cluster, v uint32) bool {
	switch cluster {
	case 0:
		return v == c.bits.Mask()&^0xff|uint32(c.bpb.Media)
	case 1:
		return c.isFlags(v)
	}
	return v == 0 || c.holds(v) || v >= c.bits.Bad()
}

func (c *checker) copyTable(from, to int) error {
	buf := make([]byte, compareChunk)
	for off := int64(0); off < c.fatBytes; off += compareChunk {
		p := buf[:min(compareChunk, c.fatBytes-off)]
		if err := c.read(p, c.tableOff(from)+off); err != nil {
			return err
		}
		if err := c.write(p, c.tableOff(to)+off); err != nil {
			return err
		}
	}
	return nil
}

// checkFirstEntries checks the entries of clusters 0 and 1, which belong to no
// cluster: the media byte, and an end mark in which the dirty marks are.
func (c *checker) checkFirstEntries() error {
	v, err := c.table.get(0)
	if err != nil {
		return err
	}
	if want := c.bits.Mask()&^0xff | uint32(c.bpb.Media); v != want {
		if c.problem(vfs.Finding{
			Code: codeTableMedia, Structure: tableName, Off: c.entryOff(0), Preen: true,
			Detail: fmt.Sprintf("entry 0 is %#x, not %#x after the media byte of the boot sector", v, want),
		}) {
			if err := c.table.set(0, want); err != nil {
				return err
			}
		}
	}
	if v, err = c.table.get(1); err != nil {
		return err
	}
	if c.isFlags(v) {
		return nil
	}
	if !c.problem(vfs.Finding{
		Code: codeTableFlags, Structure: tableName, Off: c.entryOff(1), Preen: true,
		Detail: fmt.Sprintf("entry 1 is %#x, not an end mark", v),
	}) {
		return nil
	}
	return c.table.set(1, c.bits.Mask())
}

// isFlags reports whether v is an end mark, whatever the dirty marks in it.
func (c *checker) isFlags(v uint32) bool { return c.bits.IsEnd(v | c.dirtyMarks()) }

// dirtyMarks are the bits of entry 1 that are set while all is well.
func (c *checker) dirtyMarks() uint32 {
	switch c.bits {
	case 16:
		return ondisk.Clean16 | ondisk.NoErrors16
	case 32:
		return ondisk.Clean32 | ondisk.NoErrors32
	}
	return 0
}
