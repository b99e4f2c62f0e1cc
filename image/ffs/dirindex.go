package ffs

import (
	"context"
	"hash/maphash"
	"slices"
	"sort"
	"sync"
)

// Looking names up by scanning makes `ls -l` of a directory of ten thousand
// names a hundred million comparisons. So the first lookup in a large
// directory builds an index of it: the BSD kernels' dirhash.

const (
	indexFrom  = 8 << 10 // bytes: smaller directories are scanned
	indexTotal = 1 << 20 // names in all indexes together: 8 MiB
	indexMax   = 256     // indexes
)

// A dirIndex is the names of one directory, sorted by hash: the upper half of
// an element is the hash of a name, the lower half the offset of its entry.
type dirIndex []uint64

var nameSeed = maphash.MakeSeed()

func hashName(name string) uint32      { return uint32(maphash.String(nameSeed, name)) }
func hashNameBytes(name []byte) uint32 { return uint32(maphash.Bytes(nameSeed, name)) }

// offsets returns the elements with the given hash.
func (ix dirIndex) offsets(hash uint32) dirIndex {
	lo := sort.Search(len(ix), func(i int) bool { return uint32(ix[i]>>32) >= hash })
	hi := lo
	for hi < len(ix) && uint32(ix[hi]>>32) == hash {
		hi++
	}
	return ix[lo:hi]
}

// dirIndexCache holds the indexes of the directories used last.
type dirIndexCache struct {
	mu    sync.Mutex
	slots []*indexSlot // most recently used first
}

type indexSlot struct {
	dir  uint64
	once sync.Once
	ix   dirIndex // nil: there is none, scan
	used int      // names, once built; under dirIndexCache.mu
}

// get returns the index of a directory, building it if needed; nil if the
// directory is damaged or too large, and has to be scanned.
func (c *dirIndexCache) get(ctx context.Context, f *FS, in *inode) dirIndex {
	c.mu.Lock()
	i := slices.IndexFunc(c.slots, func(s *indexSlot) bool { return s.dir == in.num })
	var slot *indexSlot
	if i >= 0 {
		slot = c.slots[i]
		c.slots = slices.Delete(c.slots, i, i+1)
	} else {
		slot = &indexSlot{dir: in.num}
	}
	c.slots = slices.Insert(c.slots, 0, slot)
	c.mu.Unlock()

	slot.once.Do(func() {
		ix, err := buildIndex(ctx, f, in)
		c.mu.Lock()
		defer c.mu.Unlock()
		if ctx.Err() != nil { // try again next time
			c.slots = slices.DeleteFunc(c.slots, func(s *indexSlot) bool { return s == slot })
			return
		}
		if err == nil {
			slot.ix = ix
		}
		slot.used = cap(slot.ix)
		total := 0
		for i, s := range c.slots {
			total += s.used
			if i == indexMax || total > indexTotal && i > 0 {
				c.slots = slices.Delete(c.slots, i, len(c.slots))
				break
			}
		}
	})
	return slot.ix
}

func buildIndex(ctx context.Context, f *FS, in *inode) (dirIndex, error) {
	// An entry takes at least 12 bytes; most names make it 16 to 32.
	ix := make(dirIndex, 0, min(in.size/24, indexTotal/8))
	full := false
	err := f.scanDir(ctx, in, 0, func(e *entry) bool {
		full = full || len(ix) >= indexTotal
		if !full && !e.isWhiteout() {
			ix = append(ix, uint64(hashNameBytes(e.name))<<32|uint64(e.off))
		}
		return !full
	})
	if err != nil || full {
		return nil, err
	}
	slices.Sort(ix)
	return ix, nil
}
