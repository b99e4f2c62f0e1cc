// Package testdamage damages file systems at random, as bad disks, bad cables
// and bad programs do, and says which files that touches. It decodes what it
// needs itself and shares no code with the drivers and checkers that it tests.
package testdamage

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

var le = binary.LittleEndian

// FFS is a file system of OpenBSD in memory: FFS1 or FFS2, little-endian.
type FFS struct {
	Data []byte
	Marks

	rng        *rand.Rand
	v2         bool
	super      int64
	bs, fs     int64
	frag       int64
	size       int64
	ncg        int64
	ipg, fpg   int64
	sbl, cbl   int64
	ibl, dbl   int64
	csaddr     int64
	isize, psz int64
}

// Open finds its way in a healthy file system. What happens follows from seed.
func Open(data []byte, seed uint64) (*FFS, error) {
	f := &FFS{
		Data: data, Marks: newMarks(),
		rng: rand.New(rand.NewPCG(seed, 0xff5)), super: 65536, isize: 256, psz: 8, v2: true,
	}
	if le.Uint32(data[65536+1372:]) != 0x19540119 {
		f.super, f.isize, f.psz, f.v2 = 8192, 128, 4, false
		if le.Uint32(data[8192+1372:]) != 0x00011954 {
			return nil, fmt.Errorf("no FFS here")
		}
	}
	v := func(off int64) int64 { return int64(int32(le.Uint32(data[f.super+off:]))) }
	f.sbl, f.cbl, f.ibl, f.dbl = v(8), v(12), v(16), v(20)
	f.ncg, f.bs, f.fs, f.frag, f.ipg, f.fpg = v(44), v(48), v(52), v(56), v(184), v(188)
	f.size, f.csaddr = v(36), v(152)
	if f.v2 {
		f.size, f.csaddr = v(1080), v(1096)
	}
	return f, nil
}

// Kinds are the kinds of damage, by name.
func Kinds() []string {
	return []string{"bitmaps", "counts", "link counts", "duplicate blocks", "bad pointers", "torn directories", "superblock",
		"inodes", "group headers"}
}

// Do damages once: a few things of one kind.
func (f *FFS) Do(kind string) {
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
			f.tear()
		case "superblock":
			f.superblock()
		case "inodes":
			f.inodeTable()
		case "group headers":
			f.groupHeader()
		default:
			panic("bug: no damage " + kind)
		}
	}
}

func (f *FFS) n(n int64) int64       { return f.rng.Int64N(n) }
func (f *FFS) header(c int64) []byte { return f.Data[(c*f.fpg+f.cbl)*f.fs:][:f.bs] }
func (f *FFS) inode(n uint32) []byte {
	c, i := int64(n)/f.ipg, int64(n)%f.ipg
	return f.Data[(c*f.fpg+f.ibl)*f.fs+i*f.isize:][:f.isize]
}

func (f *FFS) mode(n uint32) uint16 { return le.Uint16(f.inode(n)) & 0xf000 }

func (f *FFS) fileSize(n uint32) int64 {
	if f.v2 {
		return int64(le.Uint64(f.inode(n)[16:]))
	}
	return int64(le.Uint64(f.inode(n)[8:]))
}

// get and put are pointer i of a block of pointers, or of those of an inode.
func (f *FFS) get(b []byte, i int64) int64 {
	if f.v2 {
		return int64(le.Uint64(b[i*8:]))
	}
	return int64(int32(le.Uint32(b[i*4:])))
}

func (f *FFS) put(b []byte, i, v int64) {
	if f.v2 {
		le.PutUint64(b[i*8:], uint64(v))
	} else {
		le.PutUint32(b[i*4:], uint32(v))
	}
}

func (f *FFS) pointers(n uint32) []byte {
	if f.v2 {
		return f.inode(n)[112:232]
	}
	return f.inode(n)[40:100]
}

// inited is how many inodes of a group are initialised.
func (f *FFS) inited(c int64) int64 {
	if f.v2 {
		return int64(le.Uint32(f.header(c)[120:]))
	}
	return f.ipg
}

// Inodes calls fn with every inode that is in use.
func (f *FFS) Inodes(fn func(n uint32)) {
	for c := range f.ncg {
		for i := range f.inited(c) {
			if n := uint32(c*f.ipg + i); n >= 2 && f.mode(n) != 0 {
				fn(n)
			}
		}
	}
}

