package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/resflash/resflash/image/vfs"
)

// Comparison is how to compare two trees. The zero value compares everything.
type Comparison struct {
	// ExactHoles wants the holes of got to be those of want. Otherwise holes
	// must hold zeros, which they do in any case.
	ExactHoles bool
	// SkipContents leaves out the contents of the files for which it is true.
	SkipContents func(path string, attr vfs.Attr) bool
	// SkipCtime leaves out Ctime and Btime, for drivers that cannot be told
	// what time it is.
	SkipCtime bool
	// SkipTimes leaves out all times.
	SkipTimes bool
}

// Compare compares two file systems, file by file: names, attributes, links,
// contents, extended attributes. The error says what differs first.
func (c Comparison) Compare(ctx context.Context, want, got vfs.FS) error {
	return newComparing(ctx, c, want, got).file("/", want.Root(), got.Root())
}

func newComparing(ctx context.Context, c Comparison, want, got vfs.FS) *comparing {
	return &comparing{
		Comparison: c, ctx: ctx, want: want, got: got,
		same: map[vfs.Ino]vfs.Ino{}, back: map[vfs.Ino]vfs.Ino{},
		a: make([]byte, 64<<10), b: make([]byte, 64<<10),
	}
}

type comparing struct {
	Comparison
	ctx        context.Context
	want, got  vfs.FS
	same, back map[vfs.Ino]vfs.Ino // what corresponds, by the names found so far
	a, b       []byte
}

// file compares what is at path in both.
func (c *comparing) file(path string, want, got vfs.Ino) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	other, seen := c.same[want]
	back, seenBack := c.back[got]
	if seen || seenBack {
		if other != got || back != want {
			return fmt.Errorf("%s: names of one file differ: inode %d is %d, where it was %d", path, want, got, other)
		}
		return nil
	}
	c.same[want], c.back[got] = got, want
	wa, ga, err := c.attrs(path, want, got)
	if err != nil {
		return err
	}
	if wa.Mode.IsDir() {
		return c.dir(path, wa, ga)
	}
	if err := c.body(path, wa, ga); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// unnamed compares files that have no name left.
func (c *comparing) unnamed(want, got vfs.Ino) error {
	wa, ga, err := c.attrs("", want, got)
	if err != nil {
		return err
	}
	if !wa.Mode.IsDir() {
		return c.body("", wa, ga)
	}
	for e, err := range c.got.ReadDir(c.ctx, got, 0) {
		return fmt.Errorf("a directory that was removed lists %q (%v)", e.Name, err)
	}
	return nil
}

