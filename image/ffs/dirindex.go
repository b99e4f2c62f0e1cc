package ffs

import (
	"context"
	"slices"
	"sync"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs/nametable"
)

// Looking names up by scanning makes `ls -l` of a directory of ten thousand
// names a hundred million comparisons. So the first lookup in a large
// directory builds an index of it: the BSD kernels' dirhash. It also knows how
// much room there is in every chunk, for new names.

const (
	indexFrom  = 8 << 10 // bytes: smaller directories are scanned
	indexTotal = 1 << 20 // names in all indexes together: 16 MiB
	indexMax   = 256     // indexes
)

// A dirIndex is the names of one directory. It changes only under the lock of
// the [Writer] that changes the directory.
type dirIndex struct {
	nametable.Table

	// free is how much room each chunk has, in units of 4 bytes. hint[n] is a
	// chunk with none in front of it that has room for n units.
	free []uint8
	hint [ondisk.DirChunk/4 + 1]int32
}

// units is the room that an entry with a name of n bytes takes.
func units(n int) int { return ondisk.DirentSize(n) / 4 }

func newDirIndex(names int, chunks int64) *dirIndex {
	ix := &dirIndex{Table: nametable.New(names), free: make([]uint8, chunks)}
	for i := range ix.free {
		ix.free[i] = ondisk.DirChunk / 4
	}
	return ix
}

// room changes how many units are free in a chunk.
func (ix *dirIndex) room(chunk int64, delta int) {
	n := int(ix.free[chunk]) + delta
	ix.free[chunk] = uint8(n)
	if delta > 0 {
		for k := range ix.hint[:n+1] {
			ix.hint[k] = min(ix.hint[k], int32(chunk))
		}
	}
}

// chunkWith returns the first chunk with room for n units, or -1.
func (ix *dirIndex) chunkWith(n int) int64 {
	i := ix.hint[n]
	for int(i) < len(ix.free) && int(ix.free[i]) < n {
		i++
	}
	ix.hint[n] = i
	if int(i) == len(ix.free) {
		return -1
	}
	return int64(i)
}

// useful is how many chunks there are up to the last one that is not empty.
func (ix *dirIndex) useful() int64 {
	n := len(ix.free)
	for n > 0 && ix.free[n-1] == ondisk.DirChunk/4 {
		n--
	}
	return int64(n)
}

// resize follows a directory that grows or shrinks by chunks.
func (ix *dirIndex) resize(chunks int64) {
	for int64(len(ix.free)) < chunks {
		ix.free = append(ix.free, ondisk.DirChunk/4)
	}
	ix.free = ix.free[:chunks]
	for k := range ix.hint {
		ix.hint[k] = min(ix.hint[k], int32(chunks))
	}
}

// dirIndexCache holds the indexes of the directories used last.
type dirIndexCache struct {
	mu    sync.Mutex
	slots []*indexSlot // most recently used first
}

type indexSlot struct {
	dir  uint64
	once sync.Once
	ix   *dirIndex // nil: there is none, scan
	used int       // names, once built; under dirIndexCache.mu
}

// get returns the index of a directory, building it if needed; nil if the
// directory is damaged or too large, and has to be scanned.
func (c *dirIndexCache) get(ctx context.Context, f *FS, in *inode) *dirIndex {
	c.mu.Lock()
	i := slices.IndexFunc(c.slots, func(s *indexSlot) bool { return s.dir == in.num })
	var slot *indexSlot
	if i >= 0 {
		slot = c.slots[i]
		copy(c.slots[1:], c.slots[:i])
		c.slots[0] = slot
	} else {
		slot = &indexSlot{dir: in.num}
		c.slots = slices.Insert(c.slots, 0, slot)
	}
	c.mu.Unlock()

	slot.once.Do(func() {
		ix, err := buildIndex(ctx, f, in)
		c.mu.Lock()
		defer c.mu.Unlock()
		if ctx.Err() != nil { // try again next time
			c.slots = slices.DeleteFunc(c.slots, func(s *indexSlot) bool { return s == slot })
			return
		}
		if err == nil && ix != nil {
			slot.ix = ix
			slot.used = ix.Len()
		}
		c.bound()
	})
	return slot.ix
}

// bound drops the indexes used least, as far as there are too many. Requires c.mu.
func (c *dirIndexCache) bound() {
	total := 0
	for i, s := range c.slots {
		total += s.used
		if i == indexMax || total > indexTotal && i > 0 {
			c.slots = slices.Delete(c.slots, i, len(c.slots))
			break
		}
	}
}

// built returns the index of a directory if there is one, to be changed.
func (c *dirIndexCache) built(dir uint64) *dirIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.slots {
		if s.dir != dir {
			continue
		}
		if s.ix != nil && s.ix.Len() > s.used+s.used/4+1000 {
			s.used = s.ix.Len()
			if s.used > indexTotal {
				s.ix = nil // scan from now on
				s.used = 0
			}
			c.bound()
		}
		return s.ix
	}
	return nil
}

// drop forgets the index of a directory.
func (c *dirIndexCache) drop(dir uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots = slices.DeleteFunc(c.slots, func(s *indexSlot) bool { return s.dir == dir })
}

func buildIndex(ctx context.Context, f *FS, in *inode) (*dirIndex, error) {
	// An entry takes at least 12 bytes; most names make it 16 to 32.
	ix := newDirIndex(int(min(in.size/24, indexTotal/8)), in.size/ondisk.DirChunk)
	full := false
	err := f.scanDir(ctx, in, 0, func(e *entry) bool {
		full = full || ix.Len() >= indexTotal
		if !full {
			ix.Put(nametable.HashBytes(e.name), e.off)
			ix.free[e.off/ondisk.DirChunk] -= uint8(units(len(e.name)))
		}
		return !full
	})
	if err != nil || full {
		return nil, err
	}
	return ix, nil
}
