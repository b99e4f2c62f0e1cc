package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

var fatForms = []struct {
	name string
	args string
	size int64
}{
	{"FAT12-two", "-F 12 -s 64 -f 2", 64 << 20},
	{"FAT12-one", "-F 12 -s 8 -f 1 -S 4096", 64 << 20},
	{"FAT16-two", "-F 16 -s 4 -f 2", 64 << 20},
	{"FAT16-one", "-F 16 -s 8 -f 1", 64 << 20},
	// Two sectors: mtools finds no room for a name of 255 characters, which
	// takes 21 entries, in clusters of 16.
	{"FAT32-two", "-F 32 -s 2 -f 2", 96 << 20},
	{"FAT32-one", "-F 32 -s 2 -f 1", 96 << 20},
}

// mtools runs a program of mtools, with names in UTF-8.
func mtools(t testing.TB, name string, args ...string) {
	t.Helper()
	testtool.Run(t, "env", append([]string{"LC_ALL=C.UTF-8", name}, args...)...)
}

// fatView is what of a tree FAT can hold: two seconds, no owners, and mtools
// gives folders the present time.
func fatView(e *manifest.Entry) bool {
	if e.Type == manifest.Dir {
		e.Sec = 0
	}
	return true
}

func TestFAT(t *testing.T) {
	heavy(t)
	testtool.Need(t, "mkfs.fat", "mcopy")
	tr := standardTree(t, fatKinds)
	want := tr.manifest().Edit(fatView)
	top, err := os.ReadDir(tr.root)
	require.NoError(t, err)
	x := expectation{want: want, fields: manifest.Size | manifest.Mtime2 | manifest.Sum}
	for _, e := range want {
		if e.Type == manifest.Dir {
			x.notime = append(x.notime, e.Path)
		}
	}
	var disks []kernelvm.Disk
	var fixtures []fixture
	for _, form := range fatForms {
		testtool.Need(t, "mkfs.fat")
		image := filepath.Join(t.TempDir(), form.name)
		filled(t, image, form.size)
		testtool.Run(t, "mkfs.fat", append(strings.Fields(form.args), "-n", "RESFLASH", image)...)
		args := []string{"-i", image, "-s", "-m", "-Q"}
		for _, e := range top {
			args = append(args, tr.path(e.Name()))
		}
		mtools(t, "mcopy", append(args, "::/")...)
		f := fixture{form.name, image, tr.root, x}
		fixtures = append(fixtures, f)
		disks = append(disks, kernelvm.Disk{Path: image, FS: "vfat", Options: "utf8,shortname=mixed,tz=UTC"})
		t.Run(form.name, func(t *testing.T) {
			channels(t, image, "whole", x)
			t.Run("mtools", func(t *testing.T) {
				dir := t.TempDir()
				mtools(t, "mcopy", "-i", image, "-s", "-m", "-Q", "-n", "::/*", dir)
				x.check(t, manifest.ReadDir(dir, manifest.Options{}), ^manifest.Fields(0))
			})
			t.Run("Sleuthkit", func(t *testing.T) {
				// Its times end in 2037.
				f.x = x.without("times/last of 32 bits")
				f.sleuthkit(t, manifest.Size|manifest.Mtime2)
			})
			t.Run("GRUB", func(t *testing.T) { f.grub(t, "sizes", "many", "deep") })
		})
	}
	t.Run("Linux", func(t *testing.T) {
		vm := kernelvm.Need(t)
		linux(t, vm, disks, fixtures, ^manifest.Fields(0))
	})
}
