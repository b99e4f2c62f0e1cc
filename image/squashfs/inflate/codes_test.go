package inflate

import (
	"bytes"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bitWriter makes deflated data by hand.
type bitWriter struct {
	p []byte
	n int // bits
}

// put writes a number of n bits.
func (w *bitWriter) put(v, n int) *bitWriter {
	for i := range n {
		if w.n%8 == 0 {
			w.p = append(w.p, 0)
		}
		w.p[w.n/8] |= byte(v>>i&1) << (w.n % 8)
		w.n++
	}
	return w
}

// A code gives symbols their bits.
type code struct{ lens, codes []int }

// newCode assigns codes as RFC 1951 has it in 3.2.2.
func newCode(lens []int) code {
	c := code{lens, make([]int, len(lens))}
	next := 0
	for l := 1; l <= maxCode; l++ {
		next <<= 1
		for sym, n := range lens {
			if n == l {
				c.codes[sym] = next
				next++
			}
		}
	}
	return c
}

func (w *bitWriter) symbol(c code, sym int) *bitWriter {
	return w.put(reverse(c.codes[sym], c.lens[sym]), c.lens[sym])
}

// dynamic begins a last block with these codes. Lengths are told by codes of
// four bits.
func (w *bitWriter) dynamic(lits, dists []int) *bitWriter {
	w.put(1, 1).put(dynamicBlock, 2).put(len(lits)-257, 5).put(len(dists)-1, 5).put(lenSymbols-4, 4)
	for _, sym := range lenOrder {
		if sym < 16 {
			w.put(4, 3)
		} else {
			w.put(0, 3)
		}
	}
	for _, l := range append(append([]int{}, lits...), dists...) {
		w.put(reverse(l, 4), 4)
	}
	return w
}

// randomLens returns the lengths of a code that is complete, for some symbols
// with those that must be there.
func randomLens(rng *rand.Rand, symbols, used, must int) []int {
	leaves := []int{1, 1}
	for len(leaves) < used {
		i := rng.IntN(len(leaves))
		if rng.IntN(2) == 0 { // makes long codes more likely
			i = len(leaves) - 1
		}
		if leaves[i] < maxCode {
			leaves[i]++
			leaves = append(leaves, leaves[i])
		}
	}
	lens := make([]int, symbols)
	order := rng.Perm(symbols)
	for i, sym := range order {
		if sym == must {
			order[0], order[i] = order[i], order[0]
		}
	}
	rng.Shuffle(len(leaves), func(i, j int) { leaves[i], leaves[j] = leaves[j], leaves[i] })
	for i, l := range leaves {
		lens[order[i]] = l
	}
	return lens
}

// All codes that are complete are understood, and all symbols.
func TestAnyCodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var longLits, longDists int
	for range 500 {
		lits := newCode(randomLens(rng, 257+rng.IntN(maxLits-257+1), 2+rng.IntN(250), endSymbol))
		n := 2 + rng.IntN(maxDists-1)
		dists := newCode(randomLens(rng, n, 2+rng.IntN(n-1), 0))
		w := new(bitWriter).dynamic(lits.lens, dists.lens)
		size := 0
		for range 5000 {
			sym := rng.IntN(len(lits.lens))
			if rng.IntN(4) == 0 {
				sym = min(len(lits.lens)-1, 257+rng.IntN(29))
			}
			if lits.lens[sym] == 0 || sym == endSymbol {
				continue
			}
			length, extra := 1, uint32(0)
			if sym > endSymbol {
				extra = litEntries[sym] & takeMask
				length = int(litEntries[sym]>>valueShift) + rng.IntN(1<<extra)
			}
			if size+length > 60_000 {
				break
			}
			if sym < endSymbol {
				w.symbol(lits, sym)
				size++
			} else {
				dsym := rng.IntN(len(dists.lens))
				dextra := int(distEntries[dsym] & takeMask)
				more := rng.IntN(1 << dextra)
				if base := int(distEntries[dsym] >> valueShift); dists.lens[dsym] == 0 || base+more > size {
					continue
				}
				w.symbol(lits, sym).put(length-int(litEntries[sym]>>valueShift), int(extra))
				w.symbol(dists, dsym).put(more, dextra)
				size += length
				if dists.lens[dsym] > distBits {
					longDists++
				}
			}
			if lits.lens[sym] > litBits {
				longLits++
			}
		}
		w.symbol(lits, endSymbol)
		packed := stream(w.p, nil)
		r, err := zlib.NewReader(bytes.NewReader(packed))
		require.NoError(t, err)
		want, err := io.ReadAll(r)
		require.True(t, err == nil || err == zlib.ErrChecksum, "%v", err)
		require.Len(t, want, size)
		requireSame(t, want, stream(w.p, want))
	}
	assert.Greater(t, longLits, 1000, "codes with further tables")
	assert.Greater(t, longDists, 1000, "codes with further tables")
}

