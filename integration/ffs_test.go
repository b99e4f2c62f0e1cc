package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// An ffsForm is one way to make an FFS.
type ffsForm struct {
	version      int
	big          bool // big-endian
	bsize, fsize int
}

func (f ffsForm) String() string {
	order := "le"
	if f.big {
		order = "be"
	}
	return fmt.Sprintf("FFS%d-%s-%d-%d", f.version, order, f.bsize, f.fsize)
}

// ffsForms has every block size in both versions and byte orders, with the
// usual eight fragments a block and some others.
func ffsForms() []ffsForm {
	var out []ffsForm
	for version := 1; version <= 2; version++ {
		for _, sizes := range [][2]int{{4096, 512}, {8192, 1024}, {16384, 2048}, {32768, 4096}, {65536, 8192}} {
			out = append(out, ffsForm{version, false, sizes[0], sizes[1]}, ffsForm{version, true, sizes[0], sizes[1]})
		}
		out = append(out, ffsForm{version, false, 8192, 8192}, ffsForm{version, true, 4096, 2048})
	}
	return out
}

// linux says whether the form is one for Linux to judge, and how. Its driver
// knows fragments up to 4 KiB.
func (f ffsForm) linux(image string) (kernelvm.Disk, bool) {
	d := kernelvm.Disk{Path: image, FS: "ufs", Options: "ufstype=44bsd"}
	if f.version == 2 {
		d.Options, d.LendSuper = "ufstype=ufs2", 65536
	}
	// It is emulated, and slow: two sizes of each byte order will do.
	return d, f.fsize <= 4096 && (f.big == (f.bsize == 8192 || f.bsize == 32768))
}

// makeFFS makes the image and then gives it holes, and poison in its free space.
func makeFFS(t testing.TB, f ffsForm, tr *tree, size string, edit func(*ffsEdit), more ...string) string {
	t.Helper()
	testtool.Need(t, "makefs")
	order := "le"
	if f.big {
		order = "be"
	}
	image := filepath.Join(t.TempDir(), f.String())
	args := append([]string{"-t", "ffs", "-B", order, "-s", size,
		"-o", fmt.Sprintf("version=%d,bsize=%d,fsize=%d", f.version, f.bsize, f.fsize)}, more...)
	testtool.Run(t, "makefs", append(args, image, tr.root)...)
	e := editFFS(t, image)
	e.punch()
	if edit != nil {
		edit(e)
	}
	e.poisonFree()
	require.NoError(t, e.f.Close())
	return image
}

// ffsFields is what FFS by makefs records: no more than whole seconds.
const ffsFields = manifest.All &^ manifest.Nsec

// ffsHugeSize is not a multiple of anything.
const ffsHugeSize = 5<<30 + 12345

// addHuge puts the file huge into the tree, and returns the edit that makes it
// huge in the image: makefs gets 40 blocks, the tree then the real thing.
func addHuge(tr *tree, f ffsForm) func(*ffsEdit) {
	tr.t.Helper()
	bs := int64(f.bsize)
	ptrs := bs / 4
	if f.version == 2 {
		ptrs = bs / 8
	}
	tr.file("huge", 40*f.bsize)
	// One piece behind each kind of pointer that 5 GiB reach, and the last block.
	pieces := map[int64][]byte{}
	for _, lbn := range []int64{0, 11, 12 + 5, 12 + ptrs - 1, 12 + ptrs + 7, 12 + ptrs + ptrs*ptrs/2, 12 + ptrs + ptrs*ptrs + 3} {
		if (lbn+1)*bs < ffsHugeSize {
			pieces[lbn*bs] = contents(fmt.Sprint("piece", lbn), f.bsize)
		}
	}
	last := ffsHugeSize / bs * bs
	pieces[last] = append(contents("last piece", int(ffsHugeSize-last)), make([]byte, last+bs-ffsHugeSize)...)
	return func(e *ffsEdit) {
		e.stretch("huge", ffsHugeSize, pieces)
		tr.sparse("huge", ffsHugeSize, 0)
		h, err := os.OpenFile(tr.path("huge"), os.O_WRONLY, 0)
		require.NoError(tr.t, err)
		for off, data := range pieces {
			_, err := h.WriteAt(data[:min(bs, ffsHugeSize-off)], off)
			require.NoError(tr.t, err)
		}
		require.NoError(tr.t, h.Close())
		tr.mtime("huge", 1_500_000_000, 0)
	}
}

