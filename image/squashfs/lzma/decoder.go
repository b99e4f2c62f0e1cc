// Package lzma decompresses blocks that are in memory as a whole: streams of
// the old form with their 13 bytes of header ([Alone]), and the container
// format of xz with LZMA2 and the filters for machine code ([XZ]).
//
// Having the whole block is the point: what has been written of it is the
// dictionary, so nothing is copied into another, nothing is allocated for what
// a header promises, and no interface is called for a byte.
//
// The format is told by the LZMA specification of Igor Pavlov and by "The .xz
// File Format" of Lasse Collin and Igor Pavlov.
package lzma

import "errors"

// The errors of all formats.
var (
	ErrCorrupt  = errors.New("bad LZMA data")
	ErrTooShort = errors.New("LZMA data ends too early")
	ErrTooLong  = errors.New("holds more than there is room for")
	ErrChecksum = errors.New("wrong checksum")
)

// The sizes of the model.
const (
	states       = 12
	posStates    = 16
	matchMin     = 2
	literalProbs = 0x300 // for each context
	lenStates    = 4     // by which slots of distances are told
	slotBits     = 6
	alignBits    = 4
	endSlot      = 14 // from here on, bits of a distance are stored as they are
	fullDist     = 1 << (endSlot / 2)
	literalState = 7 // states below it follow a literal

	probBits  = 11
	probInit  = 1 << (probBits - 1)
	moveBits  = 5
	rangeTop  = 1 << 24
	endMarker = 1<<32 - 1
)

// A lenModel tells lengths.
type lenModel struct {
	choice [2]uint16
	low    [posStates][8]uint16
	mid    [posStates][8]uint16
	high   [256]uint16
}

// A decoder is the state of an LZMA stream.
type decoder struct {
	// The range coder, and what it reads from.
	src   []byte
	pos   int
	rng   uint32
	code  uint32
	short bool // more was needed than there is

	// Output, of which out[start:n] is the dictionary.
	out   []byte
	start int
	n     int

	lc, lp, pb uint
	state      uint32
	rep        [4]uint32

	isMatch   [states * posStates]uint16
	isRep     [states]uint16
	isRep0    [states]uint16 // G0
	isRep1    [states]uint16 // G1
	isRep2    [states]uint16 // G2
	rep0Long  [states * posStates]uint16
	slots     [lenStates][1 << slotBits]uint16
	distances [1 + fullDist - endSlot]uint16
	align     [1 << alignBits]uint16
	length    lenModel
	repLength lenModel
	literals  []uint16
}

func fill(p []uint16) {
	for i := range p {
		p[i] = probInit
	}
}

func (m *lenModel) reset() {
	fill(m.choice[:])
	for i := range posStates {
		fill(m.low[i][:])
		fill(m.mid[i][:])
	}
	fill(m.high[:])
}

// setProps takes the byte that holds lc, lp and pb.
func (d *decoder) setProps(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	d.lc, d.lp, d.pb = uint(b%9), uint(b/9%5), uint(b/45)
	n := literalProbs << (d.lc + d.lp)
	if n > cap(d.literals) {
		d.literals = make([]uint16, n)
	}
	d.literals = d.literals[:n]
	return true
}

// resetState forgets all that was learned.
func (d *decoder) resetState() {
	d.state, d.rep = 0, [4]uint32{}
	fill(d.isMatch[:])
	fill(d.isRep[:])
	fill(d.isRep0[:])
	fill(d.isRep1[:])
	fill(d.isRep2[:])
	fill(d.rep0Long[:])
	for i := range d.slots {
		fill(d.slots[i][:])
	}
	fill(d.distances[:])
	fill(d.align[:])
	d.length.reset()
	d.repLength.reset()
	fill(d.literals)
}

// begin starts the range coder on src.
func (d *decoder) begin(src []byte) error {
	if len(src) < 5 {
		return ErrTooShort
	}
	if src[0] != 0 {
		return ErrCorrupt
	}
	d.src, d.pos, d.short = src, 5, false
	d.rng = 1<<32 - 1
	d.code = uint32(src[1])<<24 | uint32(src[2])<<16 | uint32(src[3])<<8 | uint32(src[4])
	return nil
}

// bit decodes one bit by its probability.
func (d *decoder) bit(p *uint16) uint32 {
	rng := d.rng
	if rng < rangeTop {
		rng <<= 8
		d.shift()
	}
	v := uint32(*p)
	bound := rng >> probBits * v
	if d.code < bound {
		d.rng = bound
		*p = uint16(v + (1<<probBits-v)>>moveBits)
		return 0
	}
	d.rng = rng - bound
	d.code -= bound
	*p = uint16(v - v>>moveBits)
	return 1
}

// shift reads a byte into code.
func (d *decoder) shift() {
	d.code <<= 8
	if d.pos < len(d.src) {
		d.code |= uint32(d.src[d.pos])
		d.pos++
	} else {
		d.short = true
	}
}

// tree decodes bits from the highest on, each by the probability of its node.
// p has 1<<bits of them.
func (d *decoder) tree(p []uint16, bits int) uint32 {
	rng, code, src, pos := d.rng, d.code, d.src, d.pos
	node := uint32(1)
	for range bits {
		if rng < rangeTop {
			rng <<= 8
			code <<= 8
			if pos < len(src) {
				code |= uint32(src[pos])
				pos++
			} else {
				d.short = true
			}
		}
		v := uint32(p[node])
		bound := rng >> probBits * v
		if code < bound {
			rng = bound
			p[node] = uint16(v + (1<<probBits-v)>>moveBits)
			node <<= 1
		} else {
			rng -= bound
			code -= bound
			p[node] = uint16(v - v>>moveBits)
			node = node<<1 | 1
		}
	}
	d.rng, d.code, d.pos = rng, code, pos
	return node - 1<<bits
}

