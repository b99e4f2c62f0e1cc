package fat

import (
	"bytes"

	"github.com/resflash/resflash/image/fat/ondisk"
)

// collectLimit is how much may be collected in memory to make formatting one
// change, that happens or does not. Beyond it the volume is first made to look
// like nothing.
const collectLimit = 32 << 20

// remainsBytes is how far from its start a volume is wiped: no format that is
// known by a mark has it further on, FFS being the last with a superblock at
// 256 KiB.
const remainsBytes = 272 << 10

// write writes the volume: the tables first, the boot sector last.
func (m *maker) write() error {
	table := m.fatSectors * m.sectorSize
	dataOff := m.dataSector() * m.sectorSize
	// The root directory of FAT32 is a cluster.
	end := dataOff
	if m.bits == 32 {
		end += m.cluster * m.sectorSize
	}
	m.collect = end <= collectLimit
	if !m.collect {
		// If this is interrupted, the volume is to look like nothing rather
		// than like what it was.
		if _, err := m.dev.WriteAt(make([]byte, ondisk.BootSectorSize), 0); err != nil {
			return err
		}
		if err := m.dev.Sync(); err != nil {
			return err
		}
	}
	if err := m.clear(0, max(end, min(remainsBytes, m.dev.Size()))); err != nil {
		return err
	}
	// A GPT has a copy in the last sector, which would be found there.
	if last := max(end, m.dev.Size()-m.sectorSize); last < m.dev.Size() {
		if err := m.clear(last, m.dev.Size()); err != nil {
			return err
		}
	}
	for i := range m.fats {
		if err := m.put(m.firstEntries(), m.reserved*m.sectorSize+i*table); err != nil {
			return err
		}
	}
	if m.hasLabel() {
		root, entry := make([]byte, ondisk.DirentSize), m.labelEntry()
		entry.Encode(root)
		// Behind the tables comes the root directory, whichever kind it is.
		if err := m.put(root, (m.reserved+m.fats*m.fatSectors)*m.sectorSize); err != nil {
			return err
		}
	}
	boot := m.bootSector()
	if m.bits == 32 {
		for sector, p := range map[int64][]byte{
			fsInfoSector: m.fsInfo(), backupSector: boot, backupSector + fsInfoSector: m.fsInfo(),
		} {
			if err := m.put(p, sector*m.sectorSize); err != nil {
				return err
			}
		}
	}
	_, err := m.dev.WriteAt(boot, 0)
	return err
}

// firstEntries is the start of a table: the media byte, the marks of a volume in
// order, and on FAT32 the root directory.
func (m *maker) firstEntries() []byte {
	p := make([]byte, 3*m.bits.Width())
	put := func(cluster, v uint32) { m.bits.Put(p[m.bits.Offset(cluster):], cluster, v) }
	put(0, m.bits.Mask()&^0xff|uint32(m.disk.media))
	put(1, m.bits.Mask())
	if m.bits == 32 {
		put(rootCluster, m.bits.Bad()+1)
	}
	return p
}

// clear sees to it that a range is zero. What is zero is left alone: a large new
// image file has holes, and keeps them.
func (m *maker) clear(off, end int64) error {
	const chunk = 1 << 20
	buf, zero := make([]byte, min(chunk, end-off)), make([]byte, min(chunk, end-off))
	for ; off < end; off += chunk {
		n := min(chunk, end-off)
		if _, err := m.dev.ReadAt(buf[:n], off); err != nil {
			return err
		}
		if bytes.Equal(buf[:n], zero[:n]) {
			continue
		}
		if err := m.put(zero[:n], off); err != nil {
			return err
		}
	}
	return nil
}

// put writes what belongs to the new volume and to nothing else.
func (m *maker) put(p []byte, off int64) error {
	if !m.collect {
		return m.dev.WriteData(p, off, false)
	}
	_, err := m.dev.WriteAt(p, off)
	return err
}
