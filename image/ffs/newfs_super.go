package ffs

import (
	"github.com/resflash/resflash/image/ffs/ondisk"
)

// superblock returns struct fs, as long as fs_sbsize.
func (m *maker) superblock(total ondisk.SummaryTotal) []byte {
	bs, n := uint64(m.blockSize), uint64(m.nindir)
	s := ondisk.Super{
		SuperOff: int32(m.superOff), GroupOff: int32(m.groupOff),
		InodeOff: int32(m.inodeOff), DataOff: int32(m.dataOff),
		Groups:    uint32(m.groups),
		BlockSize: int32(m.blockSize), FragSize: int32(m.fragSize), Frag: int32(m.frag),
		MinFree:   int32(m.minFree),
		BlockMask: int32(-m.blockSize), FragMask: int32(-m.fragSize),
		BlockShift: int32(log2(m.blockSize)), FragShift: int32(log2(m.fragSize)),
		FragsShift: int32(log2(m.frag)), FsbToDb: int32(log2(m.fragSize / dbSize)),
		MaxContig:  1,
		MaxBPG:     int32(m.nindir), // a quarter or an eighth of the block size, too
		SuperBytes: int32(m.superBytes()),
		Nindir:     int32(m.nindir), InodesPerBlock: uint32(m.inopb),
		OldNspf: int32(m.fragSize / dbSize),
		ID:      m.id,

		SummarySize: int32(m.summaryBytes), GroupSize: int32(m.groupBytes),
		OldCpg:         1,
		InodesPerGroup: uint32(m.inodesPerGroup), FragsPerGroup: int32(m.fragsPerGroup),
		Clean:       1,
		SuperLoc:    m.superLoc(),
		Total:       total,
		Time:        m.now.Unix(),
		Size:        m.frags,
		DataSize:    m.dataFrags,
		SummaryAddr: m.dataOff,

		AvgFileSize: 16384, AvgFilesPerDir: 64,
		MaxSymlinkLen:  int32((ondisk.NDirect + ondisk.NIndirect) * m.version.PointerSize()),
		OldInodeFormat: ondisk.InodeFormat44,
		MaxFileSize:    bs*ondisk.NDirect - 1 + bs*(n+n*n+n*n*n),
		QBMask:         m.blockSize - 1, QFMask: m.fragSize - 1,
		OldPostblFmt: ondisk.PostblFormat44, OldNrpos: 1,
		Magic: ondisk.MagicFFS2,
	}
	copy(s.MountPoint[:], m.mounted)
	copy(s.VolumeName[:], m.label)
	if m.version == ondisk.V1 {
		m.oldFields(&s)
	}
	b := s.Append(make([]byte, 0, m.superBytes()), ondisk.Order{})
	return append(b, make([]byte, m.superBytes()-int64(len(b)))...)
}

// oldFields fills in what counts in FFS1 only, and what describes a disk to
// kernels of old: one track per group.
func (m *maker) oldFields(s *ondisk.Super) {
	s.Magic = ondisk.MagicFFS1
	s.OldGroupMask = -1
	s.OldTime = int32(m.now.Unix())
	s.OldSize, s.OldDataSize = int32(m.frags), int32(m.dataFrags)
	s.OldRPS = 60
	s.OldInterleave = 1
	s.OldSpc = int32(m.fragsPerGroup) * s.OldNspf
	s.OldNsect, s.OldNpsect = s.OldSpc, s.OldSpc
	s.OldNcyl = int32(m.groups)
	s.OldSummaryAddr = int32(m.dataOff)
	s.OldTotal = ondisk.Summary{
		Dirs: int32(s.Total.Dirs), FreeBlocks: int32(s.Total.FreeBlocks),
		FreeInodes: int32(s.Total.FreeInodes), FreeFrags: int32(s.Total.FreeFrags),
	}
}

// superBytes is fs_sbsize.
func (l *newfsLayout) superBytes() int64 {
	return min(roundUp(newSuperSize, l.fragSize), ondisk.SuperAreaSize)
}

// emptyTotal counts what is free before there is a root directory.
func (m *maker) emptyTotal() (t ondisk.SummaryTotal) {
	for c := range m.groups {
		s := m.emptyMap(c).sum
		t.FreeBlocks += int64(s.FreeBlocks)
		t.FreeFrags += int64(s.FreeFrags)
	}
	t.FreeInodes = m.groups*m.inodesPerGroup - ondisk.RootIno
	return t
}

// withRoot takes the root directory off the free space.
func (m *maker) withRoot(t ondisk.SummaryTotal) ondisk.SummaryTotal {
	t.Dirs++
	t.FreeInodes--
	t.FreeBlocks--
	t.FreeFrags += m.frag - 1
	return t
}
