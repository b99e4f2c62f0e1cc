package inflate

import (
	"math/bits"
	"sync"
)

// A table is indexed by the next bits of the input, as many as it is wide. Codes
// that are longer have an entry there that leads to a further table, which is
// indexed by the bits that follow.
//
// An entry says all about its symbol:
//
//	bits  0–5   how many bits to take: the code with its extra bits
//	bits  8–11  how many of them come before the extra bits; or how wide the further table is
//	bits 12–14  what is special about it, see below
//	bits 16–30  the literal; or the length or distance that the extra bits add to;
//	            or where the further table begins
//	bit  31     whether it is a literal
//
// In a further table, the bits that led there count no more.
const (
	takeMask   = 63
	skipShift  = 8
	skipMask   = 15
	valueShift = 16
	valueMask  = 1<<15 - 1

	special  = 1 << 12 // with none of the next two: no code
	further  = 1 << 13
	blockEnd = 1 << 14
	literal  = 1 << 31

	// codeBit is what each bit of a code adds to its entry.
	codeBit = 1 | 1<<skipShift
)

// The sizes of the alphabets, with the symbols that have codes in fixed blocks
// and must not occur.
const (
	maxCode     = 15
	literals    = 256
	endSymbol   = 256
	litSymbols  = 288
	distSymbols = 32
	lenSymbols  = 19
)

// The widths of the tables, and their sizes with all further tables: a code that
// is complete has at least two symbols in each of these.
const (
	litBits  = 11
	distBits = 8
	lenBits  = 7 // of the codes for lengths of codes, which are no longer

	litSize  = 1<<litBits + litSymbols/2<<(maxCode-litBits)
	distSize = 1<<distBits + distSymbols/2<<(maxCode-distBits)
)

// tables are those of a block.
type tables struct {
	lit  [litSize]uint32
	dist [distSize]uint32
}

// The entries of all symbols, but for the lengths of their codes.
var (
	litEntries  = makeLitEntries()
	distEntries = makeDistEntries()
	lenEntries  = makeLenEntries()
)

func makeLitEntries() (e [litSymbols]uint32) {
	for i := range literals {
		e[i] = literal | uint32(i)<<valueShift
	}
	e[endSymbol] = special | blockEnd
	// Four symbols for each number of extra bits, eight for none.
	base := uint32(3)
	for i := range uint32(28) {
		extra := uint32(0)
		if i >= 8 {
			extra = i/4 - 1
		}
		e[endSymbol+1+i] = base<<valueShift | extra
		base += 1 << extra
	}
	e[285] = 258 << valueShift
	e[286], e[287] = special, special
	return e
}

func makeDistEntries() (e [distSymbols]uint32) {
	// Two symbols for each number of extra bits, four for none.
	base := uint32(1)
	for i := range uint32(30) {
		extra := uint32(0)
		if i >= 4 {
			extra = i/2 - 1
		}
		e[i] = base<<valueShift | extra
		base += 1 << extra
	}
	e[30], e[31] = special, special
	return e
}

func makeLenEntries() (e [lenSymbols]uint32) {
	for i := range e {
		e[i] = uint32(i) << valueShift
	}
	e[repeatLast] |= 2
	e[repeatZero] |= 3
	e[repeatZeros] |= 7
	return e
}

// fixed returns the tables of blocks that bring no codes.
var fixed = sync.OnceValue(func() *tables {
	var lens [litSymbols]uint8
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	t := new(tables)
	build(t.lit[:], litBits, lens[:], litEntries[:])
	for i := range distSymbols {
		lens[i] = 5
	}
	build(t.dist[:], distBits, lens[:distSymbols], distEntries[:])
	return t
})

// A fit says how well lengths of codes fit together.
type fit int

const (
	bad      fit = iota // too many codes, or too few
	complete            // every sequence of bits is a code
	single              // the only code has one bit
	empty               // there are no codes
)

// build makes the table of the codes that have these lengths, and the further
// tables behind it.
func build(table []uint32, width int, lens []uint8, entries []uint32) fit {
	var count [maxCode + 1]int
	for _, l := range lens {
		count[l&maxCode]++
	}
	count[0] = 0
	free, first, longest, symbols := 1, 0, 0, 0
	var start [maxCode + 2]int // of the symbols of a length, among all
	for l := 1; l <= maxCode; l++ {
		free = free<<1 - count[l]
		if free < 0 {
			return bad
		}
		if count[l] > 0 {
			if longest = l; first == 0 {
				first = l
			}
		}
		start[l] = symbols
		symbols += count[l]
	}
	if free > 0 && longest > 1 {
		return bad
	}
	var order [litSymbols]uint16
	for i, l := range lens {
		if l != 0 {
			order[start[l&maxCode]] = uint16(i)
			start[l&maxCode]++
		}
	}
	if free > 0 {
		for i := range 1 << width {
			table[i] = special
		}
		if symbols == 0 {
			return empty
		}
		for i := 0; i < 1<<width; i += 2 {
			table[i] = entries[order[0]] + codeBit
		}
		return single
	}

	// Codes come from the highest bit on, so they are indices when reversed. The
	// table grows with their length: what is there is repeated for the next bit.
	// Where nothing is yet, longer codes will be.
	code, next := 0, 0
	for l := first; l <= width; l++ {
		if code <<= 1; next > 0 {
			copy(table[1<<(l-1):1<<l], table[:1<<(l-1)])
		}
		for range count[l] {
			sym := order[next]
			table[reverse(code, l)] = entries[sym] + uint32(l)*codeBit
			code++
			next++
		}
	}
	if longest <= width {
		return complete
	}
	more := longest - width
	prefix, at, end := -1, 0, 1<<width
	for l := max(first, width+1); l <= longest; l++ {
		code <<= 1
		for range count[l] {
			index := reverse(code, l)
			if p := index & (1<<width - 1); p != prefix {
				prefix, at, end = p, end, end+1<<more
				table[p] = special | further | uint32(at)<<valueShift | uint32(more)<<skipShift | uint32(width)
			}
			e := entries[order[next]] + uint32(l-width)*codeBit
			for i := index >> width; i < 1<<more; i += 1 << (l - width) {
				table[at+i] = e
			}
			code++
			next++
		}
	}
	return complete
}

// reverse returns the code with its last bit on top.
func reverse(code, length int) int { return int(bits.Reverse16(uint16(code)) >> (16 - length)) }
