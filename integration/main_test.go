package integration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/integration/manifest"
)

// program is the built resflash, or a copy of $RESFLASH_PROGRAM. Its folder can be entered by every user.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(flipEnv) != "" {
		return flipChild()
	}
	unix.Umask(0o022)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		os.Setenv("PATH", os.Getenv("PATH")+":"+dir)
	}
	os.Setenv("TZ", "UTC")
	os.Setenv("LC_ALL", "C.UTF-8")
	os.Setenv("MTOOLS_SKIP_CHECK", "1")
	dir, err := os.MkdirTemp("", "resflash")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("TMPDIR", dir) // of the tests, and of QEMU
	program = filepath.Join(dir, "resflash")
	if given := os.Getenv("RESFLASH_PROGRAM"); given != "" {
		err = copyProgram(given, program)
	} else {
		err = buildProgram(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	for _, mount := range fuseMounts() {
		if strings.HasPrefix(mount, dir) {
			fmt.Fprintf(os.Stderr, "FAIL: the tests left a mount behind: %s\n", mount)
			unix.Unmount(mount, unix.MNT_DETACH)
			code = 1
		}
	}
	return code
}

func buildProgram(name string) error {
	build := exec.Command("go", "build", "-o", name, "github.com/resflash/resflash/cmd/resflash")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// fuseMounts returns the mount points of all FUSE file systems.
func fuseMounts() []string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		front, back, ok := strings.Cut(sc.Text(), " - ")
		if fields := strings.Fields(front); ok && len(fields) > 4 && strings.HasPrefix(back, "fuse") {
			out = append(out, unescapeMount(fields[4]))
		}
	}
	return out
}

// unescapeMount undoes the octal escapes of /proc/self/mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// resflash runs the program and returns its standard output; it must succeed.
func resflash(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	require.NoErrorf(t, err, "resflash %s: %s", strings.Join(args, " "), errs.String())
	return out.String()
}

// exported lists what resflash export writes.
func exported(t testing.TB, address string) manifest.Manifest {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "--quiet", "export", address)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	m, err := manifest.ReadTar(pipe)
	io.Copy(io.Discard, pipe)
	require.NoErrorf(t, cmd.Wait(), "resflash export %s: %s", address, errs.String())
	require.NoError(t, err, "the archive")
	return m
}

// copied lists what resflash cp -r makes of a volume.
func copied(t testing.TB, address string, opts manifest.Options) manifest.Manifest {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.Mkdir(dir, 0o755))
	resflash(t, "--quiet", "cp", "-r", address, dir)
	m := manifest.ReadDir(dir, opts)
	// Folders that nobody may write to would stay.
	require.NoError(t, os.RemoveAll(dir))
	return m
}

// mount mounts and returns the mount point; the test's end unmounts.
func mount(t testing.TB, args ...string) string {
	t.Helper()
	needFUSE(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, append(append([]string{"mount", "--foreground"}, args...), dir)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &errs, &errs
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		err := <-ended
		if slices.Contains(fuseMounts(), dir) {
			unix.Unmount(dir, unix.MNT_DETACH)
			t.Errorf("SIGTERM does not unmount (%v): %s", err, errs.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); !slices.Contains(fuseMounts(), dir); {
		select {
		case err := <-ended:
			ended <- err
			require.FailNowf(t, "mount ended", "%v: %s", err, errs.String())
		default:
		}
		require.True(t, time.Now().Before(deadline), "no mount in time")
		time.Sleep(5 * time.Millisecond)
	}
	return dir
}
