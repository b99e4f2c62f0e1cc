package ext4

import (
	"encoding/binary"
	"math"

	"github.com/resflash/resflash/image/ext4/ondisk"
)

const (
	lostFoundIno  = ondisk.FirstInoOld
	lostFoundSize = 16 << 10 // bytes, about
	badBlocksIno  = 1

	modeDirectory = 0o040000
	modeRegular   = 0o100000
)

// A madeFile is a file of a new file system.
type madeFile struct {
	ino    uint32
	runs   []span // its contents, in their order
	blocks uint64 // in use: contents and what leads to them
	block  [ondisk.BlockLen]byte
	nodes  map[uint64][]byte // blocks that lead to the contents
}

// placeFiles makes the files that every file system has: the root directory,
// lost+found, the resize inode, which owns the room for more descriptors, and
// the journal. They are placed in this order, which decides who gets what.
func (m *maker) placeFiles(journal uint64) error {
	root, err := m.newFile(ondisk.RootIno, m.goal(ondisk.RootIno), 1)
	if err != nil {
		return err
	}
	found := lostFoundSize / m.blockSize
	found = min(max(found, 2), directBlocks)
	inline := m.sb.FeatureIncompat&ondisk.IncompatInlineData != 0
	if inline {
		found-- // with mke2fs, it begins in the inode and gets its first block by growing
	}
	lost, err := m.newFile(lostFoundIno, m.goal(lostFoundIno), uint64(found))
	if err != nil {
		return err
	}
	m.inode(ondisk.RootIno, root, ondisk.Inode{Mode: modeDirectory | 0o755, Links: 3, Size: uint64(m.blockSize)})
	m.inode(lostFoundIno, lost, ondisk.Inode{Mode: modeDirectory | 0o700, Links: 2, Size: uint64(found * m.blockSize)})
	if inline {
		// What growing leaves behind.
		binary.LittleEndian.PutUint32(m.inodes[lostFoundIno][ondisk.InodeSizeOld+extraIsize:], ondisk.XattrMagic)
	}
	m.badBlocks()
	if m.sb.FeatureCompat&ondisk.CompatResizeInode != 0 {
		if err := m.placeResize(); err != nil {
			return err
		}
	}
	if m.sb.FeatureCompat&ondisk.CompatHasJournal != 0 {
		if err := m.placeJournal(journal); err != nil {
			return err
		}
	}
	for ino := uint32(badBlocksIno); ino <= lostFoundIno; ino++ {
		m.seal(ino)
	}
	return nil
}

// newFile makes a file of n blocks, which are looked for from goal on.
func (m *maker) newFile(ino uint32, goal, n uint64) (*madeFile, error) {
	f := &madeFile{ino: ino, nodes: map[uint64][]byte{}}
	var err error
	if m.sb.FeatureIncompat&ondisk.IncompatExtents != 0 {
		err = m.placeExtents(f, goal, n)
	} else {
		err = m.placeIndirect(f, m.goal(ino), n)
	}
	m.files = append(m.files, *f)
	return f, err
}

// goal is where the contents of an inode are looked for a place: in its group,
// or its flexible group.
func (m *maker) goal(ino uint32) uint64 {
	g := uint64((ino - 1) / m.sb.InodesPerGroup)
	if m.flexSize > 0 {
		g &^= m.flexSize - 1
	}
	return m.groupStart(g)
}

// one takes one block at goal or behind it.
func (m *maker) one(goal uint64) (uint64, error) {
	r := m.used.next(goal, 1)
	if r.end == 0 {
		return 0, m.full()
	}
	m.describe(r.start, 1)
	return r.start, nil
}

func (m *maker) full() error {
	return cannotMake("%d bytes are too few: the file system would be full before anything is in it", m.blocks()*uint64(m.blockSize))
}

