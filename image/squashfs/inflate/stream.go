// Package inflate decompresses zlib streams that are in memory as a whole, into
// a buffer that holds all of what they contain ([Decode]).
//
// Having the whole of both is the point: what has been written is the window,
// so nothing is copied into another; bits are fetched eight bytes at a time; and
// far from the ends no symbol needs to be checked against them.
//
// The format is told by RFC 1950 (zlib) and RFC 1951 (deflate). What these leave
// open about codes that are not complete is decided as zlib decides it.
package inflate

import (
	"encoding/binary"
	"errors"
	"sync"
)

// The errors of a stream.
var (
	ErrCorrupt    = errors.New("bad zlib data")
	ErrTooShort   = errors.New("zlib data ends too early")
	ErrTooLong    = errors.New("holds more than there is room for")
	ErrChecksum   = errors.New("wrong checksum")
	ErrDictionary = errors.New("zlib data needs a preset dictionary")
)

// The two bytes of a zlib header, as one number with the first byte on top.
const (
	headerSize    = 2
	methodMask    = 0x0F00
	methodDeflate = 0x0800
	windowMask    = 0xF000
	windowMax     = 0x7000 // 32 KiB
	presetDict    = 0x0020
	headerFactor  = 31 // divides the whole
)

// decoders are kept, as their tables are large.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

func release(d *decoder) {
	d.src, d.dst = nil, nil
	decoders.Put(d)
}

// Decode decompresses the stream that src begins with into dst, and returns how
// long its contents are. What follows the stream is ignored. What follows the
// contents in dst may have been written to.
func Decode(dst, src []byte) (int, error) {
	if len(src) < headerSize {
		return 0, ErrTooShort
	}
	header := binary.BigEndian.Uint16(src)
	switch {
	case header&methodMask != methodDeflate, header&windowMask > windowMax, header%headerFactor != 0:
		return 0, ErrCorrupt
	case header&presetDict != 0:
		return 0, ErrDictionary
	}
	d := decoders.Get().(*decoder)
	defer release(d)
	d.src, d.in, d.bits, d.count = src, headerSize, 0, 0
	d.dst, d.out = dst, 0
	if err := d.blocks(); err != nil {
		return d.out, err
	}
	d.align()
	if len(src)-d.in < 4 {
		return d.out, ErrTooShort
	}
	if binary.BigEndian.Uint32(src[d.in:]) != adler32(dst[:d.out]) {
		return d.out, ErrChecksum
	}
	return d.out, nil
}
