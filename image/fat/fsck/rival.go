package fsck

import "github.com/resflash/resflash/image/fat/ondisk"

// Of two entries that lead to one directory the one is right that is in the
// directory to which its ".." leads.

const (
	// depthMax is how many directories are gone up.
	depthMax = 64
	// searchMax bounds how much is searched in one round, in bytes: ".." that
	// lead astray are rare, unless somebody made them.
	searchMax = 64 << 20
)

// isElsewhere reports whether the directory that begins in cluster start is not
// in the directory here, but in the one to which its ".." leads, and that one
// below the root. Directories are named by their first cluster, the root by 0.
func (c *checker) isElsewhere(start, here uint32) (bool, error) {
	for depth := range depthMax {
		up, ok, err := c.dotDot(start)
		if err != nil || !ok || depth == 0 && up == here {
			return false, err
		}
		if is, err := c.lists(up, start); err != nil || !is || up == 0 {
			return is, err
		}
		start = up
	}
	return false, nil
}

// dotDot returns to where ".." leads.
func (c *checker) dotDot(start uint32) (up uint32, ok bool, err error) {
	var p [2 * ondisk.DirentSize]byte
	if err := c.read(p[:], c.clusterOff(start)); err != nil {
		return 0, false, err
	}
	e := ondisk.DecodeDirent(p[ondisk.DirentSize:])
	up = c.start(&e)
	return up, e.Name == dots[1] && e.Attr&ondisk.AttrDir != 0 && (up == 0 || c.holds(up)), nil
}

// lists reports whether a directory has an entry of the directory that begins in
// cluster child.
func (c *checker) lists(dir, child uint32) (bool, error) {
	if dir == 0 {
		if dir = c.rootCluster(); dir == 0 {
			p := make([]byte, c.rootBytes)
			if err := c.read(p, c.rootOff); err != nil {
				return false, err
			}
			found, _ := c.listed(p, child)
			return found, nil
		}
	}
	p := make([]byte, c.clusterSize)
	for read := int64(0); c.holds(dir) && read < maxDirBytes && c.searched < searchMax; read += c.clusterSize {
		c.searched += c.clusterSize
		if err := c.read(p, c.clusterOff(dir)); err != nil {
			return false, err
		}
		if found, end := c.listed(p, child); found || end {
			return found, nil
		}
		next, err := c.table.get(dir)
		if err != nil {
			return false, err
		}
		dir = next
	}
	return false, nil
}

// listed looks for the entry of a directory in a part of another one; end: no
// entries follow.
func (c *checker) listed(p []byte, child uint32) (found, end bool) {
	for ; len(p) >= ondisk.DirentSize; p = p[ondisk.DirentSize:] {
		raw := p[:ondisk.DirentSize]
		switch {
		case raw[0] == ondisk.MarkEnd:
			return false, true
		case raw[0] == ondisk.MarkDeleted || ondisk.IsLong(raw):
			continue
		}
		e := ondisk.DecodeDirent(raw)
		if e.Attr&(ondisk.AttrDir|ondisk.AttrLabel) == ondisk.AttrDir && !isDots(e.Name) && c.start(&e) == child {
			return true, false
		}
	}
	return false, false
}