// with returns lengths for the symbols that are given, as pairs.
func with(symbols int, pairs ...int) []int {
	lens := make([]int, symbols)
	for i := 0; i < len(pairs); i += 2 {
		lens[pairs[i]] = pairs[i+1]
	}
	return lens
}

// A code with a single symbol of one bit is not complete, and is allowed. So is
// no code at all for distances, if there are none.
func TestSmallCodes(t *testing.T) {
	// 'a', and a match of three bytes.
	lits := newCode(with(258, 'a', 1, endSymbol, 2, 257, 2))
	for sym := range 2 {
		dists := newCode(with(sym+1, sym, 1))
		w := new(bitWriter).dynamic(lits.lens, dists.lens).symbol(lits, 'a').symbol(lits, 'a')
		w.symbol(lits, 257).symbol(dists, sym).symbol(lits, endSymbol)
		requireSame(t, []byte("aaaaa"), stream(w.p, []byte("aaaaa")))
	}
	w := new(bitWriter).dynamic(lits.lens, []int{0}).symbol(lits, 'a').symbol(lits, endSymbol)
	requireSame(t, []byte("a"), stream(w.p, []byte("a")))
	end := newCode(with(257, endSymbol, 1))
	w = new(bitWriter).dynamic(end.lens, []int{0}).symbol(end, endSymbol)
	requireSame(t, nil, stream(w.p, nil))
}

// enough follows a bad stream, for the loop that does not look at the end.
var enough = make([]byte, 100)

func badBlock(w *bitWriter) []byte { return append(stream(w.p, nil), enough...) }

// lenCode begins a block with a code for lengths, of which the first 4 are given.
func lenCode(lens ...int) *bitWriter {
	w := new(bitWriter).put(1, 1).put(dynamicBlock, 2).put(0, 5).put(0, 5).put(max(len(lens), 4)-4, 4)
	for _, l := range lens {
		w.put(l, 3)
	}
	return w
}

var (
	abLits   = newCode(with(258, 'a', 1, endSymbol, 2, 257, 2))
	endFirst = newCode(with(257, 0, 1, endSymbol, 1))
	fixedEnd = new(bitWriter).put(1, 1).put(fixedBlock, 2).put(0, 7)
)

