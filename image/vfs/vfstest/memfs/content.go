package memfs

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sort"
	"syscall"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/vfs"
)

// content is what a regular file holds: the extents that it was built with or,
// once it has been written to, blocks.
type content struct {
	extents []extent // sorted by off, not overlapping; never changed
	blocks  []block  // sorted by num; what is not there is a hole
}

// extent is a run of bytes of a file: in memory, or on the device.
type extent struct {
	off, n int64
	data   []byte // nil: at devOff
	devOff int64
}

// block is a part of the file, num blocks from its start.
type block struct {
	num int64
	*page
}

// page is the data of a block; what is missing at its end is zeros. A page of
// another epoch is shared with a snapshot, and must not be changed.
type page struct {
	epoch uint64
	data  []byte
}

// file returns the regular file ino. Requires fs.mu.
func (fs *FS) file(ino vfs.Ino) (*node, error) {
	n, err := fs.node(ino)
	switch {
	case err != nil:
		return nil, err
	case n.attr.Mode.IsDir():
		return nil, syscall.EISDIR
	case !n.attr.Mode.IsRegular():
		return nil, syscall.EINVAL
	}
	return n, nil
}

// A span is a run of bytes in a file: data, or a hole.
type span struct {
	n      int64  // bytes from where it was asked for
	hole   bool   // zeros, and nothing allocated
	data   []byte // the bytes, as far as it goes: zeros behind; nil for what lies on the device
	devOff int64  // where on the device; -1 for what does not
}

// span returns what lies at off, which is inside the file.
func (n *node) span(off int64, blockSize int64) span {
	if len(n.blocks) == 0 {
		i := sort.Search(len(n.extents), func(i int) bool { return n.extents[i].off+n.extents[i].n > off })
		switch {
		case i == len(n.extents):
			return span{n: n.attr.Size - off, hole: true, devOff: -1}
		case n.extents[i].off > off:
			return span{n: min(n.extents[i].off, n.attr.Size) - off, hole: true, devOff: -1}
		}
		ext := n.extents[i]
		in := off - ext.off
		if ext.data == nil {
			return span{n: ext.n - in, devOff: ext.devOff + in}
		}
		return span{n: ext.n - in, data: ext.data[in:], devOff: -1}
	}
	num, in := off/blockSize, off%blockSize
	i := n.find(num)
	if i == len(n.blocks) {
		return span{n: n.attr.Size - off, hole: true, devOff: -1}
	}
	b := n.blocks[i]
	if b.num > num {
		return span{n: min(b.num*blockSize, n.attr.Size) - off, hole: true, devOff: -1}
	}
	s := span{n: min(blockSize-in, n.attr.Size-off), devOff: -1, data: []byte{}}
	if in < int64(len(b.data)) {
		s.data = b.data[in:min(in+s.n, int64(len(b.data)))]
	}
	return s
}

// find returns the place of the block num, or where it would be.
func (c *content) find(num int64) int {
	// Nearly always it is one of the last.
	if k := len(c.blocks); k == 0 || c.blocks[k-1].num < num {
		return k
	}
	return sort.Search(len(c.blocks), func(i int) bool { return c.blocks[i].num >= num })
}

// thaw turns the extents that n was built with into blocks.
func (fs *FS) thaw(n *node) error {
	if len(n.extents) == 0 {
		return nil
	}
	bs := int64(fs.opt.BlockSize)
	var blocks content
	for _, ext := range n.extents {
		data := ext.data
		if data == nil {
			var err error
			if data, err = blockio.ReadFull(fs.dev, ext.devOff, int(ext.n)); err != nil {
				return err
			}
		}
		for done := int64(0); done < ext.n; {
			at := ext.off + done
			k := min(bs-at%bs, ext.n-done)
			b, _ := fs.block(&blocks, at/bs)
			b.write(data[done:done+k], at%bs)
			done += k
		}
	}
	n.extents, n.blocks = nil, blocks.blocks
	fs.count(n)
	return nil
}

