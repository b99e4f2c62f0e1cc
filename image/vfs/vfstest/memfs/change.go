package memfs

import (
	"context"
	"math"
	"strings"
	"syscall"

	"github.com/resflash/resflash/image/vfs"
)

// Setattr implements [vfs.WritableFS].
func (fs *FS) Setattr(_ context.Context, ino vfs.Ino, set vfs.SetAttr) (vfs.Attr, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.node(ino)
	if err != nil {
		return vfs.Attr{}, err
	}
	if set.Size != nil {
		switch {
		case n.attr.Mode.IsDir():
			return vfs.Attr{}, syscall.EISDIR
		case !n.attr.Mode.IsRegular() || *set.Size < 0:
			return vfs.Attr{}, syscall.EINVAL
		}
	}
	if err := fs.opt.Limits.Refused(n.attr.Mode, set); err != nil {
		return vfs.Attr{}, err
	}
	flags := n.attr.Flags
	if set.Flags != nil {
		if fs.opt.NoFlags && *set.Flags != 0 {
			return vfs.Attr{}, syscall.EOPNOTSUPP
		}
		flags = *set.Flags
	}
	other := set
	other.Flags = nil
	switch {
	case set == vfs.SetAttr{}:
		return n.attr, nil
	case other != vfs.SetAttr{} && n.attr.Flags&(immutable|appendOnly) != 0 && flags&(immutable|appendOnly) != 0:
		// Flags may be taken away in the same call, or set by it.
		return vfs.Attr{}, syscall.EPERM
	case set.Size != nil && *set.Size > fs.opt.MaxSize:
		return vfs.Attr{}, syscall.EFBIG
	}
	n = fs.edit(n)
	if set.Size != nil {
		if err := fs.resize(n, *set.Size); err != nil {
			return vfs.Attr{}, err
		}
	}
	a := &n.attr
	fs.changed(n)
	if set.Size != nil {
		fs.touch(n)
	}
	if fs.opt.Limits.Apply != nil {
		if ino != rootIno || !fs.opt.Limits.BareRoot {
			fs.opt.Limits.Apply(a, set)
		}
		return n.attr, nil
	}
	if set.Mode != nil {
		a.Mode = a.Mode.Type() | set.Mode.Perm()
	}
	for _, v := range []struct{ to, from *uint32 }{{&a.UID, set.UID}, {&a.GID, set.GID}} {
		if v.from != nil {
			*v.to = *v.from
		}
	}
	a.Flags = flags
	if set.Atime != nil {
		a.Atime = *set.Atime
	}
	if set.Mtime != nil {
		a.Mtime = *set.Mtime
	}
	if set.Btime != nil {
		a.Btime = *set.Btime
	}
	return n.attr, nil
}

// resize makes n size bytes long.
func (fs *FS) resize(n *node, size int64) error {
	if err := fs.thaw(n); err != nil {
		return err
	}
	if size < n.attr.Size {
		bs := int64(fs.opt.BlockSize)
		keep := n.find((size + bs - 1) / bs)
		clear(n.blocks[keep:])
		n.blocks = n.blocks[:keep]
		if size%bs != 0 && n.has(size/bs) {
			b, _ := fs.block(&n.content, size/bs)
			b.zero(size%bs, bs)
		}
		fs.count(n)
	}
	if fs.opt.Limits.NoHoles && size > n.attr.Size && !fs.reserve(n, n.attr.Size, size) {
		return syscall.ENOSPC
	}
	n.attr.Size = size
	return nil
}

