package fat_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// stale is what every volume is full of before it is formatted, so that a
// reader that shows more than was written is found out.
const stale = 0xaa

// format makes a volume of so many KiB with mkfs.fat.
func format(t testing.TB, kib int, args ...string) string {
	t.Helper()
	testtool.Need(t, "mkfs.fat", "fsck.fat", "mcopy", "mmd", "mdel", "mattrib", "mlabel", "mdir")
	img := filepath.Join(t.TempDir(), "fat.img")
	f, err := os.Create(img)
	require.NoError(t, err)
	if kib <= 64<<10 {
		chunk := bytes.Repeat([]byte{stale}, 64<<10)
		for left := kib << 10; left > 0; left -= len(chunk) {
			_, err = f.Write(chunk[:min(left, len(chunk))])
			require.NoError(t, err)
		}
	} else { // costs too much to fill
		require.NoError(t, f.Truncate(int64(kib)<<10))
	}
	require.NoError(t, f.Close())
	testtool.Run(t, "mkfs.fat", append(args, img)...)
	return img
}

// mtools runs one of the mtools on a volume, with names in UTF-8.
func mtools(t testing.TB, img, tool string, args ...string) string {
	t.Helper()
	return testtool.Run(t, "env", append([]string{"LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1", tool, "-i", img}, args...)...)
}

func open(t testing.TB, img string) (*fat.FS, blockio.Device) {
	t.Helper()
	dev, err := blockio.OpenFile(img)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dev.Close()) })
	return openDevice(t, dev), dev
}

func openDevice(t testing.TB, dev blockio.Device) *fat.FS {
	t.Helper()
	ok, err := fat.Probe(dev)
	require.NoError(t, err)
	require.True(t, ok, "the volume is recognised")
	fsys, err := fat.Open(ctx, dev)
	require.NoError(t, err)
	return fsys.(*fat.FS)
}

// A node is what the tests compare of a file.
type node struct {
	dir   bool
	size  int64
	sum   [32]byte
	mtime string
}

// host lists what is below a folder of the host. Times are even seconds.
func host(t testing.TB, root string) map[string]node {
	t.Helper()
	nodes := map[string]node{}
	require.NoError(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil || path == root {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			nodes[rel] = node{dir: true}
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		nodes[rel] = node{size: info.Size(), sum: sha256.Sum256(data), mtime: stamp(info.ModTime())}
		return nil
	}))
	return nodes
}

func stamp(at time.Time) string { return at.UTC().Truncate(2 * time.Second).Format(time.DateTime) }

// volume lists what is on an open volume, in the same form.
func volume(t testing.TB, fsys vfs.FS) map[string]node {
	t.Helper()
	nodes := map[string]node{}
	var visit func(dir vfs.Ino, prefix string)
	visit = func(dir vfs.Ino, prefix string) {
		for e, err := range fsys.ReadDir(ctx, dir, 0) {
			require.NoError(t, err)
			a, err := fsys.Getattr(ctx, e.Ino)
			require.NoError(t, err)
			if a.Mode.IsDir() {
				nodes[prefix+e.Name] = node{dir: true}
				visit(e.Ino, prefix+e.Name+"/")
				continue
			}
			nodes[prefix+e.Name] = node{size: a.Size, sum: sha256.Sum256(contents(t, fsys, a)), mtime: stamp(a.Mtime)}
		}
	}
	visit(fsys.Root(), "")
	return nodes
}

func contents(t testing.TB, fsys vfs.FS, a vfs.Attr) []byte {
	t.Helper()
	p := make([]byte, a.Size)
	n, err := fsys.ReadAt(ctx, a.Ino, p, 0)
	if err != io.EOF {
		require.NoError(t, err)
	}
	require.Equal(t, len(p), n)
	return p
}