// count makes the blocks that n says it has those that it has. Requires fs.mu.
func (fs *FS) count(n *node) {
	blocks := int64(len(n.blocks)) * int64(fs.opt.BlockSize) / 512
	fs.used += blocks - n.attr.Blocks
	n.attr.Blocks = blocks
}

// block returns the block num of c as it may be changed, allocating it if need
// be.
func (fs *FS) block(c *content, num int64) (b *page, isNew bool) {
	i := c.find(num)
	if i < len(c.blocks) && c.blocks[i].num == num {
		p := c.blocks[i].page
		if p.epoch != fs.epoch {
			p = &page{epoch: fs.epoch, data: bytes.Clone(p.data)}
			c.blocks[i].page = p
		}
		return p, false
	}
	p := &page{epoch: fs.epoch}
	c.blocks = slices.Insert(c.blocks, i, block{num, p})
	return p, true
}

// has reports whether the block num is allocated.
func (c *content) has(num int64) bool {
	i := c.find(num)
	return i < len(c.blocks) && c.blocks[i].num == num
}

// write puts data at in.
func (p *page) write(data []byte, in int64) {
	if have := int64(len(p.data)); have < in {
		p.data = append(p.data, make([]byte, in-have)...)
	}
	k := copy(p.data[in:], data)
	p.data = append(p.data, data[k:]...)
}

// zero makes the bytes from in to end zeros.
func (p *page) zero(in, end int64) {
	if have := int64(len(p.data)); end < have {
		clear(p.data[in:end])
	} else if in < have {
		p.data = p.data[:in]
	}
}

// ReadAt implements [vfs.FS].
func (fs *FS) ReadAt(_ context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.file(ino)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, syscall.EINVAL
	case off >= n.attr.Size:
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > n.attr.Size-off {
		p, end = p[:n.attr.Size-off], io.EOF
	}
	for done := 0; done < len(p); {
		s := n.span(off+int64(done), int64(fs.opt.BlockSize))
		piece := p[done:]
		if s.n < int64(len(piece)) {
			piece = piece[:s.n]
		}
		if s.hole || s.data != nil {
			clear(piece[copy(piece, s.data):])
		} else if k, err := fs.dev.ReadAt(piece, s.devOff); k < len(piece) {
			if err == io.EOF { // of the device, not of the file
				err = io.ErrUnexpectedEOF
			}
			return done + k, err
		}
		done += len(piece)
	}
	return len(p), end
}

// Map implements [vfs.Mapper].
func (fs *FS) Map(_ context.Context, ino vfs.Ino, off int64) (devOff, length int64, err error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.file(ino)
	switch {
	case err != nil:
		return 0, 0, err
	case off < 0:
		return 0, 0, syscall.EINVAL
	case off >= n.attr.Size:
		return 0, 0, io.EOF
	}
	s := n.span(off, int64(fs.opt.BlockSize))
	return s.devOff, s.n, nil
}

// SeekData implements [vfs.HoleSeeker].
func (fs *FS) SeekData(_ context.Context, ino vfs.Ino, off int64) (int64, error) {
	return fs.seek(ino, off, false)
}

// SeekHole implements [vfs.HoleSeeker].
func (fs *FS) SeekHole(_ context.Context, ino vfs.Ino, off int64) (int64, error) {
	return fs.seek(ino, off, true)
}

func (fs *FS) seek(ino vfs.Ino, off int64, hole bool) (int64, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.file(ino)
	if err != nil {
		return 0, err
	}
	size := n.attr.Size
	if off < 0 || off >= size {
		return 0, syscall.ENXIO
	}
	for off < size {
		s := n.span(off, int64(fs.opt.BlockSize))
		if s.hole == hole {
			return off, nil
		}
		off += s.n
	}
	if hole {
		return size, nil
	}
	return 0, syscall.ENXIO
}
