package ext4

import (
	"context"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// file reads the inode of a regular file whose contents can be read.
func (fs *FS) file(ino vfs.Ino, in *inode) error {
	if fs.recent.load(ino, in) {
		return nil
	}
	if err := fs.readInode(ino, in); err != nil {
		return err
	}
	switch {
	case in.mode().IsDir():
		return syscall.EISDIR
	case !in.mode().IsRegular():
		return syscall.EINVAL
	}
	if err := in.readable(); err != nil {
		return err
	}
	fs.recent.store(in)
	return nil
}

// readable refuses contents that are not there in plain.
func (in *inode) readable() error {
	switch {
	case in.has(ondisk.FlEncrypt):
		return &vfs.NotSupportedError{What: "encrypted file, " + in.name(), Off: in.off}
	case in.has(ondisk.FlCompressed):
		return &vfs.NotSupportedError{What: "compressed file, " + in.name(), Off: in.off}
	}
	return nil
}

// ReadAt reads the contents of a regular file. What lies together on the
// device is read at once, straight into p.
func (fs *FS) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	var in inode
	if err := fs.file(ino, &in); err != nil {
		return 0, err
	}
	return fs.readFile(ctx, &in, p, off)
}

// readFile reads contents of the file in.
func (fs *FS) readFile(ctx context.Context, in *inode, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if off >= in.size {
		return 0, io.EOF
	}
	short := false
	if int64(len(p)) > in.size-off {
		p, short = p[:in.size-off], true
	}
	n, err := fs.readData(ctx, in, p, off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// readData fills p from the blocks or the inline data of in.
//
// Requires off+len(p) <= in.size.
func (fs *FS) readData(ctx context.Context, in *inode, p []byte, off int64) (int, error) {
	if in.has(ondisk.FlInlineData) {
		data, err := fs.inlineData(in)
		if err != nil {
			return 0, err
		}
		n := copy(p, data[min(off, int64(len(data))):])
		clear(p[n:])
		return len(p), nil
	}
	m := fs.mapper(in)
	done := 0
	for done < len(p) {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		at := off + int64(done)
		lblk, skip := uint64(at/fs.blockSize), at%fs.blockSize
		left := int64(len(p) - done)
		r, err := m.run(lblk, uint64((skip+left+fs.blockSize-1)/fs.blockSize))
		if err != nil {
			return done, err
		}
		piece := p[done : done+int(min(int64(r.n)*fs.blockSize-skip, left))]
		if r.start == 0 {
			clear(piece)
		} else if err := devRead(fs.dev, piece, int64(r.start)*fs.blockSize+skip); err != nil {
			return done, err
		}
		done += len(piece)
	}
	return done, nil
}

// Map implements [vfs.Mapper]. Blocks that the journal holds a newer copy of
// are where that copy is.
func (fs *FS) Map(ctx context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	var in inode
	if err := fs.file(ino, &in); err != nil && err != syscall.EISDIR {
		return 0, 0, err
	}
	if off < 0 {
		return 0, 0, syscall.EINVAL
	}
	if off >= in.size {
		return 0, 0, io.EOF
	}
	left := in.size - off
	if in.has(ondisk.FlInlineData) {
		return -1, left, nil
	}
	lblk, skip := uint64(off/fs.blockSize), off%fs.blockSize
	m := fs.mapper(&in)
	r, err := m.run(lblk, uint64((skip+left+fs.blockSize-1)/fs.blockSize))
	if err != nil {
		return 0, 0, err
	}
	n = min(int64(r.n)*fs.blockSize-skip, left)
	if r.start == 0 {
		return -1, n, nil
	}
	devOff = int64(r.start)*fs.blockSize + skip
	if fs.over != nil {
		devOff, n = fs.over.locate(devOff, n)
	}
	return devOff, n, nil
}

// SeekData implements [vfs.HoleSeeker]. Blocks that are allocated but not
// written are holes, as they are to Linux unless it has newer data in memory.
func (fs *FS) SeekData(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return fs.seek(ctx, ino, off, true)
}

// SeekHole implements [vfs.HoleSeeker].
func (fs *FS) SeekHole(ctx context.Context, ino vfs.Ino, off int64) (int64, error) {
	return fs.seek(ctx, ino, off, false)
}

func (fs *FS) seek(ctx context.Context, ino vfs.Ino, off int64, data bool) (int64, error) {
	var in inode
	if err := fs.file(ino, &in); err != nil {
		return 0, err
	}
	return fs.seekIn(ctx, &in, off, data)
}

// seekIn returns the first offset from off on that is data or not. The end of a
// file is a hole.
func (fs *FS) seekIn(ctx context.Context, in *inode, off int64, data bool) (int64, error) {
	at, err := fs.nextChange(ctx, in, off, data)
	if err == nil && data && at >= in.size {
		err = syscall.ENXIO
	}
	return min(at, in.size), err
}

// nextChange is seekIn, but may return any offset at or behind the end.
func (fs *FS) nextChange(ctx context.Context, in *inode, off int64, data bool) (int64, error) {
	if off < 0 || off >= in.size {
		return 0, syscall.ENXIO
	}
	if in.has(ondisk.FlInlineData) {
		inline, err := fs.inlineData(in)
		if err != nil {
			return 0, err
		}
		switch end := int64(len(inline)); {
		case data == (off < end):
			return off, nil
		case data:
			return in.size, nil
		default:
			return end, nil
		}
	}
	m := fs.mapper(in)
	// Blocks of pointers that point to themselves make files of billions of
	// pieces. Real ones have no more than there are blocks, or a few times that
	// where files share them.
	most := 4*fs.blocks + 1024
	for step := uint64(0); off < in.size; step++ {
		if err := checkpoint(ctx, int(step)); err != nil {
			return 0, err
		}
		if step > most {
			return 0, in.corrupt("more pieces than there are blocks")
		}
		lblk := uint64(off / fs.blockSize)
		r, err := m.run(lblk, fileBlocks)
		if err != nil {
			return 0, err
		}
		if data == (r.start != 0) {
			return off, nil
		}
		off = int64(lblk+r.n) * fs.blockSize
	}
	return off, nil
}
