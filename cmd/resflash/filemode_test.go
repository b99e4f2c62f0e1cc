package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

func TestParseMode(t *testing.T) {
	for _, tt := range []struct {
		text       string
		from, want vfs.Mode
	}{
		{"0644", vfs.Regular | 0o4755, 0o644},
		{"4711", vfs.Regular, 0o4711},
		{"u+x", vfs.Regular | 0o644, 0o744},
		{"+x", vfs.Regular | 0o644, 0o755},
		{"a-w", vfs.Regular | 0o666, 0o444},
		{"u+rwX,go-w", vfs.Regular | 0o666, 0o644},
		{"u+rwX,go-w", vfs.Dir | 0o066, 0o744},
		{"a+X", vfs.Regular | 0o601, 0o711},
		{"g=u", vfs.Regular | 0o640, 0o660},
		{"o=g-w", vfs.Regular | 0o667, 0o664},
		{"go=", vfs.Regular | 0o777, 0o700},
		{"u+s", vfs.Regular | 0o755, 0o4755},
		{"g+s", vfs.Dir | 0o755, 0o2755},
		{"g-s", vfs.Regular | 0o6755, 0o4755},
		{"+s", vfs.Regular | 0o755, 0o6755},
		{"+t", vfs.Dir | 0o777, 0o1777},
		{"o-t", vfs.Dir | 0o1777, 0o777},
		{"u+t", vfs.Dir | 0o777, 0o777},
		{"u=rwx,g=rx,o=", vfs.Regular, 0o750},
		{"u=rw+x", vfs.Regular, 0o700},
		{"a=r,u+w", vfs.Regular | 0o7777, 0o644},
	} {
		m, err := parseMode(tt.text)
		require.NoError(t, err, tt.text)
		assert.Equal(t, octal(tt.want), octal(m.Apply(tt.from)), "%s of %s", tt.text, tt.from)
	}
	for _, bad := range []string{"", "8", "99999", "u", "u+q", "rw", "u+rw,", "u+gx", "12345"} {
		_, err := parseMode(bad)
		assert.Equal(t, exitUsage, exitCode(err), "%q: %v", bad, err)
	}
}

// chmod(1) is the judge of symbolic modes. What it does with "=" on set-id
// bits of directories is its own, so files are asked.
func TestSymbolicModesAreThoseOfChmod(t *testing.T) {
	testtool.Need(t, "chmod")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	i := uint32(1)
	pick := func(of string) string {
		i = i*1664525 + 1013904223
		return string(of[int(i>>16)%len(of)])
	}
	for range 150 {
		from := vfs.Mode(i>>8) & 0o7777
		var clauses []string
		for range 1 + int(i>>20)%3 {
			clause := pick("ugoa") + pick("+-=") + pick("rwxXst") + pick("rwxXst")
			if i>>24%4 == 0 {
				clause = pick("ugoa") + pick("+-=") + pick("ugo")
			}
			clauses = append(clauses, clause)
		}
		text := strings.Join(clauses, ",")
		command(t, "", "chmod", octal(from), file)
		command(t, "", "chmod", text, file)
		st, err := os.Stat(file)
		require.NoError(t, err)
		want := vfs.Mode(st.Mode().Perm())
		for bit, m := range map[os.FileMode]vfs.Mode{os.ModeSetuid: vfs.SetUID, os.ModeSetgid: vfs.SetGID, os.ModeSticky: vfs.Sticky} {
			if st.Mode()&bit != 0 {
				want |= m
			}
		}
		m, err := parseMode(text)
		require.NoError(t, err)
		assert.Equal(t, octal(want), octal(m.Apply(vfs.Regular|from)), "%s of %s", text, octal(from))
	}
}

func TestParseFlags(t *testing.T) {
	for _, tt := range []struct {
		text       string
		from, want vfs.Flags
	}{
		{"schg", 0, vfs.SystemImmutable},
		{"noschg", vfs.SystemImmutable | vfs.UserNoDump, vfs.UserNoDump},
		{"nodump", 0, vfs.UserNoDump},
		{"dump", vfs.UserNoDump, 0},
		{"uchg,nosappnd", vfs.SystemAppend, vfs.UserImmutable},
		{"simmutable", 0, vfs.SystemImmutable},
		{"0", vfs.SystemImmutable | vfs.UserNoDump, 0},
	} {
		apply, err := parseFlags(tt.text)
		require.NoError(t, err)
		assert.Equal(t, tt.want, apply(tt.from), tt.text)
	}
	for _, bad := range []string{"", "nosuch", "no", "schg,"} {
		_, err := parseFlags(bad)
		assert.Equal(t, exitUsage, exitCode(err), fmt.Sprintf("%q", bad))
	}
}
