package fsck

import (
	"fmt"
)

// maxFileBytes is the largest size of a file.
const maxFileBytes = 1<<32 - 1

// A place is that of an entry in a directory.
type place struct{ ref, slot int }

// checkFiles checks the sizes and the chains of all files.
func (c *checker) checkFiles() error { return c.checkFilesFrom(0) }

// checkFilesFrom checks the files in the directories from a number on: at first
// those whose chains are as long as they should be. So what two files claim
// belongs to the one that it fits.
func (c *checker) checkFilesFrom(ref int) error {
	var later []place
	for ; ref < len(c.dirs); ref++ {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		d, list, err := c.filesOf(ref)
		if err != nil {
			return err
		}
		for _, e := range list {
			if fits, err := c.claimFile(e); err != nil {
				return err
			} else if !fits {
				later = append(later, place{d.ref, e.slot})
			}
		}
	}
	for len(later) > 0 {
		d, list, err := c.filesOf(later[0].ref)
		if err != nil {
			return err
		}
		for _, e := range list {
			if len(later) > 0 && later[0] == (place{d.ref, e.slot}) {
				later = later[1:]
				if err := c.checkFile(d, e); err != nil {
					return err
				}
			}
		}
		for len(later) > 0 && later[0].ref == d.ref { // what something else has by now
			later = later[1:]
		}
	}
	return nil
}

// filesOf lists the files of a directory.
func (c *checker) filesOf(ref int) (d *dir, files []*entry, err error) {
	if d, err = c.load(ref); err != nil {
		return nil, nil, err
	}
	list, err := c.entries(d, true)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range list {
		// What has the mark of a label by mistake is not left without its chain.
		is := !e.isDir() && (!e.isLabel() || c.start(&e.dirent) != 0)
		if e.isDir() && !e.isLabel() {
			if is, err = c.isLeftFile(e); err != nil {
				return nil, nil, err
			}
		}
		if is {
			files = append(files, e)
		}
	}
	return d, files, nil
}

// claimFile takes the chain of a file, if all is well with it.
func (c *checker) claimFile(e *entry) (fits bool, err error) {
	start, need := c.start(&e.dirent), c.clustersFor(e)
	if start == 0 {
		return need == 0, nil
	}
	if !c.holds(start) {
		return false, nil
	}
	w, err := c.claim(start, need)
	if err != nil || w.stop == stopEnd && w.clusters == need {
		return true, err
	}
	for ; w.clusters > 0; w.clusters-- {
		c.owned.unset(start)
		if start, err = c.table.get(start); err != nil {
			return false, err
		}
	}
	return false, nil
}

// clustersFor is how many clusters a file needs.
func (c *checker) clustersFor(e *entry) int64 {
	return (int64(e.dirent.Size) + c.clusterSize - 1) / c.clusterSize
}

// isLeftFile reports whether what is marked as a directory is a file all the
// same, which nobody mended. If it has no size, it has all of its chain.
func (c *checker) isLeftFile(e *entry) (bool, error) {
	start := c.start(&e.dirent)
	if !c.holds(start) || isDots(e.dirent.Name) || c.owned.has(start) {
		return false, nil
	}
	if is, err := c.isFalseDir(e); err != nil || !is {
		return false, err
	}
	if e.dirent.Size == 0 {
		_, err := c.claim(start, maxFileBytes/c.clusterSize)
		return false, err
	}
	return true, nil
}

// checkFile checks a file: its chain has as many clusters as its size needs.
func (c *checker) checkFile(d *dir, e *entry) error {
	start, size := c.start(&e.dirent), int64(e.dirent.Size)
	if start != 0 && !c.holds(start) {
		f := c.finding(d, e, codeEntryStart, fmt.Sprintf("begins in cluster %d: clusters %d to %d exist", start, 2, c.end-1))
		f.Lost = fmt.Sprintf("%d bytes", size)
		if c.problem(f) {
			c.setStart(&e.dirent, 0)
			e.dirent.Size = 0
			return c.store(d, e)
		}
		return nil
	}
	need := c.clustersFor(e)
	w := walk{}
	if start != 0 {
		var err error
		if w, err = c.claim(start, need); err != nil {
			return err
		}
	}
	have := w.clusters
	if w.stop != stopEnd {
		var err error
		if have, err = c.endFile(d, e, w, need); err != nil {
			return err
		}
	}
	if have >= need {
		return nil
	}
	f := c.finding(d, e, codeFileSize, fmt.Sprintf("%d bytes, but only %d clusters of %d", size, have, c.clusterSize))
	f.Lost = fmt.Sprintf("the last %d bytes", size-have*c.clusterSize)
	if !c.problem(f) {
		return nil
	}
	e.dirent.Size = uint32(have * c.clusterSize)
	return c.store(d, e)
}

// endFile ends a chain where it cannot be followed any further, and returns how
// many clusters the file has then.
func (c *checker) endFile(d *dir, e *entry, w walk, need int64) (have int64, err error) {
	code, detail := c.why(w)
	f := c.finding(d, e, code, detail)
	have = w.clusters
	if w.stop == stopLong {
		f.Detail = fmt.Sprintf("%d bytes need %d clusters of %d, and there are more", e.dirent.Size, need, c.clusterSize)
	}
	if w.stop == stopShared {
		f.Lost = fmt.Sprintf("it is not known whose contents these are: from byte %d on, this file has a copy of them", w.clusters*c.clusterSize)
	}
	if !c.problem(f) {
		switch w.stop {
		case stopLong: // what is too much is not to be found again as lost
			_, err = c.claim(w.at, int64(c.clusters))
		case stopShared:
			var more int64
			more, err = c.length(w.at, need-have)
			have += more
		}
		return have, err
	}
	first := uint32(0)
	if w.stop == stopShared {
		var n int64
		if first, n, err = c.clone(w.last, w.at, need-have); err != nil {
			return have, err
		}
		have += n
		if n > 0 && w.last != 0 {
			return have, nil // the last cluster leads to the copies
		}
	}
	if w.last != 0 {
		return have, c.table.set(w.last, c.endMark())
	}
	c.setStart(&e.dirent, first)
	return have, c.store(d, e)
}
