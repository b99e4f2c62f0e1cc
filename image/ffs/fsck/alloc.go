package fsck

// allocate takes n fragments that nothing claims, all in one block: as near
// behind another address as possible. It looks first for a block that has just
// a part free, if that is enough.
func (c *checker) allocate(n, near int64) (addr int64, ok bool) {
	start := max(near&^(c.frag-1), c.allocAt)
	whole := int64(-1)
	for pass := range 2 {
		from, to := start, c.size
		if pass == 1 {
			from, to = 0, start
		}
		for b := from; b < to; b += c.frag {
			have := min(c.frag, c.size-b)
			v := c.used.word(b) & (1<<have - 1)
			switch {
			case v == 0 && have == c.frag:
				if n == c.frag {
					return c.take(b, n), true
				}
				if whole < 0 {
					whole = b
				}
			case v == 1<<have-1 || n > have:
			default:
				for i := int64(0); i+n <= have; i++ {
					if v>>i&(1<<n-1) == 0 {
						return c.take(b+i, n), true
					}
				}
			}
			if whole >= 0 && b-whole > 1<<12*c.frag {
				return c.take(whole, n), true // do not look for a part for ever
			}
		}
	}
	if whole >= 0 {
		return c.take(whole, n), true
	}
	return 0, false
}

func (c *checker) take(addr, n int64) int64 {
	c.used.set(addr, n)
	if n == c.frag {
		c.allocAt = addr
	}
	return addr
}

// allocateInode takes a free inode. Those that are initialised come first.
func (c *checker) allocateInode() (ino uint32, ok bool, err error) {
	for g := range c.groups {
		grp := &c.groups[g]
		for i := int64(0); i < grp.inited; i++ {
			n := int64(g)*c.ipg + i
			if n > 2 && c.state[grp.first+i]&inoKind == inoFree {
				return uint32(n), true, nil
			}
		}
	}
	for g := range c.groups {
		grp := &c.groups[g]
		if grp.inited >= c.ipg || grp.inited >= grp.room {
			continue
		}
		// The next block of the table becomes one of free inodes.
		end := min(roundUp(grp.inited+1, c.inopb), grp.room)
		zeros := make([]byte, (end-grp.inited)*c.isize)
		first := int64(g)*c.ipg + grp.inited
		if err := c.write(zeros, c.inodeOff(uint32(first))); err != nil {
			return 0, false, err
		}
		grp.inited = end
		return uint32(first), true, nil
	}
	return 0, false, nil
}
