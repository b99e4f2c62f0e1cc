package integration

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ffs"
	"github.com/resflash/resflash/image/ffs/fsck"
	"github.com/resflash/resflash/image/populate"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/kernelvm"
	"github.com/resflash/resflash/integration/manifest"
	"github.com/resflash/resflash/integration/testtool"
)

// changeFFS opens the file system in an image for writing, and commits what
// change did to it.
func changeFFS(t testing.TB, image string, change func(w vfs.WritableFS)) {
	t.Helper()
	ctx := context.Background()
	file, err := blockio.OpenWritableFile(image)
	require.NoError(t, err)
	session := blockio.NewSession(file, blockio.SessionOptions{})
	w, err := ffs.OpenWritable(ctx, session)
	require.NoError(t, err)
	change(w)
	require.NoError(t, session.Commit(ctx))
	require.NoError(t, w.Close())
	require.NoError(t, session.Commit(ctx))
	require.NoError(t, file.Close())
	checkFFS(t, image)
}

// checkFFS has our own checker look at the image, which knows nothing of the
// driver.
func checkFFS(t testing.TB, image string) {
	t.Helper()
	file, err := blockio.OpenFile(image)
	require.NoError(t, err)
	defer file.Close()
	var found []string
	require.NoError(t, fsck.Check(context.Background(), file, func(f vfs.Finding) { found = append(found, f.String()) }))
	require.Empty(t, found[:min(len(found), shownDiffs)])
}

// fillFFS makes a file system on garbage, and puts a tree into it.
func fillFFS(t testing.TB, s ffsShape, tr *tree) string {
	t.Helper()
	image := formatFile(t, s, vfs.FormatOptions{})
	changeFFS(t, image, func(w vfs.WritableFS) {
		_, err := populate.Copy(context.Background(), w, tr.root, w.Root(), ".", populate.Options{})
		require.NoError(t, err)
	})
	return image
}

// linuxDisk is how Linux mounts the file system, if it is to: its driver knows
// fragments up to 4 KiB, and the machine that it runs on is emulated and slow, so
// that some sizes have to do.
func (s ffsShape) linuxDisk(image string) (kernelvm.Disk, bool) {
	options := "ufstype=44bsd"
	if s.version == 2 {
		options = "ufstype=ufs2"
	}
	return kernelvm.Disk{Path: image, FS: "ufs", Options: options}, s.fsize <= 4096 && s.bsize != 32768
}

// filledKinds is what FFS of our own making can have. Linux takes device numbers
// apart in its own way, where they are large.
var filledKinds = kinds{posix: true, devices: true, rawNames: true, holes: true, oldTimes: true, longest: 1023}

// TestFFSFilled has foreign readers look at file systems that are wholly our own
// work, in every block size, and with other than eight fragments in a block.
func TestFFSFilled(t *testing.T) {
	heavy(t)
	tr := standardTree(t, filledKinds)
	x := expectation{want: tr.manifest(), fields: manifest.All | manifest.DirNlink}
	var disks []kernelvm.Disk
	var fixtures []fixture
	for _, s := range []ffsShape{
		{1, 4096, 512, 64 << 20}, {1, 8192, 8192, 96 << 20}, {1, 16384, 2048, 64 << 20}, {1, 32768, 4096, 96 << 20}, {1, 65536, 8192, 128 << 20},
		{2, 4096, 2048, 64 << 20}, {2, 8192, 1024, 64<<20 - 3*1024}, {2, 16384, 2048, 64 << 20}, {2, 32768, 16384, 160 << 20}, {2, 65536, 8192, 128 << 20},
	} {
		image := fillFFS(t, s, tr)
		f := fixture{s.String(), image, tr.root, x}
		t.Run(f.name, func(t *testing.T) {
			if s.bsize == 16384 {
				channels(t, image, "whole", x)
			}
			t.Run("GRUB", func(t *testing.T) { f.grub(t, "many", "deep", "links", "sizes", "holes") })
			if s.bsize == 8192 || s.bsize == 32768 {
				return // it is slow
			}
			t.Run("Sleuthkit", func(t *testing.T) {
				f := f
				f.x = x.without("times/before the epoch") // it knows none
				f.sleuthkit(t, manifest.Mode|manifest.Owner|manifest.Size|manifest.Mtime&^manifest.Nsec)
			})
		})
		if d, ok := s.linuxDisk(image); ok {
			disks, fixtures = append(disks, d), append(fixtures, f)
		}
	}
	t.Run("Linux", func(t *testing.T) {
		linux(t, kernelvm.Need(t), disks, fixtures, ^manifest.Nsec)
	})
}

