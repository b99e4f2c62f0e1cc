package lzma

import "encoding/binary"

// The filters of xz for machine code turn the relative targets of calls into
// absolute ones, of which the same one is more often repeated. These functions
// turn them back. Positions count from the start of the block.

// filters are those that are undone, by their ids.
var filters = map[uint64]func(b []byte){
	4: undoX86,
	5: undoPowerPC,
	7: undoARM,
	8: undoThumb,
	9: undoSPARC,
}

// filterNames are those of the others that have names.
var filterNames = map[uint64]string{3: "delta", 6: "IA-64 BCJ", 10: "ARM64 BCJ", 11: "RISC-V BCJ"}

// words calls convert for each of the words of four bytes.
func words(b []byte, order binary.ByteOrder, convert func(w, pos uint32) uint32) {
	for i := 0; i+4 <= len(b); i += 4 {
		w := order.Uint32(b[i:])
		if v := convert(w, uint32(i)); v != w {
			order.PutUint32(b[i:], v)
		}
	}
}

// undoARM converts BL, whose target is in words, from the instruction after the
// next.
func undoARM(b []byte) {
	words(b, binary.LittleEndian, func(w, pos uint32) uint32 {
		if w>>24 != 0xEB {
			return w
		}
		return 0xEB<<24 | (w<<2-(pos+8))>>2&0xFFFFFF
	})
}

// undoPowerPC converts "bl".
func undoPowerPC(b []byte) {
	words(b, binary.BigEndian, func(w, pos uint32) uint32 {
		if w&0xFC000003 != 0x48000001 {
			return w
		}
		return 0x48000001 | (w-pos)&0x03FFFFFC
	})
}

// undoSPARC converts "call" where the target is near, which leaves the upper
// bits all alike.
func undoSPARC(b []byte) {
	words(b, binary.BigEndian, func(w, pos uint32) uint32 {
		if top := w >> 22; top != 0x100 && top != 0x1FF {
			return w
		}
		target := (w<<2 - pos) >> 2
		sign := -(target >> 22 & 1) // all ones for what is behind
		return 0x40000000 | sign<<22&0x3FFFFFFF | target&0x3FFFFF
	})
}

// undoThumb converts the pair of half words that make BL.
func undoThumb(b []byte) {
	le := binary.LittleEndian
	for i := 0; i+4 <= len(b); i += 2 {
		high, low := uint32(le.Uint16(b[i:])), uint32(le.Uint16(b[i+2:]))
		if high&0xF800 != 0xF000 || low&0xF800 != 0xF800 {
			continue
		}
		target := (high&0x7FF<<11|low&0x7FF)<<1 - uint32(i+4)
		le.PutUint16(b[i:], uint16(0xF000|target>>12&0x7FF))
		le.PutUint16(b[i+2:], uint16(0xF800|target>>1&0x7FF))
		i += 2
	}
}

// undoX86 converts CALL and JMP (E8 and E9), whose targets are not aligned. A
// byte that looks like one of them may be a part of the target of another. So
// the encoder leaves out some, by where in the last three bytes others were seen
// and whether the byte there looks like the highest of a target: 00 or FF.
func undoX86(b []byte) {
	far := func(b byte) bool { return b == 0x00 || b == 0xFF }
	// recent has a bit for each of the last three bytes that looked like an
	// instruction and was not converted: bit 0 for the one just before.
	recent := uint32(0)
	for i := 0; i+5 <= len(b); i++ {
		if b[i]&0xFE != 0xE8 {
			recent = recent << 1 & 7
			continue
		}
		// The oldest of them is how many bytes up from the lowest of its target
		// this one's target begins.
		oldest := 0
		for r := recent; r != 0; r >>= 1 {
			oldest++
		}
		several := recent == 3 || recent >= 5
		if recent != 0 && (several || far(b[i+4-oldest])) || !far(b[i+4]) {
			recent = (recent<<1 | 1) & 7
			continue
		}
		target := binary.LittleEndian.Uint32(b[i+1:])
		for {
			target -= uint32(i + 5)
			if oldest == 0 || !far(byte(target>>(24-8*oldest))) {
				break
			}
			target ^= 1<<(32-8*oldest) - 1
		}
		// The highest byte repeats the bit below it.
		target &= 1<<25 - 1
		target |= -(target >> 24 & 1) << 24
		binary.LittleEndian.PutUint32(b[i+1:], target)
		recent = 0
		i += 4
	}
}
