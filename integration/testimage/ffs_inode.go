package testimage

import (
	"encoding/binary"
	"time"
)

func le16(p []byte, v uint16) { binary.LittleEndian.PutUint16(p, v) }
func le32(p []byte, v uint32) { binary.LittleEndian.PutUint32(p, v) }
func le64(p []byte, v uint64) { binary.LittleEndian.PutUint64(p, v) }

// dinode is what both versions of the inode hold.
type dinode struct {
	mode     uint32
	links    int
	uid, gid uint32
	flags    uint32
	gen      uint32
	size     int64
	sectors  int64 // of 512 bytes, data and indirect blocks
	mtime    time.Time
	db       [12]int64
	ib       [3]int64
	short    string // target of a short symbolic link, in the place of db
}

// writeData writes the contents of a file: full blocks, and a tail of
// fragments if the file ends within its direct blocks.
func (f *ffsWriter) writeData(d *dinode, group int, data []byte, holes bool) {
	bs := int64(f.bsize)
	d.size = int64(len(data))
	blocks := howmany(d.size, bs)
	at := make([]int64, blocks)
	for i := range blocks {
		p := data[i*bs : min((i+1)*bs, d.size)]
		switch {
		case holes && zero(p):
		case i == blocks-1 && blocks <= 12:
			n := howmany(int64(len(p)), int64(f.fsize))
			at[i] = f.newFrags(group, n)
			d.sectors += n * int64(f.fsize) / 512
			f.write(pad(p, int(n)*f.fsize), at[i])
		default:
			at[i] = f.newBlock(group)
			d.sectors += bs / 512
			f.write(pad(p, f.bsize), at[i])
		}
		if f.err != nil {
			return
		}
	}
	rest := at[copy(d.db[:], at):]
	span := int64(1)
	for level := range 3 {
		span *= f.nindir
		n := min(int64(len(rest)), span)
		d.ib[level] = f.indirect(d, group, rest[:n], level)
		rest = rest[n:]
	}
	if len(rest) > 0 {
		f.fail("a file of %d bytes is too large", d.size)
	}
}

// indirect writes the tree of pointer blocks above addresses, level blocks
// deep, and returns its root; 0 for nothing but holes.
func (f *ffsWriter) indirect(d *dinode, group int, addresses []int64, level int) int64 {
	if zeros(addresses) {
		return 0
	}
	pointers := addresses
	if level > 0 {
		span := int64(1)
		for range level {
			span *= f.nindir
		}
		pointers = nil
		for len(addresses) > 0 {
			n := min(int64(len(addresses)), span)
			pointers = append(pointers, f.indirect(d, group, addresses[:n], level-1))
			addresses = addresses[n:]
		}
	}
	block := make([]byte, f.bsize)
	for i, a := range pointers {
		if f.version == 1 {
			le32(block[4*i:], uint32(a))
		} else {
			le64(block[8*i:], uint64(a))
		}
	}
	at := f.newBlock(group)
	d.sectors += int64(f.bsize) / 512
	f.write(block, at)
	return at
}

func zero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

func zeros(p []int64) bool {
	for _, v := range p {
		if v != 0 {
			return false
		}
	}
	return true
}

// pad returns p with zeros behind it, n bytes long.
func pad(p []byte, n int) []byte {
	if len(p) == n {
		return p
	}
	return append(append(make([]byte, 0, n), p...), make([]byte, n-len(p))...)
}

// putInode stores an inode in the table of its group.
func (f *ffsWriter) putInode(ino uint32, d *dinode) {
	cg := f.groups[f.groupOf(ino)]
	p := cg.inode[int64(ino)%f.ipg*f.inodeSize():][:f.inodeSize()]
	clear(p)
	sec, nsec := d.mtime.Unix(), uint32(d.mtime.Nanosecond())
	le16(p[0:], uint16(d.mode))
	le16(p[2:], uint16(d.links))
	var pointers []byte
	if f.version == 1 {
		le64(p[8:], uint64(d.size))
		for _, off := range []int{16, 24, 32} { // atime, mtime, ctime
			le32(p[off:], uint32(sec))
			le32(p[off+4:], nsec)
		}
		le32(p[100:], d.flags)
		le32(p[104:], uint32(d.sectors))
		le32(p[108:], d.gen)
		le32(p[112:], d.uid)
		le32(p[116:], d.gid)
		pointers = p[40:100]
		for i, a := range append(d.db[:], d.ib[:]...) {
			le32(pointers[4*i:], uint32(a))
		}
	} else {
		le32(p[4:], d.uid)
		le32(p[8:], d.gid)
		le64(p[16:], uint64(d.size))
		le64(p[24:], uint64(d.sectors))
		for _, off := range []int{32, 40, 48} { // atime, mtime, ctime; OpenBSD leaves birthtime 0
			le64(p[off:], uint64(sec))
		}
		for _, off := range []int{64, 68, 72} { // mtime, atime, ctime
			le32(p[off:], nsec)
		}
		le32(p[80:], d.gen)
		le32(p[88:], d.flags)
		pointers = p[112:232]
		for i, a := range append(d.db[:], d.ib[:]...) {
			le64(pointers[8*i:], uint64(a))
		}
	}
	copy(pointers, d.short)
}
