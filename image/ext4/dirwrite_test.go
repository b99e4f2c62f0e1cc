package ext4

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// nameForms are the kinds of directories there are.
var nameForms = []form{
	{"default", []string{"-t", "ext4"}},
	{"1k", []string{"-t", "ext4", "-b", "1024"}},
	{"linear", []string{"-t", "ext4", "-b", "1024", "-O", "^dir_index"}},
	{"no-checksums", []string{"-t", "ext4", "-b", "1024", "-O", "^metadata_csum"}},
	{"no-filetype", []string{"-t", "ext4", "-b", "2048", "-O", "^filetype"}},
	{"inline", []string{"-t", "ext4", "-b", "1024", "-O", "inline_data", "-I", "256"}},
	{"inline-linear", []string{"-t", "ext4", "-b", "1024", "-O", "inline_data,^dir_index", "-I", "1024"}},
	{"ea-inode", []string{"-t", "ext4", "-b", "1024", "-O", "ea_inode"}},
	{"large-dir", []string{"-t", "ext4", "-b", "1024", "-O", "large_dir"}},
	{"ext2", []string{"-t", "ext2", "-b", "1024"}},
	{"ext3", []string{"-t", "ext3", "-b", "4096", "-I", "128"}},
	{"64k", []string{"-t", "ext4", "-b", "65536", "-O", "^has_journal"}},
	{"bigalloc", []string{"-t", "ext4", "-b", "1024", "-O", "bigalloc", "-C", "16384"}},
}

func eachNameForm(t *testing.T, size int64, fn func(t *testing.T, image string, w *Writer)) {
	for _, f := range nameForms {
		t.Run(f.name, func(t *testing.T) {
			image := mkfs(t, size, "", append([]string{"-m", "0", "-N", "4000"}, f.args...)...)
			fn(t, image, onFile(t, image))
		})
	}
}

func (w *Writer) must(t testing.TB, dir vfs.Ino, name string, mode vfs.Mode) vfs.Ino {
	t.Helper()
	a, err := w.Create(ctx, dir, name, vfs.NewNode{Mode: mode, Target: "target"})
	require.NoError(t, err, "create %q", name)
	return a.Ino
}

func namesIn(t testing.TB, fs vfs.FS, dir vfs.Ino) []string {
	t.Helper()
	var names []string
	for e, err := range fs.ReadDir(ctx, dir, 0) {
		require.NoError(t, err)
		names = append(names, e.Name)
	}
	sort.Strings(names)
	return names
}

// Names come and go at random, of all lengths, and are there for us, for
// e2fsck and for debugfs.
func TestNamesComeAndGo(t *testing.T) {
	testtool.Sequential(t)
	eachNameForm(t, 24<<20, func(t *testing.T, image string, w *Writer) {
		rnd := rand.New(rand.NewPCG(1, 1))
		dir := w.must(t, w.Root(), "dir", vfs.Dir|0o755)
		file := w.must(t, w.Root(), "file", vfs.Regular|0o644)
		have := map[string]bool{}
		var names []string
		for round, target := range []int{3, 12, 60, 900, 300, 2500, 40, 0, 200} {
			for len(names) != target {
				if len(names) > target || rnd.IntN(4) == 0 && len(names) > 0 {
					i := rnd.IntN(len(names))
					require.NoError(t, w.Unlink(ctx, dir, names[i]), names[i])
					delete(have, names[i])
					names[i] = names[len(names)-1]
					names = names[:len(names)-1]
					continue
				}
				name := fmt.Sprintf("%x", rnd.Uint32())
				if rnd.IntN(3) == 0 {
					name += strings.Repeat("n", rnd.IntN(247))
				}
				_, err := w.Link(ctx, file, dir, name)
				require.NoError(t, err)
				have[name] = true
				names = append(names, name)
			}
			want := append([]string{}, names...)
			sort.Strings(want)
			require.Equal(t, want, append([]string{}, namesIn(t, w, dir)...), "round %d", round)
			_, err := w.Lookup(ctx, dir, "not there")
			assert.ErrorIs(t, err, syscall.ENOENT)
			require.NoError(t, w.Sync(ctx))
			fsck(t, image)
			again := openImage(t, image)
			require.Equal(t, want, append([]string{}, namesIn(t, again, dir)...))
			for _, name := range names {
				a, err := again.Lookup(ctx, dir, name)
				require.NoError(t, err, name)
				require.Equal(t, file, a.Ino)
			}
		}
	})
}

// Every name of an indexed directory is where debugfs looks for it.
func TestDebugfsFindsNames(t *testing.T) {
	testtool.Need(t, "debugfs")
	image := mkfs(t, 24<<20, "", "-t", "ext4", "-b", "1024", "-O", "large_dir", "-N", "4000")
	w := onFile(t, image)
	dir := w.must(t, w.Root(), "dir", vfs.Dir|0o755)
	file := w.must(t, w.Root(), "file", vfs.Regular|0o644)
	for i := range 6000 {
		_, err := w.Link(ctx, file, dir, fmt.Sprintf("name-%d-%s", i, strings.Repeat("x", i%50)))
		require.NoError(t, err)
	}
	require.NoError(t, w.Sync(ctx))
	fsck(t, image)
	out := testtool.Run(t, "debugfs", "-R", "htree_dump /dir", image)
	assert.Contains(t, out, "Indirect levels: 1")
	assert.NotContains(t, out, "Bad")
	for i := 0; i < 6000; i += 600 {
		out := testtool.Run(t, "debugfs", "-R", fmt.Sprintf("stat /dir/name-%d-%s", i, strings.Repeat("x", i%50)), image)
		assert.Contains(t, out, fmt.Sprintf("Inode: %d ", file))
	}
}
