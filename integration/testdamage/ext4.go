package testdamage

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4"
	"github.com/resflash/resflash/image/vfs"
)

// Ext4 is a file system of Linux in memory: ext2, ext3 or ext4.
type Ext4 struct {
	Data []byte
	Marks

	before Files              // who has a name where
	descs  []byte             // descriptors as they were
	owners map[int64][]uint32 // whose blocks were which

	rng        *rand.Rand
	bs         int64
	first      int64 // data block
	blocks     int64
	groups     int64
	ipg, bpg   int64
	isize, dsz int64
	ratio      int64 // blocks of a cluster
	csum       bool
	wide       bool // 64bit
	seed       uint32
	firstIno   uint32
	inodes     uint32
	hidden     map[uint32]bool
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crc32c(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, castagnoli, p) }

// OpenExt4 finds its way in a healthy file system. What happens follows from
// seed.
func OpenExt4(data []byte, seed uint64) (*Ext4, error) {
	s := data[1024:2048]
	if le.Uint16(s[0x38:]) != 0xEF53 {
		return nil, fmt.Errorf("no ext4 here")
	}
	f := &Ext4{Data: data, Marks: newMarks(), rng: rand.New(rand.NewPCG(seed, 0xe4)),
		bs: 1024 << le.Uint32(s[0x18:]), first: int64(le.Uint32(s[0x14:])), blocks: int64(le.Uint32(s[0x04:])),
		ipg: int64(le.Uint32(s[0x28:])), bpg: int64(le.Uint32(s[0x20:])), isize: 128, dsz: 32,
		firstIno: 11, inodes: le.Uint32(s), ratio: 1}
	if le.Uint32(s[0x4C:]) > 0 {
		f.isize, f.firstIno = int64(le.Uint16(s[0x58:])), le.Uint32(s[0x54:])
	}
	if f.wide = le.Uint32(s[0x60:])&0x80 != 0; f.wide {
		f.dsz = int64(le.Uint16(s[0xFE:]))
	}
	if le.Uint32(s[0x64:])&0x200 != 0 {
		f.ratio = 1 << (le.Uint32(s[0x1C:]) - le.Uint32(s[0x18:]))
	}
	f.descs = append(f.descs, data[:min(int64(len(data)), 64*f.bs)]...)
	f.groups = (f.blocks - f.first + f.bpg - 1) / f.bpg
	f.csum = le.Uint32(s[0x64:])&0x400 != 0
	f.seed = crc32c(^uint32(0), s[0x68:0x78])
	if le.Uint32(s[0x60:])&0x2000 != 0 {
		f.seed = le.Uint32(s[0x270:])
	}
	f.hidden = map[uint32]bool{le.Uint32(s[0x280:]): true}
	f.owners = map[int64][]uint32{}
	f.Inodes(func(n uint32) {
		if f.hasBlocks(n) {
			for _, p := range f.runs(n) {
				for i := range p.n {
					f.owners[p.at+i] = append(f.owners[p.at+i], n)
				}
			}
		}
		if at := f.le(f.inode(n), 0x68); at != 0 {
			f.owners[at] = append(f.owners[at], n)
		}
	})
	var err error
	f.before, err = f.Snapshot()
	return f, err
}

// Snapshot reads all of the file system with the driver.
func (f *Ext4) Snapshot() (Files, error) {
	ctx := context.Background()
	fsys, err := ext4.Driver.Open(ctx, blockio.NewMemory(f.Data))
	if err != nil {
		return nil, err
	}
	return snapshot(ctx, fsys, func(fn func(n uint32)) {
		f.Inodes(func(n uint32) {
			// What a damaged file is now may be what the driver does not read.
			if _, err := fsys.ReadAt(ctx, vfs.Ino(n), make([]byte, 1), 0); f.Touched[n] && err != nil {
				return
			}
			fn(n)
		})
	})
}

// Before is the snapshot of the healthy file system.
func (f *Ext4) Before() Files { return f.before }

// Groups is the number of block groups: with one there are no copies of
// superblock and descriptors.
func (f *Ext4) Groups() int64 { return f.groups }

