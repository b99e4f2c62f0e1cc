package inflate

// lenOrder is the order in which the lengths of the codes for lengths come.
var lenOrder = [lenSymbols]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// The symbols for lengths that stand for several.
const (
	repeatLast  = 16
	repeatZero  = 17
	repeatZeros = 18
)

// The most symbols that a block may bring codes for.
const (
	maxLits  = 286
	maxDists = 30
)

// codes reads the codes that a block brings, and makes its tables.
func (d *decoder) codes() error {
	d.fill()
	if d.count < 5+5+4 {
		return ErrTooShort
	}
	lits, dists, n := 257+int(d.take(5)), 1+int(d.take(5)), 4+int(d.take(4))
	if lits > maxLits || dists > maxDists {
		return ErrCorrupt
	}
	var lens [maxLits + maxDists]uint8
	for _, sym := range lenOrder[:n] {
		if d.fill(); d.count < 3 {
			return ErrTooShort
		}
		lens[sym] = uint8(d.take(3))
	}
	if build(d.lens[:], lenBits, lens[:lenSymbols], lenEntries[:]) != complete {
		return ErrCorrupt
	}
	clear(lens[:lenSymbols])

	for i := 0; i < lits+dists; {
		d.fill()
		e := d.lens[d.bits&(1<<lenBits-1)]
		if d.count < uint(e&takeMask) {
			return ErrTooShort
		}
		extra := int(d.take(uint(e&takeMask)) >> (e >> skipShift & skipMask))
		value, times := uint8(0), 1
		switch sym := e >> valueShift; sym {
		case repeatLast:
			if i == 0 {
				return ErrCorrupt
			}
			value, times = lens[i-1], 3+extra
		case repeatZero:
			times = 3 + extra
		case repeatZeros:
			times = 11 + extra
		default:
			value = uint8(sym)
		}
		if times > lits+dists-i {
			return ErrCorrupt
		}
		for range times {
			lens[i] = value
			i++
		}
	}
	// Without an end there would be none.
	if lens[endSymbol] == 0 {
		return ErrCorrupt
	}
	if build(d.own.lit[:], litBits, lens[:lits], litEntries[:]) == bad ||
		build(d.own.dist[:], distBits, lens[lits:lits+dists], distEntries[:]) == bad {
		return ErrCorrupt
	}
	return nil
}