// TestFFSFilledBig does the same with 20,000 files and a directory of 10,000.
func TestFFSFilledBig(t *testing.T) {
	heavy(t)
	tr := bigTree(t, false, 10_000)
	s := ffsShape{2, 16384, 2048, 300 << 20}
	f := fixture{s.String(), fillFFS(t, s, tr), tr.root, expectation{want: tr.manifest(), fields: manifest.All | manifest.DirNlink}}
	f.x.check(t, manifest.ReadDir(mount(t, "--volume", "whole", "--read-only", f.image), manifest.Options{}), ^manifest.Fields(0))
	f.grub(t, "links", "names")
	t.Run("Sleuthkit", func(t *testing.T) {
		f.sleuthkit(t, manifest.Mode|manifest.Owner|manifest.Size|manifest.Mtime&^manifest.Nsec)
	})
}

// TestFFSFilledHuge puts a file that is nearly all holes into file systems so
// small that it needs all three kinds of indirect blocks.
func TestFFSFilledHuge(t *testing.T) {
	heavy(t)
	testtool.Need(t, "grub-fstest")
	const piece = 10_000
	for _, c := range []struct {
		ffsShape
		huge int64
	}{
		{ffsShape{1, 4096, 512, 24 << 20}, 5<<30 + 12345},
		{ffsShape{2, 4096, 512, 24 << 20}, 1200<<20 + 12345},
	} {
		tr := newTree(t, kinds{})
		offs := []int64{0, 12*4096 - 5000, 30 << 20, 700<<20 - 5000, c.huge - piece}
		tr.sparse("huge", c.huge, piece, offs...)
		tr.sparse("end", c.huge, piece, 1<<20)
		tr.file("neighbour", 100)
		tr.stamp(nil)
		image := fillFFS(t, c.ffsShape, tr)
		f := fixture{c.String(), image, tr.root, expectation{want: tr.manifest(), fields: manifest.All | manifest.DirNlink}}
		t.Run(f.name, func(t *testing.T) {
			f.x.check(t, manifest.ReadDir(mount(t, "--volume", "whole", "--read-only", image), manifest.Options{}), ^manifest.Fields(0))
			for _, off := range append(offs, 1<<28) {
				// What is read is the piece, and what surrounds it.
				from, n := max(off-100, 0), int64(piece+200)
				want := make([]byte, min(n, c.huge-from))
				host, err := os.Open(tr.path("huge"))
				require.NoError(t, err)
				_, err = host.ReadAt(want, from)
				require.NoError(t, err)
				require.NoError(t, host.Close())
				got := testtool.Run(t, "grub-fstest", fmt.Sprintf("--skip=%d", from), fmt.Sprintf("--length=%d", len(want)), image, "cat", "(loop0)/huge")
				assert.True(t, string(want) == got, "GRUB at %d", from)
			}
			if d, ok := c.linuxDisk(image); ok && c.version == 2 { // 5 GiB take it too long
				linux(t, kernelvm.Need(t), []kernelvm.Disk{d}, []fixture{f}, ^manifest.Nsec)
			}
		})
	}
}

// rawInode returns the bytes of an inode of a file system that Format made, found
// by what the format says.
func rawInode(t testing.TB, image string, s ffsShape, ino int64) []byte {
	t.Helper()
	f, err := os.Open(image)
	require.NoError(t, err)
	defer f.Close()
	read := func(off, n int64) []byte {
		b := make([]byte, n)
		_, err := f.ReadAt(b, off)
		require.NoError(t, err)
		return b
	}
	super, size := read(65536, 1376), int64(256)
	if s.version == 1 {
		super, size = read(8192, 1376), 128
	}
	field := func(off int) int64 { return int64(binary.LittleEndian.Uint32(super[off:])) }
	iblkno, ipg, fpg := field(16), field(184), field(188)
	return read((ino/ipg*fpg+iblkno)*int64(s.fsize)+ino%ipg*size, size)
}

