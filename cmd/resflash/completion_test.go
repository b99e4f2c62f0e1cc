package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

// complete asks bash what it would offer for a command line.
func complete(t *testing.T, words ...string) []string {
	t.Helper()
	testtool.Need(t, "bash")
	script := filepath.Join(t.TempDir(), "completion")
	require.NoError(t, os.WriteFile(script, []byte(works(t, "completion", "bash")), 0o600))
	code := `set -eu; source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _resflash; printf '%s\n' "${COMPREPLY[@]-}"`
	out := command(t, "", "bash", append([]string{"-c", code, "bash", script, "resflash"}, words...)...)
	return strings.Fields(out)
}

func TestBashCompletion(t *testing.T) {
	assert.Subset(t, complete(t, ""), []string{"inspect", "ls", "cat", "mount", "umount", "mkfs", "check", "chflags", "write", "completion", "version"})
	assert.Equal(t, []string{"mount"}, complete(t, "mo"))
	assert.Equal(t, []string{"--dry-run"}, complete(t, "chmod", "--dr"))
	assert.Equal(t, []string{"--foreground"}, complete(t, "mount", "--fo"))
	assert.Subset(t, complete(t, "ls", "-"), []string{"-l", "--long", "--json", "--quiet"})
	assert.Equal(t, []string{"bash"}, complete(t, "completion", "b"))
	assert.Equal(t, []string{"tar", "mtree"}, complete(t, "export", "--format", ""))
	assert.Equal(t, []string{"text", "json", "md"}, complete(t, "rules", "--format", ""))
	assert.Equal(t, []string{"--format"}, complete(t, "--quiet", "export", "--for"))
	assert.Equal(t, []string{"umount"}, complete(t, "help", "u"))
	assert.Empty(t, complete(t, "cat", "disk"), "files are the shell's own business")
}

func TestCompletionOfOtherShells(t *testing.T) {
	for _, shell := range []string{"zsh", "fish"} {
		out := works(t, "completion", shell)
		for _, word := range []string{"inspect", "foreground", "umount", "sha256"} {
			assert.Contains(t, out, word)
		}
	}
}
