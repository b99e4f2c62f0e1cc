package crypt

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/resflash/resflash/integration/testtool"
)

// OpenSSL is the judge of our own crypt(3).
func TestCryptAgainstOpenSSL(t *testing.T) {
	testtool.Need(t, "openssl")
	for _, kind := range []string{"-6", "-5", "-1"} {
		for _, password := range []string{"a", "resflash20241009", strings.Repeat("long", 20), strings.Repeat("x", 64), "pässwörd"} {
			for _, salt := range []string{"s", "abcdefgh", "0123456789abcdef"} {
				if kind == "-1" {
					salt = salt[:min(len(salt), 8)]
				}
				out, err := exec.Command("openssl", "passwd", kind, "-salt", salt, password).Output()
				require.NoError(t, err)
				hash := strings.TrimSpace(string(out))
				match, known := Verify(hash, password)
				assert.True(t, known && match, "%s of %q", hash, password)
				match, known = Verify(hash, password+"x")
				assert.True(t, known && !match, "%s of another password", hash)
			}
		}
	}
}

// A vector with a number of rounds of its own, from Drepper's specification.
func TestCryptRounds(t *testing.T) {
	match, known := Verify("$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.", "Hello world!")
	assert.True(t, known && match)
	match, known = Verify("$5$rounds=10000$saltstringsaltst$3xv.VbSCBX41eDL9L3voidBrVuk4hFnC4PXG2nn6y3A", "Hello world!")
	assert.True(t, known)
	assert.False(t, match)
}

// What would cost too much, or is not computed, is not known: never "no".
func TestVerifyUnknown(t *testing.T) {
	for _, hash := range []string{
		"", "x", "*", "$8$x$y", "$y$j9T$abc$def", "$6$rounds=999999999$abc$" + strings.Repeat("a", 86), "$6$rounds=$a$b", "$6$salt", "$5$",
		"$2b$31$" + strings.Repeat("a", 53), "$2b$10$short", "$2b$xx$" + strings.Repeat("a", 53), "$1$", "$1$a$b", "abcdefghijklm", "\xff\xfe",
	} {
		match, known := Verify(hash, "password")
		assert.False(t, match || known, hash)
	}
}

func TestVerifyBcrypt(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("resflash20241009"), bcrypt.MinCost)
	require.NoError(t, err)
	match, known := Verify(string(hash), "resflash20241009")
	assert.True(t, match && known)
	// OpenBSD writes 2b where others write 2a: the same.
	match, known = Verify(strings.Replace(string(hash), "$2a$", "$2b$", 1), "resflash20241009")
	assert.True(t, match && known)
	match, known = Verify(string(hash), "resflash20241010")
	assert.True(t, !match && known)
}
