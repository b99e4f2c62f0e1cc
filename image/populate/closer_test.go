package populate

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Only what was handed over is closed, also where files of others lie between.
func TestCloserClosesItsOwn(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	at, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(at)
	var c closer
	var ours, others []int
	for i := range closeBatch + 10 {
		fd, err := c.openAt(at, "f")
		require.NoError(t, err)
		if i%7 == 3 {
			others = append(others, fd)
			continue
		}
		ours = append(ours, fd)
	}
	open := func(fd int) bool {
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		return err == nil && target == filepath.Join(dir, "f")
	}
	for _, fd := range ours {
		require.True(t, open(fd))
		c.close(fd)
	}
	assert.True(t, c.flush())
	assert.False(t, c.flush())
	for _, fd := range ours {
		assert.False(t, open(fd), fd)
	}
	for _, fd := range others {
		assert.True(t, open(fd), fd)
		unix.Close(fd)
	}
}

// With few files that may be open at a time, a tree of many is copied.
func TestCloserAtTheLimitOfOpenFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	at, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(at)
	var was unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	few := was
	few.Cur = uint64(at) + 30
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &few))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	var c closer
	defer c.flush()
	for range 200 {
		fd, err := c.openAt(at, "f")
		require.NoError(t, err)
		c.close(fd)
	}
}