// pick returns an inode in use of one of the types, or 0.
func (f *FFS) pick(fits func(n uint32) bool) uint32 {
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

func (f *FFS) hasBlocks(n uint32) bool {
	m := f.mode(n)
	return (m == 0x8000 || m == 0x4000) && f.fileSize(n) > 0 && f.get(f.pointers(n), 0) != 0
}

// bitmap flips bits of the map of inodes or of fragments, or overwrites it.
func (f *FFS) bitmap() {
	h := f.header(f.n(f.ncg))
	from, to := int64(le.Uint32(h[92:])), int64(le.Uint32(h[96:])) // inodes
	if f.rng.IntN(2) == 0 {
		from, to = to, int64(le.Uint32(h[100:])) // fragments
	}
	m := h[from:to]
	switch f.rng.IntN(4) {
	case 0:
		f.garbage(m)
	case 1:
		clear(m)
	case 2:
		for i := range m {
			m[i] = 0xff
		}
	default:
		for range 1 + f.rng.IntN(20) {
			m[f.n(int64(len(m)))] ^= 1 << f.rng.IntN(8)
		}
	}
}

func (f *FFS) garbage(b []byte) {
	for i := range b {
		b[i] = byte(f.rng.Uint32())
	}
}

func (f *FFS) count() {
	switch f.rng.IntN(3) {
	case 0: // counters and rotors of a group, and the free runs
		h := f.header(f.n(f.ncg))
		le.PutUint32(h[24+4*f.n(15):], f.rng.Uint32()>>f.rng.IntN(32))
	case 1: // the summary
		le.PutUint32(f.Data[f.csaddr*f.fs+4*f.n(4*f.ncg):], f.rng.Uint32()>>f.rng.IntN(32))
	default: // the totals
		if f.v2 {
			le.PutUint64(f.Data[f.super+1008+8*f.n(4):], f.rng.Uint64()>>f.rng.IntN(64))
		} else {
			le.PutUint32(f.Data[f.super+192+4*f.n(4):], f.rng.Uint32()>>f.rng.IntN(32))
		}
	}
}

// links gives an inode another link count. That of one with names can be put
// right, so it does not count as touched.
func (f *FFS) links() {
	n := f.pick(func(uint32) bool { return true })
	le.PutUint16(f.inode(n)[2:], uint16(f.rng.Uint32()>>f.rng.IntN(32)))
}

// place returns a random pointer of a file: an entry of its inode or of an
// indirect block, as a slice to write it to.
func (f *FFS) place(n uint32) []byte {
	p := f.pointers(n)
	blocks := (f.fileSize(n) + f.bs - 1) / f.bs
	nindir := f.bs / f.psz
	i := f.n(blocks)
	if i < 12 {
		return p[i*f.psz:][:f.psz]
	}
	i -= 12
	level, span := int64(0), nindir
	for i >= span {
		i -= span
		span *= nindir
		level++
	}
	at := p[(12+level)*f.psz:][:f.psz]
	// It stops at what was damaged before.
	for ; level >= 0 && f.get(at, 0) > 0 && f.get(at, 0) < f.size-f.frag && f.rng.IntN(4) > 0; level-- {
		span /= nindir
		at = f.Data[f.get(at, 0)*f.fs+i/span*f.psz:][:f.psz]
		i %= span
	}
	return at
}

// touch notes that a file is damaged, and what that does to the names in it.
func (f *FFS) touch(n uint32) {
	f.Touched[n] = true
	if f.mode(n) != 0x4000 {
		return
	}
	f.Shared = true
	for i := int64(0); i < f.fileSize(n) && i < 12*f.bs; i += 512 {
		if p := f.get(f.pointers(n), i/f.bs); p > 0 && p < f.size-f.frag {
			f.names(f.Data[p*f.fs+i%f.bs:][:512])
		}
	}
}

// names notes the inodes that have names in a chunk, and returns where they are.
func (f *FFS) names(chunk []byte) (starts []int64) {
	for at := int64(0); at+8 <= 512; {
		if n := le.Uint32(chunk[at:]); n != 0 {
			f.Renamed[n] = true
			starts = append(starts, at)
		}
		size := int64(le.Uint16(chunk[at+4:]))
		if size < 8 {
			break
		}
		at += size
	}
	return starts
}

// duplicate lets a pointer of one file lead to a block of another.
func (f *FFS) duplicate() {
	a, b := f.pick(f.hasBlocks), f.pick(f.hasBlocks)
	f.touch(a)
	from := f.get(f.place(b), 0)
	if from == 0 {
		from = f.get(f.pointers(b), 0)
	}
	f.put(f.place(a), 0, from)
}

// pointer lets a pointer lead to nowhere, or anywhere.
func (f *FFS) pointer() {
	n := f.pick(f.hasBlocks)
	f.touch(n)
	at := f.place(n)
	switch f.rng.IntN(7) {
	case 0:
		f.put(at, 0, f.size+f.n(1000))
	case 1:
		f.put(at, 0, -1-f.n(1000))
	case 2: // into the metadata of a group
		f.put(at, 0, f.n(f.ncg)*f.fpg+f.sbl+f.n(f.dbl-f.sbl))
	case 3: // not at a block
		f.put(at, 0, f.get(at, 0)+1+f.n(f.frag))
	case 4:
		f.put(at, 0, int64(f.rng.Uint64()>>f.rng.IntN(64)))
	case 5: // anywhere at all
		f.put(at, 0, f.n(f.size))
	default: // behind the end of the file
		if p := f.pointers(n); f.fileSize(n) <= 12*f.bs {
			f.put(p, 12+f.n(3), f.n(f.size))
		} else {
			f.put(at, 0, 1)
		}
	}
}

// tear damages 512 bytes of a directory.
func (f *FFS) tear() {
	dir := f.pick(func(n uint32) bool { return f.mode(n) == 0x4000 })
	f.Touched[dir] = true
	i := f.n(f.fileSize(dir)/512) * 512
	if i >= 12*f.bs {
		return
	}
	p := f.get(f.pointers(dir), i/f.bs)
	if p <= 0 || p >= f.size-f.frag {
		return
	}
	chunk := f.Data[p*f.fs+i%f.bs:][:512]
	starts := f.names(chunk)
	switch f.rng.IntN(6) {
	case 0:
		f.garbage(chunk)
	case 1:
		clear(chunk)
	case 2: // the second half of the sector is of something else
		f.garbage(chunk[f.n(512):])
	case 3:
		clear(chunk[:f.n(512)])
	default: // a length, a type or a byte of a name
		if len(starts) == 0 {
			return
		}
		at := starts[f.rng.IntN(len(starts))]
		off := []int64{4, 5, 6, 7, 8 + f.n(int64(chunk[at+7])+1)}[f.rng.IntN(5)]
		if at+off < 512 {
			chunk[at+off] ^= byte(1 + f.rng.IntN(255))
		}
	}
}

// superblock wipes the primary superblock, or garbles what the geometry follows
// from.
func (f *FFS) superblock() {
	b := f.Data[f.super:][:1376]
	switch f.rng.IntN(5) {
	case 0:
		clear(b)
	case 1:
		f.garbage(b)
	case 2:
		clear(b[:512])
	case 3:
		f.garbage(b[1024:])
		b[1372] = 0
	default:
		for range 1 + f.rng.IntN(3) {
			off := []int{8, 12, 16, 20, 44, 48, 52, 56, 104, 116, 120, 156, 160, 184, 188, 1372}[f.rng.IntN(16)]
			le.PutUint32(b[off:], f.rng.Uint32()>>f.rng.IntN(32))
		}
	}
}

// inodeTable overwrites an inode, or a sector of them, with garbage, zeros or
// those of another sector.
func (f *FFS) inodeTable() {
	n := f.pick(func(uint32) bool { return true })
	f.Shared = true // anything can become a directory
	b := f.inode(n)
	if f.rng.IntN(2) == 0 {
		n -= n % uint32(512/f.isize)
		b = f.Data[(int64(n)/f.ipg*f.fpg+f.ibl)*f.fs+int64(n)%f.ipg*f.isize:][:512]
	}
	for i := range uint32(int64(len(b)) / f.isize) {
		if n+i >= 2 && f.mode(n+i) != 0 {
			f.touch(n + i)
		}
		f.Touched[n+i] = true
	}
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
}

// groupHeader overwrites a header block, or the beginning of it.
func (f *FFS) groupHeader() {
	h := f.header(f.n(f.ncg))
	switch f.rng.IntN(4) {
	case 0:
		f.garbage(h)
	case 1:
		clear(h)
	case 2:
		f.garbage(h[:168])
	default:
		h[f.n(168)] ^= 1 << f.rng.IntN(8)
	}
}
