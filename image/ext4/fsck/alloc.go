package fsck

// allocate takes n blocks that lie together and that nothing claims: the first
// such place behind the last one taken. Like start, they begin at the same
// block of a cluster as start does. Blocks that are free because something was
// cut off are not told from others: the whole repair is one transaction.
func (c *checker) allocate(n, like uint64) (block uint64, ok bool) {
	m := uint64(1)<<c.clusterShift - 1
	in := (like - min(like, c.firstBlock)) & m
	need := (in + n + m) >> c.clusterShift
	for pass := range 2 {
		from, to := c.allocAt, c.clusters
		if pass == 1 {
			from, to = 0, min(c.clusters, c.allocAt+need)
		}
		for from+need <= to {
			at := c.used.nextClear(from, to)
			if at+need > to {
				break
			}
			end := at + 1
			for end < at+need && !c.used.has(end) {
				end++
			}
			block := c.firstBlock + at<<c.clusterShift + in
			if end == at+need && block+n <= c.blocks {
				c.used.setRange(at, end)
				c.allocAt = end
				return block, true
			}
			from = end
		}
	}
	return 0, false
}

// allocateInode takes a free inode: first of those that were in use once.
func (c *checker) allocateInode() (ino uint32, ok bool) {
	for g := range c.groups {
		for i := range c.scanned(g) {
			n := g*c.ipg + i + 1
			if n >= c.firstIno && c.kind.get(n) == inoFree {
				return n, true
			}
		}
	}
	for g := range c.groups {
		d := &c.desc[g]
		i := c.scanned(g)
		if i >= c.ipg {
			continue
		}
		if d.Flags&1 != 0 { // INODE_UNINIT: its bitmap is written by pass 5
			d.ItableUnused = c.ipg
			d.Flags &^= 1
			i = 0
		}
		d.ItableUnused = c.ipg - i - 1
		d.dirty = true
		return g*c.ipg + i + 1, true
	}
	return 0, false
}
