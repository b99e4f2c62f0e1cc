package testdamage

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/vfs"
)

// Marks say which files a damage has touched.
type Marks struct {
	Touched map[uint32]bool // inodes whose own contents or attributes were damaged
	Renamed map[uint32]bool // inodes of which a name was, or may have been
	// Shared says that a directory may now show blocks of another, and so give
	// its files more names.
	Shared bool
}

func newMarks() Marks { return Marks{Touched: map[uint32]bool{}, Renamed: map[uint32]bool{}} }

// A File is what a reader sees of a file, but for its names.
type File struct {
	Attr    string // attributes other than the link count
	Nlink   uint32
	Content string            // hash of what it holds, or the target
	Names   map[string]uint32 // of a directory
}

// Files is every file of a file system, by inode.
type Files map[uint32]File

// Snapshot reads all of a file system with the driver.
func (f *FFS) Snapshot() (Files, error) {
	ctx := context.Background()
	fsys, err := ffs.Open(ctx, blockio.NewMemory(f.Data))
	if err != nil {
		return nil, err
	}
	return snapshot(ctx, fsys, f.Inodes)
}

// snapshot reads the files whose inodes each names.
func snapshot(ctx context.Context, fsys vfs.FS, each func(func(n uint32))) (files Files, err error) {
	files = Files{}
	buf := make([]byte, 1<<18)
	each(func(n uint32) {
		if err != nil {
			return
		}
		var file File
		if file, err = read(ctx, fsys, vfs.Ino(n), buf); err != nil {
			err = fmt.Errorf("inode %d: %w", n, err)
		}
		files[n] = file
	})
	return files, err
}

func read(ctx context.Context, fsys vfs.FS, n vfs.Ino, buf []byte) (File, error) {
	a, err := fsys.Getattr(ctx, n)
	if err != nil {
		return File{}, err
	}
	out := File{Nlink: uint32(a.Nlink)}
	a.Nlink = 0
	switch a.Mode.Type() {
	case vfs.Dir:
		a.Size, a.Blocks = 0, 0 // a directory may grow
		out.Names = map[string]uint32{}
		for e, err := range fsys.ReadDir(ctx, n, 0) {
			if err != nil {
				return out, err
			}
			out.Names[e.Name] = uint32(e.Ino)
		}
	case vfs.Symlink:
		if out.Content, err = fsys.Readlink(ctx, n); err != nil {
			return out, err
		}
	case vfs.Regular:
		sum := sha256.New()
		for off := int64(0); off < min(a.Size, maxRead); {
			k, err := fsys.ReadAt(ctx, n, buf, off)
			sum.Write(buf[:k])
			off += int64(k)
			if err != nil && err != io.EOF {
				return out, err
			}
			if k == 0 {
				break
			}
		}
		out.Content = fmt.Sprintf("%x", sum.Sum(nil))
	}
	out.Attr = fmt.Sprintf("%+v", a)
	return out, nil
}

// maxRead bounds how much of a file is read: a damaged one may be all holes.
const maxRead = 64 << 20

const rootIno = 2

// Compare returns how the files that the damage did not touch are not what they
// were before.
func (f *Marks) Compare(before, after Files) (problems []string) {
	for n, was := range before {
		if f.Touched[n] {
			continue
		}
		is, ok := after[n]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("inode %d is gone", n))
			continue
		case was.Attr != is.Attr:
			problems = append(problems, fmt.Sprintf("inode %d was %s, is %s", n, was.Attr, is.Attr))
		case was.Content != is.Content:
			problems = append(problems, fmt.Sprintf("inode %d holds something else", n))
		case was.Nlink != is.Nlink && !f.Renamed[n] && n != rootIno && !(f.Shared && is.Nlink > was.Nlink):
			problems = append(problems, fmt.Sprintf("inode %d had %d links, has %d", n, was.Nlink, is.Nlink))
		}
		for name, to := range was.Names {
			if is.Names[name] != to && !f.Touched[to] {
				problems = append(problems, fmt.Sprintf("%q in directory %d was inode %d, is %d", name, n, to, is.Names[name]))
			}
		}
	}
	return problems
}
