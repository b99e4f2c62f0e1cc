package ext4

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// direntTypes are the file types in directory entries (EXT4_FT_…).
var direntTypes = [...]vfs.Mode{
	1: vfs.Regular, 2: vfs.Dir, 3: vfs.Char, 4: vfs.Block, 5: vfs.FIFO, 6: vfs.Socket, 7: vfs.Symlink,
}

// addedCookie is the cookie of the first name that is in the journal's fast
// commits only: behind any offset in a directory.
const addedCookie = 1 << 60

// entry is one name in a directory. Its name lies in the cache.
type entry struct {
	ino  uint32
	typ  uint8
	name []byte
	pos  uint64 // byte offset in the directory
	next uint64 // that of the entry behind it
	off  int64  // byte offset on the device
}

func (e *entry) isDot() bool { return string(e.name) == "." || string(e.name) == ".." }

// dir reads the inode of a directory whose names can be read.
func (fs *FS) dir(ino vfs.Ino, in *inode) error {
	if err := fs.readInode(ino, in); err != nil {
		return err
	}
	if !in.mode().IsDir() {
		return syscall.ENOTDIR
	}
	if in.has(ondisk.FlEncrypt) {
		return &vfs.NotSupportedError{What: "encrypted directory, " + in.name(), Off: in.off}
	}
	return nil
}

func (in *inode) dirName() string { return fmt.Sprintf("directory %d", in.num) }

// indexed reports whether in has a hash tree (is_dx).
func (fs *FS) indexed(in *inode) bool {
	return fs.sb.FeatureCompat&ondisk.CompatDirIndex != 0 && in.has(ondisk.FlIndex) && !in.has(ondisk.FlInlineData)
}

// ReadDir yields the names in the order in which they lie on the device. A
// cookie is the offset of the next entry in the directory, as on Linux without
// dir_index.
func (fs *FS) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		var in inode
		if err := fs.dir(dir, &in); err != nil {
			yield(vfs.DirEntry{}, err)
			return
		}
		edits := fs.fast.dir(in.num)
		if cookie < addedCookie {
			stopped := false
			err := fs.scan(ctx, &in, cookie, func(e *entry) bool {
				if e.isDot() || edits.changes(e.name) {
					return true
				}
				d := vfs.DirEntry{Name: string(e.name), Ino: vfs.Ino(e.ino), Next: e.next}
				if int(e.typ) < len(direntTypes) {
					d.Type = direntTypes[e.typ]
				}
				stopped = !yield(d, nil)
				return !stopped
			})
			if err != nil {
				yield(vfs.DirEntry{}, err)
			}
			if err != nil || stopped {
				return
			}
		}
		edits.added(max(cookie, addedCookie), yield)
	}
}

