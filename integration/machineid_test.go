package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testtool"
)

const (
	oneMachine     = "4e5c0f3bd15c4a6e8d36b84b2cdaa111"
	anotherMachine = "0123456789abcdef0123456789abcdef"
	zeroMachine    = "00000000000000000000000000000000"
)

// An auditReport is the part of a report of resflash audit --json that tests
// look at.
type auditReport struct {
	Image    string
	Size     int64
	Findings []struct {
		Rule, Severity, Volume, Path, Message, Evidence string
		Line                                            int
	}
	Volumes []struct {
		ID          string
		Start, Size int64
		Used        *int64
	}
	Unknown []struct{ Path, Reason string }
}

// at are the rules that a report has broken at a path.
func (r *auditReport) at(path string) []string {
	var rules []string
	for _, f := range r.Findings {
		if f.Path == path {
			rules = append(rules, f.Rule)
		}
	}
	return rules
}

// auditJSON audits images, whatever is found in them.
func auditJSON(t testing.TB, args ...string) []auditReport {
	t.Helper()
	var reports []auditReport
	out := resflash(t, append([]string{"audit", "--json", "--fail-on", "never"}, args...)...)
	require.NoError(t, json.Unmarshal([]byte(out), &reports))
	return reports
}

// What the audit says of every content of /etc/machine-id, with every state of
// the copy of D-Bus, is what systemd then makes of the same tree.
func TestMachineIDAsSystemdSeesIt(t *testing.T) {
	testtool.Need(t, "systemd-machine-id-setup", "systemd-firstboot")
	file := func(content string) func(string) error {
		return func(name string) error { return os.WriteFile(name, []byte(content), 0o444) }
	}
	link := func(target string) func(string) error {
		return func(name string) error { return os.Symlink(target, name) }
	}
	absent := func(string) error { return nil }
	directory := func(name string) error { return os.Mkdir(name, 0o755) }
	own := map[string]func(string) error{
		"missing": absent, "empty": file(""), "uninitialized": file("uninitialized\n"), "uninitialized without a newline": file("uninitialized"),
		"set": file(oneMachine + "\n"), "set without a newline": file(oneMachine), "upper case": file(strings.ToUpper(oneMachine) + "\n"),
		"zeros": file(zeroMachine + "\n"), "dashed": file("4e5c0f3b-d15c-4a6e-8d36-b84b2cdaa111\n"), "carriage return": file(oneMachine + "\r\n"),
		"trailing blank": file(oneMachine + " \n"), "two lines": file(oneMachine + "\n\n"), "short": file(oneMachine[:31] + "\n"), "long": file(oneMachine + "0\n"),
		"not UTF-8": file("\xff\xfe" + oneMachine[2:] + "\n"), "other text": file("firmware\n"),
		"directory": directory,
	}
	copies := map[string]func(string) error{
		"missing": absent, "link": link("../../../etc/machine-id"), "empty": file(""), "uninitialized": file("uninitialized\n"),
		"the same": file(oneMachine + "\n"), "another": file(anotherMachine), "zeros": file(zeroMachine + "\n"), "dashed": file("01234567-89ab-cdef-0123-456789abcdef\n"),
		"directory": directory,
	}
	type combination struct{ name, tree, own string }
	var all []combination
	var images []string
	dir := t.TempDir()
	for _, o := range slices.Sorted(maps.Keys(own)) {
		for _, c := range slices.Sorted(maps.Keys(copies)) {
			name := fmt.Sprintf("%s, D-Bus %s", o, c)
			tree := filepath.Join(dir, fmt.Sprint(len(all)))
			for _, d := range []string{"etc", "run", "usr/lib", "var/lib/dbus"} {
				require.NoError(t, os.MkdirAll(filepath.Join(tree, d), 0o755))
			}
			require.NoError(t, os.WriteFile(filepath.Join(tree, "usr/lib/os-release"), []byte("ID=debian\n"), 0o644))
			require.NoError(t, own[o](filepath.Join(tree, "etc/machine-id")), name)
			require.NoError(t, copies[c](filepath.Join(tree, "var/lib/dbus/machine-id")), name)
			images = append(images, tree+".img")
			resflash(t, "--quiet", "mkfs", "--type", "ext4", "--size", "1M", "--from", tree, tree+".img")
			all = append(all, combination{name, tree, o})
		}
	}
	reports := auditJSON(t, append([]string{"--rule", "identity"}, images...)...)
	require.Len(t, reports, len(all))

	id := regexp.MustCompile(`^[0-9a-f]{32}$`)
	setup := func(tree string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "systemd-machine-id-setup", "--root="+tree, "--print").Output()
		return strings.TrimSpace(string(out)), err
	}
	for i, c := range all {
		r := &reports[i]
		said, copied := r.at("/etc/machine-id"), r.at("/var/lib/dbus/machine-id")
		keeps := slices.Contains(said, "machine-id-set") || slices.Contains(said, "machine-id-zero")
		brings := slices.Contains(copied, "dbus-machine-id-set")
		read := func(name string) string {
			b, _ := os.ReadFile(filepath.Join(c.tree, name))
			return strings.ToLower(strings.TrimSpace(string(b)))
		}
		before, dbus := read("etc/machine-id"), read("var/lib/dbus/machine-id")
		odd := c.own == "directory"
		assert.Equal(t, odd, slices.Contains(said, "machine-id-odd-type"), c.name)

		// systemd-firstboot makes an ID where there is no file, and leaves
		// everything else as it is.
		if !odd {
			other := c.tree + ".firstboot"
			testtool.Run(t, "cp", "-a", c.tree, other)
			testtool.Run(t, "systemd-firstboot", "--root="+other, "--setup-machine-id")
			got, err := os.ReadFile(filepath.Join(other, "etc/machine-id"))
			require.NoError(t, err, c.name)
			if c.own == "missing" {
				assert.Regexp(t, id, strings.TrimSpace(string(got)), c.name)
				assert.Empty(t, said, c.name)
			} else {
				assert.Equal(t, before, strings.ToLower(strings.TrimSpace(string(got))), c.name)
			}
		}

		after, err := setup(c.tree)
		switch {
		case odd:
			assert.Error(t, err, "%s: nothing can be made of it", c.name)
		case keeps:
			assert.NoError(t, err, c.name)
			assert.Equal(t, before, after, "%s: the audit says that it is kept", c.name)
		case brings:
			assert.NoError(t, err, c.name)
			assert.Equal(t, dbus, after, "%s: the audit says that D-Bus brings its own", c.name)
		default:
			assert.NoError(t, err, c.name)
			assert.Regexp(t, id, after, c.name)
			assert.NotContains(t, []string{oneMachine, anotherMachine, zeroMachine}, after, "%s: the audit says that it is new", c.name)
		}

		// What D-Bus has comes back when /etc/machine-id alone is reset.
		require.NoError(t, os.RemoveAll(filepath.Join(c.tree, "etc/machine-id")))
		after, err = setup(c.tree)
		require.NoError(t, err, c.name)
		assert.Equal(t, brings, after == dbus && dbus != "", "%s: D-Bus brings an ID back, or does not", c.name)
	}
}
