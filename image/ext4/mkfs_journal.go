package ext4

import (
	"encoding/binary"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// jnlBackupBlocks says that s_jnl_blocks is a copy of the journal's inode
// (EXT3_JNL_BACKUP_BLOCKS).
const jnlBackupBlocks = 1

// placeJournal makes a journal of n blocks, or of as many as are usual: in the
// middle of the file system, if it has extents. A file system that is too small
// for one has none.
func (m *maker) placeJournal(n uint64) error {
	free := m.blocks() - m.used.count(m.firstBlock(), m.blocks())
	if n == 0 {
		if n = defaultJournal(m.blocks()); n == 0 {
			m.sb.FeatureCompat &^= ondisk.CompatHasJournal
			return nil
		}
	} else if n > free/2 {
		return cannotMake("a journal of %d blocks is more than half of the %d that are free", n, free)
	}
	f, err := m.newFile(ondisk.JournalIno, m.middle(), n)
	if err != nil {
		return err
	}
	size := n * uint64(m.blockSize)
	m.inode(ondisk.JournalIno, f, ondisk.Inode{Mode: modeRegular | 0o600, Links: 1, Size: size})
	m.sb.JournalIno = ondisk.JournalIno
	m.sb.JnlBackupType = jnlBackupBlocks
	for i := range directBlocks + 3 {
		m.sb.JnlBlocks[i] = binary.LittleEndian.Uint32(f.block[4*i:])
	}
	m.sb.JnlBlocks[15], m.sb.JnlBlocks[16] = uint32(size>>32), uint32(size)
	m.sb.OverheadClusters += uint32(howMany(n, m.clusterSize))
	return nil
}

// middle is where the journal is looked for a place: at the start of that group
// around the middle which has most room.
func (m *maker) middle() uint64 {
	g := m.groupOf(m.firstBlock() + (m.blocks()-m.firstBlock())/2)
	start := g
	if m.flexSize > 0 && g > m.flexSize {
		for start = g &^ (m.flexSize - 1); start < m.groups && m.freeIn(start) == 0; {
			start++
		}
		if start == m.groups {
			start = 0
		}
		g = start
	} else if g > 0 {
		start--
	}
	best := start
	for i := start + 1; i <= min(g+1, m.groups-1); i++ {
		if m.freeIn(i) > m.freeIn(best) {
			best = i
		}
	}
	return m.groupStart(best)
}

// freeIn is the number of free blocks in group g.
func (m *maker) freeIn(g uint64) uint64 {
	start, end := m.groupStart(g), m.groupEnd(g)
	return end - start - m.used.count(start, end)
}

// journalSuper is the first block of the journal, which is empty.
func (m *maker) journalSuper(blocks uint64) []byte {
	b := make([]byte, m.blockSize)
	ondisk.EncodeJournalSuperblock(b, &ondisk.JournalSuperblock{
		Header:    ondisk.JournalHeader{Magic: ondisk.JournalMagic, BlockType: ondisk.JournalSuperV2},
		BlockSize: uint32(m.blockSize), MaxLen: uint32(blocks), First: 1, Sequence: 1,
		UUID: m.sb.UUID, NrUsers: 1,
	})
	return b
}