// WriteAt implements [vfs.WritableFS]. To a file that is append-only, what
// begins at its end may be written.
func (fs *FS) WriteAt(_ context.Context, ino vfs.Ino, p []byte, off int64) (int, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.file(ino)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, syscall.EINVAL
	case n.attr.Flags&immutable != 0, n.attr.Flags&appendOnly != 0 && off != n.attr.Size:
		return 0, syscall.EPERM
	case int64(len(p)) > math.MaxInt64-off || int64(len(p))+off > fs.opt.MaxSize:
		return 0, syscall.EFBIG
	case len(p) == 0:
		return 0, nil
	}
	n = fs.edit(n)
	if err := fs.thaw(n); err != nil {
		return 0, err
	}
	if fs.opt.Limits.NoHoles && off > n.attr.Size && !fs.reserve(n, n.attr.Size, off+1) {
		return 0, syscall.ENOSPC
	}
	bs := int64(fs.opt.BlockSize)
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if !fs.room(n, at/bs) {
			err = syscall.ENOSPC
			break
		}
		piece := p[done:]
		if int64(len(piece)) > bs-at%bs {
			piece = piece[:bs-at%bs]
		}
		b, _ := fs.block(&n.content, at/bs)
		b.write(piece, at%bs)
		done += len(piece)
	}
	fs.count(n)
	if done > 0 {
		n.attr.Size = max(n.attr.Size, off+int64(done))
		fs.touch(n)
	}
	return done, err
}

// fill gives a file that has no number yet its contents.
func (fs *FS) fill(n *node, p []byte) error {
	if int64(len(p)) > fs.opt.MaxSize {
		return syscall.EFBIG
	}
	bs := int64(fs.opt.BlockSize)
	// Not counted as used before it is put under its number.
	defer func() { fs.used -= n.attr.Blocks }()
	for at := int64(0); at < int64(len(p)); at += bs {
		if !fs.room(n, at/bs) {
			return syscall.ENOSPC
		}
		b, _ := fs.block(&n.content, at/bs)
		b.write(p[at:min(at+bs, int64(len(p)))], 0)
	}
	fs.count(n)
	n.attr.Size = int64(len(p))
	return nil
}

// room says whether there is space for the block num of n, which may be there
// already.
func (fs *FS) room(n *node, num int64) bool {
	if fs.opt.Capacity == 0 || n.has(num) {
		return true
	}
	fs.count(n)
	return fs.used*512+int64(fs.opt.BlockSize) <= fs.opt.Capacity
}

// Fallocate implements [vfs.Fallocater]. Space beyond the end of the file is
// not kept.
func (fs *FS) Fallocate(_ context.Context, ino vfs.Ino, mode vfs.AllocMode, off, length int64) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.file(ino)
	switch {
	case err == syscall.EINVAL:
		return syscall.ENODEV
	case err != nil:
		return err
	case off < 0 || length <= 0:
		return syscall.EINVAL
	}
	punch, zero := mode&vfs.AllocPunchHole != 0, mode&vfs.AllocZeroRange != 0
	switch {
	case mode&^(vfs.AllocKeepSize|vfs.AllocPunchHole|vfs.AllocZeroRange) != 0,
		punch && zero, punch && mode&vfs.AllocKeepSize == 0, fs.opt.Limits.NoHoles && mode != 0:
		return syscall.EOPNOTSUPP
	case n.attr.Flags&(immutable|appendOnly) != 0:
		return syscall.EPERM
	case length > math.MaxInt64-off:
		return syscall.EFBIG
	}
	end := off + length
	if mode&vfs.AllocKeepSize == 0 && end > fs.opt.MaxSize {
		return syscall.EFBIG
	}
	n = fs.edit(n)
	if err := fs.thaw(n); err != nil {
		return err
	}
	grow := mode&vfs.AllocKeepSize == 0 && end > n.attr.Size
	if !grow {
		end = min(end, n.attr.Size)
	}
	// As much as there is space for; the size grows when it is all there.
	if !punch && off < end && !fs.reserve(n, off, end) {
		return syscall.ENOSPC
	}
	if punch || zero {
		fs.wipe(n, off, end, punch)
	}
	if grow {
		n.attr.Size = end
	}
	fs.count(n)
	fs.touch(n)
	return nil
}

// reserve allocates every block between off and end, or none.
func (fs *FS) reserve(n *node, off, end int64) bool {
	bs := int64(fs.opt.BlockSize)
	was := append([]block(nil), n.blocks...)
	for num := off / bs; num*bs < end; num++ {
		if !fs.room(n, num) {
			n.blocks = was
			fs.count(n)
			return false
		}
		fs.block(&n.content, num)
	}
	fs.count(n)
	return true
}

