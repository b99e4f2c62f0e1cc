package fsck

import (
	"github.com/resflash/resflash/image/fat/ondisk"
)

// Pages of the table hold whole entries of any width.
const (
	tablePage  = 3 << 14 // bytes
	tablePages = 85      // that are kept: 4 MiB
)

// A table is the file allocation table that counts. It keeps some pages of it;
// what is changed is written to all tables when a page is given up, or flushed.
type table struct {
	c       *checker
	entries uint32 // in a page
	pages   [tablePages]page
	last    *page // the page used last
}

type page struct {
	num    int64 // from 1; 0: empty
	data   []byte
	lo, hi int // of what was changed
}

func newTable(c *checker) table {
	return table{c: c, entries: uint32(c.bits.Entries(tablePage))}
}

// page returns the page with the entry of a cluster.
func (t *table) page(cluster uint32) (*page, error) {
	num := int64(cluster/t.entries) + 1
	if t.last != nil && t.last.num == num {
		return t.last, nil
	}
	p := &t.pages[num%tablePages]
	if p.num != num {
		if err := t.write(p); err != nil {
			return nil, err
		}
		off := (num - 1) * tablePage
		n := min(tablePage, t.c.fatBytes-off)
		p.num = 0 // until it is read
		if int64(cap(p.data)) < n {
			p.data = make([]byte, n)
		}
		p.data = p.data[:n]
		if err := t.c.read(p.data, t.c.tableOff(t.c.active)+off); err != nil {
			return nil, err
		}
		p.num = num
	}
	t.last = p
	return p, nil
}

// get returns the entry of a cluster that the volume holds, or of 0 and 1.
func (t *table) get(cluster uint32) (uint32, error) {
	p, err := t.page(cluster)
	if err != nil {
		return 0, err
	}
	return t.c.bits.Entry(p.data[t.c.bits.Offset(cluster%t.entries):], cluster), nil
}

// set changes the entry of a cluster. It only works in a repair.
func (t *table) set(cluster, v uint32) error {
	p, err := t.page(cluster)
	if err != nil {
		return err
	}
	lo := int(t.c.bits.Offset(cluster % t.entries))
	hi := lo + t.c.bits.Width()
	t.c.bits.Put(p.data[lo:hi], cluster, v)
	if p.lo == p.hi {
		p.lo, p.hi = lo, hi
	} else {
		p.lo, p.hi = min(p.lo, lo), max(p.hi, hi)
	}
	return nil
}

// write writes what was changed in a page, to all tables that are in use.
func (t *table) write(p *page) error {
	if p.num == 0 || p.lo == p.hi {
		return nil
	}
	off := (p.num-1)*tablePage + int64(p.lo)
	for n := range int(t.c.bpb.FATs) {
		if n != t.c.active && !t.c.mirrored {
			continue
		}
		if err := t.c.write(p.data[p.lo:p.hi], t.c.tableOff(n)+off); err != nil {
			return err
		}
	}
	p.lo, p.hi = 0, 0
	return nil
}

// flush writes what was changed.
func (t *table) flush() error {
	for i := range t.pages {
		if err := t.write(&t.pages[i]); err != nil {
			return err
		}
	}
	return nil
}

// drop forgets all pages, after what they were read from has changed.
func (t *table) drop() {
	for i := range t.pages {
		t.pages[i].num = 0
	}
	t.last = nil
}

// each calls visit for the entries of all clusters, in runs.
func (t *table) each(visit func(cluster, v uint32) error) error {
	for c := uint32(ondisk.FirstCluster); c < t.c.end; {
		if err := t.c.ctx.Err(); err != nil {
			return err
		}
		p, err := t.page(c)
		if err != nil {
			return err
		}
		for stop := min(t.c.end, (c/t.entries+1)*t.entries); c < stop; c++ {
			if err := visit(c, t.c.bits.Entry(p.data[t.c.bits.Offset(c%t.entries):], c)); err != nil {
				return err
			}
		}
	}
	return nil
}
