// Package ondisk is the layout of FFS1 and FFS2 (UFS1 and UFS2) on a disk:
// constants, structures, and the way from bytes to structures and back. It
// holds no policy: nothing here reads a device or decides what is valid.
//
// Cold structures ([Super], [Group], [Dinode1], [Dinode2]) are Go structs in
// the order of their C twins, for [encoding/binary]; every spare byte has a
// name, so that decoding and encoding keeps what is not understood. What is
// read a million times (inodes, directory entries, block pointers) is decoded
// by hand, and tests hold both ways against each other.
//
// FFS is written in the byte order of the machine that made it. [Order] says
// which. FORMAT.md, one folder up, has the tables.
package ondisk

import "encoding/binary"

// Order is the byte order of a file system. The zero value is little-endian.
// It is a struct around a bool rather than a [binary.ByteOrder] because the
// call through an interface costs more than the decoding.
type Order struct {
	Big bool
}

// ByteOrder returns o for package [binary].
func (o Order) ByteOrder() binary.ByteOrder {
	if o.Big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// U16 decodes the first 2 bytes of b.
func (o Order) U16(b []byte) uint16 {
	if o.Big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

// U32 decodes the first 4 bytes of b.
func (o Order) U32(b []byte) uint32 {
	if o.Big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// U64 decodes the first 8 bytes of b.
func (o Order) U64(b []byte) uint64 {
	if o.Big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// PutU16 encodes v into the first 2 bytes of b.
func (o Order) PutU16(b []byte, v uint16) {
	if o.Big {
		binary.BigEndian.PutUint16(b, v)
	} else {
		binary.LittleEndian.PutUint16(b, v)
	}
}

// PutU32 encodes v into the first 4 bytes of b.
func (o Order) PutU32(b []byte, v uint32) {
	if o.Big {
		binary.BigEndian.PutUint32(b, v)
	} else {
		binary.LittleEndian.PutUint32(b, v)
	}
}

// PutU64 encodes v into the first 8 bytes of b.
func (o Order) PutU64(b []byte, v uint64) {
	if o.Big {
		binary.BigEndian.PutUint64(b, v)
	} else {
		binary.LittleEndian.PutUint64(b, v)
	}
}

// Version is the generation of the format: it sets the size of inodes and of
// block pointers.
type Version int

// The versions.
const (
	V1 Version = 1 // FFS1, UFS1: inodes of 128 bytes, pointers of 4
	V2 Version = 2 // FFS2, UFS2: inodes of 256 bytes, pointers of 8
)

// InodeSize is the size of an inode in bytes.
func (v Version) InodeSize() int {
	if v == V1 {
		return Dinode1Size
	}
	return Dinode2Size
}

// PointerSize is the size of a block pointer in bytes.
func (v Version) PointerSize() int {
	if v == V1 {
		return 4
	}
	return 8
}

// Pointer decodes the block pointer at the start of b: a fragment number, or 0
// for a hole. Pointers are signed on disk; a negative one is damage.
func (v Version) Pointer(o Order, b []byte) int64 {
	if v == V1 {
		return int64(int32(o.U32(b)))
	}
	return int64(o.U64(b))
}

// PutPointer encodes a block pointer at the start of b.
func (v Version) PutPointer(o Order, b []byte, addr int64) {
	if v == V1 {
		o.PutU32(b, uint32(addr))
	} else {
		o.PutU64(b, uint64(addr))
	}
}
