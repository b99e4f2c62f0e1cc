package lzma

// The first byte of a chunk of LZMA2.
const (
	chunkEnd      = 0x00
	chunkRawReset = 0x01 // stored as it is, with a new dictionary
	chunkRaw      = 0x02 // stored as it is
	chunkLZMA     = 0x80 // from here on

	// What is new in a compressed chunk, in the two bits above the length.
	newState = 1
	newProps = 2
	newDict  = 3
)

// lzma2 decompresses a sequence of chunks into dst. It returns how long their
// contents are, and how long they are.
func lzma2(dst, src []byte) (n, used int, err error) {
	d := decoders.Get().(*decoder)
	defer release(d)
	d.out, d.start, d.n = dst, 0, 0
	// What the first chunk must bring, and the first compressed one.
	needDict, needProps, needState := true, true, true
	rest := src
	for {
		if len(rest) == 0 {
			return d.n, 0, ErrTooShort
		}
		control := rest[0]
		if control == chunkEnd {
			return d.n, len(src) - len(rest) + 1, nil
		}
		if control < chunkLZMA {
			if control > chunkRaw || control == chunkRaw && needDict {
				return d.n, 0, ErrCorrupt
			}
			if len(rest) < 3 {
				return d.n, 0, ErrTooShort
			}
			if control == chunkRawReset {
				d.start, needDict = d.n, false
				needState = true
			}
			size := int(rest[1])<<8 + int(rest[2]) + 1
			if rest = rest[3:]; size > len(rest) {
				return d.n, 0, ErrTooShort
			}
			if size > len(dst)-d.n {
				return d.n, 0, ErrTooLong
			}
			d.n += copy(dst[d.n:], rest[:size])
			rest = rest[size:]
			continue
		}
		head := 5
		fresh := control >> 5 & 3
		if fresh >= newProps {
			head++
		}
		if len(rest) < head {
			return d.n, 0, ErrTooShort
		}
		unpacked := int(control&0x1F)<<16 + int(rest[1])<<8 + int(rest[2]) + 1
		packed := int(rest[3])<<8 + int(rest[4]) + 1
		if fresh == newDict {
			d.start, needDict = d.n, false
		}
		if fresh >= newProps {
			if !d.setProps(rest[5]) || d.lc+d.lp > 4 {
				return d.n, 0, ErrCorrupt
			}
			needProps = false
		}
		if needDict || needProps || needState && fresh < newState {
			return d.n, 0, ErrCorrupt
		}
		if fresh >= newState {
			d.resetState()
			needState = false
		}
		if rest = rest[head:]; packed > len(rest) {
			return d.n, 0, ErrTooShort
		}
		if unpacked > len(dst)-d.n {
			return d.n, 0, ErrTooLong
		}
		if err := d.begin(rest[:packed]); err != nil {
			return d.n, 0, err
		}
		if marker, err := d.run(d.n + unpacked); err != nil || marker {
			if err == nil {
				err = ErrCorrupt
			}
			return d.n, 0, err
		}
		rest = rest[packed:]
	}
}