// Ext4Kinds are the kinds of damage, by name.
func Ext4Kinds() []string {
	return []string{"bitmaps", "counts", "link counts", "duplicate blocks", "bad pointers", "torn directories", "hash trees",
		"attributes", "descriptors", "superblock", "inodes", "fields", "special inodes", "anything"}
}

// NeedsCopies reports whether damage of a kind can only be mended where there
// are copies of what is damaged.
func NeedsCopies(kind string) bool { return kind == "superblock" || kind == "descriptors" }

// Do damages once: a few things of one kind.
func (f *Ext4) Do(kind string) {
	for range 1 + f.rng.IntN(3) {
		switch kind {
		case "bitmaps":
			f.bitmap()
		case "counts":
			f.count()
		case "link counts":
			f.links()
		case "duplicate blocks":
			f.duplicate()
		case "bad pointers":
			f.pointer()
		case "torn directories":
			f.tear(false)
		case "hash trees":
			f.tear(true)
		case "attributes":
			f.attributes()
		case "descriptors":
			f.descriptor()
		case "superblock":
			f.superblock()
		case "inodes":
			f.inodeTable()
		case "fields":
			f.field()
		case "special inodes":
			f.special()
		case "anything":
			kinds := Ext4Kinds()
			k := kinds[f.rng.IntN(len(kinds)-1)]
			if f.groups > 1 || !NeedsCopies(k) {
				f.Do(k)
			}
		default:
			panic("bug: no damage " + kind)
		}
	}
}

func (f *Ext4) n(n int64) int64          { return f.rng.Int64N(n) }
func (f *Ext4) block(b int64) []byte     { return f.Data[b*f.bs:][:f.bs] }
func (f *Ext4) desc(g int64) []byte      { return f.Data[(f.first+1)*f.bs+f.skew()+g*f.dsz:][:f.dsz] }
func (f *Ext4) le(b []byte, i int) int64 { return int64(le.Uint32(b[i:])) }

// where is where the block bitmap, the inode bitmap or the inode table of a
// group is, however its descriptor is damaged by now.
func (f *Ext4) where(g int64, i int) int64 {
	return f.le(f.descs[(f.first+1)*f.bs+f.skew()+g*f.dsz:], 4*i)
}

// skew is a block where groups begin at block 0 although the superblock lies in
// block 1.
func (f *Ext4) skew() int64 {
	if f.bs == 1024 && f.first == 0 {
		return f.bs
	}
	return 0
}

func (f *Ext4) inode(n uint32) []byte {
	g, i := int64(n-1)/f.ipg, int64(n-1)%f.ipg
	return f.Data[f.where(g, 2)*f.bs+i*f.isize:][:f.isize]
}

func (f *Ext4) mode(n uint32) uint16  { return le.Uint16(f.inode(n)) & 0xF000 }
func (f *Ext4) flags(n uint32) uint32 { return le.Uint32(f.inode(n)[0x20:]) }

func (f *Ext4) garbage(b []byte) {
	for i := range b {
		b[i] = byte(f.rng.Uint32())
	}
}

// Inodes calls fn with every inode that holds a file.
func (f *Ext4) Inodes(fn func(n uint32)) {
	for n := uint32(2); n <= f.inodes; n++ {
		if n > 2 && n < f.firstIno || f.hidden[n] {
			continue
		}
		g, i := int64(n-1)/f.ipg, int64(n-1)%f.ipg
		d := f.descs[(f.first+1)*f.bs+f.skew()+g*f.dsz:][:f.dsz]
		if le.Uint16(d[0x12:])&1 != 0 && f.hasUninit() || i >= f.ipg-int64(le.Uint16(d[0x1C:])) {
			continue
		}
		if b := f.inode(n); le.Uint16(b[0x1A:]) != 0 && le.Uint16(b)>>12 != 0 && le.Uint32(b[0x20:])&0x200000 == 0 {
			fn(n)
		}
	}
}

func (f *Ext4) hasUninit() bool { return le.Uint32(f.Data[1024+0x64:])&0x410 != 0 }

// pick returns a file that fits, or 0.
func (f *Ext4) pick(fits func(n uint32) bool) uint32 {
	var all []uint32
	f.Inodes(func(n uint32) {
		if fits(n) {
			all = append(all, n)
		}
	})
	if len(all) == 0 {
		return 0
	}
	return all[f.rng.IntN(len(all))]
}

