package inflate

import "encoding/binary"

// How far from the ends a round of the loop must begin. Input is fetched twice,
// at most 8 bytes from at most 7 bytes on. Output is two literals and a match,
// which is written in words.
const (
	maxMatch  = 258
	inMargin  = 16
	outMargin = 2 + maxMatch + 8

	// longMatch is from where on it is worth to call copy.
	longMatch = 48

	// maxDistance is how many bits a distance may take.
	maxDistance = maxCode + 13
)

// periods are the smallest multiples of short distances that a word fits into.
var periods = [8]int{0, 8, 8, 9, 8, 10, 12, 14}

// far decodes symbols for as long as neither input nor output can end. It
// returns whether the block has ended. All that changes is in registers, which
// is why this is a single function.
func (d *decoder) far(t *tables) (end bool, err error) {
	src, in, dst, out := d.src, d.in, d.dst, d.out
	buf, count := d.bits, d.count
	lit, dists := &t.lit, &t.dist
	lastIn, lastOut := len(src)-inMargin, len(dst)-outMargin

	for in <= lastIn && out <= lastOut {
		buf |= binary.LittleEndian.Uint64(src[in:]) << (count & 63)
		in += int((63 - count) >> 3)
		count |= 56

		// Codes in the first table are short: after three there are bits left.
		e := lit[buf&(1<<litBits-1)]
		if e&literal != 0 {
			n := uint(e & takeMask)
			buf >>= n
			count -= n
			dst[out] = byte(e >> valueShift)
			out++
			e = lit[buf&(1<<litBits-1)]
			if e&literal != 0 {
				n := uint(e & takeMask)
				buf >>= n
				count -= n
				dst[out] = byte(e >> valueShift)
				out++
				e = lit[buf&(1<<litBits-1)]
				if e&literal != 0 {
					n := uint(e & takeMask)
					buf >>= n
					count -= n
					dst[out] = byte(e >> valueShift)
					out++
					continue
				}
			}
		}
		if e&special != 0 {
			if e&further != 0 {
				buf >>= litBits
				count -= litBits
				e = lit[e>>valueShift+uint32(buf)&(1<<(e>>skipShift&skipMask)-1)]
				if e&literal != 0 {
					n := uint(e & takeMask)
					buf >>= n
					count -= n
					dst[out] = byte(e >> valueShift)
					out++
					continue
				}
			}
			if e&special != 0 {
				if e&blockEnd == 0 {
					err = ErrCorrupt
				} else {
					n := uint(e & takeMask)
					buf >>= n
					count -= n
					end = true
				}
				break
			}
		}
		n := uint(e & takeMask)
		length := int(e>>valueShift) + int(buf&(1<<n-1)>>(e>>skipShift&skipMask))
		buf >>= n
		count -= n

		if count < maxDistance {
			buf |= binary.LittleEndian.Uint64(src[in:]) << (count & 63)
			in += int((63 - count) >> 3)
			count |= 56
		}
		e = dists[buf&(1<<distBits-1)]
		if e&special != 0 {
			if e&further != 0 {
				buf >>= distBits
				count -= distBits
				e = dists[e>>valueShift+uint32(buf)&(1<<(e>>skipShift&skipMask)-1)]
			}
			if e&special != 0 {
				err = ErrCorrupt
				break
			}
		}
		n = uint(e & takeMask)
		dist := int(e>>valueShift) + int(buf&(1<<n-1)>>(e>>skipShift&skipMask))
		buf >>= n
		count -= n
		if dist > out {
			err = ErrCorrupt
			break
		}

		to, stop := out, out+length
		from := out - dist
		out = stop
		if length > longMatch {
			// What was copied is copied with the rest, if it is a part of it.
			for to < stop {
				to += copy(dst[to:stop], dst[from:to])
			}
			continue
		}
		// Short ones are copied in words, and beyond their end. What is written
		// there comes again.
		if dist < 8 {
			// The first word is what the distance repeats. From there on, a
			// multiple of the distance does as well.
			for i := range 8 {
				dst[to+i] = dst[from+i]
			}
			to += 8
			from = to - periods[dist]
		}
		for to < stop {
			binary.LittleEndian.PutUint64(dst[to:], binary.LittleEndian.Uint64(dst[from:]))
			to += 8
			from += 8
		}
	}
	d.in, d.out, d.bits, d.count = in, out, buf, count
	return end, err
}
