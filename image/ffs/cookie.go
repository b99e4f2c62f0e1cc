package ffs

import (
	"slices"

	"github.com/resflash/resflash/image/ffs/ondisk"
)

// A cookie of a listing is the offset of the entry to go on with. Entries keep
// theirs, except when those of a chunk are moved together to make room. So that
// a listing that stopped inside the chunk misses none and repeats none, the
// upper half of a cookie counts how often that has happened in the directory,
// and what moved where is remembered for a while.

const (
	movesPerDir = 1024
	movesInAll  = 16384
)

// dirMoves are the entries of one directory that were moved.
type dirMoves struct {
	count uint32 // how often
	list  []chunkMoves
}

// chunkMoves is what happened the count-th time.
type chunkMoves struct {
	count uint32
	chunk int64
	pairs []movedEntry // all entries of the chunk, in order
}

type movedEntry struct{ from, to int16 }

// cookieMoves is what is remembered of all directories.
type cookieMoves struct {
	dirs map[uint64]*dirMoves
	n    int // elements of all lists
}

// note remembers that the entries of a chunk were moved.
func (c *cookieMoves) note(dir uint64, chunk int64, pairs []movedEntry) {
	if c.dirs == nil {
		c.dirs = map[uint64]*dirMoves{}
	}
	if c.n >= movesInAll {
		for _, d := range c.dirs {
			d.list = nil
		}
		c.n = 0
	}
	d := c.dirs[dir]
	if d == nil {
		d = new(dirMoves)
		c.dirs[dir] = d
	}
	if len(d.list) == movesPerDir {
		d.list = slices.Delete(d.list, 0, movesPerDir/2)
		c.n -= movesPerDir / 2
	}
	d.count++
	d.list = append(d.list, chunkMoves{d.count, chunk, pairs})
	c.n++
}

// undo forgets what was noted last, in an operation that failed.
func (c *cookieMoves) undo(dir uint64) {
	d := c.dirs[dir]
	d.list = d.list[:len(d.list)-1]
	d.count--
	c.n--
}

// drop forgets a directory that is gone.
func (c *cookieMoves) drop(dir uint64) {
	if d := c.dirs[dir]; d != nil {
		c.n -= len(d.list)
		delete(c.dirs, dir)
	}
}

// seek returns the offset that a cookie means now, and the upper half of the
// cookies to give out.
func (c *cookieMoves) seek(dir, cookie uint64) (off, upper uint64) {
	off, seen := cookie&(1<<32-1), uint32(cookie>>32)
	d := c.dirs[dir]
	if d == nil {
		return off, 0
	}
	upper = uint64(d.count) << 32
	chunk, in := int64(off&^(ondisk.DirChunk-1)), int16(off%ondisk.DirChunk)
	if seen >= d.count || in == 0 {
		return off, upper
	}
	if len(d.list) == 0 || d.list[0].count > seen+1 {
		return uint64(chunk), upper // too long ago: rather twice than not at all
	}
	for _, m := range d.list {
		if m.count <= seen || m.chunk != chunk {
			continue
		}
		for _, p := range m.pairs {
			if p.from >= in {
				in = p.to
				break
			}
		}
	}
	return uint64(chunk) + uint64(in), upper
}
