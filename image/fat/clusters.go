package fat

import (
	"math/bits"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// A clusterRun is clusters that follow each other on the device.
type clusterRun struct {
	first, n uint32
}

func (r clusterRun) holds(cluster uint32) bool { return cluster-r.first < r.n }

// A clusterSet has a bit for every cluster of the volume, from
// [ondisk.FirstCluster] on.
type clusterSet []uint64

func newClusterSet(clusters uint32) clusterSet { return make(clusterSet, (clusters+63)/64) }

func (s clusterSet) has(cluster uint32) bool {
	i := cluster - ondisk.FirstCluster
	return s[i/64]>>(i%64)&1 != 0
}

func (s clusterSet) add(cluster uint32) {
	i := cluster - ondisk.FirstCluster
	s[i/64] |= 1 << (i % 64)
}

func (s clusterSet) remove(cluster uint32) {
	i := cluster - ondisk.FirstCluster
	s[i/64] &^= 1 << (i % 64)
}

// addRun adds a run, and returns how many of it were not in the set.
func (s clusterSet) addRun(r clusterRun) (n int) {
	r.words(func(i uint32, mask uint64) {
		n += bits.OnesCount64(mask &^ s[i])
		s[i] |= mask
	})
	return n
}

// removeRun removes a run, and returns how many of it were in the set.
func (s clusterSet) removeRun(r clusterRun) (n int) {
	r.words(func(i uint32, mask uint64) {
		n += bits.OnesCount64(mask & s[i])
		s[i] &^= mask
	})
	return n
}

// words calls fn for the words of a set that a run lies in, with its bits.
func (r clusterRun) words(fn func(i uint32, mask uint64)) {
	from, end := r.first-ondisk.FirstCluster, r.first-ondisk.FirstCluster+r.n
	for from < end {
		n := min(64-from%64, end-from)
		fn(from/64, ^uint64(0)>>(64-n)<<(from%64))
		from += n
	}
}

// same returns for how many clusters of a run, from its first on, the set says
// the same.
func (s clusterSet) same(r clusterRun) (n uint32, in bool) {
	in = s.has(r.first)
	flip := uint64(0)
	if in {
		flip = ^uint64(0)
	}
	from, end := r.first-ondisk.FirstCluster, r.first-ondisk.FirstCluster+r.n
	for at := from; at < end; at += 64 - at%64 {
		if w := (s[at/64] ^ flip) >> (at % 64); w != 0 {
			return min(at+uint32(bits.TrailingZeros64(w)), end) - from, in
		}
	}
	return r.n, in
}
