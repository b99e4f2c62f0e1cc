package fsck

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every code is explained once, and none is that is not there.
func TestCodes(t *testing.T) {
	text, err := os.ReadFile("codes.go")
	require.NoError(t, err)
	declared := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^\tcode\w+ += "([a-z-]+)"$`).FindAllSubmatch(text, -1) {
		declared[string(m[1])] = 0
	}
	require.NotEmpty(t, declared)
	for _, c := range Codes() {
		_, ok := declared[c.Code]
		assert.True(t, ok, "%s", c.Code)
		declared[c.Code]++
		assert.NotEmpty(t, c.Meaning)
		assert.Contains(t, []string{"always", "sometimes", "never"}, c.Preen)
	}
	used := ""
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if name != "codes.go" {
			b, err := os.ReadFile(name)
			require.NoError(t, err)
			used += string(b)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\t(code\w+) += `).FindAllSubmatch(text, -1) {
		assert.Contains(t, used, string(m[1]))
	}
	for code, n := range declared {
		assert.Equal(t, 1, n, "%s", code)
	}
}
