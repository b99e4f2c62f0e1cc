package ondisk

import "encoding/binary"

// Sizes of inodes, and where in them the block pointers begin. Short symbolic
// links lie over the pointers, device numbers over the first.
const (
	Dinode1Size = 128
	Dinode2Size = 256

	dinode1Pointers = 40
	dinode2Pointers = 112
)

// Dinode1 is struct ufs1_dinode.
type Dinode1 struct {
	Mode      uint16
	Nlink     int16
	OldUID    uint16 // di_ouid: the owner before 4.4BSD
	OldGID    uint16
	Size      uint64
	Atime     int32
	AtimeNsec int32
	Mtime     int32
	MtimeNsec int32
	Ctime     int32
	CtimeNsec int32
	Direct    [NDirect]int32
	Indirect  [NIndirect]int32
	Flags     uint32
	Blocks    uint32 // of 512 bytes
	Gen       uint32
	UID       uint32
	GID       uint32
	Spare     [2]int32 // FreeBSD: di_modrev
}

// Dinode2 is struct ufs2_dinode. Note the order of the nanoseconds.
type Dinode2 struct {
	Mode      uint16
	Nlink     int16
	UID       uint32
	GID       uint32
	BlkSize   uint32
	Size      uint64
	Blocks    uint64 // of 512 bytes
	Atime     int64
	Mtime     int64
	Ctime     int64
	Btime     int64
	MtimeNsec int32
	AtimeNsec int32
	CtimeNsec int32
	BtimeNsec int32
	Gen       uint32
	KernFlags uint32
	Flags     uint32
	ExtSize   uint32 // bytes of extended attributes
	Ext       [NExt]int64
	Direct    [NDirect]int64
	Indirect  [NIndirect]int64
	Spare     [24]byte // FreeBSD: di_modrev, di_freelink, di_ckhash
}

// Time is a time as inodes hold it.
type Time struct {
	Sec  int64
	Nsec int32
}

// Inode is an inode of either version.
type Inode struct {
	Mode   uint16
	Nlink  uint16
	UID    uint32
	GID    uint32
	OldUID uint16 // FFS1: the owner in the inode format of 4.2BSD
	OldGID uint16
	Size   uint64
	Blocks uint64 // of 512 bytes
	Atime  Time
	Mtime  Time
	Ctime  Time
	Btime  Time // FFS2; OpenBSD leaves it zero
	Gen    uint32
	Flags  uint32

	ExtSize  uint32 // FFS2
	Ext      [NExt]int64
	Direct   [NDirect]int64
	Indirect [NIndirect]int64
}

// Decode fills in from the bytes of an inode of version v.
func (in *Inode) Decode(b []byte, o Order, v Version) {
	if v == V1 {
		in.decode1(b[:Dinode1Size], o)
	} else {
		in.decode2(b[:Dinode2Size], o)
	}
}

func (in *Inode) decode1(b []byte, o Order) {
	*in = Inode{
		Mode:   o.U16(b[0:]),
		Nlink:  o.U16(b[2:]),
		OldUID: o.U16(b[4:]),
		OldGID: o.U16(b[6:]),
		Size:   o.U64(b[8:]),
		Atime:  Time{int64(int32(o.U32(b[16:]))), int32(o.U32(b[20:]))},
		Mtime:  Time{int64(int32(o.U32(b[24:]))), int32(o.U32(b[28:]))},
		Ctime:  Time{int64(int32(o.U32(b[32:]))), int32(o.U32(b[36:]))},
		Flags:  o.U32(b[100:]),
		Blocks: uint64(o.U32(b[104:])),
		Gen:    o.U32(b[108:]),
		UID:    o.U32(b[112:]),
		GID:    o.U32(b[116:]),
	}
	for i := range in.Direct {
		in.Direct[i] = int64(int32(o.U32(b[dinode1Pointers+4*i:])))
	}
	for i := range in.Indirect {
		in.Indirect[i] = int64(int32(o.U32(b[dinode1Pointers+4*(NDirect+i):])))
	}
}

