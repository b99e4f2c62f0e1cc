package ext4

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

// replays opens the image for changing, which replays its journal and cleans its
// orphans, and commits. e2fsck has nothing to add, and what is there is what it
// leaves of a copy.
func replays(t *testing.T, dirty string) {
	t.Helper()
	checked := copyFile(t, dirty)
	_ = exec.Command("e2fsck", "-fy", checked).Run() // its exit code says that it did something
	ours := copyFile(t, dirty)
	w := onFile(t, ours)
	_, err := w.Setattr(ctx, w.Root(), vfs.SetAttr{})
	require.NoError(t, err)
	require.NoError(t, w.Sync(ctx))
	require.NoError(t, e2fsck(ours))
	after := openImage(t, ours)
	assert.Equal(t, vfs.Clean, after.Info().State, after.Info().StateNote)
	assert.Empty(t, after.Info().StateNote)
	assert.Equal(t, vfstest.Dump(t, openImage(t, checked)), vfstest.Dump(t, after))

	// And it can be written to, and mounted, from then on.
	a, err := w.Create(ctx, w.Root(), "one more", vfs.NewNode{Mode: vfs.Regular | 0o644})
	require.NoError(t, err)
	_, err = w.WriteAt(ctx, a.Ino, pattern(100_000, 3), 0)
	require.NoError(t, err)
	require.NoError(t, w.Sync(ctx))
	require.NoError(t, e2fsck(ours))
	if os.Geteuid() == 0 {
		dir, unmount := mount(t, ours, "")
		got, err := os.ReadFile(filepath.Join(dir, "one more"))
		require.NoError(t, err)
		assert.Equal(t, pattern(100_000, 3), got)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "another"), pattern(50_000, 4), 0o644))
		unmount()
		require.NoError(t, e2fsck(ours))
	}
}

// File systems copied while they were in use, five times each: with all forms of
// tags and checksums in the journal, revoked blocks, and orphans.
func TestDirtyJournalIsReplayedAsByE2fsck(t *testing.T) {
	testtool.Sequential(t)
	needRoot(t, "mounts an image with the kernel")
	testtool.Need(t, "e2fsck")
	for _, c := range []struct {
		name, mount string
		args        []string
	}{
		{"ordered", "data=ordered", nil},
		{"data-journal-1k", "data=journal", []string{"-b", "1024"}},
		{"no-csum", "data=ordered", []string{"-O", "^metadata_csum"}},
		{"no-csum-no-64bit", "data=journal", []string{"-O", "^metadata_csum,^64bit"}},
		{"transaction-checksum", "data=journal,journal_checksum", []string{"-O", "^metadata_csum"}},
		{"async-commit", "data=writeback,journal_async_commit", []string{"-O", "^metadata_csum"}},
		{"ext3", "data=ordered", []string{"-O", "^extent,^64bit,^metadata_csum"}},
		{"small-journal-wraps", "data=journal", []string{"-J", "size=4", "-b", "4096"}},
		{"inline-data", "data=ordered", []string{"-O", "inline_data"}},
		{"bigalloc", "data=ordered", []string{"-O", "bigalloc"}},
		{"orphan-file", "data=ordered", []string{"-O", "orphan_file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := mkfs(t, 32<<20, "", append([]string{"-t", "ext4"}, c.args...)...)
			dir, unmount := mount(t, img, c.mount)
			b := treeBuilder{t, dir}
			busy(t, dir)
			var open []*os.File
			defer func() {
				for _, f := range open {
					f.Close()
				}
			}()
			var copies []string
			orphans := false
			for i := range 5 {
				// Files that are deleted, or cut off, while they are open.
				for k := range 3 {
					name := b.path(fmt.Sprintf("open-%d-%d", i, k))
					f, err := os.Create(name)
					require.NoError(t, err)
					_, err = f.Write(pattern(30000*(i+k+1), i))
					require.NoError(t, err)
					require.NoError(t, os.Remove(name))
					open = append(open, f)
				}
				b.file(fmt.Sprintf("d/round-%d", i), pattern(100_000*i, i))
				require.NoError(t, os.Truncate(b.path("synced"), int64(90_000-i*10_000)))
				require.NoError(t, os.Remove(b.path(fmt.Sprintf("d/file-%d", 2+4*i))))
				d, err := os.Open(dir)
				require.NoError(t, err)
				require.NoError(t, unix.Syncfs(int(d.Fd())))
				require.NoError(t, d.Close())
				b.file(fmt.Sprintf("not-synced-%d", i), pattern(5000, i))
				copies = append(copies, copyFile(t, img))
				fs := mustLoad(t, copies[i])
				require.NotZero(t, fs.sb.FeatureIncompat&ondisk.IncompatRecover, "the test needs a dirty file system")
			}
			for _, f := range open {
				require.NoError(t, f.Close())
			}
			open = nil
			unmount()
			for _, dirty := range copies {
				after, _, err := recovered(ctx, mustLoad(t, dirty))
				require.NoError(t, err)
				orphans = orphans || after.hasOrphans()
				replays(t, dirty)
			}
			assert.True(t, orphans, "the test needs orphans")
		})
	}
}