func (f *Ext4) any(uint32) bool { return true }

func (f *Ext4) hasBlocks(n uint32) bool {
	m := f.mode(n)
	return (m == 0x8000 || m == 0x4000) && f.flags(n)&0x10000000 == 0 && f.le(f.inode(n), 0x1C) > 0 &&
		len(f.runs(n)) > 0
}

// touch notes that a file is damaged, and what that does to the names in it and
// of it.
func (f *Ext4) touch(n uint32) {
	f.Touched[n] = true
	was := f.before[n]
	if was.Names != nil {
		f.Shared = true
	}
	for _, m := range was.Names {
		f.Renamed[m] = true
	}
	for dir, file := range f.before {
		for _, m := range file.Names {
			if m == n {
				f.Renamed[dir] = true // one subdirectory less, perhaps
			}
		}
	}
}

// hit notes that a block of a file is damaged, and reports whether it is one: a
// pointer that has been damaged before may lead to another file, or anywhere.
func (f *Ext4) hit(at int64) bool {
	for _, n := range f.owners[at] {
		f.touch(n)
	}
	return len(f.owners[at]) > 0
}

// A place is where a pointer to blocks lies, and what seals that.
type place struct {
	b    []byte // of an extent, 12; of a pointer, 4
	n    int64  // blocks
	at   int64  // first block
	seal func()
}

// runs are the places of the pointers to data of a file.
func (f *Ext4) runs(n uint32) (list []place) {
	b := f.inode(n)
	root := b[0x28 : 0x28+60]
	inode := func() { f.sealInode(n) }
	if f.flags(n)&0x80000 != 0 {
		return f.extents(n, root, inode, 0)
	}
	for i := range int64(12) {
		if at := f.le(root, int(i)*4); at > 0 && at < f.blocks {
			list = append(list, place{root[i*4:][:4], 1, at, inode})
		}
	}
	if at := f.le(root, 48); at > 0 && at < f.blocks {
		ind := f.block(at)
		for i := int64(0); i < f.bs; i += 4 {
			if at := f.le(ind, int(i)); at > 0 && at < f.blocks {
				list = append(list, place{ind[i:][:4], 1, at, func() {}})
			}
		}
	}
	return list
}

func (f *Ext4) extents(n uint32, b []byte, seal func(), deep int) (list []place) {
	if le.Uint16(b) != 0xF30A || deep > 5 {
		return nil
	}
	entries, depth := int(le.Uint16(b[2:])), le.Uint16(b[6:])
	for i := range min(entries, len(b)/12-1) {
		e := b[12+i*12:][:12]
		if depth == 0 {
			length := int64(le.Uint16(e[4:]))
			if length > 1<<15 {
				length -= 1 << 15
			}
			list = append(list, place{e, length, f.le(e, 8), seal})
			continue
		}
		at := f.le(e, 4)
		if at <= 0 || at >= f.blocks {
			continue
		}
		node := f.block(at)
		list = append(list, f.extents(n, node, func() { f.sealExtents(n, node) }, deep+1)...)
	}
	return list
}

// Sealing: damage is found by what it breaks, not only by its checksum.

func (f *Ext4) sealed() bool { return f.csum && f.rng.IntN(4) > 0 }

func (f *Ext4) inodeSeed(n uint32) uint32 {
	var p [8]byte
	le.PutUint32(p[:], n)
	copy(p[4:], f.inode(n)[0x64:0x68])
	return crc32c(f.seed, p[:])
}

func (f *Ext4) sealInode(n uint32) {
	if !f.sealed() {
		return
	}
	b := f.inode(n)
	hi := f.isize > 128 && le.Uint16(b[0x80:]) >= 4
	le.PutUint16(b[0x7C:], 0)
	if hi {
		le.PutUint16(b[0x82:], 0)
	}
	sum := crc32c(f.inodeSeed(n), b)
	le.PutUint16(b[0x7C:], uint16(sum))
	if hi {
		le.PutUint16(b[0x82:], uint16(sum>>16))
	}
}

func (f *Ext4) sealExtents(n uint32, b []byte) {
	if end := 12 + int(le.Uint16(b[4:]))*12; f.sealed() && end+4 <= len(b) {
		le.PutUint32(b[end:], crc32c(f.inodeSeed(n), b[:end]))
	}
}

