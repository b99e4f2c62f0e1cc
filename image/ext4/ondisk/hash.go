package ondisk

import "math/bits"

// Versions of the hash of directory names (DX_HASH_…).
const (
	HashLegacy          = 0
	HashHalfMD4         = 1
	HashTEA             = 2
	HashLegacyUnsigned  = 3
	HashHalfMD4Unsigned = 4
	HashTEAUnsigned     = 5
	HashSip             = 6
)

// dxHashEOF is no hash of a name: readdir uses it for the end.
const dxHashEOF = 0x7FFFFFFF << 1

// NameHash computes the hash that orders name in an indexed directory
// (ext4fs_dirhash), with the superblock's seed. It reports false for a version
// that it does not know. The lowest bit of a hash is always zero.
func NameHash(name string, version uint8, seed [4]uint32) (uint32, bool) {
	buf := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476} // those of MD4
	if seed != [4]uint32{} {
		buf = seed
	}
	unsigned := version >= HashLegacyUnsigned
	var hash uint32
	switch version {
	case HashLegacy, HashLegacyUnsigned:
		hash = legacyHash(name, unsigned)
	case HashHalfMD4, HashHalfMD4Unsigned:
		var in [8]uint32
		for len(name) > 0 {
			hashInput(name, in[:], unsigned)
			halfMD4(&buf, &in)
			name = name[min(len(name), 32):]
		}
		hash = buf[1]
	case HashTEA, HashTEAUnsigned:
		var in [4]uint32
		for len(name) > 0 {
			hashInput(name, in[:], unsigned)
			teaMix(&buf, &in)
			name = name[min(len(name), 16):]
		}
		hash = buf[0]
	default:
		return 0, false
	}
	hash &^= 1
	if hash == dxHashEOF {
		hash = (0x7FFFFFFF - 1) << 1
	}
	return hash, true
}

// char widens a byte of a name. Whether C's char was signed on the machine
// that made the file system is part of the hash.
func char(c byte, unsigned bool) uint32 {
	if unsigned {
		return uint32(c)
	}
	return uint32(int32(int8(c)))
}

func legacyHash(name string, unsigned bool) uint32 {
	cur, prev := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for i := range len(name) {
		h := prev + (cur ^ char(name[i], unsigned)*7152373)
		if h&(1<<31) != 0 {
			h -= 0x7fffffff
		}
		prev, cur = cur, h
	}
	return cur << 1
}

// hashInput packs the start of name into words, most significant byte first;
// what is missing is filled with the length of the whole rest.
func hashInput(name string, out []uint32, unsigned bool) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	n := min(len(name), len(out)*4)
	for w := range out {
		v := pad
		for i := w * 4; i < min(w*4+4, n); i++ {
			v = char(name[i], unsigned) + v<<8
		}
		out[w] = v
	}
}

// teaMix is sixteen rounds of the Tiny Encryption Algorithm with the key in.
func teaMix(buf *[4]uint32, in *[4]uint32) {
	var sum uint32
	x, y := buf[0], buf[1]
	for range 16 {
		sum += 0x9E3779B9
		x += (y<<4 + in[0]) ^ (y + sum) ^ (y>>5 + in[1])
		y += (x<<4 + in[2]) ^ (x + sum) ^ (x>>5 + in[3])
	}
	buf[0] += x
	buf[1] += y
}

// halfMD4Rounds are the three rounds of MD4 cut down to eight words: the order
// in which each takes them, its shifts and its constant.
var halfMD4Rounds = [3]struct {
	order [8]uint8
	shift [4]int
	add   uint32
}{
	{[8]uint8{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}, 0},
	{[8]uint8{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}, 0x5A827999},
	{[8]uint8{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}, 0x6ED9EBA1},
}

func halfMD4(buf *[4]uint32, in *[8]uint32) {
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	for r := range halfMD4Rounds {
		round := &halfMD4Rounds[r]
		for i, word := range round.order {
			var f uint32
			switch r {
			case 0:
				f = d ^ b&(c^d)
			case 1:
				f = b&c + (b^c)&d
			case 2:
				f = b ^ c ^ d
			}
			a = bits.RotateLeft32(a+f+in[word]+round.add, round.shift[i%4])
			a, b, c, d = d, a, b, c
		}
	}
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}
