package ext4

import (
	"encoding/binary"
	"math/bits"
)

// A view is what may be allocated in a group: see [group]. It looks at 64
// clusters at once.
type view struct {
	bitmap, committed, held []byte
	n                       int64 // clusters
}

// free returns 64 clusters, from 64*i on: those that may be allocated are ones.
func (v *view) free(i int64) uint64 {
	x := binary.LittleEndian.Uint64(v.bitmap[i*8:])
	if v.committed != nil {
		x |= binary.LittleEndian.Uint64(v.committed[i*8:])
	}
	if v.held != nil {
		x |= binary.LittleEndian.Uint64(v.held[i*8:])
	}
	if left := v.n - i*64; left < 64 {
		x |= ^uint64(0) << left
	}
	return ^x
}

// find returns up to want adjacent free clusters: those at cluster at if that is
// free, or else the first run behind it that is long enough, then the first from
// the beginning, or else the longest.
func (v *view) find(at, want int64) (start, n int64) {
	if at < 0 || at >= v.n {
		at = 0
	}
	if n := v.length(at, want); n > 0 {
		return at, n
	}
	if start, n = v.scan(at, v.n, want); n == want {
		return start, n
	}
	if s, k := v.scan(0, min(at+want, v.n), want); k > n {
		return s, k
	}
	return start, n
}

// length counts the free clusters from i on, up to most.
func (v *view) length(i, most int64) (n int64) {
	for n < most && i+n < v.n {
		x := ^v.free((i+n)/64) >> ((i + n) % 64)
		room := 64 - (i+n)%64
		k := min(int64(bits.TrailingZeros64(x)), room)
		n += k
		if k < room {
			break
		}
	}
	return min(n, most)
}

// scan finds the first run of want free clusters that begins from i on and in
// front of end, or else the longest.
func (v *view) scan(i, end, want int64) (start, n int64) {
	for i < end {
		x := v.free(i/64) >> (i % 64)
		if x == 0 {
			i += 64 - i%64
			continue
		}
		if i += int64(bits.TrailingZeros64(x)); i >= end {
			break
		}
		k := v.length(i, want)
		if k > n {
			start, n = i, k
		}
		if n == want {
			break
		}
		i += k
	}
	return start, n
}