// A journal that debugfs wrote, with blocks that begin like those of a journal
// and revoked ones, and an orphan that it put on the list.
func TestDebugfsJournalIsReplayedAsByE2fsck(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "e2fsck", "debugfs")
	for _, c := range []struct {
		name, open string
		args       []string
	}{
		{"checksum-v3", "jo -c", nil},
		{"checksum-v3-1k", "jo -c", []string{"-b", "1024"}},
		{"plain", "jo", []string{"-O", "^metadata_csum"}},
		{"ext3", "jo", []string{"-O", "^metadata_csum,^64bit,^extent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := t.TempDir()
			treeBuilder{t, tree}.file("file", pattern(8*4096, 1))
			img := mkfs(t, 16<<20, tree, append([]string{"-t", "ext4"}, c.args...)...)
			fs := openImage(t, img)
			ino := lookup(t, fs, "/file")
			at, _, err := fs.Map(ctx, ino, 0)
			require.NoError(t, err)
			data := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.WriteFile(data, append([]byte{0xC0, 0x3B, 0x39, 0x98}, pattern(int(fs.blockSize)-4, 9)...), 0o600))
			block := at / fs.blockSize
			debugfs(t, img, c.open, fmt.Sprintf("jw -b %d,%d %s", block, block+1, data), "jc",
				c.open, fmt.Sprintf("jw -r %d", block+1), "jc")
			replays(t, img)
		})
	}
}

// What cannot be replayed whole is for e2fsck; and other reasons not to write.
func TestRefusesToWrite(t *testing.T) {
	testtool.Need(t, "debugfs")
	for _, c := range []struct {
		name     string
		commands []string
		args     []string
		want     string
		dirty    bool
	}{
		{"not unmounted", []string{"set_super_value state 0"}, nil, "not cleanly unmounted (state 0x0 at byte 1082): check it", true},
		{"errors", []string{"set_super_value state 3"}, nil, "the system found errors in it (state 0x3 at byte 1082): check it", true},
		{"no usable journal", []string{"feature needs_recovery", "set_inode_field <8> mode 040755"}, nil, "its journal cannot be replayed: inode 8", true},
		{"read-only", []string{"feature read-only"}, nil, "feature read-only (bit 12): it is marked as read-only", false},
		{"shared blocks", []string{"feature shared_blocks"}, nil, "feature shared_blocks (bit 14): its files share blocks", false},
		{"quota", nil, []string{"-O", "quota"}, "feature quota (bit 8): its quota would have to be kept", false},
		{"unknown", []string{"set_super_value feature_ro_compat 0x800000"}, nil, "feature FEATURE_R23 (bit 23): which is not known", false},
		{"external journal", []string{"set_super_value journal_inum 0"}, nil, "an external journal", false},
		{"hurd", []string{"set_super_value creator_os 1"}, nil, "a file system of the GNU Hurd", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := mkfs(t, 8<<20, "", append([]string{"-t", "ext4", "-b", "1024"}, c.args...)...)
			debugfs(t, img, c.commands...)
			before, err := os.ReadFile(img)
			require.NoError(t, err)
			_, err = openWriter(ctx, blockio.NewSession(blockio.NewMemory(before), blockio.SessionOptions{}))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
			var dirty *vfs.DirtyError
			var not *vfs.NotSupportedError
			if c.dirty {
				assert.ErrorAs(t, err, &dirty)
			} else {
				assert.ErrorAs(t, err, &not)
			}
		})
	}
}

// The block of multiple mount protection says whether another host has the file
// system mounted.
func TestWritesWhereNobodyElseHasItMounted(t *testing.T) {
	img := mkfs(t, 8<<20, "", "-t", "ext4", "-b", "1024", "-O", "mmp")
	data, err := os.ReadFile(img)
	require.NoError(t, err)
	fs := mustLoad(t, img)
	mmp := data[fs.offset(fs.sb.MMPBlock):]
	copy(mmp[0x10:], "other\x00")
	for seq, want := range map[uint32]string{5: `host "other" has it mounted`, mmpFsck: "e2fsck is running on it"} {
		binary.LittleEndian.PutUint32(mmp[4:], seq)
		_, err := openWriter(ctx, blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{}))
		require.ErrorContains(t, err, want)
	}
	w := onFile(t, img)
	now := time.Unix(1_700_000_000, 0)
	_, err = w.Setattr(ctx, w.Root(), vfs.SetAttr{Mtime: &now})
	require.NoError(t, err)
	require.NoError(t, w.Sync(ctx))
	out, err := exec.Command("e2fsck", "-fn", img).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.False(t, strings.Contains(string(out), "FIXED"))
}
