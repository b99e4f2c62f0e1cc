package ffs

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"syscall"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/nametable"
)

// An entry is one used entry of a directory. Its name is part of a cached page.
type entry struct {
	ino  uint32
	typ  uint8
	name []byte
	off  int64 // in the directory
	next int64 // of the entry behind it
	at   int64 // byte offset in the volume
}

// isWhiteout reports whether e hides a name of a lower layer of a union mount.
// It is not a file.
func (e *entry) isWhiteout() bool {
	return e.ino == ondisk.WhiteoutIno && vfs.Mode(e.typ)<<12 == vfs.Whiteout
}

// openDir reads the inode of a directory.
func (f *FS) openDir(ino vfs.Ino, in *inode) error {
	if err := f.read(ino, in); err != nil {
		return err
	}
	return f.checkDir(in)
}

// checkDir makes sure that an inode is a directory that can be read.
func (f *FS) checkDir(in *inode) error {
	if !in.mode().IsDir() {
		return syscall.ENOTDIR
	}
	// fsck's limit, and the file system's: directories have no holes.
	if in.size > 1<<31-1 || in.size>>f.geo.fragShift > min(f.geo.frags, f.geo.devFrags) {
		return in.corrupt("directory of %d bytes", in.size)
	}
	return nil
}

// scanDir calls fn for the entries of directory in that lie at byte from of it
// or behind, until fn returns false. Entries are checked as they come (like
// ufs_dirbadentry): what lies in front of damage is seen, what lies behind not.
func (f *FS) scanDir(ctx context.Context, in *inode, from int64, fn func(*entry) bool) error {
	if from < 0 {
		return syscall.EINVAL
	}
	g := &f.geo
	var e entry
	// Entries can only be told apart from the start of a chunk on.
	for off := from &^ (ondisk.DirChunk - 1); off < in.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		block := off &^ (g.blockSize - 1)
		at, n, err := f.extent(in, off, g.blockSize-(off-block))
		if err != nil {
			return err
		}
		if at == hole {
			return in.corrupt("directory has a hole at byte %d", off)
		}
		n = min(n, block+g.blockSize-off)
		b, err := f.cache.Bytes(at, int(n))
		if err != nil {
			return fmt.Errorf("read directory %d at byte %d: %w", in.num, at, err)
		}
		for len(b) > 0 {
			if len(b) < ondisk.DirChunk {
				return f.badEntry(in, at, off, "size of %d bytes is not a multiple of %d", in.size, ondisk.DirChunk)
			}
			more, err := f.scanChunk(in, b[:ondisk.DirChunk], at, off, from, &e, fn)
			if err != nil || !more {
				return err
			}
			b, at, off = b[ondisk.DirChunk:], at+ondisk.DirChunk, off+ondisk.DirChunk
		}
	}
	return nil
}

// scanChunk does scanDir's work in the chunk b, which lies at byte off of the
// directory and at byte at of the volume.
func (f *FS) scanChunk(in *inode, b []byte, at, off, from int64, e *entry, fn func(*entry) bool) (bool, error) {
	for i := 0; i < ondisk.DirChunk; {
		if ondisk.DirChunk-i < ondisk.DirentHeader {
			return false, f.badEntry(in, at+int64(i), off+int64(i), "entry does not fit into its chunk")
		}
		d := ondisk.DecodeDirent(b[i:], f.geo.order, f.geo.oldDirs)
		size := int(d.Len)
		switch {
		case size%4 != 0 || size < ondisk.DirentHeader || size > ondisk.DirChunk-i:
			return false, f.badEntry(in, at+int64(i), off+int64(i), "entry length %d", size)
		case d.Ino == 0: // free
			i += size
			continue
		case d.NameLen == 0 || d.NameLen > ondisk.MaxNameLen || size < ondisk.DirentSize(int(d.NameLen)):
			return false, f.badEntry(in, at+int64(i), off+int64(i), "name of %d bytes in an entry of %d", d.NameLen, size)
		}
		if off+int64(i) >= from {
			name := b[i+ondisk.DirentHeader:][:d.NameLen:d.NameLen]
			if bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0 {
				return false, f.badEntry(in, at+int64(i), off+int64(i), "name %q", name)
			}
			*e = entry{
				ino: d.Ino, typ: d.Type, name: name,
				off: off + int64(i), next: off + int64(i+size), at: at + int64(i),
			}
			if !fn(e) {
				return false, nil
			}
		}
		i += size
	}
	return true, nil
}

