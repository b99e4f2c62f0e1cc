package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// squashForms are ways to make squashfs.
var squashForms = []struct {
	name, args string
	notLinux   bool // the kernel does not read it
}{
	{"gzip", "", false},
	{"xz", "-comp xz -b 256K", false},
	{"lzma", "-comp lzma", true},
	{"lz4", "-comp lz4 -no-exports", false},
	{"zstd", "-comp zstd -b 1M", false},
	{"4K", "-b 4K -always-use-fragments", false},
	{"raw", "-noI -noD -noF -noX", false},
	{"not-sparse", "-no-sparse -no-fragments -noI", false},
}

var squashKinds = kinds{posix: true, devices: true, bigDevs: true, rawNames: true, holes: true, xattrs: true, longest: 1023}

// squashFields are all but the fractions of seconds.
const squashFields = manifest.All&^manifest.Nsec | manifest.DirNlink | manifest.Xattrs

func makeSquash(t testing.TB, name, args, root string) string {
	t.Helper()
	testtool.Need(t, "mksquashfs")
	image := filepath.Join(t.TempDir(), name+".squashfs")
	all := append([]string{root, image, "-quiet", "-no-progress", "-noappend"}, strings.Fields(args)...)
	testtool.Run(t, "mksquashfs", all...)
	return image
}

// squashView is what of a tree squashfs can hold: no ACLs.
func squashView(e *manifest.Entry) bool {
	kept := map[string]string{}
	for name, value := range e.Xattrs {
		if !strings.HasPrefix(name, "system.") {
			kept[name] = value
		}
	}
	e.Xattrs = kept
	return true
}

// squashfs has the programs and the kernel of Linux read the image.
func (f fixture) squashfs(t *testing.T, args string, notLinux bool) {
	t.Run("unsquashfs", func(t *testing.T) {
		testtool.Need(t, "unsquashfs")
		dir := filepath.Join(t.TempDir(), "out")
		run := []string{"-quiet", "-no-progress", "-d", dir}
		x := f.x
		if !asRoot { // it cannot make devices or give files away
			run = append(run, "-ignore-errors", "-no-exit-code")
			x.fields &^= manifest.Owner
		}
		testtool.Run(t, "unsquashfs", append(run, f.image)...)
		x.check(t, manifest.ReadDir(dir, manifest.Options{Xattrs: x.fields&manifest.Xattrs != 0}), ^manifest.Fields(0))
		require.NoError(t, os.RemoveAll(dir))

		told := testtool.Run(t, "unsquashfs", "-s", f.image)
		features := inspect(t, f.image).Volumes[0].Features
		for _, c := range []struct{ told, feature string }{
			{"Compression " + features[0] + "\n", features[0]},
			{"Filesystem is exportable via NFS", "exportable"},
			{"Inodes are uncompressed", "uncompressed inodes"},
			{"Data is uncompressed", "uncompressed data"},
			{"Always-use-fragments option is specified", "always fragments"},
		} {
			assert.Equal(t, strings.Contains(told, c.told), slices.Contains(features, c.feature), "%q in %s", c.told, told)
		}
	})
	if !notLinux {
		t.Run("Linux", func(t *testing.T) {
			dir := loopMount(t, "squashfs", f.image)
			f.x.check(t, manifest.ReadDir(dir, manifest.Options{Xattrs: f.x.fields&manifest.Xattrs != 0}), ^manifest.Fields(0))
			if strings.Contains(args, "-no-exports") {
				return
			}
			// The inode numbers are those that the kernel shows.
			ours := mount(t, "--volume", "whole", f.image)
			for _, e := range f.x.want {
				var theirs, our syscall.Stat_t
				require.NoError(t, syscall.Lstat(filepath.Join(dir, e.Path), &theirs))
				require.NoError(t, syscall.Lstat(filepath.Join(ours, e.Path), &our))
				require.Equal(t, theirs.Ino, our.Ino&(1<<48-1), e.Path)
			}
		})
	}
}

