package squashfs

import (
	"context"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/squashfs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// file reads the inode of a regular file, or returns why it cannot be read.
func (f *FS) file(ino vfs.Ino, off int64, in *inode) error {
	if err := f.readInode(ino, in); err != nil {
		return err
	}
	switch {
	case in.Type == ondisk.TypeDir:
		return syscall.EISDIR
	case in.Type != ondisk.TypeFile, off < 0:
		return syscall.EINVAL
	}
	return nil
}

// ReadAt implements [vfs.FS].
func (f *FS) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	var in inode
	if err := f.file(ino, off, &in); err != nil {
		return 0, err
	}
	size := int64(in.Size)
	if off >= size || len(p) == 0 {
		if off >= size {
			return 0, io.EOF
		}
		return 0, nil
	}
	want := p
	if int64(len(want)) > size-off {
		want = want[:size-off]
	}
	n, err := f.read(ctx, &in, want, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// read fills p from off, all of which lies in the file.
func (f *FS) read(ctx context.Context, in *inode, p []byte, off int64) (int, error) {
	blockSize := int64(f.sb.BlockSize)
	blocks := f.blockCount(in)
	n := 0
	if first := off / blockSize; first < blocks {
		l, err := f.list(ctx, in, first)
		if err != nil {
			return 0, err
		}
		last := min((off+int64(len(p))-1)/blockSize, blocks-1)
		f.readAhead(in, l, first, last)
		for i := first; i <= last; i++ {
			if err := ctx.Err(); err != nil {
				return n, err
			}
			w, err := l.read()
			if err != nil {
				return n, err
			}
			from := off + int64(n) - i*blockSize
			k := min(f.length(in, i)-from, int64(len(p)-n))
			if err := f.readBlockAt(ctx, in, w, p[n:n+int(k)], from); err != nil {
				return n, err
			}
			n += int(k)
		}
	}
	if n == len(p) {
		return n, nil
	}
	err := f.readFragment(ctx, in, p[n:], off+int64(n)-blocks*blockSize)
	if err != nil {
		return n, err
	}
	return len(p), nil
}

// length is how many bytes of a file are in its block i.
func (f *FS) length(in *inode, i int64) int64 {
	return min(int64(f.sb.BlockSize), int64(in.Size)-i*int64(f.sb.BlockSize))
}

// readBlockAt fills p from the byte from on of a block.
func (f *FS) readBlockAt(ctx context.Context, in *inode, w dataWord, p []byte, from int64) error {
	switch {
	case w.word == 0:
		clear(p)
		return nil
	case w.word.Raw():
		if err := f.checkRaw(in, w); err != nil {
			return err
		}
		return f.readRaw(in.name(), p, w.off+from)
	}
	data, err := f.dataBlock(ctx, in.name(), w.off, w.word)
	if err != nil {
		return err
	}
	if int64(len(data)) != f.length(in, w.block) {
		return in.name().corrupt(w.off, "block %d holds %d bytes instead of %d", w.block, len(data), f.length(in, w.block))
	}
	copy(p, data[from:])
	return nil
}

// checkRaw checks the place and the size of a block that is stored as it is.
func (f *FS) checkRaw(in *inode, w dataWord) error {
	if n := f.length(in, w.block); w.word.Size() != n {
		return in.name().corrupt(in.at, "block %d at byte %d is stored in %d bytes instead of %d", w.block, w.off, w.word.Size(), n)
	}
	return f.checkBlock(in.name(), w.off, w.word.Size())
}

// A tail is where the end of a file is in a fragment block.
type tail struct {
	ondisk.Fragment
	name structure
	at   int64 // where the table says so
	from int64
	size int64
}

// tail returns where the end of a file is that has no block of its own.
func (f *FS) tail(in *inode) (t tail, err error) {
	t.name = structure{what: "fragment table"}
	if uint64(in.Fragment) >= f.fragments.count {
		return t, in.name().corrupt(in.at, "its end is in fragment %d of %d", in.Fragment, f.fragments.count)
	}
	b, at, err := f.get(&f.fragments, uint64(in.Fragment), nil)
	if err != nil {
		return t, err
	}
	t.Fragment = ondisk.DecodeFragment(b)
	if t.Start > uint64(f.size) || !t.Word.Known() {
		return t, t.name.corrupt(at, "fragment %d: %#x bytes at byte %d", in.Fragment, uint32(t.Word), t.Start)
	}
	blockSize := int64(f.sb.BlockSize)
	t.at, t.from, t.size = at, int64(in.Offset), int64(in.Size)%blockSize
	if t.from > blockSize-t.size {
		return t, in.name().corrupt(in.at, "its end is %d bytes at byte %d of a fragment of %d", t.size, t.from, blockSize)
	}
	return t, f.checkBlock(t.name, int64(t.Start), t.Word.Size())
}

// inTail checks that the end of the file is within what the fragment block
// holds.
func (t *tail) inTail(in *inode, held int64) error {
	if t.from+t.size > held {
		return in.name().corrupt(in.at, "its end is %d bytes at byte %d of a fragment of %d", t.size, t.from, held)
	}
	return nil
}

// readFragment fills p from the byte from on of the end of a file.
func (f *FS) readFragment(ctx context.Context, in *inode, p []byte, from int64) error {
	t, err := f.tail(in)
	if err != nil {
		return err
	}
	if t.Word.Raw() || t.Word == 0 {
		if err := t.inTail(in, t.Word.Size()); err != nil {
			return err
		}
		return f.readRaw(t.name, p, int64(t.Start)+t.from+from)
	}
	data, err := f.dataBlock(ctx, t.name, int64(t.Start), t.Word)
	if err != nil {
		return err
	}
	if err := t.inTail(in, int64(len(data))); err != nil {
		return err
	}
	copy(p, data[t.from+from:])
	return nil
}
