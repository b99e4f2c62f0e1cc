package lzma

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/crc64"

	"github.com/resflash/resflash/image/vfs"
)

// What the container consists of.
const (
	xzMagic      = "\xFD7zXZ\x00"
	xzHeaderSize = 12 // magic, flags, CRC of the flags

	xzCheckNone  = 0
	xzCheckCRC32 = 1
	xzCheckCRC64 = 4
	xzCheckSHA   = 10

	xzHasPacked   = 0x40 // in the flags of a block: its compressed size follows
	xzHasUnpacked = 0x80 // its uncompressed size follows
	xzReserved    = 0x3C

	xzFilterLZMA2 = 0x21
)

var crc64Table = crc64.MakeTable(crc64.ECMA)

// XZ decompresses the first block of a stream in the container format of xz into
// dst, and returns how long its contents are. A filter that it does not know is a
// [*vfs.NotSupportedError].
func XZ(dst, src []byte) (int, error) {
	check, src, err := xzStreamHeader(src)
	if err != nil {
		return 0, err
	}
	head, src, err := xzBlockHeader(src)
	if err != nil {
		return 0, err
	}
	n, used, err := lzma2(dst, src)
	if err != nil {
		return n, err
	}
	if head.unpacked >= 0 && head.unpacked != int64(n) {
		return n, ErrCorrupt
	}
	for i := len(head.filters) - 1; i >= 0; i-- {
		head.filters[i](dst[:n])
	}
	// Padding to a multiple of four, then the check.
	return n, xzCheck(check, dst[:n], src[min((used+3)&^3, len(src)):])
}

func xzStreamHeader(src []byte) (check byte, rest []byte, err error) {
	if len(src) < xzHeaderSize || string(src[:len(xzMagic)]) != xzMagic {
		return 0, nil, ErrCorrupt
	}
	flags := src[6:8]
	if flags[0] != 0 || flags[1] > 15 {
		return 0, nil, ErrCorrupt
	}
	if crc32.ChecksumIEEE(flags) != binary.LittleEndian.Uint32(src[8:]) {
		return 0, nil, ErrChecksum
	}
	return flags[1], src[xzHeaderSize:], nil
}

// An xzBlock is the header of a block.
type xzBlock struct {
	unpacked int64 // -1: not told
	filters  []func(b []byte)
}

func xzBlockHeader(src []byte) (h xzBlock, rest []byte, err error) {
	h.unpacked = -1
	if len(src) < 1 || src[0] == 0 { // 0: the index, so there are no blocks
		return h, nil, ErrCorrupt
	}
	size := (int(src[0]) + 1) * 4
	if size > len(src) {
		return h, nil, ErrTooShort
	}
	b := src[:size-4]
	if crc32.ChecksumIEEE(b) != binary.LittleEndian.Uint32(src[size-4:]) {
		return h, nil, ErrChecksum
	}
	flags := b[1]
	if flags&xzReserved != 0 {
		return h, nil, ErrCorrupt
	}
	b = b[2:]
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = ErrCorrupt
			b = nil
			return 0
		}
		b = b[n:]
		return v
	}
	if flags&xzHasPacked != 0 {
		next()
	}
	if flags&xzHasUnpacked != 0 {
		h.unpacked = int64(next())
	}
	for i := range int(flags&3) + 1 {
		id, props := next(), next()
		switch {
		case err != nil || props > uint64(len(b)):
			return h, nil, ErrCorrupt
		case id == xzFilterLZMA2 && i == int(flags&3) && props == 1:
		case filters[id] != nil && i < int(flags&3) && props == 0:
			h.filters = append(h.filters, filters[id])
		case filters[id] != nil && i < int(flags&3):
			return h, nil, &vfs.NotSupportedError{What: "xz filter with a start offset", Off: -1}
		case filterNames[id] != "":
			return h, nil, &vfs.NotSupportedError{What: "xz filter " + filterNames[id], Off: -1}
		default:
			return h, nil, &vfs.NotSupportedError{What: fmt.Sprintf("xz filter %#x", id), Off: -1}
		}
		b = b[props:]
	}
	return h, src[size:], nil
}

// xzCheck compares the check that follows a block. SHA-256 is left to those who
// need it: neither mksquashfs nor the kernel's decoder has it.
func xzCheck(check byte, data, sum []byte) error {
	switch check {
	case xzCheckNone, xzCheckSHA:
		return nil
	case xzCheckCRC32:
		if len(sum) < 4 {
			return ErrTooShort
		}
		if crc32.ChecksumIEEE(data) != binary.LittleEndian.Uint32(sum) {
			return ErrChecksum
		}
	case xzCheckCRC64:
		if len(sum) < 8 {
			return ErrTooShort
		}
		if crc64.Checksum(data, crc64Table) != binary.LittleEndian.Uint64(sum) {
			return ErrChecksum
		}
	}
	return nil
}
