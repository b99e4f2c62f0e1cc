package integration

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// debianRoot unpacks a small Debian system that boots by itself and serves SSH,
// made by debootstrap once and then kept in the cache.
func debianRoot(t *testing.T) string {
	t.Helper()
	if !asRoot {
		testtool.Missing(t, "debootstrap needs root")
	}
	testtool.Need(t, "debootstrap", "tar")
	cache, err := kernelvm.CacheDir()
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(cache, 0o755))
	archive := filepath.Join(cache, "debian-systemd.tar")
	if _, err := os.Stat(archive); err != nil {
		dir := filepath.Join(t.TempDir(), "debootstrap")
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		mirror, release := ownRepository(t)
		out, err := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include=systemd-sysv,dbus,openssh-server", release, dir, mirror).CombinedOutput()
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

// ownRepository is where this system has its own packages from, and of which
// release.
func ownRepository(t *testing.T) (mirror, release string) {
	t.Helper()
	testtool.Need(t, "apt-get")
	out := testtool.Run(t, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
	for line := range strings.Lines(out) {
		// Not its updates: "bookworm-security" is no release of its own.
		if f := strings.Fields(line); len(f) == 2 && !strings.Contains(f[1], "-") {
			return f[0], f[1]
		}
	}
	testtool.Missing(t, "apt knows no repository of a release (apt-get update?)")
	return "", ""
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

// TestDebianBoots copies a whole operating system into an ext4 of ours, changes
// it two thousand times, and has it boot to a login prompt.
func TestDebianBoots(t *testing.T) {
	heavy(t)
	kernel := kernelvm.Need(t)
	root := debianRoot(t)
	img := filepath.Join(t.TempDir(), "debian.img")
	resflash(t, "mkfs", "--type", "ext4", "--label", "debian", "--size", "1G", "--from", root, "--keep-owner", img)
	e2fsck(t, img, []string{})

	d, err := image.Edit(t.Context(), img, image.EditOptions{})
	require.NoError(t, err)
	defer d.Close()
	v, err := d.Partitions()[0].Edit(t.Context())
	require.NoError(t, err)
	us := byUs{t.Context(), v.Tree, v.FS.(vfs.WritableFS)}
	s := &scribbler{rnd: rand.New(rand.NewPCG(8, 8)), dirs: []string{"srv", "opt", "usr/share", "usr/lib", "etc", "var/lib"}}
	for i := range 2000 {
		require.NoError(t, s.step(us))
		if i%300 == 299 {
			require.NoError(t, us.fs.Sync(t.Context()))
		}
	}
	require.NoError(t, us.Create("etc/issue", []byte("edited by resflash\n")))
	require.NoError(t, d.Commit(t.Context()))
	require.NoError(t, d.Close())
	e2fsck(t, img, []string{})

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	// Before the prompt, the system looks whether its own packages are whole.
	said, err := kernel.Boot(ctx, kernelvm.Disk{Path: img, FS: "ext4"}, "login: ", "/bin/sh", "-c",
		"cd / && md5sum --quiet -c var/lib/dpkg/info/coreutils.md5sums var/lib/dpkg/info/bash.md5sums && echo packages are whole; "+
			"exec agetty -L ttyS0 115200 vt100")
	require.NoError(t, err)
	require.Contains(t, said, "packages are whole")
	require.Contains(t, said, "edited by resflash")
}
