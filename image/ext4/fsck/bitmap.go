package fsck

import "math/bits"

// A bitmap is one bit for every cluster.
type bitmap []uint64

func newBitmap(n uint64) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) has(i uint64) bool { return b[i>>6]>>(i&63)&1 != 0 }
func (b bitmap) set(i uint64)      { b[i>>6] |= 1 << (i & 63) }

// mask are the bits of word i of a range.
func mask(i, from, to uint64) uint64 {
	m := ^uint64(0)
	if i == from>>6 {
		m <<= from & 63
	}
	if i == (to-1)>>6 {
		m &= ^uint64(0) >> (63 - (to-1)&63)
	}
	return m
}

// any reports whether a bit of [from, to) is set.
func (b bitmap) any(from, to uint64) bool {
	if from >= to {
		return false
	}
	for i := from >> 6; i <= (to-1)>>6; i++ {
		if b[i]&mask(i, from, to) != 0 {
			return true
		}
	}
	return false
}

// setRange sets [from, to), and clearRange clears it.
func (b bitmap) setRange(from, to uint64) {
	if from >= to {
		return
	}
	for i := from >> 6; i <= (to-1)>>6; i++ {
		b[i] |= mask(i, from, to)
	}
}

func (b bitmap) clearRange(from, to uint64) {
	if from >= to {
		return
	}
	for i := from >> 6; i <= (to-1)>>6; i++ {
		b[i] &^= mask(i, from, to)
	}
}

// bytes writes n bits from bit from on, a multiple of 8, as a bitmap of the
// medium has them.
func (b bitmap) bytes(p []byte, from, n uint64) {
	for i := uint64(0); i < n; i += 8 {
		at := from + i
		v := byte(b[at>>6] >> (at & 63))
		if n-i < 8 {
			v &= 1<<(n-i) - 1
		}
		p[i>>3] = v
	}
}

// nextClear returns the first bit of [from, to) that is not set, or to.
func (b bitmap) nextClear(from, to uint64) uint64 {
	for from < to {
		if w := ^b[from>>6] >> (from & 63); w != 0 {
			return min(to, from+uint64(bits.TrailingZeros64(w)))
		}
		from = (from | 63) + 1
	}
	return to
}

// nibbles are four bits for every inode, from number 1 on.
type nibbles []byte

// What an inode is, in the lower three bits.
const (
	inoFree = iota
	inoReg
	inoDir
	inoSymlink
	inoChar
	inoBlock
	inoFIFO
	inoSocket
	inoKind = 7

	inoNamed = 8 // a file with one link, whose name has been seen
)

func newNibbles(n uint32) nibbles { return make(nibbles, n/2+1) }

func (k nibbles) get(ino uint32) uint8 { return k[ino>>1] >> (ino & 1 * 4) & 15 }
func (k nibbles) put(ino uint32, v uint8) {
	s := ino & 1 * 4
	k[ino>>1] = k[ino>>1]&^(15<<s) | v<<s
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
