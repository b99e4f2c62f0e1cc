package integration

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ffsEdit changes file systems that makefs made into what makefs cannot make.
// Debian's version writes every hole as zeros, fills free space with zeros, and
// fails beyond some hundred megabytes of one file; a file system that was in use
// has holes, and old data in its free blocks. It knows just what it needs, and
// shares no code with the driver; the Linux kernel judges what comes out.
type ffsEdit struct {
	t     testing.TB
	f     *os.File
	order binary.ByteOrder
	v2    bool

	bsize, fsize, frag int64 // bytes, bytes, fragments per block
	sblkno, cblkno     int64
	iblkno             int64
	ncg, ipg, fpg      int64
	size               int64   // fragments
	dropped            []int64 // fragments where blocks start that no file uses any more
}

func editFFS(t testing.TB, name string) *ffsEdit {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	e := &ffsEdit{t: t, f: f}
	sb := e.read(8192, 2048)
	switch magic := sb[1372:1376]; {
	case bytes.Equal(magic, []byte{0x54, 0x19, 0x01, 0x00}):
		e.order = binary.LittleEndian
	case bytes.Equal(magic, []byte{0x00, 0x01, 0x19, 0x54}):
		e.order = binary.BigEndian
	case bytes.Equal(magic, []byte{0x19, 0x01, 0x54, 0x19}):
		e.order, e.v2 = binary.LittleEndian, true
	case bytes.Equal(magic, []byte{0x19, 0x54, 0x01, 0x19}):
		e.order, e.v2 = binary.BigEndian, true
	default:
		require.FailNow(t, "no superblock at 8192")
	}
	field := func(off int) int64 { return int64(int32(e.order.Uint32(sb[off:]))) }
	e.sblkno, e.cblkno, e.iblkno = field(8), field(12), field(16)
	e.ncg, e.bsize, e.fsize, e.frag = field(44), field(48), field(52), field(56)
	e.ipg, e.fpg = field(184), field(188)
	e.size = field(36)
	if e.v2 {
		e.size = int64(e.order.Uint64(sb[1080:]))
	}
	return e
}

func (e *ffsEdit) read(off, n int64) []byte {
	e.t.Helper()
	b := make([]byte, n)
	_, err := e.f.ReadAt(b, off)
	require.NoError(e.t, err)
	return b
}

func (e *ffsEdit) write(off int64, b []byte) {
	e.t.Helper()
	_, err := e.f.WriteAt(b, off)
	require.NoError(e.t, err)
}

// poisonFree fills all free fragments, and the blocks that [ffsEdit.punch]
// dropped, with 0xAA.
func (e *ffsEdit) poisonFree() {
	e.t.Helper()
	for c := range e.ncg {
		base := c * e.fpg
		cg := e.read((base+e.cblkno)*e.fsize, e.bsize)
		free := cg[e.order.Uint32(cg[96:]):] // cg_freeoff
		for i := range min(e.fpg, e.size-base) {
			if free[i/8]>>(i%8)&1 != 0 {
				poison(e.t, e.f, (base+i)*e.fsize, e.fsize)
			}
		}
	}
	for _, at := range e.dropped {
		poison(e.t, e.f, at*e.fsize, e.bsize)
	}
}

// A dinode is the bytes of one inode.
type dinode struct {
	e   *ffsEdit
	off int64
	b   []byte
}

func (e *ffsEdit) inode(ino int64) dinode {
	isize := int64(128)
	if e.v2 {
		isize = 256
	}
	inopb := e.bsize / isize
	index := ino % e.ipg
	off := (ino/e.ipg*e.fpg+e.iblkno+index/inopb*e.frag)*e.fsize + index%inopb*isize
	return dinode{e, off, e.read(off, isize)}
}

func (d dinode) regular() bool { return d.e.order.Uint16(d.b)&0xf000 == 0x8000 }
func (d dinode) save()         { d.e.write(d.off, d.b) }

func (d dinode) size() int64 {
	if d.e.v2 {
		return int64(d.e.order.Uint64(d.b[16:]))
	}
	return int64(d.e.order.Uint64(d.b[8:]))
}

func (d dinode) setSize(n int64) {
	if d.e.v2 {
		d.e.order.PutUint64(d.b[16:], uint64(n))
	} else {
		d.e.order.PutUint64(d.b[8:], uint64(n))
	}
}

// addBlocks changes the count of allocated blocks.
func (d dinode) addBlocks(n int64) {
	sectors := n * d.e.bsize / 512
	if d.e.v2 {
		d.e.order.PutUint64(d.b[24:], d.e.order.Uint64(d.b[24:])+uint64(sectors))
	} else {
		d.e.order.PutUint32(d.b[104:], d.e.order.Uint32(d.b[104:])+uint32(sectors))
	}
}

// pointers returns the 12 direct and 3 indirect pointers.
func (d dinode) pointers() []byte {
	if d.e.v2 {
		return d.b[112 : 112+15*8]
	}
	return d.b[40 : 40+15*4]
}

func (e *ffsEdit) pointerSize() int64 {
	if e.v2 {
		return 8
	}
	return 4
}

