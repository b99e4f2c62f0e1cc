package fsck

import "github.com/resflash/resflash/image/blockio"

// The pointers of an inode without extents: twelve to blocks, and one each to
// blocks of pointers of the first, second and third level.
const (
	directPointers = 12
	indirectLevels = 3
)

// walkIndirect goes over the pointers of an inode.
func (c *checker) walkIndirect(w *walk, block []byte) error {
	if err := c.walkPointers(w, block[:directPointers*4], 0, 0, 1); err != nil {
		return err
	}
	lblk, span := uint64(directPointers), uint64(1)
	for level := 1; level <= indirectLevels; level++ {
		span *= c.ptrs
		if err := c.walkPointers(w, block[(directPointers+level-1)*4:][:4], level, lblk, span); err != nil {
			return err
		}
		lblk += span
	}
	return nil
}

// walkPointers goes over pointers that lead, through level blocks of pointers,
// to span blocks of the file each, of which lblk is the first.
func (c *checker) walkPointers(w *walk, b []byte, level int, lblk, span uint64) error {
	var r run // blocks that lie together, not shown yet
	flush := func() error {
		if r.n == 0 {
			return nil
		}
		err := w.see(r)
		r = run{}
		return err
	}
	for i := 0; i < len(b); i, lblk = i+4, lblk+span {
		p := uint64(le.Uint32(b[i:]))
		if p == 0 {
			if !w.edit || w.fill == nil || lblk >= w.fillTo {
				continue
			}
			block, err := w.fill()
			if err != nil {
				return err
			}
			if p = block; p == 0 {
				continue
			}
			le.PutUint32(b[i:], uint32(p))
		}
		if w.edit && w.truncate && lblk >= w.cut {
			le.PutUint32(b[i:], 0)
			continue
		}
		ok := true
		switch {
		case !c.fits(p, 1):
			w.note(issuePointer, "pointer for block %d leads to block %d, outside the file system", lblk, p)
			ok = false
		case c.isMeta(p, 1):
			w.note(issuePointer, "pointer for block %d leads to block %d, where metadata is", lblk, p)
			ok = false
		case w.mapped+r.n >= c.maxMapped():
			w.note(issuePointer, "pointer for block %d: more blocks than there are", lblk)
			ok = false
		case level == 0 && c.misplaced(w, run{lblk: lblk, start: p, n: 1}):
			w.note(issuePointer, "pointer for block %d breaks a cluster in two", lblk)
			ok = false
		}
		if !ok {
			w.bad += span
			if w.edit {
				le.PutUint32(b[i:], 0)
			}
			continue
		}
		home := p
		if w.edit && w.remap != nil {
			var err error
			if home, err = w.remap(run{lblk: lblk, start: p, n: 1}, level > 0); err != nil {
				return err
			}
			le.PutUint32(b[i:], uint32(home))
			if home == 0 {
				continue
			}
			if level == 0 {
				p = home
			}
		}
		if level == 0 {
			if r.n > 0 && r.lblk+r.n == lblk && r.start+r.n == p {
				r.n++
				continue
			}
			if err := flush(); err != nil {
				return err
			}
			r = run{lblk: lblk, start: p, n: 1}
			continue
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if w.node != nil {
			if err := w.node(p, level); err != nil {
				return err
			}
		}
		below := w.buf(level, c.bsize)
		if err := c.readBlock(below, p); err != nil {
			return err
		}
		var before []byte
		if w.edit {
			before = append(before, below...)
		}
		above := w.frozen
		w.frozen = above || w.shared[p]
		frozen := w.frozen
		w.mapped++ // an indirect block is a block, and bounds how many there can be
		if err := c.walkPointers(w, below, level-1, lblk, span/c.ptrs); err != nil {
			return err
		}
		w.frozen = above
		if w.edit && !frozen && (home != p || string(before) != string(below)) {
			if err := c.writeBlock(below, home); err != nil {
				return err
			}
			w.wrote = true
		}
		if w.edit && w.truncate && lblk+span > w.cut && blockio.IsZero(below) {
			le.PutUint32(b[i:], 0)
		}
	}
	return flush()
}
