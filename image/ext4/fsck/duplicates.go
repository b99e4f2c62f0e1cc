package fsck

import "github.com/resflash/resflash/image/ext4/ondisk"

// Pass 1b deals with blocks that two files claim. The first keeps them; the
// later one gets a copy of them, so that both still have their contents,
// whichever was damaged. (Where there is no space for that: greedy.go.)

// What a duplicate is.
const (
	dupData  = iota
	dupNode  // a block of the mapping
	dupXattr // a block of attributes
)

// A dup is what was claimed although something had claimed it before.
type dup struct {
	ino   uint32
	kind  uint8
	lblk  uint64 // of the file; of a node: its level
	start uint64
	n     uint64
}

// maxDups bounds how many are remembered.
const maxDups = 1 << 18

func (c *checker) duplicate(d dup) {
	if len(c.dups) < maxDups {
		c.dups = append(c.dups, d)
	}
}

// pass1b reports the duplicates, and mends them.
func (c *checker) pass1b() error {
	if len(c.dups) > 1 && c.short() {
		if done, err := c.blame(); err != nil || done {
			return err
		}
	}
	for i := 0; i < len(c.dups); {
		j := i + 1
		for j < len(c.dups) && c.dups[j].ino == c.dups[i].ino {
			j++
		}
		list := c.dups[i:j]
		i = j
		d := list[0]
		what := "blocks of the file"
		switch d.kind {
		case dupNode:
			what = "a block of its mapping"
		case dupXattr:
			what = "its block of attributes"
		}
		f, mend := c.problem(c.aboutInode(codeDuplicate, d.ino,
			"%d times it has blocks that something else has, too: the first is %s, %d blocks at %d", len(list), what, d.n, d.start))
		if !mend {
			continue
		}
		c.again = true
		if err := c.unshare(f, list); err != nil {
			return err
		}
	}
	return nil
}

// unshare gives an inode copies of what it shares, or gives it up where there
// is no space.
func (c *checker) unshare(f *finding, list []dup) error {
	var in inode
	if err := c.load(list[0].ino, &in); err != nil {
		return err
	}
	type key struct {
		start uint64
		node  bool
	}
	shared := map[key]dup{}
	lost := uint64(0)
	for _, d := range list {
		if d.kind != dupXattr {
			shared[key{d.start, d.kind == dupNode}] = d
			continue
		}
		to, err := c.copyOf(d.start, 1)
		if err != nil {
			return err
		}
		if to == 0 {
			f.lose("attributes of inode %d", in.num)
		} else if err := c.resealXattr(to); err != nil {
			return err
		}
		ondisk.SetInodeFileACL(in.raw, to)
	}
	if len(shared) > 0 && in.num == ondisk.ResizeIno {
		// Its pointers follow from the superblock, but for the first.
		clear(in.raw)
		if err := c.store(&in); err != nil {
			return err
		}
		return c.buildResizeInode(&in)
	}
	if len(shared) > 0 {
		var w walk
		w.reset(&in)
		w.edit = true
		w.remap = func(r run, node bool) (uint64, error) {
			// Of pointers, each is a run; of extents, the whole is.
			hit := false
			if d, ok := shared[key{r.start, node}]; ok && d.n == r.n {
				hit = true
			} else if !node {
				for _, d := range shared {
					hit = hit || d.kind == dupData && r.start >= d.start && r.start < d.start+d.n && r.lblk-d.lblk == r.start-d.start
				}
			}
			if !hit {
				return r.start, nil
			}
			if node {
				to, ok := c.allocate(1, r.start)
				if !ok {
					lost++
				}
				return to, nil // the walk writes it
			}
			to, err := c.copyOf(r.start, r.n)
			if to == 0 {
				lost += r.n
			}
			return to, err
		}
		if err := c.walk(&w); err != nil {
			return err
		}
		if w.bad > 0 {
			f.lose("blocks of inode %d that bad pointers were for: they read as zeros now", in.num)
		}
	}
	if lost > 0 {
		f.lose("%d blocks of inode %d, for which there was no space: they are holes now", lost, in.num)
	}
	return c.store(&in)
}

// copyOf copies n blocks to where there is space for them, and returns where;
// 0 if there is none.
func (c *checker) copyOf(start, n uint64) (uint64, error) {
	to, ok := c.allocate(n, start)
	if !ok {
		return 0, nil
	}
	b := make([]byte, c.bsize)
	for i := range n {
		if err := c.readBlock(b, start+i); err != nil {
			return 0, err
		}
		if err := c.writeBlock(b, to+i); err != nil {
			return 0, err
		}
	}
	return to, c.ctx.Err()
}

// resealXattr makes a copied block of attributes one of its own.
func (c *checker) resealXattr(block uint64) error {
	b := make([]byte, c.bsize)
	if err := c.readBlock(b, block); err != nil {
		return err
	}
	return c.writeXattrRefs(b, block, 1)
}
