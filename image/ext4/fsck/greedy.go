package fsck

import (
	"cmp"
	"math/bits"
	"slices"
)

// A damaged file may claim the blocks of many others, and do so before them.
// Where there is space, all get copies. Where there is none, those who come
// later would lose what is theirs, so that the one to blame loses it instead.

// short reports whether there is no space for copies of all that is shared.
func (c *checker) short() bool {
	need, free := uint64(0), c.clusters
	for _, d := range c.dups {
		need += (d.n + 1<<c.clusterShift - 1) >> c.clusterShift
	}
	for _, word := range c.used {
		free -= uint64(bits.OnesCount64(word))
	}
	return need > free
}

// greedy returns the file that came before most others to blocks of theirs, and
// how many these are.
func (c *checker) greedy(shared *sharedRuns) (ino uint32, files int, err error) {
	var in inode
	for n := uint32(1); n <= c.inodes; n++ {
		if c.kind.get(n) == inoFree {
			continue
		}
		if err := c.ctx.Err(); err != nil {
			return 0, 0, err
		}
		if err := c.load(n, &in); err != nil {
			return 0, 0, err
		}
		if !c.hasBlocks(&in) {
			continue
		}
		others := map[uint32]bool{}
		var w walk
		w.reset(&in)
		w.run = func(r run) error {
			shared.with(r, func(d dup) {
				if d.ino != n {
					others[d.ino] = true
				}
			})
			return nil
		}
		if err := c.walk(&w); err != nil {
			return 0, 0, err
		}
		if len(others) > files {
			ino, files = n, len(others)
		}
	}
	return ino, files, nil
}

// sharedRuns are the duplicates by their place.
type sharedRuns struct {
	list []dup
	ends []uint64 // how far those up to here reach
}

func (c *checker) sharedRuns() *sharedRuns {
	s := &sharedRuns{list: slices.Clone(c.dups)}
	slices.SortFunc(s.list, func(a, b dup) int { return cmp.Compare(a.start, b.start) })
	for i, d := range s.list {
		end := d.start + d.n
		if i > 0 {
			end = max(end, s.ends[i-1])
		}
		s.ends = append(s.ends, end)
	}
	return s
}

// with calls fn for those that have blocks of a run: all, or so many that it
// makes no difference.
func (s *sharedRuns) with(r run, fn func(d dup)) {
	const enough = 1000
	i, _ := slices.BinarySearchFunc(s.list, r.start+r.n, func(d dup, at uint64) int { return cmp.Compare(d.start, at) })
	for n := 0; i > 0 && s.ends[i-1] > r.start && n < enough; n++ {
		i--
		if d := s.list[i]; d.start+d.n > r.start {
			fn(d)
		}
	}
}

// blame takes from one file the blocks that others have as well, and reports
// whether that has been done.
func (c *checker) blame() (bool, error) {
	shared := c.sharedRuns()
	ino, files, err := c.greedy(shared)
	if err != nil || files < 2 {
		return false, err
	}
	f, mend := c.problem(c.aboutInode(codeDuplicate, ino, "it has blocks that %d other files have, too, and there is no space for copies", files))
	if !mend {
		return false, nil
	}
	var in inode
	if err := c.load(ino, &in); err != nil {
		return false, err
	}
	lost := uint64(0)
	var w walk
	w.reset(&in)
	w.edit = true
	w.remap = func(r run, node bool) (uint64, error) {
		// A node goes if it is another's node, too: what it leads to is shared.
		hit := false
		shared.with(r, func(d dup) { hit = hit || !node || d.kind == dupNode })
		if !hit {
			return r.start, nil
		}
		lost += r.n
		return 0, nil
	}
	if err := c.walk(&w); err != nil {
		return false, err
	}
	f.lose("%d blocks of inode %d: they are holes now", lost, ino)
	c.again = true
	return true, c.store(&in)
}
