package testimage

import (
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
	"unicode/utf16"
)

// FATOptions are the choices of newfs_msdos(8).
type FATOptions struct {
	Label  string
	Hidden uint32 // sectors before the volume
	Serial uint32
	Time   time.Time
}

// Parameters of newfs_msdos for small volumes.
const (
	fatSector     = 512
	fatPerCluster = 8
	fatRootDir    = 512 // entries
	fatMaxCluster = 4084
)

// WriteFAT formats size bytes of w with FAT12 as newfs_msdos of OpenBSD does,
// with the files of a tree. Names that are not 8.3 in capitals get a long name
// as well; owners, modes and links have no place in FAT and are ignored.
func WriteFAT(w io.WriterAt, size int64, opt FATOptions, tree Tree) error {
	children, err := tree.children()
	if err != nil {
		return err
	}
	f := &fatWriter{w: w, opt: opt, tree: tree, children: children}
	sectors := size / fatSector
	rootSectors := int64(fatRootDir * 32 / fatSector)
	for f.fatSectors = 1; ; f.fatSectors++ {
		f.data = 1 + 2*f.fatSectors + rootSectors
		f.clusters = (sectors - f.data) / fatPerCluster
		if f.clusters < 1 || f.clusters > fatMaxCluster {
			return fmt.Errorf("a FAT12 file system of %d bytes", size)
		}
		if howmany((f.clusters+2)*3, 2) <= f.fatSectors*fatSector {
			break
		}
	}
	f.fat = []uint16{0xff8, 0xfff}

	root := f.directory("", 0)
	if opt.Label != "" {
		label := make([]byte, 32)
		copy(label, pad11(opt.Label))
		label[11] = 0x28 // volume label, archive
		putFATTime(label[22:], opt.Time)
		root = append(label, root...)
	}
	if len(root) > fatRootDir*32 {
		f.fail("too many files in the root directory")
	}
	f.writeSector(f.boot(sectors), 0)
	table := make([]byte, f.fatSectors*fatSector)
	for i, v := range f.fat {
		at := i * 3 / 2
		if i%2 == 0 {
			table[at], table[at+1] = byte(v), table[at+1]&0xf0|byte(v>>8)
		} else {
			table[at], table[at+1] = table[at]&0x0f|byte(v<<4), byte(v>>4)
		}
	}
	f.writeSector(table, 1)
	f.writeSector(table, 1+f.fatSectors)
	f.writeSector(root, 1+2*f.fatSectors)
	return f.err
}

type fatWriter struct {
	w          io.WriterAt
	opt        FATOptions
	tree       Tree
	children   map[string][]string
	fat        []uint16 // the entries used so far
	fatSectors int64    // of each of the two FATs
	data       int64    // first sector of cluster 2
	clusters   int64
	err        error
}

func (f *fatWriter) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

func (f *fatWriter) writeSector(p []byte, sector int64) {
	if f.err == nil && len(p) > 0 {
		_, f.err = f.w.WriteAt(p, sector*fatSector)
	}
}

// boot returns the boot sector.
func (f *fatWriter) boot(sectors int64) []byte {
	p := make([]byte, fatSector)
	copy(p, "\xeb\x3c\x90BSD  4.4")
	le := binary.LittleEndian
	le.PutUint16(p[11:], fatSector)
	p[13] = fatPerCluster
	le.PutUint16(p[14:], 1) // reserved sectors
	p[16] = 2               // FATs
	le.PutUint16(p[17:], fatRootDir)
	if sectors < 1<<16 {
		le.PutUint16(p[19:], uint16(sectors))
	} else {
		le.PutUint32(p[32:], uint32(sectors))
	}
	p[21] = 0xf8 // media: fixed disk
	le.PutUint16(p[22:], uint16(f.fatSectors))
	le.PutUint16(p[24:], 63) // sectors per track
	le.PutUint16(p[26:], 1)  // heads
	le.PutUint32(p[28:], f.opt.Hidden)
	p[36] = 0x80 // drive
	p[38] = 0x29 // the next three fields are there
	le.PutUint32(p[39:], f.opt.Serial)
	copy(p[43:], pad11(f.opt.Label))
	copy(p[54:], "FAT12   ")
	p[62], p[63], p[64] = 0xcd, 0x18, 0xf4 // int 18h: no system on this volume; hlt
	p[510], p[511] = 0x55, 0xaa
	return p
}

// chain stores data in new clusters and returns the first, 0 for no data.
func (f *fatWriter) chain(data []byte) uint16 {
	const cluster = fatPerCluster * fatSector
	n := howmany(int64(len(data)), cluster)
	if n == 0 {
		return 0
	}
	first := int64(len(f.fat))
	if first+n > f.clusters+2 {
		f.fail("the FAT volume is full")
		return 0
	}
	for i := range n {
		next := uint16(first + i + 1)
		if i == n-1 {
			next = 0xfff
		}
		f.fat = append(f.fat, next)
	}
	f.writeSector(pad(data, int(n*cluster)), f.data+(first-2)*fatPerCluster)
	return uint16(first)
}