func (f *Ext4) sealDir(n uint32, b []byte) {
	if f.sealed() && b[len(b)-5] == 0xDE {
		le.PutUint32(b[len(b)-4:], crc32c(f.inodeSeed(n), b[:len(b)-12]))
	}
}

func (f *Ext4) sealGroup(g int64) {
	if !f.sealed() {
		return
	}
	d := f.desc(g)
	var num [4]byte
	le.PutUint32(num[:], uint32(g))
	le.PutUint16(d[0x1E:], 0)
	le.PutUint16(d[0x1E:], uint16(crc32c(crc32c(f.seed, num[:]), d)))
}

func (f *Ext4) sealSuper() {
	if s := f.Data[1024:2048]; f.sealed() {
		le.PutUint32(s[0x3FC:], crc32c(^uint32(0), s[:0x3FC]))
	}
}

// bitmap flips bits of a map of inodes or of blocks, or overwrites it.
func (f *Ext4) bitmap() {
	g := f.n(f.groups)
	d := f.desc(g)
	inodes := f.rng.IntN(2) == 0
	at, n := f.where(g, 0), f.bpg/f.ratio/8
	if inodes {
		at, n = f.where(g, 1), f.ipg/8
	}
	m := f.block(at)[:n]
	switch f.rng.IntN(5) {
	case 0:
		f.garbage(m)
	case 1:
		clear(m)
	case 2:
		for i := range m {
			m[i] = 0xFF
		}
	case 3:
		f.garbage(f.block(at)[f.n(f.bs):])
	default:
		for range 1 + f.rng.IntN(20) {
			m[f.n(int64(len(m)))] ^= 1 << f.rng.IntN(8)
		}
	}
	if f.sealed() {
		sum := crc32c(f.seed, m)
		off := 0x18
		if inodes {
			off = 0x1A
		}
		le.PutUint16(d[off:], uint16(sum))
		if f.dsz >= 64 {
			le.PutUint16(d[off+0x20:], uint16(sum>>16))
		}
		f.sealGroup(g)
	}
}

// count changes what a descriptor or the superblock counts.
func (f *Ext4) count() {
	if f.rng.IntN(3) == 0 {
		le.PutUint32(f.Data[1024+0x0C+4*f.n(2):], f.rng.Uint32()>>f.rng.IntN(32))
		f.sealSuper()
		return
	}
	g := f.n(f.groups)
	le.PutUint16(f.desc(g)[[]int{0x0C, 0x0E, 0x10, 0x18, 0x1A, 0x1E}[f.rng.IntN(6)]:], uint16(f.rng.Uint32()>>f.rng.IntN(32)))
	f.sealGroup(g)
}

// links gives an inode another link count. That of one with names can be put
// right, so it does not count as touched.
func (f *Ext4) links() {
	n := f.pick(f.any)
	v := uint16(f.rng.Uint32() >> f.rng.IntN(32))
	le.PutUint16(f.inode(n)[0x1A:], v)
	if v == 0 {
		f.touch(n) // deleted, for all that is known
	}
	f.sealInode(n)
}

func (f *Ext4) start(p place, at int64) {
	if len(p.b) == 4 {
		le.PutUint32(p.b, uint32(at))
		return
	}
	le.PutUint32(p.b[8:], uint32(at))
	le.PutUint16(p.b[6:], uint16(at>>32))
}

// duplicate lets a pointer of one file lead to a block of another.
func (f *Ext4) duplicate() {
	a, b := f.pick(f.hasBlocks), f.pick(f.hasBlocks)
	f.touch(a)
	list, from := f.runs(a), f.runs(b)
	if len(list) == 0 || len(from) == 0 {
		return
	}
	p, other := list[f.rng.IntN(len(list))], from[f.rng.IntN(len(from))]
	f.start(p, other.at)
	p.seal()
}

