// Package testtool finds the foreign programs that judge our work in tests:
// mke2fs, debugfs, fsck.fat, fls, grub-fstest and their like.
package testtool

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Strict reports whether a missing tool fails a test instead of skipping it:
// the environment variable RESFLASH_STRICT is 1, as in CI.
func Strict() bool { return os.Getenv("RESFLASH_STRICT") == "1" }

// Need skips the test unless every named program is there, and fails it under
// [Strict]. Programs in the sbin folders are found for ordinary users as well.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if !strings.Contains(":"+os.Getenv("PATH")+":", ":"+dir+":") {
			if err := os.Setenv("PATH", os.Getenv("PATH")+":"+dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			Missing(t, "program %s is not installed (make tools installs it)", tool)
		}
	}
}

// Missing skips the test for the reason given, and fails it under [Strict].
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if Strict() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Run runs a program and returns its standard output; a failure ends the test
// with everything the program said.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	return RunIn(t, "", name, args...)
}

// RunIn is [Run] in the folder dir.
func RunIn(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	var out, errs strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "MTOOLS_SKIP_CHECK=1")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// Sequential skips a long test in the short run, which is the one with the race
// detector: the test has no goroutines, so there is nothing for that to find,
// and it would take ten times as long.
func Sequential(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing concurrent; the run without -short has it")
	}
}