// loopMount has the kernel mount an image read-only, where root can.
func loopMount(t *testing.T, fs, image string) string {
	t.Helper()
	if !asRoot {
		t.Skip("the kernel mounts files for root only")
	}
	known, err := os.ReadFile("/proc/filesystems")
	require.NoError(t, err)
	if !bytes.Contains(known, []byte("\t"+fs+"\n")) && exec.Command("modprobe", fs).Run() != nil {
		testtool.Missing(t, "the kernel has no %s", fs)
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", fs, "-o", "loop,ro", image, dir).CombinedOutput(); err != nil {
		testtool.Missing(t, "cannot mount: %s", out)
	}
	t.Cleanup(func() {
		// A program that another test starts just now may hold what was open here.
		assert.Eventually(t, func() bool { return exec.Command("umount", dir).Run() == nil }, 10*time.Second, 20*time.Millisecond)
	})
	return dir
}

func TestSquashfs(t *testing.T) {
	heavy(t)
	testtool.Need(t, "mksquashfs")
	tr := standardTree(t, squashKinds)
	x := expectation{want: tr.manifest().Edit(squashView), fields: squashFields}
	for _, form := range squashForms {
		t.Run(form.name, func(t *testing.T) {
			image := makeSquash(t, form.name, form.args, tr.root)
			channels(t, image, "whole", x)
			fixture{form.name, image, tr.root, x}.squashfs(t, form.args, form.notLinux)
		})
	}
}

// TestSquashfsBig reads a large tree, with a directory of 50,000 files.
func TestSquashfsBig(t *testing.T) {
	heavy(t)
	tr := bigTree(t, false, 50_000)
	x := expectation{want: tr.manifest(), fields: squashFields &^ manifest.Xattrs}
	image := makeSquash(t, "big", "-comp zstd -Xcompression-level 3", tr.root)
	channels(t, image, "whole", x)
	t.Run("Linux", func(t *testing.T) {
		x.check(t, manifest.ReadDir(loopMount(t, "squashfs", image), manifest.Options{}), ^manifest.Fields(0))
	})
}

// TestSquashfsHuge reads a file of 5 GiB, most of it a hole, where it has data.
func TestSquashfsHuge(t *testing.T) {
	heavy(t)
	tr := newTree(t, kinds{})
	offs := []int64{0, 1<<30 - 5000, 4<<30 + 1, 5<<30 - 10_000}
	tr.sparse("huge", 5<<30, 10_000, offs...)
	dir := mount(t, "--volume", "whole", makeSquash(t, "huge", "-comp lz4", tr.root))
	theirs, err := os.Open(tr.path("huge"))
	require.NoError(t, err)
	defer theirs.Close()
	ours, err := os.Open(filepath.Join(dir, "huge"))
	require.NoError(t, err)
	defer ours.Close()
	st, err := ours.Stat()
	require.NoError(t, err)
	require.EqualValues(t, 5<<30, st.Size())
	for _, off := range append(offs, 2<<30, 4<<30-100) {
		want, got := make([]byte, 20_000), make([]byte, 20_000)
		n, _ := theirs.ReadAt(want, off)
		k, _ := ours.ReadAt(got, off)
		require.Equal(t, n, k, "at %d", off)
		require.True(t, bytes.Equal(want, got), "at %d", off)
	}
}

// TestSquashfsDebian reads a whole operating system, as live systems have it.
func TestSquashfsDebian(t *testing.T) {
	heavy(t)
	tr := &tree{t, debianRoot(t), squashKinds}
	image := makeSquash(t, "debian", "-comp zstd -Xcompression-level 3 -b 1M", tr.root)
	x := expectation{want: tr.manifest().Edit(squashView), fields: squashFields}
	channels(t, image, "whole", x)
	v := inspect(t, image).Volumes[0]
	require.Equal(t, "squashfs", v.Type)
	require.NotNil(t, v.OS)
	require.Equal(t, "debian", v.OS.ID)
}
