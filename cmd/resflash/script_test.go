package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the scripts in testdata print into them")

// TestScripts runs the scripts in testdata. A line "$ resflash …" is a command
// (single quotes as in a shell); the lines below it are its standard output,
// then its standard error behind "! ", then "[N]" for an exit code other than
// 0. Comments begin with "#". "$ echo TEXT | resflash …" gives a command its
// standard input. The working directory holds disk.img, which nobody may
// change, and it is always the same second of 2023.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	image := diskImage(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	for _, script := range scripts {
		name, err := filepath.Abs(script)
		require.NoError(t, err)
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Link(image, filepath.Join(dir, "disk.img")))
			for name, text := range scriptFiles {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
			}
			t.Chdir(dir)
			want, err := os.ReadFile(name)
			require.NoError(t, err)
			got := runScript(t, string(want))
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
			}
			assert.Equal(t, string(want), got)
		})
	}
}

// scriptFiles are the other files in the working directory.
var scriptFiles = map[string]string{
	"waivers.toml": "[[waiver]]\nrule = \"hostname-set\"\nvolume = \"cfg\"\nreason = \"the name of the demo\"\n",
	"site.script":  "# ${SITE}\nwrite /etc/motd:<<END\nWelcome to ${SITE}.\nEND\nmkdir /cfg/etc\nwrite \"/cfg/etc/site:${SITE}\\n\"\n",
	"bad.toml":     "[[waiver]]\nrule = \"hostname-set\"\n",
}

// runScript returns the script with the output that its commands have now.
func runScript(t *testing.T, script string) string {
	var b strings.Builder
	output := false // of a command: to be replaced
	for line := range strings.Lines(script) {
		switch {
		case strings.HasPrefix(line, "$ "):
			if output {
				b.WriteString("\n")
			}
			output = true
			b.WriteString(line)
			args := shellWords(t, strings.TrimSpace(line[2:]))
			stdin := ""
			if args[0] == "echo" {
				bar := slices.Index(args, "|")
				require.Positive(t, bar, line)
				stdin = strings.Join(args[1:bar], " ") + "\n"
				args = args[bar+1:]
			}
			require.Equal(t, "resflash", args[0])
			stdout, stderr, code := resflashWith(stdin, args[1:]...)
			if stdout != "" && !strings.HasSuffix(stdout, "\n") {
				stdout += "(no newline)\n"
			}
			b.WriteString(stdout)
			for l := range strings.Lines(stderr) {
				b.WriteString("! " + l)
			}
			if code != 0 {
				fmt.Fprintf(&b, "[%d]\n", code)
			}
		case strings.HasPrefix(line, "#"):
			if output {
				b.WriteString("\n")
			}
			output = false
			b.WriteString(line)
		case !output:
			b.WriteString(line)
		}
	}
	return b.String()
}

// shellWords splits a command line at spaces; single quotes keep them.
func shellWords(t *testing.T, line string) []string {
	var list []string
	var word strings.Builder
	quoted, some := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			quoted, some = !quoted, true
		case r == ' ' && !quoted:
			if some {
				list = append(list, word.String())
			}
			word.Reset()
			some = false
		default:
			word.WriteRune(r)
			some = true
		}
	}
	require.False(t, quoted, "quote without end: %s", line)
	if some {
		list = append(list, word.String())
	}
	return list
}
