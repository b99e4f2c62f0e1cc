package integration

import (
	"path/filepath"
	"testing"

	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// TestISO reads ISO 9660 with Rock Ridge.
func TestISO(t *testing.T) {
	heavy(t)
	testtool.Need(t, "xorriso")
	tr := standardTree(t, isoKinds)
	image := filepath.Join(t.TempDir(), "rock ridge.iso")
	testtool.Run(t, "env", "LC_ALL=C.UTF-8", "xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "RESFLASH", "-o", image, tr.root)
	x := expectation{
		want:   tr.manifest(),
		fields: manifest.Mode | manifest.Owner | manifest.Size | manifest.Mtime | manifest.Target | manifest.Rdev | manifest.Sum,
	}
	channels(t, image, "whole", x)
	f := fixture{"ISO", image, tr.root, x}
	t.Run("GRUB", func(t *testing.T) { f.grub(t, "sizes", "many", "deep") })
	t.Run("Linux", func(t *testing.T) {
		// Linux cuts names off that go on in a second NM field.
		f.x.ignorePrefix = "names/"
		linux(t, kernelvm.Need(t), []kernelvm.Disk{{Path: image, FS: "iso9660"}}, []fixture{f}, ^manifest.Fields(0))
	})
}
