package fat

import (
	"context"
	"math/bits"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// A slotMap is which slots of a directory are in use. Slots of long names that
// belong to nothing are, as they are for everybody else.
type slotMap struct {
	used []uint64 // a bit for every slot; what is missing at the end is free
	end  uint32   // where the mark of the end is, or would be
	low  uint32   // no slot below is free
}

func (f *FS) readSlots(ctx context.Context, d *dir) (*slotMap, error) {
	m := &slotMap{used: make([]uint64, 0, d.slots()/64+1)}
	err := f.eachSlot(ctx, d, 0, func(raw []byte, _ int64, slot uint32) bool {
		m.end = slot + 1
		if raw[0] != ondisk.MarkDeleted {
			m.set(slot, 1)
		}
		return true
	})
	return m, err
}

func (m *slotMap) set(slot, n uint32) {
	if need := int(slot+n+63) / 64; need > len(m.used) {
		m.used = append(m.used, make([]uint64, need-len(m.used))...)
	}
	for s := slot; s < slot+n; s++ {
		m.used[s/64] |= 1 << (s % 64)
	}
	m.end = max(m.end, slot+n)
}

func (m *slotMap) clear(slot, n uint32) {
	for s := slot; s < slot+n; s++ {
		m.used[s/64] &^= 1 << (s % 64)
	}
	m.low = min(m.low, slot)
}

func (m *slotMap) word(i uint32) uint64 {
	if int(i) >= len(m.used) {
		return 0
	}
	return m.used[i]
}

// skip returns the first slot from one on that is used, or not, below end.
func (m *slotMap) skip(slot, end uint32, used bool) uint32 {
	for slot < end {
		w := m.word(slot / 64)
		if used {
			w = ^w
		}
		if w >>= slot % 64; w != 0 {
			return min(slot+uint32(bits.TrailingZeros64(w)), end)
		}
		slot += 64 - slot%64
	}
	return end
}

// find returns the first of n free slots in a row, among total. If there are
// not so many, it is where the free ones at the end begin.
func (m *slotMap) find(n, total uint32) (slot uint32, ok bool) {
	slot = m.skip(m.low, total, true)
	m.low = slot
	for slot < total {
		end := m.skip(slot, min(slot+n, total), false)
		if end-slot >= n {
			return slot, true
		}
		if end == total {
			return slot, false
		}
		slot = m.skip(end, total, true)
	}
	return total, false
}

// slotMap returns which slots of a directory are in use.
func (o *op) slotMap(d *dir) (*slotMap, error) {
	if m, ok := o.w.slotMaps.get(d.ino); ok {
		return m, nil
	}
	m, err := o.f.readSlots(o.ctx, d)
	if err != nil {
		return nil, err
	}
	o.w.slotMaps.put(d.ino, m, int(d.slots())+8)
	return m, nil
}

// maxSlots is the most that a directory may have.
const maxSlots = 1 << 16

// makeSlots finds n free slots in a row, for which it makes a directory longer
// if need be.
func (o *op) makeSlots(d *dir, n uint32) (uint32, error) {
	m, err := o.slotMap(d)
	if err != nil {
		return 0, err
	}
	slot, ok := m.find(n, d.slots())
	if ok {
		return slot, nil
	}
	return slot, o.growDir(d, slot+n-d.slots())
}

// growDir adds clusters for so many slots to a directory, full of zeros.
func (o *op) growDir(d *dir, slots uint32) error {
	want := o.clustersFor(int64(slots) * ondisk.DirentSize)
	switch {
	case d.start == 0, d.size+want*o.f.clusterSize > maxSlots*ondisk.DirentSize:
		return syscall.ENOSPC
	}
	if err := o.room(want); err != nil {
		return err
	}
	for want > 0 {
		t, err := o.tailOf(d.ino, d.start)
		if err != nil {
			return err
		}
		r, err := o.newDirClusters(t.last, uint32(want))
		if err != nil {
			return err
		}
		start, ino := d.start, d.ino
		o.undos = append(o.undos, func() {
			o.f.forgetChain(start)
			o.f.claims.shrink(r)
			o.w.forgetDir(ino)
			o.w.tails.forget(ino)
		})
		if err := o.join(d.start, t, r); err != nil {
			return err
		}
		x := extent{o.f.clusterOff(r.first), int64(r.n) * o.f.clusterSize}
		if k := len(d.extents) - 1; d.extents[k].off+d.extents[k].n == x.off {
			d.extents[k].n += x.n
			d.size += x.n
		} else {
			d.add(x)
		}
		if err := o.f.claims.grow(d.start, r); err != nil {
			return err
		}
		o.w.tails.put(d.ino, tail{r.first + r.n - 1, t.n + r.n}, 1)
		want -= int64(r.n)
	}
	o.f.dirs.put(d.ino, d, 8+len(d.extents))
	return nil
}

// newDirClusters finds clusters for a directory and fills them with zeros, which
// comes before anything leads to them.
func (o *op) newDirClusters(behind, want uint32) (clusterRun, error) {
	r, err := o.find(behind, want)
	if err != nil {
		return r, err
	}
	o.zeroed = append(o.zeroed, r)
	off, end := o.f.clusterOff(r.first), o.f.clusterOff(r.first)+int64(r.n)*o.f.clusterSize
	for off < end {
		n := min(end-off, pageSize-off%pageSize)
		b, err := o.f.cache.Modify(off, int(n))
		if err != nil {
			return r, err
		}
		clear(b)
		off += n
	}
	return r, nil
}
