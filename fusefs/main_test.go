package fusefs_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/fusefs"
	"github.com/resflash/resflash/integration/conformance"
	"github.com/resflash/resflash/integration/testtool"
)

// TestMain fails when a test has left a mount behind. The tests of other
// packages mount at the same time: only what is below a folder of our own is
// looked at.
func TestMain(m *testing.M) {
	conformance.ExerciseMain()
	if os.Getenv(helperEnv) != "" {
		os.Exit(userHelper())
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fusefs-test-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("TMPDIR", dir)
	code := m.Run()
	for _, point := range mountsBelow(dir) {
		fmt.Fprintln(os.Stderr, "FAIL: a test left this mount behind:", point)
		_ = unix.Unmount(point, unix.MNT_DETACH)
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// mountsBelow returns the mount points below dir, the newest first.
func mountsBelow(dir string) []string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	var points []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			points = append(points, fields[1])
		}
	}
	slices.Reverse(points)
	return points
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
