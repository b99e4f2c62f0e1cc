package ext4

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

// Fast commits are shown as the kernel shows them after replaying them.
func TestFastCommitsShowWhatMountingWouldShow(t *testing.T) {
	testtool.Sequential(t)
	needRoot(t, "mounts an image with the kernel")
	for _, c := range []struct {
		name string
		do   func(t *testing.T, b treeBuilder)
	}{
		{"create", func(t *testing.T, b treeBuilder) { b.file("created", pattern(10000, 1)) }},
		{"link", func(t *testing.T, b treeBuilder) {
			require.NoError(t, os.Link(b.path("d/old-5"), b.path("d/linked")))
		}},
		{"unlink", func(t *testing.T, b treeBuilder) { require.NoError(t, os.Remove(b.path("d/old-1"))) }},
		{"rename", func(t *testing.T, b treeBuilder) {
			require.NoError(t, os.Rename(b.path("d/old-2"), b.path("moved")))
		}},
		{"replace", func(t *testing.T, b treeBuilder) {
			require.NoError(t, os.Rename(b.path("d/old-2"), b.path("d/old-6")))
		}},
		{"again", func(t *testing.T, b treeBuilder) {
			require.NoError(t, os.Remove(b.path("d/old-4")))
			b.file("d/old-4", []byte("again"))
		}},
		{"extend", func(t *testing.T, b treeBuilder) {
			f, err := os.OpenFile(b.path("d/old-3"), os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			_, err = f.WriteAt(pattern(30000, 3), 100000)
			require.NoError(t, err)
			require.NoError(t, f.Chmod(0o600))
			require.NoError(t, f.Sync())
		}},
		{"truncate", func(t *testing.T, b treeBuilder) {
			f, err := os.OpenFile(b.path("d/old-3"), os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, f.Truncate(20000))
			require.NoError(t, f.Sync())
		}},
		{"mkdir", func(t *testing.T, b treeBuilder) {
			b.mkdir("newdir/below")
			b.file("newdir/below/inside", []byte("inside"))
		}},
		{"many", func(t *testing.T, b treeBuilder) {
			for i := range 150 {
				b.file(fmt.Sprintf("d/new-%d", i), pattern(i*50, i))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := mkfs(t, 48<<20, "", "-t", "ext4", "-O", "fast_commit", "-J", "size=16")
			dir, unmount := mount(t, img, "")
			b := treeBuilder{t, dir}
			b.mkdir("d")
			for i := range 20 {
				b.file(fmt.Sprintf("d/old-%d", i), pattern(50000, i))
			}
			b.file("sync", nil)
			fsync := func() {
				t.Helper()
				f, err := os.OpenFile(b.path("sync"), os.O_RDWR, 0)
				require.NoError(t, err)
				_, err = f.WriteString("x")
				require.NoError(t, err)
				require.NoError(t, f.Sync())
				require.NoError(t, f.Close())
			}
			d, err := os.Open(dir)
			require.NoError(t, err)
			require.NoError(t, unix.Syncfs(int(d.Fd())))
			require.NoError(t, d.Close())
			fsync()

			c.do(t, b)
			fsync()
			dirty := copyFile(t, img)
			unmount()

			bare := mustLoad(t, dirty)
			require.NotZero(t, bare.sb.FeatureIncompat&ondisk.IncompatRecover)
			re, err := bare.readJournal(ctx)
			require.NoError(t, err)
			if re.fast == nil {
				t.Skip("this kernel wrote no fast commits here")
			}
			fs := openImage(t, dirty)
			t.Log(fs.Info().StateNote)
			assert.Contains(t, fs.Info().StateNote, "fast commit")
			assert.NotContains(t, fs.Info().StateNote, "NOT REPLAYED")

			// A writer puts it all in its place.
			ours := copyFile(t, dirty)
			w := onFile(t, ours)
			require.NoError(t, w.Sync(ctx))
			require.NoError(t, e2fsck(ours))
			assert.Equal(t, withoutDirLinks(vfstest.Dump(t, fs)), withoutDirLinks(vfstest.Dump(t, openImage(t, ours))))

			dir, unmount = mount(t, copyFile(t, dirty), "")
			defer unmount()
			compareTree(t, fs, dir, judge{
				nanoseconds: true,
				// The kernel makes the names anew, at the time of the replay.
				skipTimes: func(a vfs.Attr) bool { return a.Mode.IsDir() },
			})
		})
	}
}

// withoutDirLinks takes the links of directories out of a dump: the kernel gets
// them wrong, and so does the reader, which shows what the kernel would.
func withoutDirLinks(lines []string) []string {
	dirs := regexp.MustCompile(`(/\S* d\S+) links=\d+`)
	for i := range lines {
		lines[i] = dirs.ReplaceAllString(lines[i], "$1")
	}
	return lines
}
