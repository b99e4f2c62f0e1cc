package main

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every command pays for what packages do before main. What it is counted by
// is the memory that they allocate, which is the same on all machines.
func TestLittleIsDoneBeforeMain(t *testing.T) {
	const most = 96 << 10
	cmd := exec.Command(os.Args[0], "version")
	cmd.Env = append(os.Environ(), asProgram+"=1", "GODEBUG=inittrace=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	sum, packages := 0, ""
	for _, m := range regexp.MustCompile(`(?m)^init github\.com/resflash/resflash/((?:image|fusefs|cmd)\S*) .* (\d+) bytes, \d+ allocs$`).FindAllStringSubmatch(string(out), -1) {
		n, err := strconv.Atoi(m[2])
		require.NoError(t, err)
		sum += n
		packages += "\n" + m[0]
	}
	assert.NotZero(t, sum, "%s", out)
	assert.Less(t, sum, most, "what is not always needed can wait, as with lazyregexp and sync.OnceValue%s", packages)
}

// modelFor is the model of Kong for a command line.
func modelFor(t *testing.T, args ...string) *kong.Application {
	t.Helper()
	parser, err := newParser(&cli{Plugins: kong.Plugins{commandsFor(args)}}, newWorld(nil, io.Discard, io.Discard), func(int) {})
	require.NoError(t, err)
	return parser.Model
}

// Kong gets the verb that is named and no other, and nobody can tell.
func TestVerbAlone(t *testing.T) {
	all := verbs(modelFor(t, "--quiet"))
	assert.Greater(t, len(all), 30)
	for _, v := range all {
		if v.Name == "completion" {
			assert.Len(t, verbs(modelFor(t, v.Name)), len(all))
			continue
		}
		alone := verbs(modelFor(t, v.Name))
		require.Len(t, alone, 1)
		assert.Equal(t, v.Name, alone[0].Name)
		if v.Name == "help" { // run makes something else of it
			continue
		}
		for _, args := range [][]string{{"--help"}, {"--no-such-flag"}, {"--jso"}, {"--sector-size", "7"}} {
			stdout, stderr, code := resflash(append([]string{v.Name}, args...)...)
			wantOut, wantErr, wantCode := resflash(append([]string{"--quiet", v.Name}, args...)...)
			assert.Equal(t, []any{wantOut, wantErr, wantCode}, []any{stdout, stderr, code}, "%s %v", v.Name, args)
		}
	}
	assert.Len(t, verbs(modelFor(t, "helpon")), len(all), "the name of a field is no verb")
}