// reverse decodes bits from the lowest on.
func (d *decoder) reverse(p []uint16, bits uint32) uint32 {
	node, v := uint32(1), uint32(0)
	for i := range bits {
		b := d.bit(&p[node])
		node = node<<1 | b
		v |= b << i
	}
	return v
}

// direct decodes bits that are stored as they are.
func (d *decoder) direct(bits uint32) uint32 {
	v := uint32(0)
	for range bits {
		if d.rng < rangeTop {
			d.rng <<= 8
			d.shift()
		}
		d.rng >>= 1
		if d.code >= d.rng {
			d.code -= d.rng
			v = v<<1 | 1
		} else {
			v <<= 1
		}
	}
	return v
}

// number decodes a length, without its minimum.
func (d *decoder) number(m *lenModel, posState uint32) uint32 {
	if d.bit(&m.choice[0]) == 0 {
		return d.tree(m.low[posState][:], 3)
	}
	if d.bit(&m.choice[1]) == 0 {
		return 8 + d.tree(m.mid[posState][:], 3)
	}
	return 16 + d.tree(m.high[:], 8)
}

// distance decodes how far back a match of the length is, less 1.
func (d *decoder) distance(length uint32) uint32 {
	slot := d.tree(d.slots[min(length, lenStates-1)][:], slotBits)
	if slot < 4 {
		return slot
	}
	bits := slot>>1 - 1
	dist := (2 | slot&1) << bits
	if slot < endSlot {
		return dist + d.reverse(d.distances[dist-slot:], bits)
	}
	dist += d.direct(bits-alignBits) << alignBits
	return dist + d.reverse(d.align[:], alignBits)
}

// literal decodes a byte.
func (d *decoder) literal() {
	prev := uint(0)
	if d.n > d.start {
		prev = uint(d.out[d.n-1])
	}
	context := uint(d.n-d.start)&(1<<d.lp-1)<<d.lc + prev>>(8-d.lc)
	p := d.literals[literalProbs*context : literalProbs*(context+1) : literalProbs*(context+1)]
	if d.state < literalState {
		d.out[d.n] = byte(d.tree(p, 8))
	} else {
		// What the last match would have gone on with is another context, as
		// long as it is right.
		node, match := uint32(1), uint32(d.out[d.n-1-int(d.rep[0])])
		for node < 0x100 {
			expected := match >> 7 & 1
			match <<= 1
			b := d.bit(&p[(1+expected)<<8+node])
			node = node<<1 | b
			if b != expected {
				for node < 0x100 {
					node = node<<1 | d.bit(&p[node])
				}
			}
		}
		d.out[d.n] = byte(node)
	}
	d.n++
	switch {
	case d.state < 4:
		d.state = 0
	case d.state < 10:
		d.state -= 3
	default:
		d.state -= 6
	}
}

// run decodes until out[:end] is full, or an end marker is found, which it
// reports. A match that would go on beyond end is an error.
func (d *decoder) run(end int) (marker bool, err error) {
	posMask := uint32(1)<<d.pb - 1
	for d.n < end {
		if d.short {
			return false, ErrTooShort
		}
		posState := uint32(d.n-d.start) & posMask
		if d.bit(&d.isMatch[d.state*posStates+posState]) == 0 {
			d.literal()
			continue
		}
		length, ok := d.match(posState)
		if !ok && !d.short {
			return true, nil
		}
		dist := int(d.rep[0]) + 1
		if dist > d.n-d.start || int(length) > end-d.n {
			if d.short {
				return false, ErrTooShort
			}
			return false, ErrCorrupt
		}
		d.copy(dist, int(length))
	}
	if d.short {
		return false, ErrTooShort
	}
	return false, nil
}

// match decodes what is repeated: its length, and into rep[0] its distance less
// 1. It returns false for the end marker.
func (d *decoder) match(posState uint32) (length uint32, ok bool) {
	after := func(literal, match uint32) {
		if d.state < literalState {
			d.state = literal
		} else {
			d.state = match
		}
	}
	if d.bit(&d.isRep[d.state]) == 0 {
		length = d.number(&d.length, posState)
		after(7, 10)
		dist := d.distance(length)
		if dist == endMarker {
			return 0, false
		}
		d.rep = [4]uint32{dist, d.rep[0], d.rep[1], d.rep[2]}
		return length + matchMin, true
	}
	r := &d.rep
	switch {
	case d.bit(&d.isRep0[d.state]) == 0:
		if d.bit(&d.rep0Long[d.state*posStates+posState]) == 0 {
			after(9, 11)
			return 1, true
		}
	case d.bit(&d.isRep1[d.state]) == 0:
		*r = [4]uint32{r[1], r[0], r[2], r[3]}
	case d.bit(&d.isRep2[d.state]) == 0:
		*r = [4]uint32{r[2], r[0], r[1], r[3]}
	default:
		*r = [4]uint32{r[3], r[0], r[1], r[2]}
	}
	length = d.number(&d.repLength, posState)
	after(8, 11)
	return length + matchMin, true
}

// copy repeats what is dist bytes back. The two may overlap: then what is
// written is repeated.
func (d *decoder) copy(dist, length int) {
	to := d.out[d.n : d.n+length]
	from := d.out[d.n-dist:]
	d.n += length
	if dist >= length {
		copy(to, from)
		return
	}
	for i := range to {
		to[i] = from[i]
	}
}
