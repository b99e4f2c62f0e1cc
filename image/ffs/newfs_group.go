package ffs

import (
	"github.com/resflash/resflash/image/ffs/ondisk"
)

// summarySize is the size of struct csum.
const summarySize = 16

// tableChunk is how much of an inode table is written at once.
const tableChunk = 1 << 20

func appendSummary(b []byte, s ondisk.Summary) []byte {
	var p [summarySize]byte
	for i, v := range [...]int32{s.Dirs, s.FreeBlocks, s.FreeInodes, s.FreeFrags} {
		ondisk.Order{}.PutU32(p[4*i:], uint32(v))
	}
	return append(b, p[:]...)
}

// A newfsMap is the map of free fragments of a group, and what it amounts to.
type newfsMap struct {
	bits []byte // set: free
	sum  ondisk.Summary
	runs [ondisk.MaxFrag]uint32 // cg_frsum
}

// add frees the fragments from to end, of which the first or the last may be in
// the middle of a block, but neither has a free neighbour.
func (f *newfsMap) add(from, end, frag int64) {
	for at := from; at < end; {
		next := min(at-at%frag+frag, end)
		if next-at == frag {
			f.sum.FreeBlocks++
		} else {
			f.sum.FreeFrags += int32(next - at)
			f.runs[next-at]++
		}
		at = next
	}
	if f.bits == nil {
		return
	}
	for at := from; at < end; {
		if at%8 == 0 && end-at >= 8 {
			f.bits[at/8] = 0xff
			at += 8
			continue
		}
		f.bits[at/8] |= 1 << (at % 8)
		at++
	}
}

// freeSpace frees in f what is free in group c as newfs makes it: all before
// the superblock copy, except where the boot blocks are, and all behind the
// inodes, except the summary.
func (m *maker) freeSpace(c int64, f *newfsMap) {
	data := m.dataOff
	if c == 0 {
		data += m.summaryBytes / m.fragSize
	} else {
		f.add(0, m.superOff, m.frag)
	}
	f.add(data, m.groupFrags(c), m.frag)
}

// emptyMap counts the free space of group c, without the map.
func (m *maker) emptyMap(c int64) newfsMap {
	var f newfsMap
	m.freeSpace(c, &f)
	return f
}

// groupMap makes the map of group c, with the root directory in it.
func (m *maker) groupMap(c int64) newfsMap {
	f := newfsMap{bits: make([]byte, howMany(m.fragsPerGroup, 8))}
	m.freeSpace(c, &f)
	f.sum.FreeInodes = int32(m.inodesPerGroup)
	if c == 0 {
		f.sum.FreeInodes -= ondisk.RootIno + 1
		f.sum.Dirs++
		root := m.rootFrag()
		f.bits[root/8] &^= 1 << (root % 8)
		f.sum.FreeBlocks--
		if m.frag > 1 {
			f.sum.FreeFrags += int32(m.frag - 1)
			f.runs[m.frag-1]++
		}
	}
	return f
}

// header returns the header of group c with its maps.
func (m *maker) header(c int64, f *newfsMap) []byte {
	g := ondisk.Group{
		Magic: ondisk.GroupMagic, Index: uint32(c), Frags: uint32(m.groupFrags(c)),
		Summary: f.sum, FreeRuns: f.runs,
		InodeMapOff: ondisk.GroupSize,
	}
	if m.version == ondisk.V1 {
		g.OldTime = int32(m.now.Unix())
		if c < m.groups-1 {
			g.OldNcyl = 1 // old checkers want none in the last group
		}
		g.OldInodes = int16(m.inodesPerGroup)
		g.OldBtotOff = ondisk.GroupSize
		g.OldBOff = g.OldBtotOff + 4
		g.InodeMapOff = uint32(g.OldBOff) + 2
	} else {
		g.Time = m.now.Unix()
		g.Inodes = uint32(m.inodesPerGroup)
		g.InitedInodes = uint32(m.inited())
	}
	g.FreeMapOff = g.InodeMapOff + uint32(howMany(m.inodesPerGroup, 8))
	g.NextFreeOff = g.FreeMapOff + uint32(len(f.bits))

	b := g.Append(make([]byte, 0, m.groupBytes), ondisk.Order{})
	b = append(b, make([]byte, m.groupBytes-int64(len(b)))...)
	if m.version == ondisk.V1 {
		// Free blocks by cylinder, of which there is one, and by rotational
		// position, in 16 bits.
		ondisk.Order{}.PutU32(b[g.OldBtotOff:], uint32(f.sum.FreeBlocks))
		ondisk.Order{}.PutU16(b[g.OldBOff:], uint16(f.sum.FreeBlocks))
	}
	if c == 0 {
		b[g.InodeMapOff] = 1<<(ondisk.RootIno+1) - 1 // 0, 1 and the root
	}
	copy(b[g.FreeMapOff:], f.bits)
	return b
}

