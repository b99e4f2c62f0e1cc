package ext4

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

// zeroChunk is how much is zeroed at once.
const zeroChunk = 1 << 20

var zeros [zeroChunk]byte

// write writes the file system: what lies in the way goes first, the primary
// superblock comes last.
func (m *maker) write() error {
	if err := m.wipe(); err != nil {
		return err
	}
	if m.tableBytes() > collectLimit {
		// Too much to collect. If this is interrupted, the volume is to look
		// like nothing rather than like the file system that it was.
		m.fresh = true
		if _, err := m.dev.WriteAt(make([]byte, ondisk.SuperSize), ondisk.SuperOff); err != nil {
			return err
		}
		if err := m.dev.Sync(); err != nil {
			return err
		}
	}
	for g := range m.groups {
		if err := m.writeGroup(g); err != nil {
			return err
		}
	}
	if err := m.writeFiles(); err != nil {
		return err
	}
	return m.writeSupers()
}

// put writes what belongs to the new file system and to nothing else.
func (m *maker) put(p []byte, off int64) error {
	m.written += int64(len(p))
	if m.fresh {
		return m.dev.WriteData(p, off, false)
	}
	_, err := m.dev.WriteAt(p, off)
	return err
}

// putBlock is put of whole blocks.
func (m *maker) putBlock(p []byte, block uint64) error { return m.put(p, int64(block)*m.blockSize) }

// zero makes the range zero, except where dev knows that it is.
func (m *maker) zero(off, n int64) error {
	for end := off + n; off < end; {
		stop := end
		if m.holes != nil {
			data, err := m.holes.SeekData(off)
			if err == io.EOF || err == nil && data >= end {
				return nil
			}
			if err != nil {
				return err
			}
			off = max(off, data)
			if stop, err = m.holes.SeekHole(off); err != nil {
				return err
			}
			stop = min(stop, end)
		}
		for off < stop {
			k := min(stop-off, zeroChunk)
			if err := m.put(zeros[:k], off); err != nil {
				return err
			}
			off += k
		}
	}
	return nil
}

// isHole reports whether dev knows that the range is zero.
func (m *maker) isHole(off, n int64) (bool, error) {
	if m.holes == nil {
		return false, nil
	}
	data, err := m.holes.SeekData(off)
	if err == io.EOF {
		return true, nil
	}
	return err == nil && data >= off+n, err
}

// tableBytes is about how much is going to be written.
func (m *maker) tableBytes() int64 {
	n := int64(0)
	for g := range m.groups {
		if m.sb.HasSuper(g) {
			n += 1 + int64(m.descBlocks)
		}
		if m.descs[g].Flags&ondisk.GroupBlockUninit == 0 {
			n++
		}
		if m.descs[g].Flags&ondisk.GroupInodeUninit == 0 {
			n++
		}
		if !m.lazy() {
			n += int64(m.tableBlocks)
		}
	}
	for _, f := range m.files {
		n += int64(f.blocks)
	}
	return n * m.blockSize
}

// writeGroup writes the bitmaps and the inode table of group g, as far as it
// has to be there, and completes the descriptor.
func (m *maker) writeGroup(g uint64) error {
	d := &m.descs[g]
	start, end := m.groupStart(g), m.groupEnd(g)
	used := m.used.count(start, end)
	d.FreeBlocks = uint32((end - start - used) / m.clusterSize)
	if d.Flags&ondisk.GroupBlockUninit == 0 {
		b := m.used.bitmap(start, end, m.blockSize)
		d.BlockBitmapSum = m.bitmapSum(b[:m.sb.ClustersPerGroup/8])
		if err := m.putBlock(b, d.BlockBitmap); err != nil {
			return err
		}
	}
	inodes := m.inodesUsed(g)
	if d.Flags&ondisk.GroupInodeUninit == 0 {
		b := make([]byte, m.blockSize)
		fillBits(b, 0, inodes)
		fillBits(b, m.inodesPerGroup(), uint64(m.blockSize)*8)
		d.InodeBitmapSum = m.bitmapSum(b[:m.inodesPerGroup()/8])
		if err := m.putBlock(b, d.InodeBitmap); err != nil {
			return err
		}
	}
	if m.lazy() {
		d.ItableUnused = m.sb.InodesPerGroup - uint32(inodes)
	}
	return m.writeTable(g, inodes)
}

func (m *maker) bitmapSum(bits []byte) uint32 {
	if !m.hasChecksums() {
		return 0
	}
	return ondisk.BitmapChecksum(&m.sb, bits)
}

// inodesUsed is how many inodes of group g are spoken for: they are the first.
func (m *maker) inodesUsed(g uint64) uint64 {
	before := g * m.inodesPerGroup()
	return min(max(lostFoundIno, before)-before, m.inodesPerGroup())
}

