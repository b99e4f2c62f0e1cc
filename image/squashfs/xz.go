package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"

	"github.com/resflash/resflash/image/vfs"
)

// xzCodec reads the first block of a stream in the container format of xz, which
// is all that squashfs puts into one. The container is read here rather than by
// the library to say which filter is missing, and because the size of the
// dictionary that a stream asks for is none to allocate: no block of squashfs
// reaches back further than to its start.
type xzCodec struct{}

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

var (
	errXZ       = errors.New("bad xz stream")
	errXZCRC    = errors.New("bad CRC in an xz stream")
	crc64Tables = crc64.MakeTable(crc64.ECMA)
)

// xzFilters are the names of the filters that convert machine code.
var xzFilters = map[uint64]string{
	3: "delta", 4: "x86 BCJ", 5: "PowerPC BCJ", 6: "IA-64 BCJ", 7: "ARM BCJ", 8: "ARM-Thumb BCJ", 9: "SPARC BCJ",
	10: "ARM64 BCJ", 11: "RISC-V BCJ",
}

func (xzCodec) decode(dst, src []byte) (int, error) {
	check, src, err := xzStreamHeader(src)
	if err != nil {
		return 0, err
	}
	head, src, err := xzBlockHeader(src)
	if err != nil {
		return 0, err
	}
	in := bytes.NewReader(src)
	r, err := lzma.Reader2Config{DictCap: dictFor(len(dst))}.NewReader2(in)
	if err != nil {
		return 0, err
	}
	n, err := readAll(r, dst)
	if err != nil {
		return n, err
	}
	if head.unpacked >= 0 && head.unpacked != int64(n) {
		return n, errXZ
	}
	// Padding to a multiple of four, then the check.
	packed := len(src) - in.Len()
	return n, xzCheck(check, dst[:n], src[min((packed+3)&^3, len(src)):])
}

func xzStreamHeader(src []byte) (check byte, rest []byte, err error) {
	if len(src) < xzHeaderSize || string(src[:len(xzMagic)]) != xzMagic {
		return 0, nil, errXZ
	}
	flags := src[6:8]
	if flags[0] != 0 || flags[1] > 15 {
		return 0, nil, errXZ
	}
	if crc32.ChecksumIEEE(flags) != binary.LittleEndian.Uint32(src[8:]) {
		return 0, nil, errXZCRC
	}
	return flags[1], src[xzHeaderSize:], nil
}

// An xzBlock is the header of a block.
type xzBlock struct {
	unpacked int64 // -1: not told
}

func xzBlockHeader(src []byte) (h xzBlock, rest []byte, err error) {
	h.unpacked = -1
	if len(src) < 1 || src[0] == 0 { // 0: the index, so there are no blocks
		return h, nil, errXZ
	}
	size := (int(src[0]) + 1) * 4
	if size > len(src) {
		return h, nil, io.ErrUnexpectedEOF
	}
	b := src[:size-4]
	if crc32.ChecksumIEEE(b) != binary.LittleEndian.Uint32(src[size-4:]) {
		return h, nil, errXZCRC
	}
	flags := b[1]
	if flags&xzReserved != 0 {
		return h, nil, errXZ
	}
	b = b[2:]
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = errXZ
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
			return h, nil, errXZ
		case id == xzFilterLZMA2 && i == int(flags&3) && props == 1:
		case xzFilters[id] != "":
			return h, nil, &vfs.NotSupportedError{What: "xz filter " + xzFilters[id], Off: -1}
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
			return io.ErrUnexpectedEOF
		}
		if crc32.ChecksumIEEE(data) != binary.LittleEndian.Uint32(sum) {
			return errXZCRC
		}
	case xzCheckCRC64:
		if len(sum) < 8 {
			return io.ErrUnexpectedEOF
		}
		if crc64.Checksum(data, crc64Tables) != binary.LittleEndian.Uint64(sum) {
			return errXZCRC
		}
	}
	return nil
}