// TestFFSFlagsAndDevices looks at the bytes of what no tree of a Linux host can
// have, and no foreign reader shows: flags, and OpenBSD's device numbers.
func TestFFSFlagsAndDevices(t *testing.T) {
	ctx := context.Background()
	for version := 1; version <= 2; version++ {
		s := ffsShape{version, 16384, 2048, 16 << 20}
		image := formatFile(t, s, vfs.FormatOptions{})
		inos := map[string]int64{}
		changeFFS(t, image, func(w vfs.WritableFS) {
			for name, n := range map[string]vfs.NewNode{
				"schg":   {Mode: vfs.Regular | 0o644, Flags: vfs.SystemImmutable},
				"uappnd": {Mode: vfs.Regular | 0o644, Flags: vfs.UserAppend | vfs.UserNoDump},
				"device": {Mode: vfs.Char | 0o600, Rdev: vfs.Dev{Major: 0x12, Minor: 0x3456}},
			} {
				a, err := w.Create(ctx, w.Root(), name, n)
				require.NoError(t, err)
				inos[name] = int64(a.Ino)
			}
			_, err := w.WriteAt(ctx, vfs.Ino(inos["schg"]), []byte("x"), 0)
			assert.ErrorIs(t, err, unix.EPERM)
		})
		flags, pointers := 88, 112
		if version == 1 {
			flags, pointers = 100, 40
		}
		u32 := func(name string, off int) uint32 {
			return binary.LittleEndian.Uint32(rawInode(t, image, s, inos[name])[off:])
		}
		assert.EqualValues(t, 0x20000, u32("schg", flags), s)
		assert.EqualValues(t, 0x5, u32("uappnd", flags), s)
		// Minor 0x34, major 0x12, minor 0x56.
		assert.EqualValues(t, 0x341256, u32("device", pointers), s)
	}
}

// A hand makes the same changes to a tree of the host and to an image.
type hand struct {
	t    testing.TB
	tr   *tree
	w    vfs.WritableFS
	tree *vfs.Tree
}

func (h hand) each(host, image error) {
	h.t.Helper()
	require.NoError(h.t, host)
	require.NoError(h.t, image)
}

func (h hand) write(name string, size int) {
	h.t.Helper()
	data := contents("new "+name, size)
	_, err := h.tree.WriteFile(context.Background(), "/"+name, bytes.NewReader(data), vfs.NewNode{Mode: vfs.Regular | 0o644})
	h.each(os.WriteFile(h.tr.path(name), data, 0o644), err)
}