// badEntry reports damage at byte off of a directory, which lies at byte at of
// the volume.
func (f *FS) badEntry(in *inode, at, off int64, format string, args ...any) error {
	return vfs.Corruptf(at, fmt.Sprintf("directory %d", in.num), "at its byte %d: %s", off, fmt.Sprintf(format, args...))
}

// ReadDir implements [vfs.FS]. A cookie is the offset in the directory of the
// entry to go on with.
func (f *FS) ReadDir(ctx context.Context, dir vfs.Ino, cookie uint64) iter.Seq2[vfs.DirEntry, error] {
	return func(yield func(vfs.DirEntry, error) bool) {
		var in inode
		err := f.openDir(dir, &in)
		if err == nil {
			from := int64(min(cookie, 1<<63-1))
			err = f.scanDir(ctx, &in, from, func(e *entry) bool {
				if isDot(e.name) || e.isWhiteout() {
					return true
				}
				return yield(vfs.DirEntry{
					Name: string(e.name),
					Ino:  vfs.Ino(e.ino),
					Type: entryType(e.typ),
					Next: uint64(e.next),
				}, nil)
			})
		}
		if err != nil {
			yield(vfs.DirEntry{}, err)
		}
	}
}

func isDot(name []byte) bool {
	return name[0] == '.' && (len(name) == 1 || len(name) == 2 && name[1] == '.')
}

// entryType converts d_type; 0, and what is no type, is left to the inode.
func entryType(t uint8) vfs.Mode {
	switch m := vfs.Mode(t) << 12; m {
	case vfs.Regular, vfs.Dir, vfs.Symlink, vfs.Char, vfs.Block, vfs.FIFO, vfs.Socket:
		return m
	}
	return 0
}

// Lookup implements [vfs.FS].
func (f *FS) Lookup(ctx context.Context, dir vfs.Ino, name string) (vfs.Attr, error) {
	var in inode
	if err := f.openDir(dir, &in); err != nil {
		return vfs.Attr{}, err
	}
	if len(name) > ondisk.MaxNameLen {
		return vfs.Attr{}, syscall.ENAMETOOLONG
	}
	e, ok, err := f.find(ctx, &in, name)
	if err != nil {
		return vfs.Attr{}, err
	}
	if !ok {
		return vfs.Attr{}, syscall.ENOENT
	}
	var child inode
	if err := f.read(vfs.Ino(e.ino), &child); err != nil {
		if err == syscall.ENOENT {
			// The name is there; it is the directory that is wrong.
			err = f.badEntry(&in, e.at, e.off, "entry %q refers to inode %d, which is not in use", name, e.ino)
		}
		return vfs.Attr{}, err
	}
	return f.attr(&child), nil
}

// find looks a name up, in a large directory by its index.
func (f *FS) find(ctx context.Context, in *inode, name string) (entry, bool, error) {
	if name == "" {
		return entry{}, false, nil
	}
	var found entry
	ok := false
	match := func(e *entry) bool {
		if string(e.name) != name || e.isWhiteout() {
			return true
		}
		found, ok = *e, true
		return false
	}
	if in.size >= indexFrom {
		if ix := f.index.get(ctx, f, in); ix != nil {
			var failed error
			ix.Each(nametable.Hash(name), func(off int64) bool {
				// Stop at the entry behind: it is either this one or none.
				failed = f.scanDir(ctx, in, off, func(e *entry) bool {
					match(e)
					return false
				})
				return failed == nil && !ok
			})
			if failed != nil || ok {
				return found, ok, failed
			}
			return entry{}, false, nil
		}
	}
	err := f.scanDir(ctx, in, 0, match)
	return found, ok, err
}
