package ffs

import (
	"context"
	"fmt"

	"github.com/resflash/resflash/image/ffs/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Xattrs implements [vfs.Xattrer] for FFS2 of FreeBSD and of NetBSD 10. The
// namespaces are called as FreeBSD calls them; its access control lists are
// returned as they are on disk, under "system.posix1e.acl_access" and the
// like, because their format is not that of Linux.
func (f *FS) Xattrs(ctx context.Context, ino vfs.Ino) (map[string][]byte, error) {
	var in inode
	if err := f.read(ino, &in); err != nil {
		return nil, err
	}
	return f.xattrs(ctx, &in)
}

func (f *FS) xattrs(ctx context.Context, in *inode) (map[string][]byte, error) {
	attrs := make(map[string][]byte)
	if !f.hasXattrs(in) {
		return attrs, nil
	}
	area, err := f.xattrArea(ctx, in)
	if err != nil {
		return nil, err
	}
	for rest := area; len(rest) > 0; {
		e, n, ok := ondisk.DecodeExtattr(rest, f.geo.order)
		if !ok {
			return nil, in.corrupt("extended attribute at byte %d of %d has a bad length", len(area)-len(rest), len(area))
		}
		rest = rest[n:]
		var space string
		switch e.Namespace {
		case ondisk.ExtattrUser:
			space = "user."
		case ondisk.ExtattrSystem:
			space = "system."
		default: // a deleted one
			continue
		}
		if len(e.Name) > 0 {
			attrs[space+string(e.Name)] = append([]byte{}, e.Content...)
		}
	}
	return attrs, nil
}

// hasXattrs reports whether the area of extended attributes means anything.
// OpenBSD has none. NetBSD before 10 had none either, and may have left
// garbage there; that is why 10 has a magic number of its own.
func (f *FS) hasXattrs(in *inode) bool {
	if f.geo.version != ondisk.V2 || in.ExtSize == 0 {
		return false
	}
	switch f.geo.flavour {
	case ondisk.OpenBSD:
		return false
	case ondisk.NetBSD:
		return f.geo.hasEA
	}
	return true
}

// xattrArea reads the extended attribute area: up to two blocks, of which the
// last is only as many fragments as are needed.
func (f *FS) xattrArea(ctx context.Context, in *inode) ([]byte, error) {
	g := &f.geo
	size := int64(in.ExtSize)
	if size > ondisk.NExt*g.blockSize {
		return nil, in.corrupt("%d bytes of extended attributes", size)
	}
	area := make([]byte, size)
	for i := range int64(ondisk.NExt) {
		off := i << g.blockShift
		if off >= size {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := area[off:min(size, off+g.blockSize)]
		addr := in.Ext[i]
		if err := f.checkAddr(in, addr, (int64(len(part))+g.fragSize-1)>>g.fragShift); err != nil {
			return nil, fmt.Errorf("extended attributes: %w", err)
		}
		if _, err := f.cache.ReadAt(part, addr<<g.fragShift); err != nil {
			return nil, fmt.Errorf("read extended attributes of inode %d: %w", in.num, err)
		}
	}
	return area, nil
}
