package fsck

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/blockio"
	"github.com/resflash/resflash/image/ext4/ondisk"
	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testext"
	"github.com/resflash/resflash/integration/testtool"
)

// repairBytes repairs and commits.
func repairBytes(t testing.TB, data []byte, mode vfs.RepairMode) (list []vfs.Finding) {
	t.Helper()
	tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{Atomic: true})
	require.NoError(t, Repair(ctx, tx, mode, func(f vfs.Finding) { list = append(list, f) }), "%s", tell(list))
	require.NoError(t, tx.Commit(ctx))
	return list
}

// pullPlug has the kernel work on an image, and returns the image as it is
// before it is unmounted: with a journal to be replayed, and files that are open
// but have been removed.
func pullPlug(t *testing.T, m testext.Mix) []byte {
	t.Helper()
	name := m.Make(t, "")
	var data []byte
	testext.WithKernel(t, name, func(dir string) {
		testext.Fill(t, dir, 300)
		unix.Sync()
		for i := range 100 {
			require.NoError(t, os.Remove(filepath.Join(dir, fmt.Sprintf("many/file-%04d-with-a-name-that-takes-room", i*3))))
		}
		for _, n := range []string{"size-300000", "size-70000"} {
			f, err := os.Open(filepath.Join(dir, n))
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, os.Remove(filepath.Join(dir, n)))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "last"), make([]byte, 100_000), 0o644))
		f, err := os.Open(dir)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, unix.Syncfs(int(f.Fd())))
		data, err = os.ReadFile(name)
		require.NoError(t, err)
	})
	return data
}

// What a power cut leaves is mended like e2fsck -p does, without a decision: the
// journal is replayed, and what was open is deleted.
func TestPowerCut(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "e2fsck")
	for _, m := range testext.Mixes() {
		switch m.Name {
		case "default", "1k", "ext3", "no-csum", "orphan-file", "bigalloc", "csum-seed":
		default:
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			data := pullPlug(t, m)
			seen := check(t, data)
			require.NotEmpty(t, seen)
			for _, f := range seen {
				assert.True(t, f.Preen, "%s %v", f.Code, f)
				assert.Contains(t, []string{codeJournalReplay, codeOrphan, codeNotClean}, f.Code, "%v", f)
			}
			for _, f := range repairBytes(t, data, vfs.RepairPreen) {
				assert.True(t, f.Fixed, "%s %v", f.Code, f)
			}
			assert.Empty(t, tell(check(t, data)))
			name := filepath.Join(t.TempDir(), "repaired")
			require.NoError(t, os.WriteFile(name, data, 0o600))
			testtool.Run(t, "e2fsck", "-fn", name)
		})
	}
}

// What makes e2fsck refuse a journal makes us do so, and is mended: from the copy
// of its inode in the superblock, or without.
func TestBadJournal(t *testing.T) {
	testtool.Sequential(t)
	h := healthyExt4s(t)[0]
	for _, bad := range []struct {
		name   string
		damage func(in *inode, super []byte)
	}{
		{"larger than its blocks", func(in *inode, _ []byte) { ondisk.SetInodeSize(in.raw, in.Size+1) }},
		{"smaller than it says", func(in *inode, _ []byte) { ondisk.SetInodeSize(in.raw, in.Size-1) }},
		{"of no size", func(in *inode, _ []byte) { ondisk.SetInodeSize(in.raw, 0) }},
		{"no file", func(in *inode, _ []byte) { ondisk.SetInodeMode(in.raw, typeSocket) }},
		{"without links", func(in *inode, _ []byte) { ondisk.SetLinks(in.raw, 0) }},
		{"with a hole", func(in *inode, _ []byte) { ondisk.InodeBlock(in.raw)[12]++ }},
		{"with the wrong magic", func(_ *inode, super []byte) { super[0]++ }},
		{"of two kinds of checksums", func(_ *inode, super []byte) {
			super[0x2B], super[0x50] = ondisk.JournalIncompatCsumV2|ondisk.JournalIncompatCsumV3, ondisk.JournalCRC32C
		}},
		{"with too many blocks for fast commits", func(_ *inode, super []byte) {
			super[0x2B], super[0x57] = ondisk.JournalIncompatFastCommit, 1
		}},
		{"of checksums of blocks and of transactions", func(_ *inode, super []byte) {
			super[0x27], super[0x2B], super[0x50] = ondisk.JournalCompatChecksum, ondisk.JournalIncompatCsumV3, ondisk.JournalCRC32C
		}},
	} {
		for _, saved := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, saved %v", bad.name, saved), func(t *testing.T) {
				data := bytes.Clone(h.data)
				tx := blockio.NewSession(blockio.NewMemory(data), blockio.SessionOptions{Atomic: true})
				c := newChecker(ctx, tx, vfs.RepairAll, nil)
				c.tx = tx
				require.NoError(t, c.setup())
				j, err := c.openJournal()
				require.NoError(t, err)
				var in inode
				require.NoError(t, c.load(ondisk.JournalIno, &in))
				bad.damage(&in, j.super)
				require.NoError(t, c.store(&in))
				j.js, err = ondisk.DecodeJournalSuperblock(j.super)
				require.NoError(t, err)
				require.NoError(t, j.writeSuper())
				if !saved {
					c.super[0xFD] = 0 // s_jnl_backup_type
					c.superDirty = true
				}
				require.NoError(t, c.finish())
				require.NoError(t, tx.Commit(ctx))

				found, said := e2fsck(t, t.TempDir(), data)
				assert.True(t, found)
				seen := check(t, data)
				require.NotEmpty(t, seen, said)
				assert.Equal(t, codeJournal, seen[0].Code, tell(seen))
				list := repairBytes(t, data, vfs.RepairAll)
				assert.Empty(t, tell(check(t, data)))
				found, said = e2fsck(t, t.TempDir(), data)
				assert.False(t, found, "%s\nafter\n%s", said, tell(list))
			})
		}
	}
}
