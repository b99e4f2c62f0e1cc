package crypt

import (
	"bytes"
	"crypto/rand"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// libcrypt hashes passwords with the parameters of hashes, by way of perl.
func libcrypt(t *testing.T, password, hash string) string {
	t.Helper()
	testtool.Need(t, "perl")
	cmd := exec.Command("perl", "-e", `print crypt($ARGV[0], $ARGV[1])`, password, hash)
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}

// libxcrypt is the judge of what is made, and of what is verified.
func TestGenerateAgainstLibxcrypt(t *testing.T) {
	testtool.Sequential(t)
	for _, m := range []Method{Bcrypt, SHA512, Yescrypt} {
		for _, password := range []string{"", "pässwörd mit Lücken", strings.Repeat("long", 18)} {
			hash, err := Generate(m, password, rand.Reader)
			require.NoError(t, err)
			assert.Equal(t, hash, libcrypt(t, password, hash), "%s of %q", m, password)
			match, known := Verify(hash, password)
			assert.True(t, known && match, "%s of %q", hash, password)
			match, known = Verify(hash, password+"x")
			// bcrypt has no regard for what comes after 72 bytes.
			assert.True(t, known && match == (m == Bcrypt && len(password) == MaxBcrypt), "%s of another password", hash)
			assert.False(t, Weak(hash))
		}
	}
}

func TestGenerateFollowsFromTheSalt(t *testing.T) {
	testtool.Sequential(t)
	salt := []byte("0123456789abcdef")
	for _, m := range []Method{Bcrypt, SHA512, Yescrypt} {
		a, err := Generate(m, "hunter2", bytes.NewReader(salt))
		require.NoError(t, err)
		b, err := Generate(m, "hunter2", bytes.NewReader(salt))
		require.NoError(t, err)
		assert.Equal(t, a, b)
		other, err := Generate(m, "hunter2", strings.NewReader("another salt 12!"))
		require.NoError(t, err)
		assert.NotEqual(t, a, other)
	}
}

func TestGenerateRefuses(t *testing.T) {
	for _, c := range []struct {
		m        Method
		password string
		want     string
	}{
		{Bcrypt, strings.Repeat("x", 73), "73 bytes is too long: bcrypt takes 72"},
		{SHA512, strings.Repeat("x", 512), "512 bytes is too long"},
		{SHA512, "a\x00b", "NUL"},
		{"des", "a", `"des" is not supported`},
	} {
		_, err := Generate(c.m, c.password, rand.Reader)
		assert.ErrorContains(t, err, c.want)
		assert.NotContains(t, err.Error(), c.password+c.password)
	}
	_, err := Generate(SHA512, "a", strings.NewReader("short"))
	assert.ErrorContains(t, err, "read a salt")
}

// Hashes that other systems have made.
func TestVerifyYescrypt(t *testing.T) {
	hash := libcrypt(t, "correct horse", "$y$j75$0123456789abcdef0123/.$")
	match, known := Verify(hash, "correct horse")
	assert.True(t, known && match, hash)
	match, known = Verify(hash, "battery staple")
	assert.True(t, known && !match)
}

func FuzzVerify(f *testing.F) {
	for _, hash := range []string{"$y$j75$abc$", "$6$rounds=1000$a$b", "$5$a$b", "$1$a$b", "$2b$04$x", "_abc", "$"} {
		f.Add(hash, "password")
	}
	f.Fuzz(func(t *testing.T, hash, password string) {
		if len(hash) < 400 && len(password) < 64 {
			Verify(hash, password)
			Weak(hash)
		}
	})
}