// pointer lets a pointer lead to nowhere, or anywhere, or damages what it is
// in.
func (f *Ext4) pointer() {
	n := f.pick(f.hasBlocks)
	f.touch(n)
	list := f.runs(n)
	if len(list) == 0 {
		return
	}
	p := list[f.rng.IntN(len(list))]
	switch f.rng.IntN(8) {
	case 0:
		f.start(p, f.blocks+f.n(1000))
	case 1:
		f.start(p, 0)
	case 2: // into the metadata of a group
		f.start(p, f.where(f.n(f.groups), int(f.n(3))))
	case 3:
		f.start(p, int64(f.rng.Uint64()>>(16+f.rng.IntN(48))))
	case 4: // anywhere at all
		f.start(p, f.first+f.n(f.blocks-f.first))
	case 5: // where it is in the file, or how long
		f.garbage(p.b[:min(len(p.b), 6)])
	case 6:
		p.b[f.n(int64(len(p.b)))] ^= 1 << f.rng.IntN(8)
	default: // the node's header, or the first pointers
		f.garbage(f.inode(n)[0x28+f.n(12):][:1+f.n(4)])
		f.sealInode(n)
	}
	p.seal()
}

// tear damages a block of a directory: one with a hash tree, or any.
func (f *Ext4) tear(indexed bool) {
	dir := f.pick(func(n uint32) bool {
		return f.mode(n) == 0x4000 && f.hasBlocks(n) && (!indexed || f.flags(n)&0x1000 != 0)
	})
	if dir == 0 {
		return
	}
	f.touch(dir)
	list := f.runs(dir)
	p := list[f.rng.IntN(len(list))]
	at := p.at + f.n(p.n)
	if indexed {
		at = list[0].at
	}
	if !f.hit(at) {
		return
	}
	b := f.block(at)
	if indexed {
		switch f.rng.IntN(4) {
		case 0:
			b[24+f.n(8)] ^= byte(1 + f.rng.IntN(255))
		case 1:
			b[32+f.n(8)] ^= byte(1 + f.rng.IntN(255))
		case 2:
			b[40+f.n(8*int64(max(le.Uint16(b[34:]), 1)))%(f.bs-40)] ^= byte(1 + f.rng.IntN(255))
		default:
			f.garbage(b[24 : 24+f.n(100)])
		}
		return
	}
	// The offsets of entries, as far as they go.
	var starts []int64
	for at := int64(0); at+12 <= f.bs; {
		starts = append(starts, at)
		size := int64(le.Uint16(b[at+4:]))
		if size < 12 {
			break
		}
		at += size
	}
	switch f.rng.IntN(6) {
	case 0:
		f.garbage(b)
	case 1:
		clear(b)
	case 2:
		f.garbage(b[f.n(f.bs):])
	case 3:
		clear(b[:f.n(f.bs)])
	default: // an inode, a length, a type or a byte of a name
		at := starts[f.rng.IntN(len(starts))]
		off := []int64{0, 1, 4, 5, 6, 7, 8 + f.n(int64(b[at+6])+1)}[f.rng.IntN(7)]
		if at+off < f.bs {
			b[at+off] ^= byte(1 + f.rng.IntN(255))
		}
	}
	f.sealDir(dir, b)
}

// attributes damages a block of attributes, or those in an inode.
func (f *Ext4) attributes() {
	block := func(n uint32) int64 { return f.le(f.inode(n), 0x68) }
	if n := f.pick(func(n uint32) bool { return block(n) > 0 && block(n) < f.blocks }); n != 0 && f.rng.IntN(2) == 0 {
		at := block(n)
		f.Inodes(func(m uint32) {
			if block(m) == at {
				f.touch(m)
			}
		})
		if !f.hit(at) {
			return
		}
		b := f.block(at)
		switch f.rng.IntN(5) {
		case 0:
			f.garbage(b)
		case 1:
			b[4] ^= byte(1 + f.rng.IntN(255)) // references
		case 2:
			b[f.n(64)] ^= byte(1 + f.rng.IntN(255))
		case 3:
			le.PutUint32(f.inode(n)[0x68:], f.rng.Uint32()>>f.rng.IntN(32))
			f.sealInode(n)
			return
		default:
			b[f.n(f.bs)] ^= byte(1 + f.rng.IntN(255))
		}
		if f.sealed() {
			var num [8]byte
			le.PutUint64(num[:], uint64(at))
			clear(b[16:20])
			le.PutUint32(b[16:], crc32c(crc32c(f.seed, num[:]), b))
		}
		return
	}
	if f.isize == 128 {
		return
	}
	n := f.pick(func(n uint32) bool { return le.Uint32(f.inode(n)[128+32:]) == 0xEA020000 })
	if n == 0 {
		n = f.pick(f.any)
	}
	f.touch(n)
	b := f.inode(n)[128:]
	b[f.n(int64(len(b)))%80] ^= byte(1 + f.rng.IntN(255))
	f.sealInode(n)
}

