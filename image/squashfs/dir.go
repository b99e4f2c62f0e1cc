package squashfs

import (
	"bytes"
	"context"
	"iter"
	"syscall"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// A dir is an inode that is a directory. Its entries are runs behind headers,
// sorted by name.
type dir struct {
	inode
	size int64 // of what is stored
}

func (f *FS) dir(ino vfs.Ino) (dir, error) {
	var d dir
	if err := f.readInode(ino, &d.inode); err != nil {
		return d, err
	}
	if d.Type != ondisk.TypeDir {
		return d, syscall.ENOTDIR
	}
	if d.size = int64(d.Size) - ondisk.DirSizeExtra; d.size < 0 {
		d.size = 0 // an empty one
	}
	return d, nil
}

// A dirReader goes through the entries of a directory.
type dirReader struct {
	f   *FS
	d   *dir
	c   cursor
	pos int64 // in the directory: of what c is at

	header ondisk.DirHeader
	run    int64  // where the header is
	left   uint32 // entries that follow behind it

	// The entry that next has read.
	entry   ondisk.DirEntry
	name    []byte // valid until next is called again
	ordinal uint32 // of the entry behind its header, from 1
	at      int64  // metadata block that it is in
	headBuf [ondisk.DirHeaderSize]byte
	nameBuf [ondisk.MaxName]byte
}

// A stop is where a header is in a directory, and the metadata block that it is
// in.
type stop struct {
	pos   int64
	block uint32
}

// open begins to read d at a stop: the zero value of pos is its beginning.
func (r *dirReader) open(f *FS, d *dir, at stop) error {
	r.f, r.d, r.pos = f, d, at.pos
	block, in := int64(d.Start), int64(d.Offset)
	if at.pos > 0 {
		block, in = int64(at.block), (in+at.pos)%ondisk.MetadataSize
	}
	if r.pos >= d.size {
		return nil
	}
	var err error
	r.c, err = f.cursor(dirName(d.ino), place{int64(f.sb.DirectoryTable) + block, int(in)}, f.size)
	return err
}

// next reads an entry; false at the end.
func (r *dirReader) next() (bool, error) {
	if r.left == 0 {
		if r.pos >= r.d.size {
			return false, nil
		}
		r.run, r.at = r.pos, r.c.at
		b, err := r.take(ondisk.DirHeaderSize, r.headBuf[:])
		if err != nil {
			return false, err
		}
		if r.header = ondisk.DecodeDirHeader(b); r.header.Count == 0 || r.header.Count > ondisk.MaxRun {
			return false, r.corrupt("%d entries behind one header", r.header.Count)
		}
		r.left, r.ordinal = r.header.Count, 0
	}
	r.at = r.c.at
	b, err := r.take(ondisk.DirEntrySize, r.headBuf[:])
	if err != nil {
		return false, err
	}
	r.entry = ondisk.DecodeDirEntry(b)
	if r.entry.NameSize > ondisk.MaxName {
		return false, r.corrupt("a name of %d bytes", r.entry.NameSize)
	}
	if r.name, err = r.take(r.entry.NameSize, r.nameBuf[:]); err != nil {
		return false, err
	}
	r.left--
	r.ordinal++
	return true, nil
}

// take reads n bytes, which must be within the directory.
func (r *dirReader) take(n int, buf []byte) ([]byte, error) {
	if int64(n) > r.d.size-r.pos {
		return nil, r.corrupt("an entry goes on beyond its end, at byte %d", r.d.size)
	}
	r.pos += int64(n)
	return r.c.bytes(n, buf)
}

func (r *dirReader) corrupt(format string, args ...any) error {
	return dirName(r.d.ino).corrupt(r.at, format, args...)
}

// badName says whether no file can have the name.
func badName(name []byte) bool {
	return len(name) == 0 || bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0 ||
		string(name) == "." || string(name) == ".."
}

// resolve returns the inode number and the type of the entry that was read.
func (r *dirReader) resolve() (vfs.Ino, vfs.Mode, error) {
	if t := r.entry.Type; t < ondisk.TypeDir || t > ondisk.TypeSocket {
		return 0, 0, r.corrupt("entry %q has the type %d", r.name, t)
	}
	if badName(r.name) {
		return 0, 0, r.corrupt("a file is called %q", r.name)
	}
	if int(r.entry.Offset) >= ondisk.MetadataSize {
		return 0, 0, r.corrupt("the inode of %q is at byte %d of a metadata block", r.name, r.entry.Offset)
	}
	ref := ondisk.NewRef(r.header.Start, r.entry.Offset)
	num := r.header.Number + uint32(int32(r.entry.Delta))
	ino, err := r.f.number(r.d.ino, r.at, num, ref)
	if err != nil {
		return 0, 0, err
	}
	typ := types[r.entry.Type]
	if typ == vfs.Dir {
		err = r.claim(ino)
	}
	return ino, typ, err
}

// claim notes that the entry leads to a directory. One that is found twice is an
// error.
func (r *dirReader) claim(child vfs.Ino) error {
	if child == r.f.root {
		return r.corrupt("leads back to the root directory")
	}
	first, ok, err := r.f.parents.Claim(child, vfs.FoundIn{Dir: r.d.ino, Entry: r.cookie()})
	if err == nil && !ok {
		err = r.corrupt("leads to directory %d, as directory %d does", child, first.Dir)
	}
	return err
}

// A cookie is where the header of an entry is in the directory, and which entry
// behind it is meant.
const cookieBits = 9

func (r *dirReader) cookie() int64 { return r.run<<cookieBits | int64(r.ordinal) }

// ReadDir implements [vfs.FS]. An entry that leads nowhere does not keep the
// others from being listed: its error comes at the end.
func (f *FS) ReadDir(ctx context.Context, ino vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		d, err := f.dir(ino)
		if err != nil {
			yield(vfs.DirEntry{}, err)
			return
		}
		var (
			r     dirReader
			first error // of an entry
		)
		more, err := f.seek(ctx, &r, &d, cookie)
		for count := 1; more && err == nil; count++ {
			if count&255 == 0 && ctx.Err() != nil {
				err = ctx.Err()
				break
			}
			if more, err = r.next(); err != nil || !more {
				break
			}
			ino, typ, bad := r.resolve()
			if bad != nil {
				if first == nil {
					first = bad
				}
				continue
			}
			if !yield(vfs.DirEntry{Name: string(r.name), Ino: ino, Type: typ, Next: uint64(r.cookie())}, nil) {
				return
			}
		}
		if err == nil {
			err = first
		}
		if err != nil {
			yield(vfs.DirEntry{}, err)
		}
	}
}

// seek opens d behind the entry with a cookie. It returns false if there is
// nothing behind it.
func (f *FS) seek(ctx context.Context, r *dirReader, d *dir, cookie uint64) (bool, error) {
	if cookie>>cookieBits >= uint64(d.size) {
		return false, nil
	}
	run, ordinal := int64(cookie>>cookieBits), uint32(cookie&(1<<cookieBits-1))
	at, _, err := f.findStop(ctx, d, func(x ondisk.DirIndex, _ []byte) bool { return int64(x.Index) <= run })
	if err != nil {
		return false, err
	}
	if err := r.open(f, d, at); err != nil || ordinal == 0 {
		return true, err
	}
	// Pass over what is in front of it.
	for count := 1; ; count++ {
		if count&255 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		ok, err := r.next()
		if err != nil || !ok {
			return false, err
		}
		if r.run > run {
			return false, nil // a cookie that nobody was given
		}
		if r.run == run && r.ordinal >= ordinal {
			return true, nil
		}
	}
}
