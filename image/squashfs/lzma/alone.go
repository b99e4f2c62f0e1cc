package lzma

import (
	"encoding/binary"
	"sync"
)

// AloneHeader is the size of the header of a stream of the old form: the
// properties, the size of the dictionary and the length of the contents.
const AloneHeader = 13

// decoders are kept, as they are large.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

// maxKept is the largest model of literals that is kept with a decoder: that of
// all properties that LZMA2 allows.
const maxKept = literalProbs << 4

func release(d *decoder) {
	d.src, d.out = nil, nil
	if cap(d.literals) > maxKept {
		d.literals = nil
	}
	decoders.Put(d)
}

// Alone decompresses a stream with the old header into dst, and returns how
// long its contents are.
func Alone(dst, src []byte) (int, error) {
	if len(src) < AloneHeader {
		return 0, ErrTooShort
	}
	d := decoders.Get().(*decoder)
	defer release(d)
	if !d.setProps(src[0]) {
		return 0, ErrCorrupt
	}
	end, known := len(dst), false
	if size := binary.LittleEndian.Uint64(src[5:]); size != 1<<64-1 {
		if size > uint64(len(dst)) {
			return 0, ErrTooLong
		}
		end, known = int(size), true
	}
	d.resetState()
	d.out, d.start, d.n = dst, 0, 0
	if err := d.begin(src[AloneHeader:]); err != nil {
		return 0, err
	}
	marker, err := d.run(end)
	switch {
	case err != nil:
		return d.n, err
	case marker && known && d.n < end:
		return d.n, ErrCorrupt
	case !marker && !known && !d.atMarker():
		return d.n, ErrTooLong
	}
	return d.n, nil
}

// atMarker reports whether an end marker follows.
func (d *decoder) atMarker() bool {
	posState := uint32(d.n-d.start) & (1<<d.pb - 1)
	if d.bit(&d.isMatch[d.state*posStates+posState]) == 0 {
		return false
	}
	_, ok := d.match(posState)
	return !ok && !d.short
}