func sameNodes(t testing.TB, want, got map[string]node, msg string) {
	t.Helper()
	assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)), msg)
	for path, w := range want {
		if g := got[path]; g != w {
			assert.Equal(t, w, g, "%s: %s", msg, path)
		}
	}
}

// tree makes a folder on the host with everything that is hard about FAT, small
// enough for a floppy.
func tree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	rnd := rand.New(rand.NewPCG(7, 7))
	at := time.Date(2024, 2, 29, 13, 57, 42, 0, time.UTC)
	write := func(name string, size int) {
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(rnd.Uint32())
		}
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, p, 0o644))
		at = at.Add(101 * time.Minute).Truncate(2 * time.Second)
		require.NoError(t, os.Chtimes(path, at, at))
	}
	for i, name := range []string{
		"README.TXT",             // a short name
		"lower.txt",              // … in lower case: the case bits of NT
		"UPPER.low", "lower.UPP", // … in part
		"Mixed.Txt",                  // needs a long name
		"a long name with spaces.md", // needs several parts
		"exactly13char", "exactly12chr", "twentysix characters long.",
		"no-extension", ".hidden", "two.dots.txt", "plus+comma,.txt",
		"Grüße aus Köln.txt", "Ελληνικά", "日本語のファイル名.txt",
		strings.Repeat("n", 251) + ".txt", // 255
		strings.Repeat("ü", 127),
		"dir/sub/deeper/still deeper/file",
		"dir/README.TXT", "dir/x/y/z/empty.bin",
	} {
		write(strings.TrimSuffix(name, "."), i*97)
	}
	write("empty", 0)
	write("EMPTY.DAT", 0)
	write("one", 1)
	write("big.bin", 300_001)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "empty dir"), 0o755))
	return root
}

// fill copies the contents of a folder to the root of a volume.
func fill(t testing.TB, img, folder string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	args := []string{"-s", "-m", "-Q"}
	for _, e := range entries {
		args = append(args, filepath.Join(folder, e.Name()))
	}
	mtools(t, img, "mcopy", append(args, "::/")...)
}

// fragment makes a volume so that files lie in many pieces: it fills a folder,
// deletes every other file, and adds larger ones.
func fragment(t testing.TB, img, folder string) {
	t.Helper()
	pieces := filepath.Join(t.TempDir(), "frag")
	require.NoError(t, os.Mkdir(pieces, 0o755))
	var drop []string
	for i := range 60 {
		name := fmt.Sprintf("p%02d", i)
		require.NoError(t, os.WriteFile(filepath.Join(pieces, name), make([]byte, 3000), 0o644))
		if i%2 == 0 {
			drop = append(drop, "::/frag/"+name)
		}
	}
	mtools(t, img, "mcopy", "-s", pieces, "::/")
	mtools(t, img, "mdel", drop...)
	fill(t, img, folder)
	mtools(t, img, "mdel", "::/frag/*")
	mtools(t, img, "mrd", "::/frag")
}

var variants = []struct {
	name string
	typ  string
	kib  int
	args []string
}{
	{"FAT12 floppy", "FAT12", 2880, nil},
	{"FAT12", "FAT12", 4096, []string{"-F", "12", "-s", "4"}},
	{"FAT12 one table", "FAT12", 4096, []string{"-F", "12", "-f", "1", "-s", "4"}},
	{"FAT12 4096", "FAT12", 8192, []string{"-F", "12", "-S", "4096", "-s", "1"}},
	{"FAT16", "FAT16", 16384, []string{"-F", "16"}},
	{"FAT16 one table", "FAT16", 16384, []string{"-F", "16", "-f", "1"}},
	{"FAT16 4096", "FAT16", 65536, []string{"-F", "16", "-S", "4096", "-s", "1"}},
	{"FAT16 large clusters", "FAT16", 262144, []string{"-F", "16", "-s", "64"}},
	{"FAT16 three tables", "FAT16", 16384, []string{"-F", "16", "-f", "3", "-a"}},
	{"FAT32", "FAT32", 40960, []string{"-F", "32", "-s", "1"}},
	{"FAT32 one table", "FAT32", 40960, []string{"-F", "32", "-f", "1", "-s", "1"}},
	{"FAT32 4096", "FAT32", 288 << 10, []string{"-F", "32", "-S", "4096", "-s", "1"}},
	{"FAT32 hidden sectors, MBR", "FAT32", 40960, []string{"-F", "32", "-h", "2048", "--mbr=y"}},
}

