package erofs

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"syscall"

	"github.com/resflash/resflash/image/erofs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

func (f *FS) dir(ino vfs.Ino, in *inode) error {
	if err := f.readInode(ino, in); err != nil {
		return err
	}
	if !in.mode().IsDir() {
		return syscall.ENOTDIR
	}
	return nil
}

func dirName(ino vfs.Ino) structure { return structure{what: "directory", num: uint64(ino)} }

// A dirBlock is a block of a directory.
type dirBlock struct {
	dir   vfs.Ino
	at    int64 // on the device
	pos   int64 // in the directory
	data  []byte
	count int // of entries
}

// dirBlocks is how many blocks a directory has.
func (f *FS) dirBlocks(d *inode) int64 {
	n := int64(d.Size) / f.blockSize
	if int64(d.Size)%f.blockSize != 0 {
		n++
	}
	return n
}

// dirBlock reads a block of a directory.
func (f *FS) dirBlock(ctx context.Context, d *inode, which int64) (dirBlock, error) {
	b := dirBlock{dir: d.ino, pos: which * f.blockSize}
	p, err := f.piece(ctx, d, b.pos)
	if err != nil {
		return b, err
	}
	n := min(f.blockSize, int64(d.Size)-b.pos)
	if p.at == hole || p.n < n {
		return b, dirName(d.ino).corrupt(d.at, "byte %d is in a hole", b.pos)
	}
	b.at = p.at
	if b.data, err = f.bytes(dirName(d.ino), p.at, int(n)); err != nil {
		return b, err
	}
	if n < ondisk.DirentSize {
		return b, b.corrupt("a block of %d bytes", n)
	}
	// The names begin where the entries end.
	names := int(ondisk.DecodeDirent(b.data).NameOff)
	if b.count = names / ondisk.DirentSize; b.count == 0 || names%ondisk.DirentSize != 0 || names > len(b.data) {
		return b, b.corrupt("the names of a block of %d bytes begin at byte %d", n, names)
	}
	return b, nil
}

func (b *dirBlock) corrupt(format string, args ...any) error {
	return dirName(b.dir).corrupt(b.at, format, args...)
}

// entry returns an entry of a block, and its name.
func (b *dirBlock) entry(i int) (e ondisk.Dirent, name []byte, err error) {
	e = ondisk.DecodeDirent(b.data[i*ondisk.DirentSize:])
	start, end := int(e.NameOff), len(b.data)
	if i+1 < b.count {
		end = int(ondisk.DecodeDirent(b.data[(i+1)*ondisk.DirentSize:]).NameOff)
	}
	if start < b.count*ondisk.DirentSize || start >= end || end > len(b.data) {
		return e, nil, b.corrupt("the name of entry %d is from byte %d to byte %d of a block of %d", i, start, end, len(b.data))
	}
	name = b.data[start:end]
	if nul := bytes.IndexByte(name, 0); nul >= 0 && i+1 == b.count {
		name = name[:nul]
	}
	if len(name) > ondisk.MaxName {
		return e, nil, b.corrupt("a name of %d bytes", len(name))
	}
	return e, name, nil
}

// types are the file types by those of entries.
var types = [...]vfs.Mode{
	ondisk.TypeUnknown: 0, ondisk.TypeFile: vfs.Regular, ondisk.TypeDir: vfs.Dir, ondisk.TypeChar: vfs.Char,
	ondisk.TypeBlock: vfs.Block, ondisk.TypeFIFO: vfs.FIFO, ondisk.TypeSocket: vfs.Socket, ondisk.TypeSymlink: vfs.Symlink,
}

// resolve reads the inode that an entry leads to. The file type is that of the
// inode: an entry that says something else is damage.
func (f *FS) resolve(b *dirBlock, i int, e ondisk.Dirent, name []byte, in *inode) error {
	if len(name) == 0 || bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0 {
		return b.corrupt("a file is called %q", name)
	}
	if int(e.Type) >= len(types) {
		return b.corrupt("entry %q has the type %d", name, e.Type)
	}
	if _, ok := f.place(e.Nid); !ok {
		return b.corrupt("entry %q leads to inode %d, for which there is no place", name, e.Nid)
	}
	if err := f.decodeInode(e.Nid, in); err != nil {
		return err
	}
	if said := types[e.Type]; said != 0 && said != in.mode().Type() {
		return b.corrupt("entry %q has the type %d, inode %d the mode %#o", name, e.Type, in.ino, in.Mode)
	}
	if !in.mode().IsDir() {
		return nil
	}
	if in.ino == f.root {
		return b.corrupt("entry %q leads back to the root directory", name)
	}
	first, ok, err := f.parents.Claim(in.ino, vfs.FoundIn{Dir: b.dir, Entry: b.cookie(i)})
	if err == nil && !ok {
		err = b.corrupt("entry %q leads to directory %d, as directory %d does", name, in.ino, first.Dir)
	}
	return err
}

// cookie is where the entry ends in the directory, without its name.
func (b *dirBlock) cookie(i int) int64 { return b.pos + int64(i+1)*ondisk.DirentSize }

// ReadDir implements [vfs.FS]. An entry that leads nowhere, or a damaged block,
// does not keep the others from being listed: its error comes at the end.
func (f *FS) ReadDir(ctx context.Context, ino vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		var d inode
		if err := f.dir(ino, &d); err != nil {
			yield(vfs.DirEntry{}, err)
			return
		}
		if cookie >= d.Size {
			return
		}
		var first error
		for which := int64(cookie) / f.blockSize; which < f.dirBlocks(&d); which++ {
			if err := ctx.Err(); err != nil {
				yield(vfs.DirEntry{}, err)
				return
			}
			b, err := f.dirBlock(ctx, &d, which)
			if err == nil {
				var more bool
				if more, err = f.list(&b, int64(cookie), yield); !more {
					return
				}
			}
			if first == nil {
				first = err
			}
			if corrupt := (*vfs.CorruptError)(nil); err != nil && !errors.As(err, &corrupt) {
				break
			}
		}
		if first != nil {
			yield(vfs.DirEntry{}, first)
		}
	}
}

// list yields the entries of a block behind a cookie. It returns false if that
// is enough, and the first error.
func (f *FS) list(b *dirBlock, cookie int64, yield func(vfs.DirEntry, error) bool) (more bool, first error) {
	for i := range b.count {
		if b.cookie(i) <= cookie {
			continue
		}
		var in inode
		e, name, err := b.entry(i)
		if string(name) == "." || string(name) == ".." {
			continue
		}
		if err == nil {
			err = f.resolve(b, i, e, name, &in)
		}
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if !yield(vfs.DirEntry{Name: string(name), Ino: in.ino, Type: in.mode().Type(), Next: uint64(b.cookie(i))}, nil) {
			return false, first
		}
	}
	return true, first
}