// writeGroup writes the superblock copy, the header and the inodes of group c,
// which lie next to each other, and returns what is free in it.
func (m *maker) writeGroup(c int64, super []byte) (ondisk.Summary, error) {
	f := m.groupMap(c)
	head, table := m.headBytes(), m.inited()*int64(m.version.InodeSize())
	buf := make([]byte, head+min(table, tableChunk))
	copy(buf, super)
	copy(buf[(m.groupOff-m.superOff)*m.fragSize:], m.header(c, &f))
	inodes := buf[head:]
	m.generations(inodes)
	if c == 0 {
		m.putRoot(inodes[ondisk.RootIno*m.version.InodeSize():])
	}
	off := (c*m.fragsPerGroup + m.superOff) * m.fragSize
	if err := m.put(buf, off); err != nil {
		return f.sum, err
	}
	end := off + head + table
	off += int64(len(buf))
	clear(inodes)
	for off < end {
		inodes = inodes[:min(int64(len(inodes)), end-off)]
		m.generations(inodes)
		if err := m.put(inodes, off); err != nil {
			return f.sum, err
		}
		off += int64(len(inodes))
	}
	return f.sum, nil
}

// generations gives every inode in b a generation, which is never zero.
func (m *maker) generations(b []byte) {
	size, off := m.version.InodeSize(), genOffset(m.version)
	for ; len(b) >= size; b = b[size:] {
		ondisk.Order{}.PutU32(b[off:], m.rng.Uint32N(1<<32-1)+1)
	}
}

// genOffset is where the generation lies in an inode.
func genOffset(v ondisk.Version) int {
	if v == ondisk.V1 {
		return 108
	}
	return 80
}

// putRoot encodes the inode of the root directory.
func (m *maker) putRoot(b []byte) {
	now := ondisk.Time{Sec: m.now.Unix()}
	in := ondisk.Inode{
		Mode: modeDirectory | 0o755, Nlink: 2,
		Size: ondisk.DirChunk, Blocks: uint64(m.fragSize / dbSize),
		Atime: now, Mtime: now, Ctime: now,
	}
	in.Direct[0] = m.rootFrag()
	in.Gen = ondisk.Order{}.U32(b[genOffset(m.version):])
	in.Encode(b, ondisk.Order{}, m.version)
}

// modeDirectory is IFDIR.
const modeDirectory = 0o040000

// rootDirectory returns the contents of the root directory, and zeros behind
// them.
func (m *maker) rootDirectory() []byte {
	b := make([]byte, m.fragSize)
	for _, e := range []struct {
		at, length int
		name       string
	}{{0, ondisk.DirentSize(1), "."}, {ondisk.DirentSize(1), ondisk.DirChunk - ondisk.DirentSize(1), ".."}} {
		ondisk.Dirent{
			Ino: ondisk.RootIno, Len: uint16(e.length), Type: modeDirectory >> 12, NameLen: uint16(len(e.name)),
		}.Put(b[e.at:], ondisk.Order{}, false)
		copy(b[e.at+ondisk.DirentHeader:], e.name)
	}
	return b
}