var badStreams = []struct {
	name string
	src  []byte
	err  error
}{
	{"nothing", nil, ErrTooShort},
	{"half a header", []byte{0x78}, ErrTooShort},
	{"header check", []byte{0x78, 0x9D, 3, 0, 0, 0, 0, 1}, ErrCorrupt},
	{"method", []byte{0x79, 0x9B, 3, 0, 0, 0, 0, 1}, ErrCorrupt},
	{"window", []byte{0x88, 0x98, 3, 0, 0, 0, 0, 1}, ErrCorrupt},
	{"preset dictionary", []byte{0x78, 0xBB, 0, 0, 0, 1, 3, 0, 0, 0, 0, 1}, ErrDictionary},
	{"checksum", []byte{0x78, 0x9C, 3, 0, 0, 0, 0, 2}, ErrChecksum},
	{"half a checksum", []byte{0x78, 0x9C, 3, 0, 0, 0, 0}, ErrTooShort},
	{"kind of block", badBlock(new(bitWriter).put(1, 1).put(3, 2)), ErrCorrupt},
	{"stored length", badBlock(&bitWriter{p: []byte{1, 5, 0, 5, 0}}), ErrCorrupt},
	{"stored too short", []byte{0x78, 0x9C, 1, 5, 0, 0xFA, 0xFF, 1, 2, 3}, ErrTooShort},
	{"fixed literal 286", badBlock(new(bitWriter).put(1, 1).put(fixedBlock, 2).put(reverse(0xC6, 8), 8)), ErrCorrupt},
	{"fixed distance 30", badBlock(new(bitWriter).put(1, 1).put(fixedBlock, 2).put(reverse(0x30, 8), 8).
		put(reverse(1, 7), 7).put(reverse(30, 5), 5)), ErrCorrupt},
	{"distance too far", badBlock(new(bitWriter).put(1, 1).put(fixedBlock, 2).put(reverse(0x30, 8), 8).
		put(reverse(1, 7), 7).put(reverse(1, 5), 5)), ErrCorrupt},
	{"distance before anything", badBlock(new(bitWriter).put(1, 1).put(fixedBlock, 2).
		put(reverse(1, 7), 7).put(reverse(0, 5), 5)), ErrCorrupt},
	{"287 literals", badBlock(new(bitWriter).put(1, 1).put(dynamicBlock, 2).put(287-257, 5).put(0, 5).put(0, 4)), ErrCorrupt},
	{"31 distances", badBlock(new(bitWriter).put(1, 1).put(dynamicBlock, 2).put(0, 5).put(30, 5).put(0, 4)), ErrCorrupt},
	{"no codes for lengths", badBlock(lenCode(0, 0, 0, 0)), ErrCorrupt},
	{"one code for lengths", badBlock(lenCode(0, 0, 1, 0)), ErrCorrupt},
	{"too few codes for lengths", badBlock(lenCode(0, 0, 1, 2)), ErrCorrupt},
	{"too many codes for lengths", badBlock(lenCode(1, 1, 1, 0)), ErrCorrupt},
	{"nothing to repeat", badBlock(lenCode(1, 0, 0, 1).put(1, 1)), ErrCorrupt},
	{"repeated beyond the end", badBlock(lenCode(0, 0, 1, 1).put(1, 1).put(127, 7).put(1, 1).put(127, 7)), ErrCorrupt},
	{"no end", badBlock(new(bitWriter).dynamic(with(257, 'a', 1, 'b', 1), []int{0})), ErrCorrupt},
	{"too many literals", badBlock(new(bitWriter).dynamic(with(257, 'a', 1, 'b', 1, endSymbol, 1), []int{0})), ErrCorrupt},
	{"too few literals", badBlock(new(bitWriter).dynamic(with(257, 'a', 1, endSymbol, 2), []int{0})), ErrCorrupt},
	{"one literal of two bits", badBlock(new(bitWriter).dynamic(with(257, endSymbol, 2), []int{0})), ErrCorrupt},
	{"no such literal", badBlock(new(bitWriter).dynamic(with(257, endSymbol, 1), []int{0}).put(1, 1)), ErrCorrupt},
	{"too many distances", badBlock(new(bitWriter).dynamic(endFirst.lens, []int{1, 1, 1})), ErrCorrupt},
	{"too few distances", badBlock(new(bitWriter).dynamic(endFirst.lens, []int{1, 2})), ErrCorrupt},
	{"one distance of two bits", badBlock(new(bitWriter).dynamic(endFirst.lens, []int{2})), ErrCorrupt},
	{"no such distance", badBlock(new(bitWriter).dynamic(abLits.lens, []int{1}).
		symbol(abLits, 'a').symbol(abLits, 257).put(1, 1)), ErrCorrupt},
	{"no distances", badBlock(new(bitWriter).dynamic(abLits.lens, []int{0}).
		symbol(abLits, 'a').symbol(abLits, 257)), ErrCorrupt},
}

func TestBadStreams(t *testing.T) {
	for _, c := range badStreams {
		for _, room := range []int{0, 3, 10, 1000} { // with and without the fast loop
			_, err := Decode(make([]byte, room), c.src)
			if room == 0 && err == ErrTooLong {
				continue
			}
			assert.Equal(t, c.err, err, "%s, room for %d", c.name, room)
			r, err := zlib.NewReader(bytes.NewReader(c.src))
			if err == nil {
				_, err = io.ReadAll(r)
			}
			if c.err != ErrDictionary { // an empty one is taken
				assert.Error(t, err, "%s: the standard library", c.name)
			}
		}
	}
	requireSame(t, nil, stream(fixedEnd.p, nil), "what the bad ones are made from")
}