// inode encodes the inode of f, or one without contents.
func (m *maker) inode(ino uint32, f *madeFile, in ondisk.Inode) {
	in.Atime, in.Ctime, in.Mtime, in.Crtime = m.now, m.now, m.now, m.now
	if f != nil {
		if m.sb.FeatureIncompat&ondisk.IncompatExtents != 0 && ino != ondisk.ResizeIno {
			in.Flags |= ondisk.FlExtents
		}
		in.Blocks = f.blocks * uint64(m.blockSize/512)
		in.Block = f.block
		in.ExtraIsize = uint16(m.sb.WantExtraIsize)
	}
	if m.inodes[ino] == nil {
		m.inodes[ino] = make([]byte, m.inodeSize)
	}
	ondisk.EncodeInode(m.inodes[ino], &in)
}

// badBlocks makes the inode of bad blocks, of which there are none.
func (m *maker) badBlocks() { m.inode(badBlocksIno, nil, ondisk.Inode{}) }

// seal completes an inode that is spoken for, whether there is something in it
// or not.
func (m *maker) seal(ino uint32) {
	if m.inodes[ino] == nil {
		m.inodes[ino] = make([]byte, m.inodeSize)
	}
	if m.hasChecksums() {
		ondisk.SealInode(m.inodeSeed(ino), m.inodes[ino])
	}
	g := (ino - 1) / m.sb.InodesPerGroup
	d := &m.descs[g]
	d.Flags &^= ondisk.GroupInodeUninit
	d.FreeInodes--
	if binary.LittleEndian.Uint16(m.inodes[ino])&modeDirectory == modeDirectory {
		d.UsedDirs++
	}
}

func (m *maker) inodeSeed(ino uint32) uint32 { return ondisk.InodeSeed(m.sb.Seed(), ino, 0) }

// placeExtents places the contents of f in as few runs as there is room for,
// and describes them by extents.
func (m *maker) placeExtents(f *madeFile, goal, n uint64) error {
	var extents []ondisk.Extent
	node := uint64(0)
	const inInode = (ondisk.BlockLen - ondisk.ExtentHeaderSize) / ondisk.ExtentEntrySize
	for at := uint64(0); at < n; {
		r := m.used.next(goal, min(n-at, ondisk.MaxExtentLen))
		if r.end == 0 {
			return m.full()
		}
		m.describe(r.start, r.end-r.start)
		size := r.end - r.start
		f.runs = append(f.runs, r)
		goal = r.end
		if last := len(extents) - 1; last >= 0 {
			if x := &extents[last]; x.Start+uint64(x.Len) == r.start && uint64(x.Len)+size <= ondisk.MaxExtentLen {
				x.Len += uint32(size)
				at += size
				continue
			}
		}
		extents = append(extents, ondisk.Extent{Block: uint32(at), Len: uint32(size), Start: r.start})
		at += size
		if len(extents) == inInode+1 {
			// The inode is full. Its first node lies in front of the contents,
			// if there is room.
			var err error
			if node, err = m.one(extents[0].Start - 1); err != nil {
				return err
			}
		}
	}
	f.blocks = howMany(n, m.clusterSize) * m.clusterSize
	if len(extents) <= inInode {
		encodeExtents(f.block[:], extents, inInode)
		return nil
	}
	room := int(m.blockSize-ondisk.ExtentHeaderSize) / ondisk.ExtentEntrySize
	// The inode keeps behind its one entry what it had before, as with mke2fs.
	encodeExtents(f.block[:], extents[:inInode], inInode)
	root := ondisk.ExtentHeader{Magic: ondisk.ExtentMagic, Max: inInode, Depth: 1}
	for rest := extents; len(rest) > 0; root.Entries++ {
		if root.Entries == inInode {
			return cannotMake("inode %d finds no room in few enough pieces", f.ino)
		}
		if root.Entries > 0 {
			var err error
			if node, err = m.one(node); err != nil {
				return err
			}
		}
		part := rest[:min(len(rest), room)]
		rest = rest[len(part):]
		b := make([]byte, m.blockSize)
		encodeExtents(b, part, room)
		if m.hasChecksums() {
			ondisk.SealExtentNode(m.inodeSeed(f.ino), b, uint16(room))
		}
		f.nodes[node] = b
		f.blocks += m.clusterSize
		ondisk.EncodeExtentIndex(f.block[:], int(root.Entries), part[0].Block, node)
	}
	ondisk.EncodeExtentHeader(f.block[:], root)
	return nil
}

