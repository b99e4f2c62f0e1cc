package ext4

import (
	"errors"
	"slices"
	"syscall"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
)

// With the feature ea_inode a large value lies in an inode of its own, whose
// fields mean something else: i_atime is the checksum of the value, and i_ctime
// and i_version count how many attributes refer to it.

// newValue makes an inode for a value of an attribute of in, and returns its
// number and the checksum of the value.
func (o *op) newValue(in *inode, value []byte) (ino, sum uint32, err error) {
	v, err := o.allocInode(in, vfs.Regular)
	if err != nil {
		return 0, 0, err
	}
	v.Mode, v.Links, v.UID, v.GID = uint16(vfs.Regular|0o600), 1, in.UID, in.GID
	v.Flags = v.Flags&ondisk.FlExtents | ondisk.FlEAInode
	v.ProjID = 0
	if _, err := o.write(v, value, 0); err != nil {
		return 0, 0, err
	}
	sum = ondisk.CRC32C(o.f.seed, value)
	v.Atime = ondisk.Time{Sec: sum}
	v.setValueRefs(1)
	if v.Mtime.Sec == in.num {
		v.Mtime = ondisk.Time{} // or it would look like one of Lustre's
	}
	return v.num, sum, o.hold(in, o.valueClusters(int64(len(value))))
}

// valueClusters is how much of i_blocks a value of n bytes makes in the inode
// that has the attribute.
func (o *op) valueClusters(n int64) int64 {
	size := o.f.blockSize << o.f.clusterShift
	return (n + size - 1) / size
}

func (in *inode) valueRefs() uint64 { return uint64(in.Ctime.Sec)<<32 | in.Version&(1<<32-1) }

func (in *inode) setValueRefs(n uint64) {
	in.Ctime = ondisk.Time{Sec: uint32(n >> 32)}
	in.Version = n & (1<<32 - 1)
	in.dirty = true
}

// loadValue loads the inode of a value.
func (o *op) loadValue(in *inode, x *xattr) (*inode, error) {
	v, err := o.load(vfs.Ino(x.ino))
	if errors.Is(err, syscall.ENOENT) || err == nil && (!v.has(ondisk.FlEAInode) || !v.mode().IsRegular()) {
		err = in.corrupt("attribute in inode %d, which is none for values", x.ino)
	}
	return v, err
}

// keepValue counts one more attribute that refers to a value.
func (o *op) keepValue(in *inode, x *xattr) error {
	v, err := o.loadValue(in, x)
	if err == nil {
		v.setValueRefs(v.valueRefs() + 1)
	}
	return err
}

// dropValue takes a value from an attribute of in that is to go. With the last
// one goes the inode. Lustre's have one attribute each, and do not count.
func (o *op) dropValue(in *inode, x *xattr) error {
	v, err := o.loadValue(in, x)
	if err != nil {
		return err
	}
	if err := o.hold(in, -o.valueClusters(v.size)); err != nil {
		return err
	}
	lustre := v.Mtime.Sec == in.num && v.Generation == in.Generation
	if n := v.valueRefs(); n > 1 && !lustre {
		v.setValueRefs(n - 1)
		return nil
	}
	return o.destroy(v)
}

// dropValues is dropValue for the attributes of now that next has not.
func (o *op) dropValues(in *inode, now, next xattrList) error {
	for i := range now {
		if x := &now[i]; x.ino != 0 && !next.holds(x.ino) {
			if err := o.dropValue(in, x); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds reports whether one of the attributes has its value in an inode.
func (l xattrList) holds(ino uint32) bool {
	return slices.ContainsFunc(l, func(x xattr) bool { return x.ino == ino })
}
