package fsck

import "math/bits"

// A bitmap is one bit for every fragment.
type bitmap []uint64

// any reports whether one of the n bits from i on is set. n is at most 8, and
// the bits do not cross a multiple of 8.
func (b bitmap) any(i, n int64) bool {
	return b[i>>6]>>(i&63)&(1<<n-1) != 0
}

// set and clear change n bits like those of any.
func (b bitmap) set(i, n int64)   { b[i>>6] |= (1<<n - 1) << (i & 63) }
func (b bitmap) clear(i, n int64) { b[i>>6] &^= (1<<n - 1) << (i & 63) }

// setRange sets any number of bits.
func (b bitmap) setRange(from, to int64) {
	for i := from; i < to; {
		if i&63 == 0 && to-i >= 64 {
			b[i>>6] = ^uint64(0)
			i += 64
			continue
		}
		b[i>>6] |= 1 << (i & 63)
		i++
	}
}

// word returns 64 bits from i on; beyond the end they are 0.
func (b bitmap) word(i int64) uint64 {
	w, s := i>>6, uint(i&63)
	var v uint64
	if w < int64(len(b)) {
		v = b[w] >> s
	}
	if s > 0 && w+1 < int64(len(b)) {
		v |= b[w+1] << (64 - s)
	}
	return v
}

// differences counts the bits that a and b have differently: those that only a
// has, and those that only b has, and returns the first of either, or -1.
func differences(a, b []byte) (onlyA, onlyB int, first int64) {
	first = -1
	for i := range a {
		if a[i] == b[i] {
			continue
		}
		onlyA += bits.OnesCount8(a[i] &^ b[i])
		onlyB += bits.OnesCount8(b[i] &^ a[i])
		if first < 0 {
			first = int64(i)*8 + int64(bits.TrailingZeros8(a[i]^b[i]))
		}
	}
	return onlyA, onlyB, first
}
