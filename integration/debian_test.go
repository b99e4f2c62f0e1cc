package integration

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"

	"os/exec"
)

// debianRoot unpacks a small Debian system, made by debootstrap once and then
// kept in the cache.
func debianRoot(t *testing.T) string {
	t.Helper()
	if !asRoot {
		testtool.Missing(t, "debootstrap needs root")
	}
	testtool.Need(t, "debootstrap", "tar")
	cache, err := kernelvm.CacheDir()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(cache, 0o755))
	archive := filepath.Join(cache, "debian.tar")
	if _, err := os.Stat(archive); err != nil {
		dir := filepath.Join(t.TempDir(), "debootstrap")
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "stable", dir, "http://deb.debian.org/debian").CombinedOutput()
		if err != nil {
			testtool.Missing(t, "debootstrap: %v: %s", err, tailOf(out))
		}
		testtool.Run(t, "tar", "-C", dir, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-cf", archive+".part", ".")
		require.NoError(t, os.Rename(archive+".part", archive))
	}
	root := filepath.Join(t.TempDir(), "debian")
	require.NoError(t, os.Mkdir(root, 0o755))
	testtool.Run(t, "tar", "-C", root, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", archive)
	return root
}

// TestDebian reads a whole operating system in ext4.
func TestDebian(t *testing.T) {
	heavy(t)
	tr := &tree{t, debianRoot(t), extKinds}
	image := makeExt(t, "debian", "-t ext4 -L debian", tr.root, 1<<30)
	x := expectation{want: tr.manifest(), fields: manifest.All&^manifest.Nsec | manifest.Xattrs, ignore: []string{"lost+found"}}.without(".")
	channels(t, image, "whole", x)
	t.Run("debugfs", func(t *testing.T) { fixture{"debian", image, tr.root, x}.debugfs(t) })
	t.Run("inspect", func(t *testing.T) {
		disk := inspect(t, image)
		require.Len(t, disk.Volumes, 1)
		v := disk.Volumes[0]
		require.Equal(t, "ext4", v.Type)
		require.Equal(t, "debian", v.Label)
		require.NotNil(t, v.OS)
		require.Equal(t, "debian", v.OS.ID)
	})
}