func (e *ffsEdit) get(p []byte, i int64) int64 {
	if e.v2 {
		return int64(e.order.Uint64(p[i*8:]))
	}
	return int64(e.order.Uint32(p[i*4:]))
}

func (e *ffsEdit) put(p []byte, i, v int64) {
	if e.v2 {
		e.order.PutUint64(p[i*8:], uint64(v))
	} else {
		e.order.PutUint32(p[i*4:], uint32(v))
	}
}

// punch makes holes of all whole blocks of zeros in regular files, and of
// indirect blocks that have no pointers left.
func (e *ffsEdit) punch() {
	e.t.Helper()
	for ino := int64(2); ino < e.ncg*e.ipg; ino++ {
		d := e.inode(ino)
		if !d.regular() || d.size() < e.bsize {
			continue
		}
		// The last block of a short file may be fragments: it stays.
		whole := d.size() / e.bsize
		p := d.pointers()
		dropped := int64(0)
		drop := func(table []byte, i int64) {
			e.dropped = append(e.dropped, e.get(table, i))
			e.put(table, i, 0)
			dropped++
		}
		for i := range min(12, whole) {
			if at := e.get(p, i); at != 0 && isZero(e.read(at*e.fsize, e.bsize)) {
				drop(p, i)
			}
		}
		var below func(at int64, level int) (empty bool)
		below = func(at int64, level int) bool {
			table := e.read(at*e.fsize, e.bsize)
			for i := range e.bsize / e.pointerSize() {
				child := e.get(table, i)
				if child != 0 && (level == 0 && isZero(e.read(child*e.fsize, e.bsize)) || level > 0 && below(child, level-1)) {
					drop(table, i)
				}
			}
			e.write(at*e.fsize, table)
			return isZero(table)
		}
		for level := range 3 {
			if at := e.get(p, 12+int64(level)); at != 0 && below(at, level) {
				drop(p, 12+int64(level))
			}
		}
		if dropped > 0 {
			d.addBlocks(-dropped)
			d.save()
		}
	}
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// find returns the inode of a path.
func (e *ffsEdit) find(path string) int64 {
	e.t.Helper()
	ino := int64(2)
	for name := range strings.SplitSeq(path, "/") {
		d := e.inode(ino)
		data := e.directory(d)
		ino = 0
		for len(data) >= 8 {
			reclen, n := e.order.Uint16(data[4:]), int(data[7])
			if string(data[8:8+n]) == name {
				ino = int64(e.order.Uint32(data))
			}
			data = data[reclen:]
		}
		require.NotZerof(e.t, ino, "%s is not in the image", path)
	}
	return ino
}

// directory reads a small directory: direct blocks only.
func (e *ffsEdit) directory(d dinode) []byte {
	var data []byte
	for i := int64(0); int64(len(data)) < d.size(); i++ {
		require.Less(e.t, i, int64(12))
		data = append(data, e.read(e.get(d.pointers(), i)*e.fsize, min(e.bsize, d.size()-int64(len(data))))...)
	}
	return data
}

// stretch makes path, a file of at least 40 full blocks, a sparse file of
// size bytes that has one block of data, copied from pieces, at each offset (a
// multiple of the block size). The blocks that the file had become the data, the
// indirect blocks, and garbage.
func (e *ffsEdit) stretch(path string, size int64, pieces map[int64][]byte) {
	e.t.Helper()
	d := e.inode(e.find(path))
	p := d.pointers()
	var pool []int64
	for i := range int64(12) {
		pool = append(pool, e.get(p, i))
	}
	table := e.read(e.get(p, 12)*e.fsize, e.bsize)
	for i := int64(0); i < e.bsize/e.pointerSize() && e.get(table, i) != 0; i++ {
		pool = append(pool, e.get(table, i))
	}
	pool = append(pool, e.get(p, 12))
	d.addBlocks(-int64(len(pool)))
	clear(p)

	take := func() int64 {
		require.NotEmpty(e.t, pool)
		at := pool[0]
		pool = pool[1:]
		d.addBlocks(1)
		e.write(at*e.fsize, make([]byte, e.bsize))
		return at
	}
	perTable := e.bsize / e.pointerSize()
	for off, data := range pieces {
		lbn := off / e.bsize
		at := take()
		e.write(at*e.fsize, data)
		if lbn < 12 {
			e.put(p, lbn, at)
			continue
		}
		lbn -= 12
		level, span := int64(0), perTable // blocks below a table of this level
		for lbn >= span {
			lbn -= span
			span *= perTable
			level++
		}
		if e.get(p, 12+level) == 0 {
			e.put(p, 12+level, take())
		}
		node := e.get(p, 12+level)
		for ; level >= 0; level-- {
			span /= perTable
			table := e.read(node*e.fsize, e.bsize)
			i := lbn / span
			lbn %= span
			if level == 0 {
				e.put(table, i, at)
			} else if e.get(table, i) == 0 {
				e.put(table, i, take())
			}
			e.write(node*e.fsize, table)
			node = e.get(table, i)
		}
	}
	e.dropped = append(e.dropped, pool...)
	d.setSize(size)
	d.save()
}
