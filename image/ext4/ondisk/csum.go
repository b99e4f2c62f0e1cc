package ondisk

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC32C continues the checksum crc over p, as Linux's crc32c does: without
// the inversions before and after that hash/crc32 makes.
func CRC32C(crc uint32, p []byte) uint32 { return ^crc32.Update(^crc, castagnoli, p) }

// CRC32C32 continues crc over v in little-endian order. It is by table: the
// four bytes on their own would be an allocation for every inode.
func CRC32C32(crc, v uint32) uint32 {
	for range 4 {
		crc = castagnoli[byte(crc)^byte(v)] ^ crc>>8
		v >>= 8
	}
	return crc
}

// crc32cZeros continues crc over n zeros, which stand for a checksum itself.
func crc32cZeros(crc uint32, n int) uint32 {
	for range n {
		crc = castagnoli[byte(crc)] ^ crc>>8
	}
	return crc
}

// crc16Table is for the polynomial 0x8005, reflected, which Linux's crc16 uses.
var crc16Table = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i)
		for range 8 {
			if c&1 != 0 {
				c = c>>1 ^ 0xA001
			} else {
				c >>= 1
			}
		}
		t[i] = c
	}
	return t
}()

// CRC16 continues the checksum crc over p, as Linux's crc16 does.
func CRC16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc = crc>>8 ^ crc16Table[byte(crc)^b]
	}
	return crc
}

// crc32beTable is for the polynomial 0x04C11DB7, most significant bit first.
var crc32beTable = func() (t [256]uint32) {
	for i := range t {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04C11DB7
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()

// CRC32BE continues the checksum crc over p, as Linux's crc32_be does: the
// transaction checksum of journals with the feature "checksum".
func CRC32BE(crc uint32, p []byte) uint32 {
	for _, b := range p {
		crc = crc<<8 ^ crc32beTable[byte(crc>>24)^b]
	}
	return crc
}
