package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// loop makes a block device of a file, and skips the test where that cannot be
// had: the host decides that, not a package.
func loop(t *testing.T, file string) string {
	t.Helper()
	if !asRoot {
		t.Skip("only root makes block devices")
	}
	testtool.Need(t, "losetup", "blockdev")
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device can be had here: %s", out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "--detach", device).Run() })
	return device
}

// A copy goes straight to a disk, whatever was on it before, and is another
// machine than the image.
func TestPersonaliseDevice(t *testing.T) {
	dir := t.TempDir()
	golden, old := filepath.Join(dir, "golden.img"), filepath.Join(dir, "disk")
	require.NoError(t, testimage.Resflash(golden, testimage.Options{SizeMB: 96, Seed: 2}))
	require.NoError(t, os.WriteFile(old, []byte(strings.Repeat("old contents\n", 128<<20/13)), 0o600))
	require.NoError(t, os.Truncate(old, 128<<20))
	device := loop(t, old)

	resflash(t, "personalise", "--hostname", "fw7.example.net", "-o", device, golden)
	resflash(t, "check", device)
	assert.Equal(t, "fw7.example.net\n", resflash(t, "cat", device+":cfg:/etc/myname"))
	assert.NotEqual(t, inspect(t, golden).Tables[1].ID, inspect(t, device).Tables[1].ID)
	testtool.Run(t, "blockdev", "--flushbufs", device)
	written := wholeFile(t, old)
	assert.False(t, bytes.Contains(written[:96<<20], []byte("old contents")), "holes of the image are zeros on the disk")
	assert.True(t, bytes.Contains(written[96<<20:], []byte("old contents")), "what is behind the image stays")

	small := filepath.Join(dir, "small")
	require.NoError(t, os.WriteFile(small, make([]byte, 16<<20), 0o600))
	said, code := fails(t, "personalise", "-o", loop(t, small), golden)
	assert.NotZero(t, code)
	assert.Contains(t, said, "less than the image")
}

// A disk that is mounted is not written to.
func TestPersonaliseMountedDevice(t *testing.T) {
	dir := t.TempDir()
	golden, disk := filepath.Join(dir, "golden.img"), filepath.Join(dir, "disk")
	require.NoError(t, testimage.Resflash(golden, testimage.Options{SizeMB: 96, Seed: 2}))
	resflash(t, "mkfs", "--type", "ext4", "--size", "128M", disk)
	device := loop(t, disk)
	at := filepath.Join(dir, "mounted")
	require.NoError(t, os.Mkdir(at, 0o755))
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "ext4", device, at).CombinedOutput(); err != nil {
		t.Skipf("the host does not mount ext4: %s", out)
	}
	t.Cleanup(func() { exec.Command("umount", at).Run() })
	said, _ := fails(t, "personalise", "-o", device, golden)
	assert.Contains(t, said, "busy")
	assert.Equal(t, "ext4", inspect(t, disk).Volumes[0].Type)
}
