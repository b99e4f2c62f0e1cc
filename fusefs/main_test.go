package fusefs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/integration/conformance"
	"github.com/resflash/resflash/integration/testtool"
)

// TestMain fails when a test has left a mount behind.
func TestMain(m *testing.M) {
	conformance.ExerciseMain()
	if os.Getenv(helperEnv) != "" {
		os.Exit(userHelper())
	}
	before := mounts()
	code := m.Run()
	for _, line := range mounts() {
		if !contains(before, line) {
			fmt.Fprintln(os.Stderr, "FAIL: a test left this mount behind:", line)
			code = 1
			_ = exec.Command("umount", "-l", strings.Fields(line)[1]).Run()
		}
	}
	os.Exit(code)
}

func contains(all []string, s string) bool {
	for _, one := range all {
		if one == s {
			return true
		}
	}
	return false
}

// mounts returns the lines of /proc/self/mounts that are ours.
func mounts() []string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var ours []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " fuse.resflash ") {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	return ours
}

// messages collects what a mount logs.
type messages struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (m *messages) logf(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(&m.buf, format+"\n", args...)
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.buf.String()
}

// needMount skips a test where this process cannot mount.
func needMount(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		testtool.Missing(t, "cannot use /dev/fuse: %v", err)
	}
	f.Close()
	if os.Geteuid() != 0 {
		testtool.Need(t, "fusermount3")
	}
}

// mountPoint returns an empty directory to mount on.
func mountPoint(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	require.NoError(t, os.Mkdir(dir, 0o755))
	return dir
}

// mountOne mounts a volume for the time of a test, and fails the test if
// anything is logged that it did not fetch.
func mountOne(t testing.TB, vol fusefs.Volume) (dir string, said *messages) {
	t.Helper()
	needMount(t)
	dir, said = mountPoint(t), &messages{}
	srv, err := fusefs.MountOne(dir, vol, fusefs.Options{ReadOnly: true, Logf: said.logf})
	require.NoError(t, err)
	t.Cleanup(func() { unmount(t, srv) })
	return dir, said
}

func unmount(t testing.TB, srv *fusefs.Server) {
	t.Helper()
	if err := srv.Unmount(); err != nil {
		t.Errorf("unmount: %v", err)
		_ = srv.Detach()
	}
	srv.Wait()
}