// Volumes made by mkfs.fat and filled by mtools read as mtools reads them, and
// as they were written.
func TestVariants(t *testing.T) {
	testtool.Sequential(t)
	folder := tree(t)
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			img := format(t, v.kib, append([]string{"-n", "Resflash", "-i", "cafe1234"}, v.args...)...)
			fragment(t, img, folder)
			before := testtool.Run(t, "sha256sum", img)
			fsys, dev := open(t, img)

			info := fsys.Info()
			assert.Equal(t, v.typ, info.Type)
			assert.Equal(t, "RESFLASH", strings.ToUpper(info.Label))
			assert.Equal(t, "CAFE-1234", info.UUID)
			assert.Equal(t, vfs.Clean, info.State)
			assert.Empty(t, info.StateNote)

			got := volume(t, fsys)
			sameNodes(t, host(t, folder), got, "what was copied to the volume")
			out := t.TempDir()
			mtools(t, img, "mcopy", "-s", "-m", "-Q", "::/*", out)
			sameNodes(t, host(t, out), got, "what mcopy reads from the volume")
			vfstest.Run(t, fsys, dev)
			if v.name != "FAT16 three tables" { // fsck.fat knows one or two
				compareFree(t, img, fsys)
			}
			assert.Equal(t, before, testtool.Run(t, "sha256sum", img), "reading changes nothing")
		})
	}
}

// compareFree asks fsck.fat how many clusters are in use.
func compareFree(t *testing.T, img string, fsys *fat.FS) {
	t.Helper()
	st, err := fsys.Statfs(ctx)
	require.NoError(t, err)
	out := testtool.Run(t, "fsck.fat", "-n", img)
	want := fmt.Sprintf("%d/%d clusters", st.Blocks-st.Free, st.Blocks)
	assert.Contains(t, out, want)
}

// The Sleuth Kit and GRUB read the same names and contents.
func TestOtherReaders(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "fls", "icat", "grub-fstest")
	folder := tree(t)
	for _, v := range variants {
		if !slices.Contains([]string{"FAT12 floppy", "FAT16", "FAT32"}, v.name) {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			img := format(t, v.kib, v.args...)
			fragment(t, img, folder)
			fsys, _ := open(t, img)
			got := volume(t, fsys)

			fls := map[string]string{}
			for line := range strings.Lines(testtool.Run(t, "fls", "-f", "fat", "-r", "-p", "-u", img)) {
				meta, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":\t")
				require.True(t, ok, line)
				if kind, ino, _ := strings.Cut(meta, " "); kind == "r/r" || kind == "d/d" {
					fls[path] = ino
				}
			}
			for path, n := range got {
				// fls keeps UTF-16 in a short buffer: it cuts the longest names.
				if len(path) > 200 {
					continue
				}
				ino, ok := fls[path]
				require.True(t, ok, "fls shows %s", path)
				if !n.dir {
					assert.Equal(t, n.sum, sha256.Sum256([]byte(testtool.Run(t, "icat", "-f", "fat", img, ino))), path)
				}
			}
			for _, path := range []string{"README.TXT", "lower.txt", "big.bin", "dir/sub/deeper/still deeper/file", "Ελληνικά"} {
				out, err := exec.Command("grub-fstest", img, "cat", "/"+path).Output()
				require.NoError(t, err, path)
				assert.Equal(t, got[path].sum, sha256.Sum256(out), "GRUB reads %s", path)
			}
		})
	}
}