// writeTable writes the inodes of group g that are spoken for, and zeros behind
// them: to the end of the table, or of the block if the descriptor can say that
// the rest was never written.
func (m *maker) writeTable(g, inodes uint64) error {
	d := &m.descs[g]
	off := int64(d.InodeTable) * m.blockSize
	used := (int64(inodes)*m.inodeSize + m.blockSize - 1) / m.blockSize * m.blockSize
	size := int64(m.tableBlocks) * m.blockSize
	if !m.lazy() {
		if err := m.zero(off+used, size-used); err != nil {
			return err
		}
		d.Flags |= ondisk.GroupInodeZeroed
	} else {
		hole, err := m.isHole(off+used, size-used)
		if err != nil {
			return err
		}
		if hole {
			d.Flags |= ondisk.GroupInodeZeroed
		}
	}
	if used == 0 {
		return nil
	}
	b := make([]byte, used)
	for i := range inodes {
		copy(b[int64(i)*m.inodeSize:], m.inodes[g*m.inodesPerGroup()+i+1])
	}
	return m.put(b, off)
}

// writeFiles writes the contents of the files, and what leads to them.
func (m *maker) writeFiles() error {
	for i := range m.files {
		f := &m.files[i]
		for at, b := range f.nodes {
			if err := m.putBlock(b, at); err != nil {
				return err
			}
		}
		var err error
		switch f.ino {
		case ondisk.RootIno:
			err = m.putBlock(m.directory(f.ino, dirEntry{lostFoundIno, "lost+found"}), f.runs[0].start)
		case lostFoundIno:
			err = m.writeLostFound(f)
		case ondisk.JournalIno:
			err = m.writeJournal(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// A dirEntry is a subdirectory; without inode, free space.
type dirEntry struct {
	ino  uint32
	name string
}

// directory makes the first block of the directory ino, with entries behind its
// own name and that of the root directory.
func (m *maker) directory(ino uint32, entries ...dirEntry) []byte {
	b, end := m.emptyDirectory()
	entries = append([]dirEntry{{ino, "."}, {ondisk.RootIno, ".."}}, entries...)
	at := 0
	for i, e := range entries {
		d := ondisk.DirEntry{Ino: e.ino, RecLen: ondisk.DirEntrySize(len(e.name)), NameLen: len(e.name)}
		if e.ino != 0 && m.sb.FeatureIncompat&ondisk.IncompatFiletype != 0 {
			d.Type = dirTypeDirectory
		}
		if i == len(entries)-1 {
			d.RecLen = end - at
		}
		ondisk.EncodeDirEntry(b[at:], d, int(m.blockSize))
		copy(b[at+ondisk.DirEntryHeader:], e.name)
		at += d.RecLen
	}
	return m.sealDirectory(ino, b)
}

// dirTypeDirectory is EXT4_FT_DIR.
const dirTypeDirectory = 2

// emptyDirectory makes a block with one entry that is not in use, and says
// where it ends.
func (m *maker) emptyDirectory() (b []byte, end int) {
	b, end = make([]byte, m.blockSize), int(m.blockSize)
	if m.hasChecksums() {
		end -= ondisk.DirTailSize
	}
	ondisk.EncodeDirEntry(b, ondisk.DirEntry{RecLen: end}, int(m.blockSize))
	return b, end
}

func (m *maker) sealDirectory(ino uint32, b []byte) []byte {
	if m.hasChecksums() {
		ondisk.SealDir(m.inodeSeed(ino), b)
	}
	return b
}

// writeLostFound writes the directory that has room for what e2fsck finds.
func (m *maker) writeLostFound(f *madeFile) error {
	b := m.directory(lostFoundIno)
	if m.sb.FeatureIncompat&ondisk.IncompatInlineData != 0 {
		b = m.directory(lostFoundIno, dirEntry{}) // as it is when it has grown out of the inode
	}
	for _, r := range f.runs {
		for at := r.start; at < r.end; at++ {
			if err := m.putBlock(b, at); err != nil {
				return err
			}
			b, _ = m.emptyDirectory()
			m.sealDirectory(lostFoundIno, b)
		}
	}
	return nil
}

// writeJournal writes an empty journal. What lay there before could be taken for
// transactions, so all of it is zero.
func (m *maker) writeJournal(f *madeFile) error {
	n := uint64(0)
	for _, r := range f.runs {
		n += r.end - r.start
	}
	first := m.journalSuper(n)
	for _, r := range joined(f.runs) {
		if first != nil {
			if err := m.putBlock(first, r.start); err != nil {
				return err
			}
			first = nil
			r.start++
		}
		if err := m.zero(int64(r.start)*m.blockSize, int64(r.end-r.start)*m.blockSize); err != nil {
			return err
		}
	}
	return nil
}

// joined puts runs together that lie next to each other.
func joined(runs []span) (out []span) {
	for _, r := range runs {
		if last := len(out) - 1; last >= 0 && out[last].end == r.start {
			out[last].end = r.end
		} else {
			out = append(out, r)
		}
	}
	return out
}

// writeSupers writes the descriptors and the superblocks with all copies.
func (m *maker) writeSupers() error {
	free := m.blocks() - m.firstBlock() - m.used.count(m.firstBlock(), m.blocks())
	m.sb.FreeBlocksCountLo, m.sb.FreeBlocksCountHi = uint32(free), uint32(free>>32)
	m.sb.FreeInodesCount = m.sb.InodesCount - lostFoundIno
	table := make([]byte, int64(m.descBlocks)*m.blockSize)
	for g := range m.descs {
		d := table[int64(g)*m.descSize:][:m.descSize]
		ondisk.EncodeGroupDesc(d, &m.descs[g])
		ondisk.SealGroupDesc(&m.sb, uint32(g), d)
	}
	for g := range m.groups {
		if at, n, first := m.descriptors(g); n > 0 {
			part := table[int64(first)*m.blockSize:][:int64(n)*m.blockSize]
			if err := m.putBlock(part, at); err != nil {
				return err
			}
		}
	}
	m.countWritten()
	for g := m.groups - 1; g > 0; g-- {
		if m.sb.HasSuper(g) {
			b := make([]byte, m.blockSize)
			ondisk.EncodeSuperblock(b, m.backup(g))
			if err := m.putBlock(b, m.superBlock(g)); err != nil {
				return err
			}
		}
	}
	b := make([]byte, ondisk.SuperSize)
	ondisk.EncodeSuperblock(b, &m.sb)
	_, err := m.dev.WriteAt(b, ondisk.SuperOff)
	return err
}

// backup is the superblock copy of group g. It is never taken for that of a
// file system that was unmounted cleanly.
func (m *maker) backup(g uint64) *ondisk.Superblock {
	sb := m.sb
	sb.BlockGroupNr = uint16(g)
	sb.State &^= ondisk.StateValid
	return &sb
}

// countWritten sets the count of kilobytes written, which file systems have
// that are made for ext4.
func (m *maker) countWritten() {
	if m.sb.FeatureIncompat&ondisk.IncompatFlexBg == 0 && !m.has(ondisk.ROCompatHugeFile|ondisk.ROCompatGDTCsum|
		ondisk.ROCompatDirNlink|ondisk.ROCompatMetadataCsum|ondisk.ROCompatExtraIsize) {
		return
	}
	m.sb.KbytesWritten = uint64(m.written)/1024 + 1
}

// Where superblocks of other formats may lie that this one does not overwrite
// for certain, in bytes.
const (
	headSize   = 80 << 10 // most formats have something in here
	ufsSuper   = 256 << 10
	ufsSize    = 8 << 10
	tailSize   = 64 << 10 // RAID
	bootSector = 512
)

// labelMagic is what a BSD disklabel begins with.
var labelMagic = binary.LittleEndian.AppendUint32(nil, 0x82564557)

// wipe takes away what other formats would be known by. Boot code goes as well,
// as with mke2fs; only a disklabel stays.
func (m *maker) wipe() error {
	size := m.dev.Size()
	for off := int64(0); off < ondisk.SuperOff; off += bootSector {
		b := make([]byte, bootSector)
		if _, err := m.dev.ReadAt(b, off); err != nil {
			return err
		}
		if bytes.HasPrefix(b, labelMagic) {
			continue
		}
		if err := m.wipeRange(off, bootSector); err != nil {
			return err
		}
	}
	const behind = ondisk.SuperOff + ondisk.SuperSize
	for _, r := range [][2]int64{{behind, headSize - behind}, {ufsSuper, ufsSize}} {
		if err := m.wipeRange(r[0], min(r[1], size-r[0])); err != nil {
			return err
		}
	}
	// From a multiple of 64 KiB on, as RAID superblocks lie there.
	end := int64(m.blocks()) * m.blockSize
	start := end &^ (tailSize - 1)
	if start > tailSize {
		start -= tailSize
	}
	return m.wipeRange(start, size-start)
}

// wipeRange makes a range zero, writing no more than is necessary.
func (m *maker) wipeRange(off, n int64) error {
	const step = 4096
	b := make([]byte, step)
	for end := off + n; off < end; {
		p := b[:min(step, end-off)]
		if _, err := m.dev.ReadAt(p, off); err != nil {
			return err
		}
		if !bytes.Equal(p, zeros[:len(p)]) {
			if _, err := m.dev.WriteAt(zeros[:len(p)], off); err != nil {
				return err
			}
		}
		off += int64(len(p))
	}
	return nil
}