func (in *Inode) decode2(b []byte, o Order) {
	*in = Inode{
		Mode:    o.U16(b[0:]),
		Nlink:   o.U16(b[2:]),
		UID:     o.U32(b[4:]),
		GID:     o.U32(b[8:]),
		Size:    o.U64(b[16:]),
		Blocks:  o.U64(b[24:]),
		Atime:   Time{int64(o.U64(b[32:])), int32(o.U32(b[68:]))},
		Mtime:   Time{int64(o.U64(b[40:])), int32(o.U32(b[64:]))},
		Ctime:   Time{int64(o.U64(b[48:])), int32(o.U32(b[72:]))},
		Btime:   Time{int64(o.U64(b[56:])), int32(o.U32(b[76:]))},
		Gen:     o.U32(b[80:]),
		Flags:   o.U32(b[88:]),
		ExtSize: o.U32(b[92:]),
	}
	for i := range in.Ext {
		in.Ext[i] = int64(o.U64(b[96+8*i:]))
	}
	for i := range in.Direct {
		in.Direct[i] = int64(o.U64(b[dinode2Pointers+8*i:]))
	}
	for i := range in.Indirect {
		in.Indirect[i] = int64(o.U64(b[dinode2Pointers+8*(NDirect+i):]))
	}
}

// Encode writes in over the bytes of an inode of version v. Fields that Inode
// does not have (spare words, kernel flags, check hashes) stay as they are.
func (in *Inode) Encode(b []byte, o Order, v Version) {
	if v == V1 {
		in.encode1(b[:Dinode1Size], o)
	} else {
		in.encode2(b[:Dinode2Size], o)
	}
}

func (in *Inode) encode1(b []byte, o Order) {
	o.PutU16(b[0:], in.Mode)
	o.PutU16(b[2:], in.Nlink)
	o.PutU16(b[4:], in.OldUID)
	o.PutU16(b[6:], in.OldGID)
	o.PutU64(b[8:], in.Size)
	for i, t := range [...]Time{in.Atime, in.Mtime, in.Ctime} {
		o.PutU32(b[16+8*i:], uint32(t.Sec))
		o.PutU32(b[20+8*i:], uint32(t.Nsec))
	}
	for i, p := range in.Direct {
		o.PutU32(b[dinode1Pointers+4*i:], uint32(p))
	}
	for i, p := range in.Indirect {
		o.PutU32(b[dinode1Pointers+4*(NDirect+i):], uint32(p))
	}
	o.PutU32(b[100:], in.Flags)
	o.PutU32(b[104:], uint32(in.Blocks))
	o.PutU32(b[108:], in.Gen)
	o.PutU32(b[112:], in.UID)
	o.PutU32(b[116:], in.GID)
}

func (in *Inode) encode2(b []byte, o Order) {
	o.PutU16(b[0:], in.Mode)
	o.PutU16(b[2:], in.Nlink)
	o.PutU32(b[4:], in.UID)
	o.PutU32(b[8:], in.GID)
	o.PutU64(b[16:], in.Size)
	o.PutU64(b[24:], in.Blocks)
	for i, t := range [...]Time{in.Atime, in.Mtime, in.Ctime, in.Btime} {
		o.PutU64(b[32+8*i:], uint64(t.Sec))
	}
	for i, t := range [...]Time{in.Mtime, in.Atime, in.Ctime, in.Btime} {
		o.PutU32(b[64+4*i:], uint32(t.Nsec))
	}
	o.PutU32(b[80:], in.Gen)
	o.PutU32(b[88:], in.Flags)
	o.PutU32(b[92:], in.ExtSize)
	for i, p := range in.Ext {
		o.PutU64(b[96+8*i:], uint64(p))
	}
	for i, p := range in.Direct {
		o.PutU64(b[dinode2Pointers+8*i:], uint64(p))
	}
	for i, p := range in.Indirect {
		o.PutU64(b[dinode2Pointers+8*(NDirect+i):], uint64(p))
	}
}

// Inline returns the bytes of an inode in which a short symbolic link lies.
func (v Version) Inline(b []byte) []byte {
	if v == V1 {
		return b[dinode1Pointers : dinode1Pointers+4*(NDirect+NIndirect)]
	}
	return b[dinode2Pointers : dinode2Pointers+8*(NDirect+NIndirect)]
}

// RawDevice returns the device number of a device node, still packed.
func (in *Inode) RawDevice(v Version) uint64 {
	if v == V1 {
		return uint64(uint32(in.Direct[0]))
	}
	return uint64(in.Direct[0])
}

// DecodeDinode1 decodes all of an FFS1 inode. [Inode.Decode] is the fast way.
func DecodeDinode1(b []byte, o Order) (d Dinode1, err error) {
	_, err = binary.Decode(b, o.ByteOrder(), &d)
	return d, err
}

// DecodeDinode2 decodes all of an FFS2 inode. [Inode.Decode] is the fast way.
func DecodeDinode2(b []byte, o Order) (d Dinode2, err error) {
	_, err = binary.Decode(b, o.ByteOrder(), &d)
	return d, err
}
