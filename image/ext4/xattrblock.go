package ext4

import (
	"slices"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// Files whose attributes are the same may share a block of them, which counts
// how many do. Linux makes them share; this writer only keeps those that do: a
// file whose attributes change gets a block of its own.

// equal reports whether two lists hold the same attributes in the same order.
func (l xattrList) equal(m xattrList) bool {
	return slices.EqualFunc(l, m, func(a, b xattr) bool {
		return a.index == b.index && a.name == b.name && a.ino == b.ino && string(a.value) == string(b.value)
	})
}

// xattrHeader reads the header of the block of attributes of an inode, which
// has one.
func (o *op) xattrHeader(in *inode) (ondisk.XattrHeader, error) {
	what := in.name() + " attribute block"
	b, err := o.f.block(in.FileACL, what)
	if err != nil {
		return ondisk.XattrHeader{}, err
	}
	h := ondisk.DecodeXattrHeader(b)
	if h.RefCount == 0 {
		return h, vfs.Corruptf(o.f.offset(in.FileACL), what, "no file refers to it")
	}
	return h, nil
}

// putXattrBlock makes next the attributes in the block of an inode, which were
// now.
func (o *op) putXattrBlock(in *inode, now, next xattrList) error {
	if len(next) == 0 {
		return o.dropXattrBlock(in, now)
	}
	next.sort()
	if in.FileACL != 0 {
		h, err := o.xattrHeader(in)
		if err != nil {
			return err
		}
		if h.RefCount == 1 {
			b, err := o.modify(o.f.offset(in.FileACL), int(o.f.blockSize))
			if err != nil {
				return err
			}
			o.fillXattrBlock(in.FileACL, b, next)
			return o.dropValues(in, now, next)
		}
		// The values that both blocks refer to have one more reference now.
		for i := range next {
			if x := &next[i]; x.ino != 0 && now.holds(x.ino) {
				if err := o.keepValue(in, x); err != nil {
					return err
				}
			}
		}
		if err := o.leaveXattrBlock(in, h); err != nil {
			return err
		}
	}
	addr, b, err := o.allocMeta(in, o.f.groupStart(uint64((in.num-1)/o.f.inodesPerGroup)))
	if err != nil {
		return err
	}
	in.FileACL, in.dirty = addr, true
	o.fillXattrBlock(addr, b, next)
	o.w.sb.FeatureCompat |= ondisk.CompatExtAttr
	return nil
}

// fillXattrBlock writes a block of attributes that one file has.
func (o *op) fillXattrBlock(addr uint64, b []byte, l xattrList) {
	h := ondisk.XattrHeader{Magic: ondisk.XattrMagic, RefCount: 1, Blocks: 1}
	for i := range l {
		if l[i].hash == 0 {
			h.Hash = 0 // not to be shared
			break
		}
		h.Hash = ondisk.XattrBlockHash(h.Hash, l[i].hash)
	}
	clear(b[:ondisk.XattrBlockHeader])
	ondisk.EncodeXattrHeader(b, h)
	l.put(b, ondisk.XattrBlockHeader)
	if o.f.metadataCsum {
		ondisk.SealXattrs(o.f.seed, addr, b)
	}
}

// dropXattrBlock takes the block of attributes from an inode. With its last
// reference it is freed, and so are the values that it refers to.
func (o *op) dropXattrBlock(in *inode, now xattrList) error {
	if in.FileACL == 0 {
		return nil
	}
	h, err := o.xattrHeader(in)
	if err != nil {
		return err
	}
	if h.RefCount > 1 {
		return o.leaveXattrBlock(in, h)
	}
	if err := o.dropValues(in, now, nil); err != nil {
		return err
	}
	addr := in.FileACL
	in.FileACL, in.dirty = 0, true
	return o.freeMeta(in, addr)
}

// leaveXattrBlock takes from an inode a block that others share.
func (o *op) leaveXattrBlock(in *inode, h ondisk.XattrHeader) error {
	b, err := o.modify(o.f.offset(in.FileACL), int(o.f.blockSize))
	if err != nil {
		return err
	}
	h.RefCount--
	ondisk.EncodeXattrHeader(b, h)
	if o.f.metadataCsum {
		ondisk.SealXattrs(o.f.seed, in.FileACL, b)
	}
	in.FileACL, in.dirty = 0, true
	return o.hold(in, -1)
}

// releaseXattrs frees what the attributes of a file hold outside its inode.
func (o *op) releaseXattrs(in *inode) error {
	p, err := o.xattrPlaces(in)
	if err != nil {
		return err
	}
	if err := o.dropValues(in, p.inode, nil); err != nil {
		return err
	}
	return o.dropXattrBlock(in, p.block)
}
