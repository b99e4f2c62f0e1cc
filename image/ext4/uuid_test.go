package ext4

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/integration/testtool"
)

const otherUUID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"

// uuidTree has what checksums are on: directories with an index, extents in
// blocks of their own, attributes in blocks of their own.
func uuidTree(t *testing.T) string {
	b := treeBuilder{t, t.TempDir()}
	b.mkdir("many")
	for i := range 400 {
		b.file(fmt.Sprintf("many/a file with a rather long name, number %d", i), []byte("x"))
	}
	pieces := map[int64][]byte{}
	for i := range int64(700) {
		pieces[i*16384] = []byte("piece")
	}
	b.sparse("pieces", 700*16384, pieces)
	b.mkdir("empty")
	b.file("attributes", []byte("x"))
	for i := range 5 {
		require.NoError(t, unix.Setxattr(b.path("attributes"), fmt.Sprintf("user.a%d", i), bytes.Repeat([]byte("v"), 150), 0))
	}
	return b.dir
}

// Everything has new checksums where these start from the UUID: e2fsck has
// nothing to say, of the copies of the superblock neither, and the kernel's
// tools know the file system by its new name. It can be written to on the way.
func TestSetUUID(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "blkid", "dumpe2fs", "e2fsck")
	tree := uuidTree(t)
	for _, f := range append([]form{
		{"ext4-seed", []string{"-t", "ext4", "-O", "metadata_csum_seed"}},
		{"ext4-orphanfile", []string{"-t", "ext4", "-b", "1024", "-O", "orphan_file"}},
	}, forms...) {
		t.Run(f.name, func(t *testing.T) {
			name := mkfs(t, 48<<20, tree, f.args...)
			w := onFile(t, name)
			root := w.Root()
			_, err := w.Create(ctx, root, "before", vfs.NewNode{Mode: vfs.Regular | 0o644})
			require.NoError(t, err)
			require.NoError(t, w.SetUUID(ctx, strings.ToUpper(otherUUID)))
			assert.Equal(t, otherUUID, w.Info().UUID)
			// What it has read before is what it goes on with.
			many := lookup(t, w, "/many")
			for i := range 60 {
				_, err := w.Create(ctx, many, fmt.Sprintf("a new file with a rather long name, %d", i), vfs.NewNode{Mode: vfs.Regular | 0o644})
				require.NoError(t, err)
			}
			_, err = w.WriteAt(ctx, lookup(t, w, "/pieces"), bytes.Repeat([]byte("y"), 100_000), 5000)
			require.NoError(t, err)
			require.NoError(t, w.Unlink(ctx, root, "before"))
			require.NoError(t, w.Sync(ctx))
			fsck(t, name)
			assert.Contains(t, testtool.Run(t, "blkid", "-p", "-s", "UUID", "-o", "value", name), otherUUID)
			for group := range strings.SplitSeq(testtool.Run(t, "dumpe2fs", "-h", name), "\n") {
				if value, ok := strings.CutPrefix(group, "Filesystem UUID:"); ok {
					assert.Equal(t, otherUUID, strings.TrimSpace(value))
				}
			}
			// The file system can be opened by each copy of the superblock.
			fs := openImage(t, name)
			for n := uint64(1); n < fs.groups; n++ {
				if !fs.sb.HasSuper(n) {
					continue
				}
				block := fmt.Sprint(fs.groupStart(n))
				out, err := exec.Command("dumpe2fs", "-h", "-o", "superblock="+block, "-o", fmt.Sprintf("blocksize=%d", fs.blockSize), name).CombinedOutput()
				require.NoError(t, err, string(out))
				assert.Contains(t, string(out), otherUUID, "copy in block %s", block)
			}
		})
	}
}

// tune2fs does the same: the checksums are those that it makes.
func TestSetUUIDAgainstTune2fs(t *testing.T) {
	testtool.Sequential(t)
	testtool.Need(t, "tune2fs", "e2fsck")
	name := mkfs(t, 24<<20, uuidTree(t), "-t", "ext4", "-b", "1024", "-O", "^has_journal")
	theirs := copyFile(t, name)
	cmd := exec.Command("tune2fs", "-f", "-U", otherUUID, theirs)
	cmd.Stdin = strings.NewReader("y\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	w := onFile(t, name)
	require.NoError(t, w.SetUUID(ctx, otherUUID))
	require.NoError(t, w.Sync(ctx))
	a, b := openImage(t, name), openImage(t, theirs)
	for n := range a.groups {
		x, err := a.group(n)
		require.NoError(t, err)
		y, err := b.group(n)
		require.NoError(t, err)
		assert.Equal(t, y, x, "group %d", n)
	}
	for num := uint32(1); num <= a.sb.InodesCount; num++ {
		at, err := a.locateInode(num)
		require.NoError(t, err)
		x, err := a.cache.Bytes(at.off, int(a.inodeSize))
		require.NoError(t, err)
		y, err := b.cache.Bytes(at.off, int(b.inodeSize))
		require.NoError(t, err)
		require.Equal(t, y, x, "inode %d", num)
	}
}

func TestSetUUIDRefuses(t *testing.T) {
	name := mkfs(t, 24<<20, "", "-t", "ext4")
	w := onFile(t, name)
	for _, id := range []string{"", "1234-ABCD", otherUUID[:35], otherUUID[:35] + "x", otherUUID + "0"} {
		assert.ErrorContains(t, w.SetUUID(ctx, id), "is no UUID")
	}
	// What is damaged is not given a checksum that says that it is sound.
	tree := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(tree, "dir"), 0o755))
	name = mkfs(t, 24<<20, tree, "-t", "ext4")
	fs := openImage(t, name)
	var in inode
	require.NoError(t, fs.dir(lookup(t, fs, "/dir"), &in))
	m := fs.mapper(&in)
	_, off, err := fs.dirBlock(&m, 0)
	require.NoError(t, err)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), off+40)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	err = onFile(t, name).SetUUID(ctx, otherUUID)
	assert.ErrorContains(t, err, "new checksums: ")
	assert.ErrorContains(t, err, "block checksum")

	mmp := mkfs(t, 24<<20, "", "-t", "ext4", "-O", "mmp")
	assert.ErrorContains(t, onFile(t, mmp).SetUUID(ctx, otherUUID), "the features ea_inode, mmp or meta_bg")
	seed := mkfs(t, 24<<20, "", "-t", "ext4", "-O", "mmp,metadata_csum_seed")
	assert.NoError(t, onFile(t, seed).SetUUID(ctx, otherUUID))
}
