package nametable_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs/nametable"
)

// The table does what a map does, also where it is full of what is gone and
// where hashes collide.
func TestLikeAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	table := nametable.New(0)
	model := map[int64]uint32{} // offset to hash
	offsets := func(hash uint32) (all []int64) {
		table.Each(hash, func(off int64) bool {
			all = append(all, off)
			return true
		})
		slices.Sort(all)
		return all
	}
	for step := range 50_000 {
		off := 4 * rnd.Int64N(4000)
		hash, taken := model[off]
		switch {
		case !taken:
			// Few hashes, so that many collide, and some are neighbours.
			hash = uint32(rnd.IntN(500))
			table.Put(hash, off)
			model[off] = hash
		case step%3 == 0:
			to := 4 * rnd.Int64N(4000)
			if _, ok := model[to]; ok {
				continue
			}
			table.Move(hash, off, to)
			delete(model, off)
			model[to] = hash
		default:
			table.Remove(hash, off)
			table.Remove(hash, off) // twice does no harm
			delete(model, off)
		}
		require.Equal(t, len(model), table.Len())
		if step%100 == 0 {
			h := uint32(rnd.IntN(500))
			var want []int64
			for _, off := range slices.Sorted(maps.Keys(model)) {
				if model[off] == h {
					want = append(want, off)
				}
			}
			require.Equal(t, want, offsets(h))
		}
	}
}

func TestLargestOffset(t *testing.T) {
	table := nametable.New(10)
	const last = 1<<32 - 4
	table.Put(nametable.Hash("x"), last)
	table.Each(nametable.HashBytes([]byte("x")), func(off int64) bool {
		require.EqualValues(t, last, off)
		return true
	})
}

func BenchmarkPutRemove(b *testing.B) {
	table := nametable.New(b.N)
	for i := range b.N {
		h := nametable.Hash(strconv.Itoa(i))
		table.Put(h, int64(i)*4)
		if i%2 == 0 {
			table.Remove(h, int64(i)*4)
		}
	}
}