// scan calls visit for the entries of a directory that are in use, from byte
// offset from on, until it returns false.
func (fs *FS) scan(ctx context.Context, in *inode, from uint64, visit func(*entry) bool) error {
	if d := fs.fast.dir(in.num); d != nil && d.fresh {
		return nil
	}
	if in.has(ondisk.FlInlineData) {
		return fs.scanInline(in, from, visit)
	}
	m := fs.mapper(in)
	bs := uint64(fs.blockSize)
	for lblk := from / bs; lblk*bs < uint64(in.size); lblk++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, off, err := fs.dirBlock(&m, lblk)
		if err != nil {
			return err
		}
		more, err := fs.scanBlock(in, b, off, lblk*bs, from, visit)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// scanInline is scan for a directory in its inode. Its offsets are those that
// the entries will have if they are moved to a block, behind "." and "..".
func (fs *FS) scanInline(in *inode, from uint64, visit func(*entry) bool) error {
	first, rest, err := fs.inlineParts(in)
	if err != nil {
		return err
	}
	first = first[inlineDirHeader:]
	base := uint64(2 * ondisk.DirEntryMin)
	more, err := fs.scanBlock(in, first, in.off+0x28+inlineDirHeader, base, from, visit)
	if err != nil || !more {
		return err
	}
	_, err = fs.scanBlock(in, rest, in.off, base+uint64(len(first)), from, visit)
	return err
}

// dirBlock returns the block lblk of a directory and its offset on the device,
// after verifying its checksum.
func (fs *FS) dirBlock(m *mapper, lblk uint64) ([]byte, int64, error) {
	r, err := m.at(lblk)
	if err != nil {
		return nil, 0, err
	}
	if r.start == 0 {
		return nil, 0, vfs.Corruptf(m.in.off, m.in.dirName(), "no block at offset %d of %d", lblk*uint64(fs.blockSize), m.in.size)
	}
	b, err := fs.block(r.start, "directory")
	if err != nil {
		return nil, 0, err
	}
	off := fs.offset(r.start)
	if !fs.metadataCsum {
		return b, off, nil
	}
	known := &fs.checked[r.start%uint64(len(fs.checked))]
	if k := known.Load(); k != nil && k.first == &b[0] && k.seed == m.in.seed {
		return b, off, nil
	}
	if err := fs.checkDirBlock(m.in, b, off, lblk); err != nil {
		return b, off, err
	}
	known.Store(&checkedBlock{&b[0], m.in.seed})
	return b, off, nil
}

// A checkedBlock is a block of a directory that is in the cache, and whose
// checksum was right. If it has changed since, it was sealed anew.
type checkedBlock struct {
	first *byte // which also keeps the memory from being used for another
	seed  uint32
}

// checkDirBlock verifies the checksum of a directory's block: that of an index
// block if it is one.
func (fs *FS) checkDirBlock(in *inode, b []byte, off int64, lblk uint64) error {
	corrupt := func(format string, args ...any) error { return vfs.Corruptf(off, in.dirName(), format, args...) }
	if fs.indexed(in) && (lblk == 0 || isDxNode(b)) {
		entries := ondisk.DxRootEntries
		if isDxNode(b) {
			entries = ondisk.DxNodeEntries
		}
		got, want, ok := ondisk.DxTail(in.seed, b, entries)
		if !ok {
			return corrupt("index block without room for a checksum")
		}
		if got != want {
			return corrupt("index block checksum %#08x, want %#08x", got, want)
		}
		return nil
	}
	got, ok := ondisk.DirTail(b)
	if !ok {
		return corrupt("block without a checksum")
	}
	if want := ondisk.DirChecksum(in.seed, b); got != want {
		return corrupt("block checksum %#08x, want %#08x", got, want)
	}
	return nil
}

// isDxNode reports whether b begins with the empty entry that hides a block of
// the index from those who do not know it. With checksums no other block can.
func isDxNode(b []byte) bool {
	e := ondisk.DecodeDirEntry(b, len(b))
	return e.Ino == 0 && e.RecLen == len(b)
}

// scanBlock calls visit for the entries in b that are in use, as scan does. b
// lies at off on the device and at base in the directory. It reports whether
// to go on.
func (fs *FS) scanBlock(in *inode, b []byte, off int64, base, from uint64, visit func(*entry) bool) (more bool, err error) {
	var e entry // one for all: visit sees it for a moment only
	for pos, size := 0, 0; pos < len(b); {
		if e, size, err = fs.entry(in, b, pos, off); err != nil {
			return false, err
		}
		e.pos, e.next = base+uint64(pos), base+uint64(pos+size)
		pos += size
		if e.ino == 0 || e.pos < from {
			continue
		}
		if !visit(&e) {
			return false, nil
		}
	}
	return true, nil
}

// entry decodes and checks the entry at pos of b (ext4_check_dir_entry) and
// returns its length. Only used entries have a name.
func (fs *FS) entry(in *inode, b []byte, pos int, off int64) (e entry, size int, err error) {
	e.off = off + int64(pos)
	corrupt := func(format string, args ...any) (entry, int, error) {
		return entry{}, 0, vfs.Corruptf(e.off, in.dirName(), format, args...)
	}
	if len(b)-pos < ondisk.DirEntryHeader {
		return corrupt("%d bytes left over", len(b)-pos)
	}
	d := ondisk.DecodeDirEntry(b[pos:], int(fs.blockSize))
	switch {
	case d.RecLen < ondisk.DirEntryMin || d.RecLen%4 != 0:
		return corrupt("entry of %d bytes", d.RecLen)
	case d.RecLen > len(b)-pos:
		return corrupt("entry of %d bytes crosses the end of its block", d.RecLen)
	case ondisk.DirEntrySize(d.NameLen) > d.RecLen:
		return corrupt("name of %d bytes in an entry of %d", d.NameLen, d.RecLen)
	case d.Ino > fs.sb.InodesCount:
		return corrupt("entry for inode %d of %d", d.Ino, fs.sb.InodesCount)
	}
	if d.Ino == 0 {
		return e, d.RecLen, nil
	}
	e.ino = d.Ino
	e.name = b[pos+ondisk.DirEntryHeader:][:d.NameLen]
	if fs.sb.FeatureIncompat&ondisk.IncompatFiletype != 0 {
		e.typ = d.Type
	}
	// Linux gives EIO for such names (verify_dirent_name). They would lead
	// those who build paths of them elsewhere.
	if isImpossible(e.name) {
		return corrupt("impossible name %q", e.name)
	}
	return e, d.RecLen, nil
}

func isImpossible(name []byte) bool {
	return len(name) == 0 || bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0
}
