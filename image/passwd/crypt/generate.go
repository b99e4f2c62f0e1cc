package crypt

import (
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/openwall/yescrypt-go"
	"golang.org/x/crypto/blowfish" //lint:ignore SA1019 bcrypt is made of it
)

// A Method is a way to hash a password.
type Method string

// The methods that [Generate] knows. Every system has one that it takes:
// OpenBSD only bcrypt, musl no yescrypt, glibc of old no bcrypt.
const (
	Bcrypt   Method = "bcrypt"
	SHA512   Method = "sha512"
	Yescrypt Method = "yescrypt"
)

// What is spent on a hash that is made here: some 50 ms.
const (
	bcryptCost     = 10        // as resflash and OpenBSD's installer on a usual machine
	shaRounds      = 50_000    // ten times what is the default without saying so
	yescryptParams = "$y$j9T$" // N = 4096, r = 32: what libxcrypt takes
)

// MaxBcrypt is how many bytes of a password bcrypt takes; it has no regard for
// those that follow.
const MaxBcrypt = 72

// maxPassword bounds passwords: CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt.
const maxPassword = 511

// Generate hashes a password with a salt that it reads from random.
func Generate(m Method, password string, random io.Reader) (string, error) {
	switch {
	case strings.ContainsRune(password, 0):
		return "", errors.New("a password cannot have a NUL in it")
	case m == Bcrypt && len(password) > MaxBcrypt:
		return "", fmt.Errorf("a password of %d bytes is too long: bcrypt takes %d", len(password), MaxBcrypt)
	case len(password) > maxPassword:
		return "", fmt.Errorf("a password of %d bytes is too long: crypt(3) takes %d", len(password), maxPassword)
	}
	var salt [16]byte
	if _, err := io.ReadFull(random, salt[:]); err != nil {
		return "", fmt.Errorf("read a salt: %w", err)
	}
	switch m {
	case Bcrypt:
		return bcryptHash(password, bcryptCost, salt)
	case SHA512:
		var s strings.Builder
		for _, b := range salt {
			s.WriteByte(alphabet[b&63])
		}
		setting := fmt.Sprintf("$6$rounds=%d$%s$", shaRounds, s.String())
		return setting + shaCrypt(password, s.String(), shaRounds, sha512.New, sha512Order), nil
	case Yescrypt:
		hash, err := yescrypt.Hash([]byte(password), []byte(yescryptParams+encode64(salt[:], inOrder(len(salt)))))
		return string(hash), err
	}
	return "", fmt.Errorf("hashing with %q is not supported", m)
}

// inOrder is the order of bytes as they are, for encode64.
func inOrder(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// bcrypt's base64 has an alphabet of its own, and no padding.
var bcryptEncoding = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)

// bcryptHash is the hash of Provos and Mazieres with a salt that is given,
// which the package bcrypt does not let one do. The NUL at the end of the
// password counts, and of 24 bytes only 23 are written.
func bcryptHash(password string, cost int, salt [16]byte) (string, error) {
	key := append([]byte(password), 0)
	c, err := blowfish.NewSaltedCipher(key, salt[:])
	if err != nil {
		return "", err
	}
	for range 1 << cost {
		blowfish.ExpandKey(key, c)
		blowfish.ExpandKey(salt[:], c)
	}
	text := []byte("OrpheanBeholderScryDoubt")
	for b := text; len(b) > 0; b = b[blowfish.BlockSize:] {
		for range 64 {
			c.Encrypt(b, b)
		}
	}
	return fmt.Sprintf("$2b$%02d$%s%s", cost, bcryptEncoding.EncodeToString(salt[:]), bcryptEncoding.EncodeToString(text[:23])), nil
}

// Check returns what is wrong with a hash that is to be written to a password
// file. It does not repeat the hash.
func Check(hash string) error {
	switch {
	case Kind(hash) == "":
		return errors.New("that is no hash of crypt(3): they begin like $2b$, $6$ or $y$")
	case strings.ContainsFunc(hash, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }):
		return errors.New("a hash has no blanks and colons in it")
	case Kind(hash) == "bcrypt" && !bcryptShape.MatchString(hash):
		return fmt.Errorf("a hash of bcrypt has 60 characters ($2b$, the cost, $, and 53 more), this one %d", len(hash))
	}
	return nil
}
