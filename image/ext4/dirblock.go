package ext4

import (
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A dirArea is a part of a directory in which entries follow one another from
// the first byte to the last: a block without its checksum, or one of the two
// places of an inline directory. Entries never move in it: a new one takes the
// end of another that is longer than its name needs.
type dirArea struct {
	fs    *FS
	in    *inode
	b     []byte
	off   int64  // byte offset on the device
	block []byte // with the checksum; nil if there is none
}

// blockArea is the block b of a directory as an area. It is no index block.
func (fs *FS) blockArea(in *inode, b []byte, off int64) dirArea {
	if !fs.metadataCsum {
		return dirArea{fs, in, b, off, nil}
	}
	return dirArea{fs, in, b[:len(b)-ondisk.DirTailSize], off, b}
}

// seal writes the checksum of an area that has been changed.
func (a *dirArea) seal() {
	if a.block != nil {
		ondisk.SealDir(a.in.seed, a.block)
	}
}

// entryRoom is how much of the entry d is in use.
func entryRoom(d *ondisk.DirEntry) int {
	if d.Ino == 0 {
		return 0
	}
	return ondisk.DirEntrySize(d.NameLen)
}

// each calls fn for all entries, those not in use too, until it returns false.
// They are checked as they come.
func (a *dirArea) each(fn func(pos, size int, e *entry) bool) error {
	var e entry // one for all: fn sees it for a moment only
	for pos, size := 0, 0; pos < len(a.b); {
		var err error
		if e, size, err = a.fs.entry(a.in, a.b, pos, a.off); err != nil {
			return err
		}
		if !fn(pos, size, &e) {
			return nil
		}
		pos += size
	}
	return nil
}

// next decodes and checks the entry at pos, as [FS.entry] does, which says what
// is wrong. Names are looked for in whole blocks all the time, so what is right
// is passed over quickly.
func (a *dirArea) next(pos int) (d ondisk.DirEntry, name []byte, err error) {
	b := a.b[pos:]
	if len(b) >= ondisk.DirEntryHeader {
		d = ondisk.DecodeDirEntry(b, int(a.fs.blockSize))
	}
	if d.RecLen < ondisk.DirEntryMin || d.RecLen%4 != 0 || d.RecLen > len(b) ||
		ondisk.DirEntrySize(d.NameLen) > d.RecLen || d.Ino > a.fs.sb.InodesCount {
		_, _, err = a.fs.entry(a.in, a.b, pos, a.off)
		return d, nil, err
	}
	if d.Ino != 0 {
		name = b[ondisk.DirEntryHeader:][:d.NameLen]
		if isImpossible(name) {
			_, _, err = a.fs.entry(a.in, a.b, pos, a.off)
		}
	}
	return d, name, err
}

// find returns the place of a name and its inode, or -1.
func (a *dirArea) find(name string) (at int, ino uint32, err error) {
	for pos := 0; pos < len(a.b); {
		d, found, err := a.next(pos)
		if err != nil {
			return -1, 0, err
		}
		if d.Ino != 0 && string(found) == name {
			return pos, d.Ino, nil
		}
		pos += d.RecLen
	}
	return -1, 0, nil
}

// room returns the entry that a new one of need bytes can take its space from,
// or -1, and the largest such space that any entry has.
func (a *dirArea) room(need int) (at, most int, err error) {
	at = -1
	for pos := 0; pos < len(a.b); {
		d, _, err := a.next(pos)
		if err != nil {
			return -1, 0, err
		}
		free := d.RecLen - entryRoom(&d)
		if free >= need && at < 0 {
			at = pos
		}
		most = max(most, free)
		pos += d.RecLen
	}
	return at, most, nil
}

// insert puts a name behind the entry at pos, where room found some. It returns
// its place.
func (a *dirArea) insert(pos int, name string, ino uint32, typ uint8) int {
	bs := int(a.fs.blockSize)
	d := ondisk.DecodeDirEntry(a.b[pos:], bs)
	used := entryRoom(&d)
	if used > 0 {
		ondisk.SetRecLen(a.b[pos:], used, bs)
	}
	writeEntry(a.b[pos+used:], d.RecLen-used, name, ino, typ, bs)
	return pos + used
}

// writeEntry writes an entry of length bytes.
func writeEntry(b []byte, length int, name string, ino uint32, typ uint8, blockSize int) {
	clear(b[:ondisk.DirEntrySize(len(name))])
	ondisk.EncodeDirEntry(b, ondisk.DirEntry{Ino: ino, RecLen: length, NameLen: len(name), Type: typ}, blockSize)
	copy(b[ondisk.DirEntryHeader:], name)
}

// remove takes out the entry at pos: the one in front of it gets its space. What
// was there is wiped, as newer kernels do.
func (a *dirArea) remove(pos int) {
	bs := int(a.fs.blockSize)
	d := ondisk.DecodeDirEntry(a.b[pos:], bs)
	if pos == 0 {
		clear(a.b[:d.RecLen])
		ondisk.EncodeDirEntry(a.b, ondisk.DirEntry{RecLen: d.RecLen}, bs)
		return
	}
	prev := 0
	p := ondisk.DecodeDirEntry(a.b, bs)
	for prev+p.RecLen < pos {
		prev += p.RecLen
		p = ondisk.DecodeDirEntry(a.b[prev:], bs)
	}
	ondisk.SetRecLen(a.b[prev:], p.RecLen+d.RecLen, bs)
	clear(a.b[pos : pos+d.RecLen])
}

// set makes the entry at pos refer to another file.
func (a *dirArea) set(pos int, ino uint32, typ uint8) {
	d := ondisk.DecodeDirEntry(a.b[pos:], int(a.fs.blockSize))
	d.Ino, d.Type = ino, typ
	ondisk.EncodeDirEntry(a.b[pos:], d, int(a.fs.blockSize))
}

// stretch lets the last entry reach to the end of the area, which has grown
// from length bytes.
func (a *dirArea) stretch(length int) {
	bs := int(a.fs.blockSize)
	for pos := 0; ; {
		d := ondisk.DecodeDirEntry(a.b[pos:], bs)
		if pos+d.RecLen >= length {
			ondisk.SetRecLen(a.b[pos:], len(a.b)-pos, bs)
			return
		}
		pos += d.RecLen
	}
}

// clearArea makes an area that has no names.
func (a *dirArea) clearArea() {
	clear(a.b)
	ondisk.EncodeDirEntry(a.b, ondisk.DirEntry{RecLen: len(a.b)}, int(a.fs.blockSize))
}

// direntType is the type that an entry gives a file: EXT4_FT_…, or 0 without the
// feature filetype.
func (fs *FS) direntType(mode vfs.Mode) uint8 {
	if fs.sb.FeatureIncompat&ondisk.IncompatFiletype == 0 {
		return 0
	}
	for i, t := range direntTypes {
		if t == mode.Type() && t != 0 {
			return uint8(i)
		}
	}
	return 0
}
