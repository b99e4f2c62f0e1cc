package blockio

// A placed page is one that has a record in the journal.
type placed struct {
	pg   *setPage
	at   int64
	mask uint8
}

// appendRecords writes the pages that are in memory to the journal. They stay
// as they are: there may be readers. Requires gate, alone, or mu.
func (s *Session) appendRecords() ([]placed, error) {
	var list []placed
	home := beforeReader{dev: s.base, set: &s.collected}
	scratch := new([pageLen]byte)
	err := s.collected.each(func(num int64, pg *setPage) error {
		if pg.inMem == 0 {
			return nil
		}
		mem, mask := pg.mem, pg.mask()
		if mask != pg.inMem { // the rest was spilled before
			mem = scratch
			if err := s.collected.copyPage(pg, mem); err != nil {
				return err
			}
		}
		before, err := home.sums(num, mask)
		if err != nil {
			return err
		}
		at, err := s.journal.append(num, mask, mem, &before)
		list = append(list, placed{pg, at, mask})
		return err
	})
	if err == nil {
		err = s.journal.flush()
	}
	return list, err
}

// spill makes room in memory. When the host has no room either, memory has to
// do for a while: the file system above is in the middle of something, and the
// commit will tell. Requires gate and mu.
func (s *Session) spill() error {
	if s.journal == nil {
		return nil
	}
	if err := s.held.flush(s.writeBase); err != nil {
		return err
	}
	var err error
	if s.journal.sealed {
		// What the last commit wrote must not need its journal any more.
		if err := s.syncBaseLocked(); err != nil {
			return err
		}
	}
	if err = s.journal.begin(); err == nil {
		start := s.journal.mark()
		var list []placed
		if list, err = s.appendRecords(); err == nil {
			for _, p := range list {
				p.pg.spilled, p.pg.at = p.mask, p.at
			}
			s.collected.file = s.journal.file
			s.collected.dropMemory()
			s.spillAt = int(max(s.opt.Memory/pageLen, 1))
			return nil
		}
		s.journal.back(start)
	}
	if s.broken == nil && int64(s.collected.held) < 4*s.opt.Memory/pageLen {
		s.spillAt = s.collected.held + s.spillAt/4 + 1
		return nil
	}
	return err
}
