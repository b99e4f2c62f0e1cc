package fat

import (
	"context"
	"io"
	"syscall"

	"github.com/resflash/resflash/image/fat/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// file returns the entry of a regular file: EISDIR for a directory.
func (f *FS) file(ino vfs.Ino) (entry, error) {
	if ino == rootIno {
		return entry{}, syscall.EISDIR
	}
	e, err := f.entryAt(ino)
	if err == nil && e.dirent.Attr&ondisk.AttrDir != 0 {
		err = syscall.EISDIR
	}
	return e, err
}

// fileExtent returns the piece of a file at the byte offset off < size, which
// ends with the file. A chain that ends before is damage.
func (f *FS) fileExtent(ctx context.Context, e *entry, off, want int64) (extent, error) {
	first, size := f.firstCluster(&e.dirent), int64(e.dirent.Size)
	if !f.holds(first) {
		return extent{}, vfs.Corruptf(e.off, "directory entry",
			"a file of %d bytes begins in cluster %d (clusters %d to %d exist)",
			size, first, ondisk.FirstCluster, f.clusters+ondisk.FirstCluster-1)
	}
	x, err := f.extent(ctx, first, off, want)
	if err != nil {
		return x, err
	}
	if x.n == 0 {
		return x, vfs.Corruptf(e.off, "directory entry",
			"a file of %d bytes has no cluster for byte %d: the chain of cluster %d ends before", size, off, first)
	}
	x.n = min(x.n, size-off)
	if x.off+x.n > f.deviceBytes {
		if x.n = f.deviceBytes - x.off; x.n <= 0 {
			return extent{}, vfs.Corruptf(x.off, "file contents", "lie beyond the end of the device")
		}
	}
	return x, nil
}

// ReadAt implements [vfs.FS].
func (f *FS) ReadAt(ctx context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	e, err := f.file(ino)
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, syscall.EINVAL
	}
	size := int64(e.dirent.Size)
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= size {
			return n, io.EOF
		}
		x, err := f.fileExtent(ctx, &e, at, int64(len(p)-n))
		if err != nil {
			return n, err
		}
		part := p[n:]
		if int64(len(part)) > x.n {
			part = part[:x.n]
		}
		got, err := f.dev.ReadAt(part, x.off)
		n += got
		if got < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// mapAhead is how far Map looks for contiguous clusters, in bytes.
const mapAhead = 64 << 20

// Map implements [vfs.Mapper]. FAT has no holes.
func (f *FS) Map(ctx context.Context, ino vfs.Ino, off int64) (devOff, n int64, err error) {
	e, err := f.file(ino)
	if err != nil {
		return 0, 0, err
	}
	if off < 0 {
		return 0, 0, syscall.EINVAL
	}
	if off >= int64(e.dirent.Size) {
		return 0, 0, io.EOF
	}
	x, err := f.fileExtent(ctx, &e, off, mapAhead)
	return x.off, x.n, err
}

// Readlink implements [vfs.FS]: there are no symbolic links on FAT.
func (f *FS) Readlink(_ context.Context, ino vfs.Ino) (string, error) {
	if ino != rootIno {
		if _, err := f.entryAt(ino); err != nil {
			return "", err
		}
	}
	return "", syscall.EINVAL
}
