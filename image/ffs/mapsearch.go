package ffs

import (
	"encoding/binary"
	"math/bits"
)

// allocTables answer questions about 8 bits of a free map at once.
type allocTables struct {
	whole [256]uint8 // bit i: block i of those in the byte is wholly free
	runs  [256]uint8 // bit n-1: a block that is not has a run of just n free fragments
}

func newAllocTables(frag int64) allocTables {
	var t allocTables
	for x := range 256 {
		for i := int64(0); i < 8/frag; i++ {
			v := uint8(x) >> (i * frag) & uint8(1<<frag-1)
			if v == uint8(1<<frag-1) {
				t.whole[x] |= 1 << i
				continue
			}
			for v != 0 {
				v >>= bits.TrailingZeros8(v)
				n := bits.TrailingZeros8(^v)
				t.runs[x] |= 1 << (n - 1)
				v >>= n
			}
		}
	}
	return t
}

// A view is what may be allocated in a group: see [group].
type view struct {
	free, committed, held []byte
}

func (o *op) view(gr *group, b []byte) view {
	v := view{free: b[gr.free : gr.free+int(gr.frags+7)/8], held: gr.held}
	if !o.reuse && gr.waiting {
		v.committed = gr.committed
	}
	return v
}

// limited reports whether not all that is free may be allocated.
func (v *view) limited() bool { return v.committed != nil || v.held != nil }

func (v *view) byteAt(i int) uint8 {
	x := v.free[i]
	if v.committed != nil {
		x &= v.committed[i]
	}
	if v.held != nil {
		x &^= v.held[i]
	}
	return x
}

// skip returns the first byte from i on, but before end, that has something
// free; with partial also something that is not.
func (v *view) skip(i, end int, partial bool) int {
	for i+8 <= end {
		x := binary.LittleEndian.Uint64(v.free[i:])
		if v.committed != nil {
			x &= binary.LittleEndian.Uint64(v.committed[i:])
		}
		if v.held != nil {
			x &^= binary.LittleEndian.Uint64(v.held[i:])
		}
		if x != 0 && (!partial || x != 1<<64-1) {
			break
		}
		i += 8
	}
	return i
}

// findBlock returns the first block that is wholly free, from block start on
// and then from the beginning.
func (o *op) findBlock(v *view, start int64) (int64, bool) {
	per := 8 / o.g.frag // blocks in a byte
	from := int(start / per)
	scan := func(i, end int, first uint8) (int64, bool) {
		for ; i < end; i++ {
			if first == 0xff {
				if i = v.skip(i, end, false); i >= end {
					break
				}
			}
			if m := o.w.alloc.whole[v.byteAt(i)] & first; m != 0 {
				return int64(i)*per + int64(bits.TrailingZeros8(m)), true
			}
			first = 0xff
		}
		return 0, false
	}
	if from < len(v.free) {
		if b, ok := scan(from, len(v.free), 0xff<<(start%per)); ok {
			return b, true
		}
	}
	return scan(0, min(from+1, len(v.free)), 0xff)
}

// countBlocks returns how many whole blocks are free from block blk on, up to most.
func (o *op) countBlocks(v *view, blk, most int64) int64 {
	per, n := 8/o.g.frag, int64(0)
	for n < most {
		i := blk + n
		if i/per >= int64(len(v.free)) || o.w.alloc.whole[v.byteAt(int(i/per))]>>(i%per)&1 == 0 {
			break
		}
		n++
	}
	return n
}

// findBlocks returns up to want adjacent free blocks: those at block start if
// that is free, or else the first that are enough, or the most of the first few.
func (o *op) findBlocks(v *view, start, want int64) (blk, n int64) {
	from := start
	for range 16 {
		at, ok := o.findBlock(v, from)
		if !ok {
			break
		}
		k := o.countBlocks(v, at, want)
		if n == 0 || k > n {
			blk, n = at, k
		}
		if at == start || n == want || at < from {
			break
		}
		from = at + k
	}
	return blk, n
}

// findRun returns the first fragment of a run of free ones in a block that is
// not wholly free, from fragment start on and then from the beginning:
// ffs_mapsearch. The run is of n to most fragments.
func (o *op) findRun(v *view, start, n, most int64) (int64, bool) {
	lengths := uint8(1<<most-1) &^ uint8(1<<(n-1)-1)
	scan := func(i, end int) (int64, bool) {
		for ; i < end; i++ {
			if i = v.skip(i, end, true); i >= end {
				break
			}
			x := v.byteAt(i)
			if m := o.w.alloc.runs[x] & lengths; m != 0 {
				return int64(i)*8 + o.runIn(x, int64(bits.TrailingZeros8(m))+1), true
			}
		}
		return 0, false
	}
	from := min(int(start/8), len(v.free))
	if at, ok := scan(from, len(v.free)); ok {
		return at, true
	}
	return scan(0, from)
}

// runIn returns where in a byte of a map the run is that the table promises.
func (o *op) runIn(x uint8, n int64) int64 {
	frag := o.g.frag
	for at := int64(0); at < 8; at += frag {
		v := x >> at & uint8(1<<frag-1)
		if v == uint8(1<<frag-1) {
			continue
		}
		for pos := at; v != 0; {
			z := int64(bits.TrailingZeros8(v))
			v, pos = v>>z, pos+z
			k := int64(bits.TrailingZeros8(^v))
			if k == n {
				return pos
			}
			v, pos = v>>k, pos+k
		}
	}
	panic("bug: ffs: the tables of the free map are wrong")
}
