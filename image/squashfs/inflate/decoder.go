package inflate

import "encoding/binary"

// A decoder is the state of a stream.
type decoder struct {
	// The input, and the bits of it that were fetched: the next is the lowest.
	// What is above count is zero or what follows in src.
	src   []byte
	in    int
	bits  uint64
	count uint

	// The output, of which dst[:out] is there.
	dst []byte
	out int

	own  tables // of a block that brings its codes
	lens [1 << lenBits]uint32
}

// fill fetches bits: 56 at least, or all that there are.
func (d *decoder) fill() {
	if len(d.src)-d.in >= 8 {
		d.bits |= binary.LittleEndian.Uint64(d.src[d.in:]) << (d.count & 63)
		d.in += int((63 - d.count) >> 3)
		d.count |= 56
		return
	}
	for d.count < 56 && d.in < len(d.src) {
		d.bits |= uint64(d.src[d.in]) << (d.count & 63)
		d.in++
		d.count += 8
	}
}

// take removes bits that were fetched, and returns them.
func (d *decoder) take(n uint) uint64 {
	v := d.bits & (1<<(n&63) - 1)
	d.bits >>= n & 63
	d.count -= n
	return v
}

// align skips to the next whole byte, and gives back those that were fetched.
func (d *decoder) align() {
	d.in -= int(d.count >> 3)
	d.bits, d.count = 0, 0
}

// The kinds of blocks.
const (
	storedBlock = iota
	fixedBlock
	dynamicBlock
)

// blocks decodes all blocks.
func (d *decoder) blocks() error {
	for {
		if d.fill(); d.count < 3 {
			return ErrTooShort
		}
		last := d.take(1) == 1
		var err error
		switch d.take(2) {
		case storedBlock:
			err = d.stored()
		case fixedBlock:
			err = d.symbols(fixed())
		case dynamicBlock:
			if err = d.codes(); err == nil {
				err = d.symbols(&d.own)
			}
		default:
			err = ErrCorrupt
		}
		if err != nil || last {
			return err
		}
	}
}

// stored copies a block that is not compressed.
func (d *decoder) stored() error {
	d.align()
	p := d.src[d.in:]
	if len(p) < 4 {
		return ErrTooShort
	}
	n, inverse := binary.LittleEndian.Uint16(p), binary.LittleEndian.Uint16(p[2:])
	if n != ^inverse {
		return ErrCorrupt
	}
	p = p[4:]
	switch {
	case int(n) > len(p):
		return ErrTooShort
	case int(n) > len(d.dst)-d.out:
		return ErrTooLong
	}
	d.out += copy(d.dst[d.out:], p[:n])
	d.in += 4 + int(n)
	return nil
}

// symbols decodes the symbols of a block up to its end.
func (d *decoder) symbols(t *tables) error {
	end, err := d.far(t)
	if end || err != nil {
		return err
	}
	return d.near(t)
}

// near decodes symbols where input or output may end.
func (d *decoder) near(t *tables) error {
	for {
		d.fill()
		e := t.lit[d.bits&(1<<litBits-1)]
		if e&further != 0 && d.count >= litBits {
			d.take(litBits)
			e = t.lit[e>>valueShift+uint32(d.bits)&(1<<(e>>skipShift&skipMask)-1)]
		}
		if d.count < uint(e&takeMask) || e&further != 0 {
			return ErrTooShort
		}
		if e&literal != 0 {
			if d.out == len(d.dst) {
				return ErrTooLong
			}
			d.dst[d.out] = byte(e >> valueShift)
			d.out++
			d.take(uint(e & takeMask))
			continue
		}
		if e&special != 0 {
			if e&blockEnd == 0 {
				return ErrCorrupt
			}
			d.take(uint(e & takeMask))
			return nil
		}
		length := d.value(e)

		e = t.dist[d.bits&(1<<distBits-1)]
		if e&further != 0 && d.count >= distBits {
			d.take(distBits)
			e = t.dist[e>>valueShift+uint32(d.bits)&(1<<(e>>skipShift&skipMask)-1)]
		}
		if d.count < uint(e&takeMask) || e&further != 0 {
			return ErrTooShort
		}
		if e&special != 0 {
			return ErrCorrupt
		}
		dist := d.value(e)
		switch {
		case dist > d.out:
			return ErrCorrupt
		case length > len(d.dst)-d.out:
			return ErrTooLong
		}
		// What is copied may be what it is copied from.
		for from := d.out - dist; length > 0; {
			n := copy(d.dst[d.out:d.out+length], d.dst[from:d.out])
			d.out += n
			length -= n
		}
	}
}

// value takes a code with its extra bits, and returns what they add up to.
func (d *decoder) value(e uint32) int {
	return int(e>>valueShift) + int(d.take(uint(e&takeMask))>>(e>>skipShift&skipMask))
}
