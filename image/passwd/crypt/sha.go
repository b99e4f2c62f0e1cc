package crypt

import (
	"bytes"
	"crypto/md5"
	"crypto/subtle"
	"hash"
	"strconv"
	"strings"
)

// The order in which the bytes of the digest are encoded, three at a time,
// lowest bits first ("Unix crypt using SHA-256 and SHA-512", Drepper).
var (
	sha512Order = []int{
		42, 21, 0, 1, 43, 22, 23, 2, 44, 45, 24, 3, 4, 46, 25, 26, 5, 47, 48, 27, 6, 7, 49, 28, 29, 8, 50, 51, 30, 9, 10, 52, 31,
		32, 11, 53, 54, 33, 12, 13, 55, 34, 35, 14, 56, 57, 36, 15, 16, 58, 37, 38, 17, 59, 60, 39, 18, 19, 61, 40, 41, 20, 62, 63,
	}
	sha256Order = []int{
		20, 10, 0, 11, 1, 21, 2, 22, 12, 23, 13, 3, 14, 4, 24, 5, 25, 15, 26, 16, 6, 17, 7, 27, 8, 28, 18, 29, 19, 9, 30, 31,
	}
	md5Order = []int{12, 6, 0, 13, 7, 1, 14, 8, 2, 15, 9, 3, 5, 10, 4, 11}
)

const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// encode64 writes bytes in the order given as crypt(3) does.
func encode64(sum []byte, order []int) string {
	var b strings.Builder
	for len(order) > 0 {
		n := min(3, len(order))
		v := 0
		for i := n - 1; i >= 0; i-- {
			v = v<<8 | int(sum[order[i]])
		}
		for range n + 1 {
			b.WriteByte(alphabet[v&63])
			v >>= 6
		}
		order = order[n:]
	}
	return b.String()
}

// verifySHA verifies SHA-crypt: $6$rounds=N$salt$hash.
func verifySHA(want, password, magic string, newHash func() hash.Hash, order []int) (match, known bool) {
	rest := strings.TrimPrefix(want, magic)
	rounds := 5000
	if s, ok := strings.CutPrefix(rest, "rounds="); ok {
		number, after, ok := strings.Cut(s, "$")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n > maxRounds {
			return false, false
		}
		rounds, rest = max(n, 1000), after
	}
	salt, encoded, ok := strings.Cut(rest, "$")
	if !ok || len(encoded) < 43 {
		return false, false
	}
	return same(shaCrypt(password, salt[:min(len(salt), 16)], rounds, newHash, order), encoded), true
}

// same compares two hashes in a time that does not tell where they differ.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// shaCrypt is the last part of a hash of SHA-crypt.
func shaCrypt(password, salt string, rounds int, newHash func() hash.Hash, order []int) string {
	b := newHash()
	b.Write([]byte(password + salt + password))
	alternate := b.Sum(nil)
	a := newHash()
	a.Write([]byte(password + salt))
	a.Write(stretch(alternate, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			a.Write(alternate)
		} else {
			a.Write([]byte(password))
		}
	}
	sum := a.Sum(nil)
	p := newHash()
	p.Write(bytes.Repeat([]byte(password), len(password)))
	pw := stretch(p.Sum(nil), len(password))
	s := newHash()
	s.Write(bytes.Repeat([]byte(salt), 16+int(sum[0])))
	st := stretch(s.Sum(nil), len(salt))
	for i := range rounds {
		c := newHash()
		odd := i&1 != 0
		if odd {
			c.Write(pw)
		} else {
			c.Write(sum)
		}
		if i%3 != 0 {
			c.Write(st)
		}
		if i%7 != 0 {
			c.Write(pw)
		}
		if odd {
			c.Write(sum)
		} else {
			c.Write(pw)
		}
		sum = c.Sum(sum[:0])
	}
	return encode64(sum, order)
}

// stretch repeats a digest to a length.
func stretch(sum []byte, n int) []byte {
	return bytes.Repeat(sum, n/len(sum)+1)[:n]
}

// md5Crypt is MD5 crypt: $1$salt$hash.
func md5Crypt(want, password string) (match, known bool) {
	salt, encoded, ok := strings.Cut(strings.TrimPrefix(want, "$1$"), "$")
	if !ok || len(encoded) != 22 {
		return false, false
	}
	salt = salt[:min(len(salt), 8)]
	inner := md5.Sum([]byte(password + salt + password))
	a := md5.New()
	a.Write([]byte(password + "$1$" + salt))
	a.Write(stretch(inner[:], len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			a.Write([]byte{0})
		} else {
			a.Write([]byte(password[:1]))
		}
	}
	sum := a.Sum(nil)
	for i := range 1000 {
		c := md5.New()
		if i&1 != 0 {
			c.Write([]byte(password))
		} else {
			c.Write(sum)
		}
		if i%3 != 0 {
			c.Write([]byte(salt))
		}
		if i%7 != 0 {
			c.Write([]byte(password))
		}
		if i&1 != 0 {
			c.Write(sum)
		} else {
			c.Write([]byte(password))
		}
		sum = c.Sum(sum[:0])
	}
	return same(encode64(sum, md5Order), encoded), true
}