// attrs gets and compares the attributes of a file.
func (c *comparing) attrs(path string, want, got vfs.Ino) (wa, ga vfs.Attr, err error) {
	if wa, err = c.want.Getattr(c.ctx, want); err != nil {
		return wa, ga, fmt.Errorf("%s: in the model: %w", path, err)
	}
	ga, err = c.got.Getattr(c.ctx, got)
	if err == nil {
		err = c.attr(wa, ga)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return wa, ga, err
}

// body compares what is not in the attributes of a file.
func (c *comparing) body(path string, want, got vfs.Attr) error {
	var err error
	switch want.Mode.Type() {
	case vfs.Regular:
		if c.SkipContents == nil || !c.SkipContents(path, want) {
			err = c.contents(want.Ino, got.Ino, want.Size)
		}
	case vfs.Symlink:
		err = c.target(want.Ino, got.Ino)
	}
	if err == nil {
		err = c.xattrs(want.Ino, got.Ino)
	}
	return err
}

// attr compares attributes, without numbers and what depends on the format.
func (c Comparison) attr(want, got vfs.Attr) error {
	type field struct {
		name      string
		want, got any
	}
	fields := []field{
		{"mode", want.Mode, got.Mode}, {"links", want.Nlink, got.Nlink},
		{"owner", want.UID, got.UID}, {"group", want.GID, got.GID},
		{"device", want.Rdev, got.Rdev}, {"flags", want.Flags, got.Flags},
	}
	if want == got {
		return nil
	}
	if !want.Mode.IsDir() {
		fields = append(fields, field{"size", want.Size, got.Size})
	}
	for _, f := range fields {
		if f.want != f.got {
			return fmt.Errorf("%s is %v, not %v", f.name, f.got, f.want)
		}
	}
	if c.SkipTimes {
		return nil
	}
	for _, f := range []struct {
		name      string
		want, got time.Time
		skip      bool
	}{
		{"atime", want.Atime, got.Atime, got.Atime.IsZero()},
		{"mtime", want.Mtime, got.Mtime, false},
		{"ctime", want.Ctime, got.Ctime, c.SkipCtime || got.Ctime.IsZero()},
		{"btime", want.Btime, got.Btime, c.SkipCtime || got.Btime.IsZero()},
	} {
		if !f.skip && !f.want.Equal(f.got) {
			return fmt.Errorf("%s is %v, not %v", f.name, f.got.UTC(), f.want.UTC())
		}
	}
	return nil
}

func (c *comparing) dir(path string, want, got vfs.Attr) error {
	if err := c.xattrs(want.Ino, got.Ino); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	list, err := entries(c.ctx, c.got, got.Ino)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	up, err := c.got.Lookup(c.ctx, got.Ino, "..")
	if err != nil {
		return fmt.Errorf("%s/..: %w", path, err)
	}
	wantUp, err := c.want.Lookup(c.ctx, want.Ino, "..")
	if err != nil {
		return fmt.Errorf("%s/..: in the model: %w", path, err)
	}
	if c.same[wantUp.Ino] != up.Ino {
		return fmt.Errorf("%s/..: is inode %d, not %d", path, up.Ino, c.same[wantUp.Ino])
	}
	type pair struct {
		name      string
		want, got vfs.Ino
	}
	var pairs []pair
	for e, err := range c.want.ReadDir(c.ctx, want.Ino, 0) {
		if err != nil {
			return fmt.Errorf("%s: in the model: %w", path, err)
		}
		other, ok := list[e.Name]
		switch {
		case !ok:
			return fmt.Errorf("%s: no entry %q", path, e.Name)
		case other.Type != 0 && other.Type != e.Type:
			return fmt.Errorf("%s: entry %q has type %o, not %o", path, e.Name, other.Type, e.Type)
		}
		delete(list, e.Name)
		pairs = append(pairs, pair{e.Name, e.Ino, other.Ino})
	}
	for name := range list {
		return fmt.Errorf("%s: unexpected entry %q", path, name)
	}
	if path == "/" {
		path = ""
	}
	for i, p := range pairs {
		if i%16 == 0 {
			if attr, err := c.got.Lookup(c.ctx, got.Ino, p.name); err != nil || attr.Ino != p.got {
				return fmt.Errorf("%s/%s: Lookup finds inode %d (%v), ReadDir %d", path, p.name, attr.Ino, err, p.got)
			}
		}
		if err := c.file(path+"/"+p.name, p.want, p.got); err != nil {
			return err
		}
	}
	return nil
}

func entries(ctx context.Context, fsys vfs.FS, dir vfs.Ino) (map[string]vfs.DirEntry, error) {
	list := map[string]vfs.DirEntry{}
	for e, err := range fsys.ReadDir(ctx, dir, 0) {
		if err != nil {
			return nil, err
		}
		if _, ok := list[e.Name]; ok {
			return nil, fmt.Errorf("entry %q is there twice", e.Name)
		}
		list[e.Name] = e
	}
	return list, nil
}

func (c *comparing) target(want, got vfs.Ino) error {
	a, err := c.want.Readlink(c.ctx, want)
	if err != nil {
		return fmt.Errorf("in the model: %w", err)
	}
	b, err := c.got.Readlink(c.ctx, got)
	if err == nil && a != b {
		err = fmt.Errorf("links to %q, not %q", b, a)
	}
	return err
}

func (c *comparing) xattrs(want, got vfs.Ino) error {
	wx, ok := c.want.(vfs.Xattrer)
	gx, gotOK := c.got.(vfs.Xattrer)
	if !ok || !gotOK {
		return nil
	}
	a, err := wx.Xattrs(c.ctx, want)
	if err != nil {
		return fmt.Errorf("in the model: %w", err)
	}
	b, err := gx.Xattrs(c.ctx, got)
	if err != nil {
		return err
	}
	for name, value := range a {
		other, ok := b[name]
		if !ok || !bytes.Equal(value, other) {
			return fmt.Errorf("extended attribute %s is %q, not %q", name, other, value)
		}
	}
	if len(b) > len(a) {
		return fmt.Errorf("%d extended attributes, not %d", len(b), len(a))
	}
	return nil
}

// data returns where the next data lies from off on, or size.
func (c *comparing) data(fsys vfs.FS, ino vfs.Ino, off, size int64) (int64, error) {
	h, ok := fsys.(vfs.HoleSeeker)
	if !ok {
		return off, nil
	}
	at, err := h.SeekData(c.ctx, ino, off)
	if errors.Is(err, syscall.ENXIO) {
		return size, nil
	}
	return at, err
}

// hole returns where the next hole begins, or size.
func (c *comparing) hole(fsys vfs.FS, ino vfs.Ino, off, size int64) (int64, error) {
	h, ok := fsys.(vfs.HoleSeeker)
	if !ok {
		return size, nil
	}
	return h.SeekHole(c.ctx, ino, off)
}

// contents compares what two files hold, run by run of what is a hole or data
// in want.
func (c *comparing) contents(want, got vfs.Ino, size int64) error {
	for off := int64(0); off < size; {
		data, err := c.data(c.want, want, off, size)
		if err != nil {
			return fmt.Errorf("in the model: data from byte %d: %w", off, err)
		}
		if err := c.emptiness(want, got, off, data, size); err != nil || data == size {
			return err
		}
		end, err := c.hole(c.want, want, data, size)
		if err != nil {
			return fmt.Errorf("in the model: hole from byte %d: %w", data, err)
		}
		other, err := c.hole(c.got, got, data, size)
		switch {
		case err != nil:
			return fmt.Errorf("hole from byte %d: %w", data, err)
		case c.ExactHoles && end != other:
			return fmt.Errorf("from byte %d, a hole begins at byte %d, not %d", data, other, end)
		}
		if err := c.bytes(want, got, data, end); err != nil {
			return err
		}
		off = end
	}
	return nil
}

// sampled is the size of a hole that is not read whole where the other file has
// none: a driver that keeps no holes may have very much of nothing.
const sampled = 4 << 20

// emptiness looks at what is a hole in want, from off to end.
func (c *comparing) emptiness(want, got vfs.Ino, off, end, size int64) error {
	other, err := c.data(c.got, got, off, size)
	switch {
	case err != nil:
		return fmt.Errorf("data from byte %d: %w", off, err)
	case other < off, c.ExactHoles && other != end:
		return fmt.Errorf("from byte %d, data begins at byte %d, not %d", off, other, end)
	case other >= end:
		return nil
	case end-other <= sampled:
		return c.bytes(want, got, other, end)
	}
	if err := c.bytes(want, got, other, other+sampled/2); err != nil {
		return err
	}
	return c.bytes(want, got, end-sampled/2, end)
}

// bytes compares what lies from off to end.
func (c *comparing) bytes(want, got vfs.Ino, off, end int64) error {
	for off < end {
		n := min(int64(len(c.a)), end-off)
		if err := c.same64K(want, got, off, n); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// same64K compares the n bytes at off, which must be there.
func (c *comparing) same64K(want, got vfs.Ino, off, n int64) error {
	if k, err := c.want.ReadAt(c.ctx, want, c.a[:n], off); int64(k) < n {
		return fmt.Errorf("in the model: %d of %d bytes at byte %d: %w", k, n, off, err)
	}
	k, err := c.got.ReadAt(c.ctx, got, c.b[:n], off)
	if int64(k) < n {
		return fmt.Errorf("%d of %d bytes at byte %d: %w", k, n, off, err)
	}
	if err != nil && err != io.EOF {
		return fmt.Errorf("read at byte %d: %w", off, err)
	}
	if !bytes.Equal(c.a[:n], c.b[:n]) {
		i := int64(0)
		for c.a[i] == c.b[i] {
			i++
		}
		return fmt.Errorf("byte %d is %#x, not %#x", off+i, c.b[i], c.a[i])
	}
	return nil
}
