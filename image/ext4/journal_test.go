package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

// busy uses a mounted file system in ways that fill its journal: creates,
// grows, renames and removes, blocks used again for something else, and data
// that looks like blocks of the journal.
func busy(t *testing.T, dir string) {
	t.Helper()
	b := treeBuilder{t, dir}
	magic := pattern(4096*3, 1)
	for off := 0; off < len(magic); off += 1024 {
		binary.BigEndian.PutUint32(magic[off:], ondisk.JournalMagic)
	}
	sync := func() {
		t.Helper()
		d, err := os.Open(dir)
		require.NoError(t, err)
		require.NoError(t, unix.Syncfs(int(d.Fd())))
		require.NoError(t, d.Close())
	}
	b.mkdir("d/sub")
	for i := range 200 {
		b.file(fmt.Sprintf("d/file-%d", i), pattern(i*37, i))
	}
	b.file("magic", magic)
	sync()
	// Directory blocks that are freed and become data are what revoke records
	// are for.
	for i := range 20 {
		d := fmt.Sprintf("gone-%d", i)
		b.mkdir(d)
		for k := range 60 {
			b.file(fmt.Sprintf("%s/%d-%s", d, k, strings.Repeat("y", 100)), nil)
		}
	}
	sync()
	for i := range 20 {
		require.NoError(t, os.RemoveAll(b.path(fmt.Sprintf("gone-%d", i))))
	}
	for i := range 50 {
		require.NoError(t, os.Remove(b.path(fmt.Sprintf("d/file-%d", i*4))))
		b.file(fmt.Sprintf("d/sub/new-%d", i), pattern(20000, i))
	}
	sync()
	require.NoError(t, os.Rename(b.path("d/file-1"), b.path("renamed")))
	require.NoError(t, os.Truncate(b.path("d/file-101"), 100))
	require.NoError(t, os.Link(b.path("renamed"), b.path("d/hard")))
	require.NoError(t, os.Symlink(strings.Repeat("z", 200), b.path("symlink")))
	b.file("magic-again", magic)
	f, err := os.OpenFile(b.path("synced"), os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.Write(pattern(100000, 7))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// A file system copied while it was in use shows what the kernel shows after
// it has replayed the journal, and what e2fsck leaves.
func TestDirtyJournalShowsWhatMountingWouldShow(t *testing.T) {
	testtool.Sequential(t)
	needRoot(t, "mounts an image with the kernel")
	testtool.Need(t, "e2fsck")
	for _, c := range []struct {
		name, mount string
		args        []string
	}{
		{"ordered", "data=ordered", nil},
		{"data-journal", "data=journal", nil},
		{"data-journal-1k", "data=journal", []string{"-b", "1024"}},
		{"no-csum", "data=ordered", []string{"-O", "^metadata_csum"}},
		{"no-csum-no-64bit", "data=journal", []string{"-O", "^metadata_csum,^64bit"}},
		{"transaction-checksum", "data=journal,journal_checksum", []string{"-O", "^metadata_csum"}},
		{"async-commit", "data=writeback,journal_async_commit", []string{"-O", "^metadata_csum"}},
		{"ext3", "data=journal", []string{"-O", "^extent,^64bit,^metadata_csum"}},
		{"small-journal-wraps", "data=journal", []string{"-J", "size=4", "-b", "4096"}},
		{"inline-data", "data=ordered", []string{"-O", "inline_data"}},
		{"bigalloc", "data=journal", []string{"-O", "bigalloc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// On a busy machine the kernel may have written everything home before
			// the copy is made.
			dirty := ""
			for range 5 {
				img := mkfs(t, 32<<20, "", append([]string{"-t", "ext4"}, c.args...)...)
				dir, unmount := mount(t, img, c.mount)
				busy(t, dir)
				dirty = copyFile(t, img)
				unmount()
				if openImage(t, dirty).over != nil {
					break
				}
			}

			dev := openDevice(t, dirty)
			bare, err := load(dev)
			require.NoError(t, err)
			require.NotZero(t, bare.sb.FeatureIncompat&ondisk.IncompatRecover, "the test needs a dirty file system")
			j, err := bare.openJournal()
			require.NoError(t, err)
			require.NoError(t, j.scan(ctx))
			if !strings.Contains(c.mount, "data=journal") {
				assert.NotEmpty(t, j.revokes, "the test needs revoke blocks")
			}
			escapes := 0
			for _, c := range j.copies {
				if c.src&escaped != 0 {
					escapes++
				}
			}
			assert.Equal(t, strings.Contains(c.mount, "data=journal"), escapes > 0, "escaped blocks")

			fs := openImage(t, dirty)
			assert.Equal(t, vfs.Dirty, fs.Info().State)
			assert.Contains(t, fs.Info().StateNote, "journal replayed in memory")
			assert.NotContains(t, fs.Info().StateNote, "DAMAGED")
			t.Log(fs.Info().StateNote)

			require.NotZero(t, changedBlocks(t, fs), "the test needs changes that are in the journal only")

			// The kernel replays one copy, e2fsck another.
			replayed := copyFile(t, dirty)
			dir, unmount := mount(t, replayed, "")
			compareTree(t, fs, dir, judge{nanoseconds: true})
			unmount()
			checked := copyFile(t, dirty)
			testtool.Run(t, "e2fsck", "-p", checked)
			testtool.Run(t, "e2fsck", "-fn", checked)
			dir, unmount = mount(t, checked, "ro")
			compareTree(t, fs, dir, judge{nanoseconds: true})
			unmount()
			compareMap(t, fs)
		})
	}
}

// changedBlocks counts the blocks that the journal changes.
func changedBlocks(t *testing.T, fs *FS) (n int) {
	t.Helper()
	require.NotNil(t, fs.over)
	was, is := make([]byte, fs.blockSize), make([]byte, fs.blockSize)
	for _, p := range fs.over.patches {
		off := int64(p.block) * fs.blockSize
		require.NoError(t, devRead(fs.over.dev, was, off))
		require.NoError(t, devRead(fs.over, is, off))
		if !bytes.Equal(was, is) {
			n++
		}
	}
	return n
}

// compareMap reads every file by way of Map, straight from the device.
func compareMap(t *testing.T, fs *FS) {
	t.Helper()
	dev := fs.dev
	if fs.over != nil {
		dev = fs.over.dev
	}
	var walk func(dir vfs.Ino)
	walk = func(dir vfs.Ino) {
		for e, err := range fs.ReadDir(ctx, dir, 0) {
			require.NoError(t, err)
			a, err := fs.Getattr(ctx, e.Ino)
			require.NoError(t, err)
			if a.Mode.IsDir() {
				walk(e.Ino)
			}
			if !a.Mode.IsRegular() {
				continue
			}
			for off := int64(0); off < a.Size; {
				at, n, err := fs.Map(ctx, e.Ino, off)
				require.NoError(t, err)
				require.Positive(t, n)
				if at >= 0 {
					want, got := make([]byte, n), make([]byte, n)
					_, err := fs.ReadAt(ctx, e.Ino, want, off)
					require.NoError(t, err)
					_, err = dev.ReadAt(got, at)
					require.NoError(t, err)
					require.Equal(t, want, got, "%s at %d", e.Name, off)
				}
				off += n
			}
		}
	}
	walk(fs.Root())
}

// The same without root: debugfs writes transactions.
func TestJournalWrittenByDebugfs(t *testing.T) {
	testtool.Need(t, "e2fsck", "debugfs")
	for _, c := range []struct {
		name, open string
		args       []string
	}{
		{"checksum-v3", "jo -c", nil},
		{"checksum-v3-1k", "jo -c", []string{"-b", "1024"}},
		{"plain", "jo", []string{"-O", "^metadata_csum"}},
		{"no-64bit", "jo", []string{"-O", "^metadata_csum,^64bit"}},
		{"ext3", "jo", []string{"-O", "^metadata_csum,^64bit,^extent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := t.TempDir()
			treeBuilder{t, tree}.file("file", pattern(8*4096, 1))
			img := mkfs(t, 16<<20, tree, append([]string{"-t", "ext4"}, c.args...)...)
			fs := openImage(t, img)
			a, err := fs.Lookup(ctx, fs.Root(), "file")
			require.NoError(t, err)
			blocks := make([]int64, 6)
			for i := range blocks {
				at, _, err := fs.Map(ctx, a.Ino, int64(i)*fs.blockSize)
				require.NoError(t, err)
				blocks[i] = at / fs.blockSize
			}

			write := func(name string, data []byte) string {
				file := filepath.Join(t.TempDir(), name)
				require.NoError(t, os.WriteFile(file, data, 0o600))
				return file
			}
			bs := int(fs.blockSize)
			escape := pattern(2*bs, 20)
			binary.BigEndian.PutUint32(escape[bs:], ondisk.JournalMagic)
			first := write("first", append(pattern(bs, 10), escape...)) // blocks 0, 1, 2
			second := write("second", pattern(bs, 11))                  // block 0 again
			third := write("third", pattern(2*bs, 12))                  // blocks 3, 4: revoked later
			debugfs(t, img,
				c.open,
				fmt.Sprintf("jw -b %d,%d,%d %s", blocks[0], blocks[1], blocks[2], first),
				fmt.Sprintf("jw -b %d,%d %s", blocks[3], blocks[4], third),
				"jc",
				c.open,
				fmt.Sprintf("jw -b %d %s", blocks[0], second),
				fmt.Sprintf("jw -r %d", blocks[4]),
				"jc",
			)

			want := pattern(8*4096, 1)
			copy(want, pattern(bs, 11))
			copy(want[bs:], escape)
			copy(want[3*bs:], pattern(2*bs, 12)[:bs])
			fs = openImage(t, img)
			t.Log(fs.Info().StateNote)
			assert.Equal(t, vfs.Dirty, fs.Info().State)
			got := make([]byte, len(want))
			_, err = fs.ReadAt(ctx, a.Ino, got, 0)
			require.NoError(t, err)
			for i := range blocks {
				assert.Equal(t, want[i*bs:(i+1)*bs], got[i*bs:(i+1)*bs], "block %d", i)
			}
			compareMap(t, fs)

			checked := copyFile(t, img)
			testtool.Run(t, "e2fsck", "-p", checked)
			after := openImage(t, checked)
			assert.Equal(t, vfs.Clean, after.Info().State)
			_, err = after.ReadAt(ctx, a.Ino, got, 0)
			require.NoError(t, err)
			assert.Equal(t, want, got, "as e2fsck replays it")
		})
	}
}

// A copy in the journal that does not match its checksum ends the replay in
// front of its transaction, and is told.
func TestDamagedTransactionIsNotReplayed(t *testing.T) {
	img := mkfs(t, 16<<20, "", "-t", "ext4")
	fs := openImage(t, img)
	root, err := fs.Getattr(ctx, fs.Root())
	require.NoError(t, err)
	var in inode
	require.NoError(t, fs.readInode(root.Ino, &in))
	m := fs.mapper(&in)
	r, err := m.at(0)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "block")
	require.NoError(t, os.WriteFile(file, pattern(int(fs.blockSize), 1), 0o600))
	debugfs(t, img, "jo -c", fmt.Sprintf("jw -b %d %s", r.start, file), "jc")

	_, err = Driver.Open(ctx, openDevice(t, img))
	require.NoError(t, err)
	re, err := mustLoad(t, img).readJournal(ctx)
	require.NoError(t, err)
	require.NotNil(t, re.overlay)
	copyAt := int64(re.overlay.patches[0].src) * fs.blockSize
	f, err := os.OpenFile(img, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{1, 2, 3}, copyAt+100)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	fs = openImage(t, img)
	assert.Contains(t, fs.Info().StateNote, "JOURNAL DAMAGED")
	assert.Contains(t, fs.Info().StateNote, "0 transactions, 0 blocks")
	for _, err := range fs.ReadDir(ctx, fs.Root(), 0) {
		require.NoError(t, err)
	}
}

func mustLoad(t *testing.T, img string) *FS {
	t.Helper()
	fs, err := load(openDevice(t, img))
	require.NoError(t, err)
	return fs
}

// Without a usable journal the file system is shown as it lies there, and says
// so.
func TestUnusableJournalIsToldLoudly(t *testing.T) {
	tree := t.TempDir()
	treeBuilder{t, tree}.file("file", []byte("x"))
	img := mkfs(t, 16<<20, tree, "-t", "ext4")
	debugfs(t, img, "feature needs_recovery", "set_inode_field <8> mode 040755")
	fs := openImage(t, img)
	assert.Equal(t, vfs.Dirty, fs.Info().State)
	assert.Contains(t, fs.Info().StateNote, "JOURNAL NOT REPLAYED")
	_, err := fs.Lookup(ctx, fs.Root(), "file")
	assert.NoError(t, err)

	debugfs(t, img, "set_inode_field <8> mode 0100600")
	fs = openImage(t, img)
	assert.Contains(t, fs.Info().StateNote, "its journal is empty")
	_, err = fs.Lookup(ctx, fs.Root(), "no such file")
	assert.Equal(t, syscall.ENOENT, err)
}
