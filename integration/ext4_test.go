package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// extForms are ways to make ext2, ext3 and ext4.
var extForms = []struct {
	name string
	args string
}{
	{"ext4", "-t ext4"},
	{"no-extents", "-t ext4 -O ^extent,^64bit"},
	{"ext2", "-t ext2"},
	{"ext3", "-t ext3"},
	{"1k", "-t ext4 -b 1024"},
	{"2k-no-checksums", "-t ext4 -b 2048 -O ^metadata_csum"},
	{"inline_data", "-t ext4 -O inline_data"},
	{"bigalloc", "-t ext4 -O bigalloc -C 16384"},
	{"64bit", "-t ext4 -O 64bit,meta_bg,^resize_inode"},
	{"not-64bit", "-t ext4 -O ^64bit,flex_bg -G 4 -g 8192"},
}

// extFields are all: see finish for those that mke2fs -d does not store.
const extFields = manifest.All | manifest.DirNlink | manifest.Xattrs

// makeExt makes the image on a file that was full of 0xAA.
func makeExt(t testing.TB, name, args, root string, size int64) string {
	t.Helper()
	testtool.Need(t, "mke2fs", "debugfs")
	image := filepath.Join(t.TempDir(), name)
	filled(t, image, size)
	all := append(strings.Fields(args), "-q", "-F", "-I", "256", "-E", "nodiscard,lazy_itable_init=1", "-d", root, image)
	testtool.Run(t, "mke2fs", all...)
	return image
}

// finish does what mke2fs -d leaves undone: times beyond 32 bits and with
// nanoseconds, and with inline data the sizes of files that end in a hole.
func finish(t testing.TB, image string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	// The extra field has 2 bits above the 32 of the seconds, and nanoseconds.
	text := fmt.Sprintf("sif \"/times/2106\" mtime 0\nsif \"/times/2106\" mtime_extra %d\n", 123_456_789<<2|1)
	text += fmt.Sprintf("sif \"/times/odd second\" mtime_extra %d\n", 999_999_999<<2)
	for name, size := range map[string]int{"middle": 3 << 20, "end": 2<<20 + 17, "combed": 4 << 20} {
		text += fmt.Sprintf("sif /holes/%s size %d\n", name, size)
	}
	require.NoError(t, os.WriteFile(script, []byte(text), 0o644))
	testtool.Run(t, "debugfs", "-w", "-f", script, image)
}

func TestExt4(t *testing.T) {
	heavy(t)
	testtool.Need(t, "mke2fs", "debugfs")
	tr := standardTree(t, extKinds)
	want := tr.manifest().Edit(func(e *manifest.Entry) bool {
		switch e.Path {
		case "times/2106", "times/odd second":
		default:
			e.Nsec = 0
		}
		return e.Path != "times/2300"
	})
	require.NoError(t, os.Remove(tr.path("times/2300")))
	var disks []kernelvm.Disk
	var fixtures []fixture
	for _, form := range extForms {
		image := makeExt(t, form.name, form.args, tr.root, 96<<20)
		finish(t, image)
		f := fixture{form.name, image, tr.root, expectation{want: want, fields: extFields, ignore: []string{"lost+found"}}.without(".", "times")}
		f.x.fields &^= manifest.DirNlink // lost+found counts
		fixtures = append(fixtures, f)
		disks = append(disks, kernelvm.Disk{Path: image, FS: "ext4"})
		t.Run(form.name, func(t *testing.T) {
			channels(t, image, "whole", f.x)
			// debugfs writes out 60 bytes of every file that is inline, GRUB and
			// Sleuth Kit know neither inline data nor clusters, and GRUB fails on
			// files that begin with a hole and have extents.
			if form.name != "inline_data" {
				t.Run("debugfs", func(t *testing.T) { f.debugfs(t) })
			}
			folders := []string{"sizes", "many", "deep", "links"}
			switch form.name {
			case "inline_data", "bigalloc":
				folders = nil
			case "no-extents", "ext2", "ext3":
				folders = append(folders, "holes")
			}
			if folders != nil {
				t.Run("GRUB", func(t *testing.T) { f.grub(t, folders...) })
			}
			if form.name == "ext2" || form.name == "ext3" || form.name == "ext4" || form.name == "1k" {
				t.Run("Sleuthkit", func(t *testing.T) { f.sleuthkit(t, manifest.Mode|manifest.Owner|manifest.Size) })
			}
		})
	}
	t.Run("Linux", func(t *testing.T) {
		linux(t, kernelvm.Need(t), disks, fixtures, ^manifest.Fields(0))
	})
}

// TestExt4Big reads a large tree in every way. In mke2fs -d the time grows with
// the square of the entries of a directory, and in debugfs as well: the kernel
// adds one of 50,000 where root can mount a loop device.
func TestExt4Big(t *testing.T) {
	heavy(t)
	tr := bigTree(t, true, 5_000)
	image := makeExt(t, "big", "-t ext4 -N 100000", tr.root, 700<<20)
	kernelAddsCrowd(t, image, tr)
	x := expectation{want: tr.manifest(), fields: manifest.All &^ manifest.Nsec, ignore: []string{"lost+found"}}.without(".")
	channels(t, image, "whole", x)
	t.Run("debugfs", func(t *testing.T) {
		out := testtool.Run(t, "debugfs", "-R", "stat /huge", image)
		require.Contains(t, out, fmt.Sprintf("Size: %d", 5<<30))
	})
}

func kernelAddsCrowd(t *testing.T, image string, tr *tree) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
		t.Logf("no directory of 50,000 entries in ext4: cannot mount: %s", out)
		return
	}
	defer testtool.Run(t, "umount", dir)
	tr.crowd("kernel", 50_000)
	tr.stamp(nil)
	testtool.Run(t, "cp", "-a", tr.path("kernel"), dir)
}