// wipe makes the bytes between off and end zeros; what is a whole block, or
// reaches to the end of the file, becomes a hole if punch.
func (fs *FS) wipe(n *node, off, end int64, punch bool) {
	bs := int64(fs.opt.BlockSize)
	kept := n.blocks[:0]
	for _, b := range n.blocks {
		from, to := max(off-b.num*bs, 0), min(end-b.num*bs, bs)
		last := end >= n.attr.Size && b.num*bs+bs >= n.attr.Size
		switch {
		case from >= to:
		case punch && from == 0 && (to == bs || last):
			continue
		default:
			p := b.page
			if p.epoch != fs.epoch {
				p = &page{epoch: fs.epoch, data: append([]byte(nil), p.data...)}
				b.page = p
			}
			p.zero(from, to)
		}
		kept = append(kept, b)
	}
	clear(n.blocks[len(kept):])
	n.blocks = kept
}

// SetXattr implements [vfs.XattrWriter].
func (fs *FS) SetXattr(_ context.Context, ino vfs.Ino, name string, value []byte, create, replace bool) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.xattrNode(ino, name)
	if err != nil {
		return err
	}
	_, there := n.xattrs[name]
	switch {
	case create && there:
		return syscall.EEXIST
	case replace && !there:
		return syscall.ENODATA
	case n.attr.Flags&(immutable|appendOnly) != 0:
		return syscall.EPERM
	}
	n = fs.edit(n)
	n.setXattr(name, value)
	n.attr.Ctime = fs.now()
	return nil
}

// RemoveXattr implements [vfs.XattrWriter].
func (fs *FS) RemoveXattr(_ context.Context, ino vfs.Ino, name string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n, err := fs.xattrNode(ino, name)
	if err != nil {
		return err
	}
	switch _, there := n.xattrs[name]; {
	case !there:
		return syscall.ENODATA
	case n.attr.Flags&(immutable|appendOnly) != 0:
		return syscall.EPERM
	}
	n = fs.edit(n)
	n.setXattr(name, nil)
	delete(n.xattrs, name)
	n.attr.Ctime = fs.now()
	return nil
}

// xattrNode returns the file ino, if it may have an attribute of that name.
func (fs *FS) xattrNode(ino vfs.Ino, name string) (*node, error) {
	n, err := fs.node(ino)
	if err != nil {
		return nil, err
	}
	space, rest, _ := strings.Cut(name, ".")
	switch space {
	case "user", "trusted", "security", "system":
	default:
		return nil, syscall.ENOTSUP
	}
	switch {
	case fs.opt.NoXattrs:
		return nil, syscall.ENOTSUP
	case rest == "":
		return nil, syscall.EINVAL
	case len(name) > 255:
		return nil, syscall.ERANGE
	}
	return n, nil
}

// setXattr gives n an attribute; it owns its map afterwards.
func (n *node) setXattr(name string, value []byte) {
	all := make(map[string][]byte, len(n.xattrs)+1)
	for k, v := range n.xattrs {
		all[k] = v
	}
	all[name] = append([]byte{}, value...)
	n.xattrs = all
}

// Xattrs implements [vfs.Xattrer].
func (fs *FS) Xattrs(_ context.Context, ino vfs.Ino) (map[string][]byte, error) {
	fs.mu.RLock()
	defer fs.mu.RUnlock()
	n, err := fs.node(ino)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte, len(n.xattrs))
	for name, value := range n.xattrs {
		all[name] = append([]byte{}, value...)
	}
	return all, nil
}

// Restore gives the file ino all its attributes, but for the number, its size
// and the blocks that it has: for a model that has to follow what somebody
// else did.
func (fs *FS) Restore(ino vfs.Ino, attr vfs.Attr) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.edit(fs.nodes[ino])
	attr.Ino, attr.Size, attr.Blocks = ino, n.attr.Size, n.attr.Blocks
	n.attr = attr
}

// Wipe makes zeros of what there is in length bytes of the file ino, and touches
// nothing else: for the same purpose.
func (fs *FS) Wipe(ino vfs.Ino, off, length int64) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.edit(fs.nodes[ino])
	if err := fs.thaw(n); err != nil {
		return err
	}
	fs.wipe(n, off, off+length, false)
	return nil
}