// descriptor damages descriptors.
func (f *Ext4) descriptor() {
	g := f.n(f.groups)
	d := f.desc(g)
	switch f.rng.IntN(5) {
	case 0:
		f.garbage(d)
		return
	case 1:
		clear(d)
		return
	case 2: // where things are
		le.PutUint32(d[4*f.n(3):], f.rng.Uint32()>>f.rng.IntN(32))
		return
	case 3:
		d[0x12] ^= byte(1 + f.rng.IntN(7))
	default:
		d[f.n(f.dsz)] ^= 1 << f.rng.IntN(8)
		return
	}
}

// superblock wipes the primary superblock, or garbles what the geometry follows
// from.
func (f *Ext4) superblock() {
	b := f.Data[1024:2048]
	switch f.rng.IntN(4) {
	case 0:
		clear(b)
	case 1:
		f.garbage(b)
	case 2:
		b[0x38] ^= 1
	default:
		for range 1 + f.rng.IntN(3) {
			off := []int{0, 0x04, 0x14, 0x18, 0x20, 0x28, 0x38, 0x58}[f.rng.IntN(8)]
			le.PutUint32(b[off:], f.rng.Uint32()|1<<31)
		}
	}
}

// inodeTable overwrites an inode, or some of them, with garbage, zeros or
// another.
func (f *Ext4) inodeTable() {
	n := f.pick(f.any)
	f.Shared = true // anything can become a directory
	count := uint32(1)
	if f.rng.IntN(2) == 0 {
		n -= (n - 1) % uint32(512/min(f.isize, 512))
		count = uint32(512 / min(f.isize, 512))
	}
	for i := range count {
		m := n + i
		if m < 2 || m > 2 && m < f.firstIno || f.hidden[m] {
			continue
		}
		f.touch(m)
		b := f.inode(m)
		switch f.rng.IntN(4) {
		case 0:
			f.garbage(b)
		case 1:
			clear(b)
		case 2:
			if other := f.pick(f.hasBlocks); other != 0 {
				copy(b, f.inode(other))
			}
		default:
			for range 1 + f.rng.IntN(4) {
				b[f.n(int64(len(b)))] ^= 1 << f.rng.IntN(8)
			}
		}
		f.sealInode(m)
	}
}

// field changes one field of an inode.
func (f *Ext4) field() {
	n := f.pick(f.any)
	f.touch(n)
	b := f.inode(n)
	offs := []int64{0, 1, 4, 5, 6, 7, 0x14, 0x1C, 0x1D, 0x20, 0x21, 0x22, 0x23, 0x28, 0x2A, 0x68, 0x6C, 0x70, 0x74, 0x76, 0x80}
	off := offs[f.rng.IntN(len(offs))]
	if off >= f.isize {
		off = 0x70
	}
	b[off] ^= byte(1 + f.rng.IntN(255))
	f.sealInode(n)
}

// special damages an inode that has a number of its own, but for that of the
// root, or the superblock of the journal.
func (f *Ext4) special() {
	n := []uint32{7, 8, uint32(3 + f.n(8))}[f.rng.IntN(3)]
	b := f.inode(n)
	if n == 8 && f.rng.IntN(2) == 0 && le.Uint32(f.Data[1024+0x5C:])&4 != 0 {
		if list := f.runs(8); len(list) > 0 {
			j := f.block(list[0].at)
			if j[0] != 0xC0 { // no journal any more
				return
			}
			j[f.n(0x60)] ^= byte(1 + f.rng.IntN(255))
			return
		}
	}
	switch f.rng.IntN(3) {
	case 0:
		f.garbage(b)
	case 1:
		clear(b)
	default:
		b[f.n(128)] ^= byte(1 + f.rng.IntN(255))
	}
	f.sealInode(n)
}