// TestFFS reads every form of FFS in every way, and has the Linux kernel, Sleuth
// Kit and GRUB look at the same images.
func TestFFS(t *testing.T) {
	heavy(t)
	testtool.Need(t, "makefs")
	k := ffsKinds
	k.holes = true // by way of punch
	tr := standardTree(t, k)
	if asRoot {
		require.NoError(t, os.Remove(tr.path("socket"))) // makefs leaves sockets out
	}
	want := tr.manifest()
	type made struct {
		fixture
		form ffsForm
	}
	var images []made
	for _, f := range ffsForms() {
		image := makeFFS(t, f, tr, "64m", nil)
		fx := fixture{f.String(), image, tr.root, expectation{want: want, fields: ffsFields | manifest.DirNlink}}
		images = append(images, made{fx, f})
		t.Run(fx.name, func(t *testing.T) {
			channels(t, image, "whole", fx.x)
			if f.bsize != 4096 && f.bsize != 16384 && f.bsize != 65536 {
				return // the foreign readers are slow
			}
			// GRUB has no FFS2 in big-endian, and in FFS1 it forgets to swap
			// the bytes of indirect pointers.
			folders := []string{"many", "deep", "links"}
			if !f.big {
				folders = append(folders, "sizes", "holes")
			}
			if f.version == 1 || !f.big {
				t.Run("GRUB", func(t *testing.T) { fx.grub(t, folders...) })
			}
			// Sleuth Kit has no FFS2 with its superblock at 8192; blocks of 64 KiB
			// put an alternate one where it looks. It knows no times before 1970.
			if f.version == 1 || f.bsize == 65536 {
				t.Run("Sleuthkit", func(t *testing.T) {
					fx.x = fx.x.without("times/before the epoch")
					fx.sleuthkit(t, manifest.Mode|manifest.Owner|manifest.Size|manifest.Mtime)
				})
			}
		})
	}
	for _, f := range []ffsForm{{2, false, 4096, 512}, {1, true, 8192, 1024}} {
		small := newTree(t, ffsKinds)
		edit := addHuge(small, f)
		small.file("neighbour", 100)
		small.mtime("huge", 1_500_000_000, 0)
		small.mtime(".", 1_500_000_000, 0)
		image := makeFFS(t, f, small, "32m", edit)
		small.mtime("huge", 1_500_000_000, 0)
		fx := fixture{"huge-" + f.String(), image, small.root, expectation{want: small.manifest(), fields: ffsFields}}
		images = append(images, made{fx, f})
		t.Run(fx.name, func(t *testing.T) { channels(t, image, "whole", fx.x) })
	}
	t.Run("Linux", func(t *testing.T) {
		vm := kernelvm.Need(t)
		var disks []kernelvm.Disk
		var fixtures []fixture
		for _, m := range images {
			if m.form.version == 2 && m.form.big {
				// Linux looks for the device in the first 4 of its 8 bytes.
				m.x.fields &^= manifest.Rdev
			}
			if d, ok := m.form.linux(m.image); ok {
				disks, fixtures = append(disks, d), append(fixtures, m.fixture)
			}
		}
		linux(t, vm, disks, fixtures, ^manifest.Fields(0))
	})
}

// linux compares what the Linux kernel sees on the disks with what is in the
// fixtures.
func linux(t *testing.T, vm *kernelvm.Kernel, disks []kernelvm.Disk, fixtures []fixture, fields manifest.Fields) {
	t.Helper()
	vm.Log = func(text string) { t.Log(text) }
	results, err := vm.Read(t.Context(), disks)
	require.NoError(t, err)
	for i, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			require.NoError(t, results[i].Err)
			f.x.check(t, results[i].Manifest, fields)
		})
	}
}

// TestFFSBig reads a tree of 70,000 files in every way.
func TestFFSBig(t *testing.T) {
	heavy(t)
	testtool.Need(t, "makefs")
	tr := bigTree(t, false, 50_000)
	for _, f := range []ffsForm{{2, false, 16384, 2048}, {1, true, 8192, 1024}} {
		x := expectation{want: tr.manifest(), fields: ffsFields | manifest.DirNlink}
		image := makeFFS(t, f, tr, "400m", nil, "-f", "80000")
		t.Run(f.String(), func(t *testing.T) { channels(t, image, "whole", x) })
		require.NoError(t, os.Remove(image))
	}
}

// heavy skips a test that takes long.
func heavy(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: takes long")
	}
}