// directory stores what is below dir, and returns the entries of dir itself.
// The cluster of dir must be known before those of its children: "..".
func (f *fatWriter) directory(dir string, self uint16) []byte {
	var out []byte
	short := map[string]bool{}
	for _, name := range f.children[dir] {
		n := f.tree[name]
		if n.HardLink != "" {
			n = f.tree[n.HardLink]
		}
		base := path.Base(name)
		alias := pad11alias(base, short)
		if alias == "" {
			f.fail("%s: no 8.3 name for it", name)
			return nil
		}
		if alias != pad11name(base) {
			out = append(out, longName(base, alias)...)
		}
		e := make([]byte, 32)
		copy(e, alias)
		mtime := n.Mtime
		if mtime.IsZero() {
			mtime = f.opt.Time
		}
		switch n.Mode & modeType {
		case ModeRegular:
			e[11] = 0x20
			binary.LittleEndian.PutUint32(e[28:], uint32(len(n.Data)))
			binary.LittleEndian.PutUint16(e[26:], f.chain(n.Data))
		case ModeDir:
			e[11] = 0x10
			binary.LittleEndian.PutUint16(e[26:], f.subdirectory(name, self, mtime))
		default:
			f.fail("%s: FAT has no files of mode %o", name, n.Mode)
		}
		putFATTime(e[14:], mtime)
		copy(e[18:], e[16:18])
		putFATTime(e[22:], mtime)
		out = append(out, e...)
	}
	return out
}

// subdirectory stores a directory other than the root and returns its cluster.
func (f *fatWriter) subdirectory(name string, parent uint16, mtime time.Time) uint16 {
	// Its size has to be known to reserve its clusters before its children's.
	entries := 2
	for _, child := range f.children[name] {
		entries += 1 + (len(utf16.Encode([]rune(path.Base(child))))+12)/13
	}
	self := f.chain(make([]byte, entries*32))
	dots := make([]byte, 64)
	for i, d := range []struct {
		name    string
		cluster uint16
	}{{".          ", self}, {"..         ", parent}} {
		e := dots[32*i:]
		copy(e, d.name)
		e[11] = 0x10
		binary.LittleEndian.PutUint16(e[26:], d.cluster)
		putFATTime(e[22:], mtime)
	}
	content := append(dots, f.directory(name, self)...)
	f.writeSector(content, f.data+(int64(self)-2)*fatPerCluster)
	return self
}

// pad11 pads a label to 11 bytes.
func pad11(s string) []byte { return []byte(fmt.Sprintf("%-11.11s", s)) }

// pad11name is the directory form of a name if it is 8.3 as it stands, else "".
func pad11name(name string) string {
	base, ext, dot := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dot && ext == "" {
		return ""
	}
	for _, r := range base + ext {
		if !(r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'()-@^_`{}~", r)) {
			return ""
		}
	}
	return fmt.Sprintf("%-8s%-3s", base, ext)
}

// pad11alias makes a short name that is not taken in a directory yet.
func pad11alias(name string, taken map[string]bool) string {
	upper := strings.ToUpper(name)
	if alias := pad11name(upper); alias != "" && !taken[alias] {
		taken[alias] = true
		return alias
	}
	keep := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return -1
		}, s)
	}
	base, ext := upper, ""
	if i := strings.LastIndexByte(upper, '.'); i > 0 {
		base, ext = upper[:i], keep(upper[i+1:])
	}
	base = keep(base)
	for n := 1; n < 1000; n++ {
		tail := fmt.Sprintf("~%d", n)
		alias := fmt.Sprintf("%-8s%-3.3s", base[:min(len(base), 8-len(tail))]+tail, ext)
		if !taken[alias] {
			taken[alias] = true
			return alias
		}
	}
	return ""
}

// longName returns the entries that hold the long name above its short one,
// last part first.
func longName(name, alias string) []byte {
	sum := byte(0)
	for _, c := range []byte(alias) {
		sum = sum>>1 | sum<<7
		sum += c
	}
	units := utf16.Encode([]rune(name))
	parts := (len(units) + 12) / 13
	if len(units)%13 != 0 {
		units = append(units, 0)
	}
	for len(units) < parts*13 {
		units = append(units, 0xffff)
	}
	var out []byte
	for part := parts; part >= 1; part-- {
		e := make([]byte, 32)
		e[0] = byte(part)
		if part == parts {
			e[0] |= 0x40
		}
		e[11], e[13] = 0x0f, sum
		places := []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
		for i, at := range places {
			binary.LittleEndian.PutUint16(e[at:], units[(part-1)*13+i])
		}
		out = append(out, e...)
	}
	return out
}

// putFATTime writes time and date in UTC, in steps of two seconds from 1980.
func putFATTime(p []byte, t time.Time) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	binary.LittleEndian.PutUint16(p[0:], uint16(t.Hour()<<11|t.Minute()<<5|t.Second()/2))
	binary.LittleEndian.PutUint16(p[2:], uint16((t.Year()-1980)<<9|int(t.Month())<<5|t.Day()))
}