// encodeExtents makes b a leaf with room for max extents.
func encodeExtents(b []byte, extents []ondisk.Extent, max int) {
	ondisk.EncodeExtentHeader(b, ondisk.ExtentHeader{Magic: ondisk.ExtentMagic, Entries: uint16(len(extents)), Max: uint16(max)})
	for i, x := range extents {
		ondisk.EncodeExtent(b, i, x)
	}
}

// placeIndirect places the contents of f one block after the other, from goal
// on, with the blocks of pointers where they come to be needed.
func (m *maker) placeIndirect(f *madeFile, goal, n uint64) error {
	take := func() (uint64, error) {
		b, err := m.one(goal)
		goal = b
		f.blocks++
		return b, err
	}
	per := m.pointersPerBlock()
	var tree func(slot []byte, depth int) error
	tree = func(slot []byte, depth int) error {
		at, err := take()
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(slot, uint32(at))
		if depth == 0 {
			f.runs = append(f.runs, span{at, at + 1})
			n--
			return nil
		}
		node := make([]byte, m.blockSize)
		f.nodes[at] = node
		for i := 0; i < per && n > 0; i++ {
			if err := tree(node[4*i:], depth-1); err != nil {
				return err
			}
		}
		return nil
	}
	for i := 0; i < directBlocks+3 && n > 0; i++ {
		if err := tree(f.block[4*i:], max(i-directBlocks+1, 0)); err != nil {
			return err
		}
	}
	return nil
}

// placeResize makes the resize inode: the blocks kept behind the descriptors,
// each of which lists its copies in the other groups. In terms of a file, they
// are single indirect blocks at the places of a double indirect block that
// descriptors would have.
func (m *maker) placeResize() error {
	reserved := uint64(m.sb.ReservedGDTBlocks)
	f := &madeFile{ino: ondisk.ResizeIno, nodes: map[uint64][]byte{}}
	// Where mke2fs begins to look: behind everything in the first group.
	double, err := m.one(m.firstBlock() + 2 + reserved + m.descBlocks + m.tableBlocks)
	if err != nil {
		return err
	}
	list := make([]byte, m.blockSize)
	f.nodes[double] = list
	binary.LittleEndian.PutUint32(f.block[4*(directBlocks+1):], uint32(double))
	f.blocks = m.clusterSize
	per := uint64(m.pointersPerBlock())
	for i := range reserved {
		at := m.superBlock(0) + 1 + m.descBlocks + i
		binary.LittleEndian.PutUint32(list[4*((m.descBlocks+i)%per):], uint32(at))
		copies := make([]byte, m.blockSize)
		f.nodes[at] = copies
		f.blocks += m.clusterSize
		n := 0
		for g := uint64(1); g < m.groups; g++ {
			if m.sb.HasSuper(g) {
				binary.LittleEndian.PutUint32(copies[4*n:], uint32(at+g*m.blocksPerGroup()))
				f.blocks += m.clusterSize
				n++
			}
		}
	}
	m.files = append(m.files, *f)
	size := (per*per + per + directBlocks) * uint64(m.blockSize)
	if size > math.MaxUint32 {
		m.sb.FeatureROCompat |= ondisk.ROCompatLargeFile
	}
	m.inode(ondisk.ResizeIno, f, ondisk.Inode{Mode: modeRegular | 0o600, Links: 1, Size: size})
	return nil
}
