package ext4

import (
	"github.com/resflash/resflash/image/ext4/ondisk"
)

// placeTables finds places for the bitmaps and the inode table of every group,
// where ext2fs_allocate_tables finds them: at the start of the group, or of the
// flexible group, which has first all block bitmaps, then all inode bitmaps and
// then all inode tables.
func (m *maker) placeTables() error {
	m.descs = make([]ondisk.GroupDesc, m.groups)
	for g := range m.groups {
		d := &m.descs[g]
		if m.lazy() {
			d.Flags = ondisk.GroupInodeUninit
			if g != m.groups-1 {
				// The last bitmap has an end to be marked.
				d.Flags |= ondisk.GroupBlockUninit
			}
		}
		d.FreeInodes = m.sb.InodesPerGroup
	}
	for g := range m.groups {
		place := m.placeInGroup
		if m.flexSize > 0 {
			place = m.placeInFlex
		}
		if !place(g) {
			return cannotMake("the tables of group %d find no place: make fewer inodes", g)
		}
	}
	used := m.used.count(m.firstBlock(), m.blocks())
	if m.clusterSize > 1 {
		m.used.coarsen(m.clusterSize)
		used = m.used.count(m.firstBlock(), m.blocks()) / m.clusterSize
	}
	m.sb.OverheadClusters = uint32(used + howMany(m.firstBlock(), m.clusterSize))
	return nil
}

// placeInGroup puts the tables of group g into the group itself.
func (m *maker) placeInGroup(g uint64) bool {
	start, last := m.groupStart(g), m.groupEnd(g)-1
	d := &m.descs[g]
	for _, t := range []struct {
		at *uint64
		n  uint64
	}{{&d.BlockBitmap, 1}, {&d.InodeBitmap, 1}, {&d.InodeTable, m.tableBlocks}} {
		at, ok := m.used.find(start, last, t.n)
		if !ok {
			return false
		}
		m.used.add(at, t.n)
		*t.at = at
	}
	return true
}

// placeInFlex puts the tables of group g where those of its flexible group are:
// each kind behind the one of the group before. The first of each leaves room
// for the others.
func (m *maker) placeInFlex(g uint64) bool {
	first := g &^ (m.flexSize - 1)
	end := min(first+m.flexSize, m.groups)
	room := m.flexSize
	if end == m.groups && end-first > 1 {
		room = end - first
	}
	d := &m.descs[g]
	var blocks, inodes, table uint64 // where to look, 0 for the start of the flexible group
	if g > first {
		before := &m.descs[g-1]
		blocks, inodes, table = before.BlockBitmap+1, before.InodeBitmap+1, before.InodeTable+m.tableBlocks
	}
	var ok bool
	if d.BlockBitmap, ok = m.takeInFlex(g, blocks, 1); !ok {
		return false
	}
	if g == first {
		inodes = d.BlockBitmap + room
	}
	if d.InodeBitmap, ok = m.takeInFlex(g, inodes, 1); !ok {
		return false
	}
	if g == first {
		table = d.InodeBitmap + room
	}
	d.InodeTable, ok = m.takeInFlex(g, table, m.tableBlocks)
	return ok
}

// takeInFlex takes n blocks for group g: from goal on, behind what may lie in
// the way, or else where all that is still to come fits in the flexible group,
// or else anywhere.
func (m *maker) takeInFlex(g, goal, n uint64) (uint64, bool) {
	first := g &^ (m.flexSize - 1)
	end := min(first+m.flexSize, m.groups)
	all := min((end-g)*n, m.blocksPerGroup()/4)
	start, last := m.groupStart(first), m.groupEnd(end-1)-1
	at, ok := uint64(0), false
	if goal != 0 && goal < m.blocks() {
		at, ok = m.used.find(goal, goal+all, n)
	}
	if !ok {
		at, ok = m.used.find(start, last, all)
	}
	if !ok {
		at, ok = m.used.find(start, last, n)
	}
	if !ok {
		at, ok = m.used.find(0, last, n)
	}
	if !ok {
		return 0, false
	}
	m.take(at, n)
	return at, true
}

// take takes n blocks, so that the bitmaps of their groups have to be written.
func (m *maker) take(at, n uint64) {
	m.used.add(at, n)
	m.describe(at, n)
}

func (m *maker) describe(at, n uint64) {
	for g := m.groupOf(at); g <= m.groupOf(at+n-1); g++ {
		m.descs[g].Flags &^= ondisk.GroupBlockUninit
	}
}
