package vfs

import (
	"context"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"
)

// The io/fs face of a Tree.
var (
	_ fs.StatFS     = (*Tree)(nil)
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.ReadFileFS = (*Tree)(nil)
	_ fs.ReadLinkFS = (*Tree)(nil)
)

func (t *Tree) find(op, name string, follow bool) (Attr, error) {
	if !fs.ValidPath(name) {
		return Attr{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	_, attr, err := t.resolve(context.Background(), op, name, follow)
	return attr, err
}

// Open implements [fs.FS].
func (t *Tree) Open(name string) (fs.File, error) {
	attr, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	info := &fileInfo{path.Base(name), attr}
	if attr.Mode.IsDir() {
		return &openDir{t: t, name: name, info: info}, nil
	}
	return &openFile{t: t, name: name, info: info, SectionReader: t.Reader(context.Background(), attr)}, nil
}

// Stat implements [fs.StatFS]; it follows symbolic links.
func (t *Tree) Stat(name string) (fs.FileInfo, error) {
	attr, err := t.find("stat", name, true)
	if err != nil {
		return nil, err
	}
	return &fileInfo{path.Base(name), attr}, nil
}

// Lstat implements [fs.ReadLinkFS].
func (t *Tree) Lstat(name string) (fs.FileInfo, error) {
	attr, err := t.find("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return &fileInfo{path.Base(name), attr}, nil
}

// ReadLink implements [fs.ReadLinkFS].
func (t *Tree) ReadLink(name string) (string, error) {
	attr, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	target, err := t.fs.Readlink(context.Background(), attr.Ino)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadDir implements [fs.ReadDirFS].
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	attr, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	return t.readDir(name, attr)
}

func (t *Tree) readDir(name string, attr Attr) ([]fs.DirEntry, error) {
	list, err := t.List(context.Background(), attr.Ino)
	entries := make([]fs.DirEntry, len(list))
	for i, e := range list {
		entries[i] = &dirEntry{t, e}
	}
	if err != nil {
		err = &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return entries, err
}

// maxReadFile bounds the contents that ReadFile returns in one piece.
const maxReadFile = 1 << 30

// ReadFile implements [fs.ReadFileFS]. Files over 1 GiB are EFBIG: a sparse
// file may claim any size. Open them instead.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	attr, err := t.find("read", name, true)
	if err != nil {
		return nil, err
	}
	fail := func(err error) ([]byte, error) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	if attr.Size > maxReadFile {
		return fail(syscall.EFBIG)
	}
	if attr.Mode.IsDir() {
		return fail(syscall.EISDIR)
	}
	p := make([]byte, attr.Size)
	if n, err := t.fs.ReadAt(context.Background(), attr.Ino, p, 0); n < len(p) && err != nil {
		return fail(err)
	}
	return p, nil
}

type fileInfo struct {
	name string
	attr Attr
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.attr.Size }
func (i *fileInfo) Mode() fs.FileMode  { return i.attr.Mode.FileMode() }
func (i *fileInfo) ModTime() time.Time { return i.attr.Mtime }
func (i *fileInfo) IsDir() bool        { return i.attr.Mode.IsDir() }
func (i *fileInfo) Sys() any           { return &i.attr }
func (i *fileInfo) String() string     { return fs.FormatFileInfo(i) }

type dirEntry struct {
	t *Tree
	e DirEntry
}

func (d *dirEntry) Name() string { return d.e.Name }
func (d *dirEntry) IsDir() bool  { return d.Type().IsDir() }

func (d *dirEntry) Type() fs.FileMode {
	if d.e.Type != 0 {
		return d.e.Type.FileMode().Type()
	}
	info, err := d.Info()
	if err != nil {
		return fs.ModeIrregular
	}
	return info.Mode().Type()
}

func (d *dirEntry) Info() (fs.FileInfo, error) {
	attr, err := d.t.fs.Getattr(context.Background(), d.e.Ino)
	if err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: d.e.Name, Err: err}
	}
	return &fileInfo{d.e.Name, attr}, nil
}

func (d *dirEntry) String() string { return fs.FormatDirEntry(d) }

type openFile struct {
	*io.SectionReader
	t      *Tree
	name   string
	info   *fileInfo
	closed bool
}

func (f *openFile) Stat() (fs.FileInfo, error) {
	if f.closed {
		return nil, &fs.PathError{Op: "stat", Path: f.name, Err: fs.ErrClosed}
	}
	return f.info, nil
}

func (f *openFile) Read(p []byte) (int, error) {
	if f.closed {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrClosed}
	}
	n, err := f.SectionReader.Read(p)
	if err != nil && err != io.EOF {
		err = &fs.PathError{Op: "read", Path: f.name, Err: err}
	}
	return n, err
}

func (f *openFile) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

type openDir struct {
	t      *Tree
	name   string
	info   *fileInfo
	list   []fs.DirEntry
	read   bool
	closed bool
}

func (d *openDir) Stat() (fs.FileInfo, error) {
	if d.closed {
		return nil, &fs.PathError{Op: "stat", Path: d.name, Err: fs.ErrClosed}
	}
	return d.info, nil
}

func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: syscall.EISDIR}
}

func (d *openDir) Close() error {
	d.closed = true
	return nil
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.closed {
		return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: fs.ErrClosed}
	}
	if !d.read {
		list, err := d.t.readDir(d.name, d.info.attr)
		if err != nil {
			return list, err
		}
		d.list, d.read = list, true
	}
	if n <= 0 {
		list := d.list
		d.list = nil
		return list, nil
	}
	if len(d.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.list))
	list := d.list[:n:n]
	d.list = d.list[n:]
	return list, nil
}
