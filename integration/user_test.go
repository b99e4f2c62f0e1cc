package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testimage"
	"github.com/resflash/resflash/integration/testtool"
)

// nobody is a user with no rights at all.
const nobody = 65534

// asNobody makes a command run as [nobody].
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = append(os.Environ(), "HOME=/nonexistent")
	return cmd
}

// openToAll makes folders that every user can enter, as far up as is ours.
func openToAll(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, filepath.Dir(program)); d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o777))
	}
	for d := filepath.Dir(program); d != "/"; d = filepath.Dir(d) {
		fi, err := os.Stat(d)
		require.NoError(t, err)
		if fi.Mode()&0o001 == 0 {
			testtool.Missing(t, "other users cannot enter %s: set TMPDIR", d)
		}
	}
	return dir
}

// An ordinary user can read an image that is theirs, copy out of it, and mount it.
func TestOrdinaryUser(t *testing.T) {
	if !asRoot {
		t.Skip("not root: every other test is this one")
	}
	dir := openToAll(t)
	image := filepath.Join(dir, "resflash.img")
	require.NoError(t, testimage.Resflash(image, testimage.Options{SizeMB: 128}))
	require.NoError(t, os.Chown(image, nobody, nobody))
	require.NoError(t, os.Chmod(image, 0o600))

	t.Run("inspect", func(t *testing.T) {
		out, err := asNobody(exec.Command(program, "inspect", image)).CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "resflash")
	})
	t.Run("cp", func(t *testing.T) {
		dest := filepath.Join(dir, "copy")
		out, err := asNobody(exec.Command(program, "cp", "-r", image+":/etc", dest)).CombinedOutput()
		require.NoError(t, err, string(out))
		want := exported(t, image+":/etc")
		got := manifest.ReadDir(dest, manifest.Options{})
		require.Empty(t, got.Errors())
		require.NotEmpty(t, want)
		sums := map[string]string{}
		for _, e := range got {
			sums[e.Path] = e.Sum
			assert.Equal(t, uint32(nobody), e.UID, e.Path)
		}
		for _, e := range want {
			path := strings.TrimPrefix(e.Path, "etc/")
			if e.Type == manifest.File {
				assert.Equal(t, e.Sum, sums[path], path)
			}
		}
	})
	t.Run("mount", func(t *testing.T) {
		testtool.Need(t, "fusermount3")
		needFUSE(t)
		if fi, err := os.Stat("/dev/fuse"); err != nil || fi.Mode()&0o006 != 0o006 {
			// Where udev did not set it up, as in a container.
			require.NoError(t, os.Chmod("/dev/fuse", 0o666))
			t.Cleanup(func() { os.Chmod("/dev/fuse", fi.Mode().Perm()) })
		}
		point := filepath.Join(dir, "mnt")
		require.NoError(t, os.Mkdir(point, 0o755))
		require.NoError(t, os.Chown(point, nobody, nobody))
		start := exec.Command(program, "mount", image, point)
		start.Stdin = nil
		out, err := asNobody(start).CombinedOutput()
		require.NoError(t, err, string(out))
		t.Cleanup(func() { unix.Unmount(point, unix.MNT_DETACH) })
		data, err := asNobody(exec.Command("cat", filepath.Join(point, "root/etc/fstab"))).CombinedOutput()
		assert.NoError(t, err)
		assert.Equal(t, resflash(t, "cat", image+":/etc/fstab"), string(data))
		out, err = asNobody(exec.Command(program, "umount", point)).CombinedOutput()
		require.NoError(t, err, string(out))
		for deadline := time.Now().Add(10 * time.Second); len(fuseMountsBelow(point)) > 0; {
			require.True(t, time.Now().Before(deadline), "still mounted")
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func fuseMountsBelow(dir string) []string {
	var out []string
	for _, m := range fuseMounts() {
		if strings.HasPrefix(m, dir) {
			out = append(out, m)
		}
	}
	return out
}
