package fsck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/fat"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

var ctx = context.Background()

// A kind is a geometry.
type kind struct {
	name string
	kib  int
	args string // of mkfs.fat
}

func (k kind) String() string { return k.name }

// kinds are small volumes of all widths, in which a file has many clusters.
// mtools asks for 65525 clusters of FAT32.
var kinds = []kind{
	{"FAT12", 600, "-F 12 -s 1"},
	{"FAT16", 2600, "-F 16 -s 1"},
	{"FAT32", 33 << 10, "-F 32 -s 1"},
}

// An image is a volume in memory.
type image struct {
	t    testing.TB
	data []byte
}

// mkfs makes an empty volume with mkfs.fat, in which nothing is zero that it did
// not write.
func mkfs(t testing.TB, kib int, args string) string {
	t.Helper()
	testtool.Need(t, "mkfs.fat", "fsck.fat", "mcopy", "mmd")
	name := filepath.Join(t.TempDir(), "img")
	fill := bytes.Repeat([]byte{0xaa}, kib<<10)
	if kib > 20<<10 {
		clear(fill) // costs too much to write
	}
	require.NoError(t, os.WriteFile(name, fill, 0o600))
	testtool.Run(t, "mkfs.fat", append(append([]string{"--invariant"}, strings.Fields(args)...), name)...)
	return name
}

func mtools(t testing.TB, img, tool string, args ...string) {
	t.Helper()
	testtool.Run(t, "env", append([]string{"LC_ALL=C.UTF-8", "MTOOLS_SKIP_CHECK=1", tool, "-i", img}, args...)...)
}

// sampleHost is a folder with files of many sizes, long names and a deep tree.
func sampleHost(t testing.TB, cluster int) string {
	t.Helper()
	root := t.TempDir()
	for path, n := range map[string]int{
		"EMPTY": 0, "ONE.TXT": 1, "a long name in the root.text": 3 * cluster, "sub/exact": cluster, "sub/one more": cluster + 1,
		"sub/deep/er/still/FILE.BIN": 20*cluster + 7, "sub/deep/big file of many clusters": 60 * cluster, "sub/deep/x": 5, "Ünï cödé ☃.txt": 700,
		"last": 2*cluster - 1,
	} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i*7 + i>>8 + n)
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, path), data, 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(root, "many"), 0o755))
	for i := range 40 {
		name := fmt.Sprintf("many/%s%d.e", strings.Repeat("n", i), i)
		require.NoError(t, os.WriteFile(filepath.Join(root, name), bytes.Repeat([]byte{byte(i)}, i*20), 0o644))
	}
	return root
}

// fill copies a folder to a volume.
func fill(t testing.TB, img, host string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(host, "*"))
	require.NoError(t, err)
	mtools(t, img, "mcopy", append(append([]string{"-s", "-Q", "-m"}, list...), "::/")...)
}

func newImage(t testing.TB, k kind) *image {
	t.Helper()
	name := mkfs(t, k.kib, k.args)
	fill(t, name, sampleHost(t, 512))
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return &image{t, data}
}

func (img *image) clone() *image { return &image{img.t, bytes.Clone(img.data)} }

// check returns what Check finds.
func (img *image) check() (list []vfs.Finding, err error) {
	err = Check(ctx, blockio.NewMemory(img.data), func(f vfs.Finding) { list = append(list, f) })
	return list, err
}

// repair repairs and commits.
func (img *image) repair(mode vfs.RepairMode) (list []vfs.Finding, err error) {
	tx := blockio.NewSession(blockio.NewMemory(img.data), blockio.SessionOptions{})
	err = Repair(ctx, tx, mode, func(f vfs.Finding) { list = append(list, f) })
	if err == nil {
		err = tx.Commit(ctx)
	}
	return list, err
}

// fsckfat runs fsck.fat: what it says, and whether there is damage.
func (img *image) fsckfat() (string, bool) {
	img.t.Helper()
	name := filepath.Join(img.t.TempDir(), "judged")
	img.store(name)
	cmd := exec.Command("fsck.fat", "-n", name)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	require.NoError(img.t, os.Remove(name))
	return string(out), err != nil
}

// store writes the image to a sparse file.
func (img *image) store(name string) {
	f, err := os.Create(name)
	require.NoError(img.t, err)
	require.NoError(img.t, f.Truncate(int64(len(img.data))))
	const chunk = 64 << 10
	zero := make([]byte, chunk)
	for off := 0; off < len(img.data); off += chunk {
		p := img.data[off:min(off+chunk, len(img.data))]
		if !bytes.Equal(p, zero[:len(p)]) {
			_, err := f.WriteAt(p, int64(off))
			require.NoError(img.t, err)
		}
	}
	require.NoError(img.t, f.Close())
}

// files returns a sum of the contents of every file, as the driver sees them.
func (img *image) files() (map[string]string, error) {
	sums := map[string]string{}
	fsys, err := fat.Open(ctx, blockio.NewMemory(img.data))
	if err != nil {
		return nil, err
	}
	defer fsys.Close()
	var visit func(ino vfs.Ino, path string, depth int) error
	visit = func(ino vfs.Ino, path string, depth int) error {
		for e, err := range fsys.ReadDir(ctx, ino, 0) {
			if err != nil || depth > 20 {
				return err
			}
			at := path + "/" + e.Name
			if e.Type == vfs.Dir {
				sums[at] = "directory"
				if err := visit(e.Ino, at, depth+1); err != nil {
					return err
				}
				continue
			}
			a, err := fsys.Getattr(ctx, e.Ino)
			if err != nil {
				return err
			}
			if int64(a.Size) > int64(len(img.data)) {
				sums[at] = "too large"
				continue
			}
			data := make([]byte, a.Size)
			if n, err := fsys.ReadAt(ctx, e.Ino, data, 0); n < len(data) {
				sums[at] = fmt.Sprint(err)
				continue
			}
			sums[at] = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		return nil
	}
	return sums, visit(fsys.Root(), "", 0)
}

func tell(list []vfs.Finding) string {
	var b strings.Builder
	for _, f := range list {
		fmt.Fprintf(&b, "%s %s %v fixed=%v lost=%q\n", f.Code, f.Path, f, f.Fixed, f.Lost)
	}
	return b.String()
}

func codes(list []vfs.Finding) []string {
	var out []string
	seen := map[string]bool{}
	for _, f := range list {
		if !seen[f.Code] {
			out = append(out, f.Code)
			seen[f.Code] = true
		}
	}
	return out
}
