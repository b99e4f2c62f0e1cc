// Package crypt makes and verifies the password hashes that crypt(3) of the
// BSDs and of Linux knows: bcrypt, yescrypt, SHA-512 and SHA-256 crypt; MD5
// crypt is only verified.
//
// Hashes come from images, and those are not trusted: one whose parameters
// would take more than a moment, or more than 64 MiB, is not computed, and
// nothing is then known of its password.
package crypt

import (
	"crypto/sha256"
	"crypto/sha512"
	"strconv"
	"strings"

	"github.com/openwall/yescrypt-go"
	"golang.org/x/crypto/bcrypt"

	"github.com/resflash/resflash/image/lazyregexp"
)

// What one hash may cost at most.
const (
	maxRounds     = 50_000
	maxBcryptCost = 11
	maxYescryptN  = 14 // log2; with the usual r of 32 that is 64 MiB
)

// Kind names the kind of a hash; empty if it is none.
func Kind(hash string) string {
	for _, k := range []struct{ prefix, name string }{
		{"$2", "bcrypt"}, {"$6$", "SHA-512 crypt"}, {"$5$", "SHA-256 crypt"}, {"$y$", "yescrypt"}, {"$gy$", "gost-yescrypt"},
		{"$7$", "scrypt"}, {"$1$", "MD5 crypt"}, {"$3$", "NT hash"}, {"_", "BSDi DES crypt"}, {"$sha1$", "SHA-1 crypt"}, {"$md5", "SunMD5"},
	} {
		if strings.HasPrefix(hash, k.prefix) {
			return k.name
		}
	}
	switch {
	case desHash.MatchString(hash):
		return "DES crypt"
	case strings.HasPrefix(hash, "$"):
		return "hash of an unknown kind"
	}
	return ""
}

var (
	desHash       = lazyregexp.New(`^[./0-9A-Za-z]{13}$`)
	bcryptShape   = lazyregexp.New(`^\$2[abxy]?\$([0-9]{2})\$[./A-Za-z0-9]{53}$`)
	yescryptShape = lazyregexp.New(`^\$y\$j([./0-9A-Za-z])[./0-9A-Za-z]\$[./0-9A-Za-z]{0,86}\$[./0-9A-Za-z]{43}$`)
)

// Weak reports whether a hash can be tried millions of times a second.
func Weak(hash string) bool {
	switch Kind(hash) {
	case "DES crypt", "BSDi DES crypt", "MD5 crypt", "NT hash", "SHA-1 crypt":
		return true
	case "bcrypt":
		m := bcryptShape.FindStringSubmatch(hash)
		return m != nil && m[1] < "08"
	}
	return false
}

// Verify reports whether a password has a hash, and whether that could be
// computed at all.
func Verify(hash, password string) (match, known bool) {
	switch Kind(hash) {
	case "bcrypt":
		m := bcryptShape.FindStringSubmatch(hash)
		if m == nil {
			return false, false
		}
		if cost, err := strconv.Atoi(m[1]); err != nil || cost > maxBcryptCost {
			return false, false
		}
		return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil, true
	case "yescrypt":
		m := yescryptShape.FindStringSubmatch(hash)
		if m == nil || strings.Index(alphabet, m[1])+1 > maxYescryptN {
			return false, false
		}
		got, err := yescrypt.Hash([]byte(password), []byte(hash))
		return err == nil && same(string(got), hash), err == nil
	case "SHA-512 crypt":
		return verifySHA(hash, password, "$6$", sha512.New, sha512Order)
	case "SHA-256 crypt":
		return verifySHA(hash, password, "$5$", sha256.New, sha256Order)
	case "MD5 crypt":
		return md5Crypt(hash, password)
	}
	return false, false
}