func (h hand) append(name string, size int) {
	h.t.Helper()
	data := contents("more "+name, size)
	f, err := os.OpenFile(h.tr.path(name), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(h.t, err)
	_, err = f.Write(data)
	require.NoError(h.t, err)
	require.NoError(h.t, f.Close())
	a, err := h.tree.Resolve(context.Background(), "/"+name)
	require.NoError(h.t, err)
	_, err = h.w.WriteAt(context.Background(), a.Ino, data, a.Size)
	require.NoError(h.t, err)
}

func (h hand) truncate(name string, size int64) {
	h.t.Helper()
	h.each(os.Truncate(h.tr.path(name), size), h.tree.Truncate(context.Background(), "/"+name, size))
}

func (h hand) remove(name string) {
	h.t.Helper()
	h.each(os.Remove(h.tr.path(name)), h.tree.Remove(context.Background(), "/"+name))
}

func (h hand) mkdir(name string) {
	h.t.Helper()
	h.each(os.Mkdir(h.tr.path(name), 0o755), h.tree.Mkdir(context.Background(), "/"+name, 0o755))
}

func (h hand) rename(old, new string) {
	h.t.Helper()
	h.each(os.Rename(h.tr.path(old), h.tr.path(new)), h.tree.Rename(context.Background(), "/"+old, "/"+new, 0))
}

func (h hand) link(old, new string) {
	h.t.Helper()
	h.each(os.Link(h.tr.path(old), h.tr.path(new)), h.tree.Link(context.Background(), "/"+old, "/"+new))
}

func (h hand) symlink(target, name string) {
	h.t.Helper()
	h.each(os.Symlink(target, h.tr.path(name)), h.tree.Symlink(context.Background(), target, "/"+name))
}

func (h hand) chmod(name string, mode uint32) {
	h.t.Helper()
	h.tr.chmod(name, mode)
	require.NoError(h.t, h.tree.Chmod(context.Background(), "/"+name, vfs.Mode(mode)))
}

// finish gives all files of the tree new times, and those of the image the same
// ones, and the same owners.
func (h hand) finish() {
	h.t.Helper()
	h.tr.stamp(nil)
	require.NoError(h.t, filepath.WalkDir(h.tr.root, func(p string, _ os.DirEntry, err error) error {
		require.NoError(h.t, err)
		var st unix.Stat_t
		require.NoError(h.t, unix.Lstat(p, &st))
		when := time.Unix(st.Mtim.Unix())
		return h.tree.SetattrLink(context.Background(), "/"+strings.TrimPrefix(p, h.tr.root),
			vfs.SetAttr{Mtime: &when, Atime: &when, UID: &st.Uid, GID: &st.Gid})
	}))
}

// edits changes what makefs has made in every way that moves blocks and names.
func (h hand) edits() {
	h.t.Helper()
	h.mkdir("new")
	for i := range 120 {
		h.write(fmt.Sprintf("new/%s-%d", strings.Repeat("n", i*2), i), i*700)
	}
	h.write("new/large", 9_000_000)
	for i := 0; i < 120; i += 3 {
		h.remove(fmt.Sprintf("new/%s-%d", strings.Repeat("n", i*2), i))
	}
	// An old directory grows, and loses names from its middle.
	for i := range 300 {
		if i%4 == 1 {
			h.remove(fmt.Sprintf("many/%03d entry %s", i, strings.Repeat("x", 1+i%190)))
		}
	}
	for i := range 400 {
		h.write(fmt.Sprintf("many/another %d", i), i%7)
	}
	for _, n := range []int{0, 1, 511, 4096, 6144, 12 * 4096, 7 * 16384, 5_000_000} {
		h.append(fmt.Sprintf("sizes/%07d", n), 3000)
	}
	for _, n := range []int{4097, 12*8192 + 1, 12 * 65536, 12 * 16384} {
		h.truncate(fmt.Sprintf("sizes/%07d", n), int64(n)/2+3)
	}
	h.truncate("sizes/0008192", 300_000)
	h.remove("sizes/0098304")
	h.rename("sizes/0065536", "new/moved")
	h.rename("deep/0/1/2", "new/subtree")
	h.rename("names/.hidden", "names/-rf") // over another
	h.link("new/moved", "links/another")
	h.remove("links/a first")
	h.symlink(strings.Repeat("s", 40), "symlinks/new short")
	h.symlink(strings.Repeat("l", 700), "symlinks/new long")
	h.remove("symlinks/0060")
	h.chmod("modes/f4755", 0o2751)
	h.mkdir("empty directory/no more")
	h.remove("modes/d0500")
	h.finish()
}

// TestFFSEditedMakefs changes images of makefs, whose choices are others than
// ours, and has foreign readers look at them.
func TestFFSEditedMakefs(t *testing.T) {
	heavy(t)
	testtool.Need(t, "makefs")
	var disks []kernelvm.Disk
	var fixtures []fixture
	for _, f := range []ffsForm{
		{1, false, 4096, 512}, {1, false, 8192, 1024}, {1, false, 16384, 2048}, {1, false, 8192, 8192}, {1, false, 65536, 8192},
		{2, false, 4096, 1024}, {2, false, 8192, 1024}, {2, false, 16384, 2048}, {2, false, 32768, 4096}, {2, false, 65536, 8192},
	} {
		tr := standardTree(t, ffsKinds)
		if asRoot {
			require.NoError(t, os.Remove(tr.path("socket"))) // makefs leaves sockets out
		}
		tr.stamp(nil)
		image := filepath.Join(t.TempDir(), f.String())
		testtool.Run(t, "makefs", "-t", "ffs", "-B", "le", "-s", "96m", "-f", "4000",
			"-o", fmt.Sprintf("version=%d,bsize=%d,fsize=%d", f.version, f.bsize, f.fsize), image, tr.root)
		e := editFFS(t, image)
		e.poisonFree()
		require.NoError(t, e.f.Close())
		mendFFS(t, image)
		changeFFS(t, image, func(w vfs.WritableFS) { hand{t, tr, w, vfs.NewTree(w)}.edits() })

		fx := fixture{f.String(), image, tr.root, expectation{want: tr.manifest(), fields: ffsFields | manifest.DirNlink}}
		t.Run(fx.name, func(t *testing.T) {
			fx.x.check(t, manifest.ReadDir(mount(t, "--volume", "whole", "--read-only", image), manifest.Options{}), ^manifest.Fields(0))
			fx.grub(t, "many", "new", "links", "sizes")
			if f.version == 1 || f.bsize == 65536 { // see TestFFS
				fx.sleuthkit(t, manifest.Mode|manifest.Owner|manifest.Size|manifest.Mtime)
			}
		})
		d := kernelvm.Disk{Path: image, FS: "ufs", Options: "ufstype=44bsd"}
		if f.version == 2 {
			d.Options, d.LendSuper = "ufstype=ufs2", 65536
		}
		if f.fsize <= 4096 && f.bsize != 4096 && f.bsize != 32768 { // see linuxDisk
			disks, fixtures = append(disks, d), append(fixtures, fx)
		}
	}
	t.Run("Linux", func(t *testing.T) {
		linux(t, kernelvm.Need(t), disks, fixtures, ^manifest.Nsec)
	})
}

// mendFFS repairs what makefs leaves behind that a checker does not like.
func mendFFS(t testing.TB, image string) {
	t.Helper()
	file, err := blockio.OpenWritableFile(image)
	require.NoError(t, err)
	session := blockio.NewSession(file, blockio.SessionOptions{})
	require.NoError(t, fsck.Repair(context.Background(), session, vfs.RepairPreen, func(f vfs.Finding) { t.Log(f) }))
	require.NoError(t, session.Commit(context.Background()))
	require.NoError(t, file.Close())
}
