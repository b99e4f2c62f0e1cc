package ext4

import (
	"cmp"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/resflash/resflash/image/vfs"
	"github.com/resflash/resflash/image/vfs/vfstest"
	"github.com/resflash/resflash/integration/testtool"
)

// kind is a way of making a file system.
type kind struct {
	name     string
	args     []string
	typ      string // as blkid says, if not ext4
	inline   bool
	quota    bool // mke2fs -d does not count what it writes, which e2fsck finds
	noXattrs bool // in the format: mke2fs writes them, but nobody may look
}

// size is how large an image is needed for the tree, in bytes.
func (k kind) size() int64 {
	switch k.name {
	case "64k", "bigalloc": // what is smaller takes a lot of room
		return 128 << 20
	}
	return 32 << 20
}

var kinds = []kind{
	{name: "default"},
	{name: "ext4-4k", args: []string{"-b", "4096"}},
	{name: "ext3", typ: "ext3"},
	{name: "ext2", typ: "ext2"},
	{name: "ext2-1k", args: []string{"-b", "1024"}, typ: "ext2"},
	{name: "ext2-revision-0", args: []string{"-r", "0", "-O", "none"}, typ: "ext2", noXattrs: true},
	{name: "no-extent", args: []string{"-O", "^extent,^64bit"}},
	{name: "no-extent-1k", args: []string{"-O", "^extent,^64bit", "-b", "1024"}},
	{name: "1k", args: []string{"-b", "1024"}},
	{name: "2k", args: []string{"-b", "2048"}},
	{name: "64k", args: []string{"-b", "65536"}},
	{name: "inline-data", args: []string{"-O", "inline_data"}, inline: true},
	{name: "inline-data-512", args: []string{"-O", "inline_data", "-I", "512"}, inline: true},
	{name: "bigalloc", args: []string{"-O", "bigalloc", "-C", "65536"}},
	{name: "bigalloc-1k", args: []string{"-b", "1024", "-O", "bigalloc", "-C", "16384"}},
	{name: "64bit", args: []string{"-O", "64bit"}},
	{name: "no-64bit", args: []string{"-O", "^64bit"}},
	{name: "no-metadata-csum", args: []string{"-O", "^metadata_csum"}},
	{name: "uninit-bg", args: []string{"-O", "^metadata_csum,uninit_bg"}},
	{name: "uninit-bg-32", args: []string{"-O", "^metadata_csum,uninit_bg,^64bit"}},
	{name: "metadata-csum-seed", args: []string{"-O", "metadata_csum_seed"}},
	{name: "128-byte-inodes", args: []string{"-I", "128"}},
	{name: "1024-byte-inodes", args: []string{"-I", "1024"}},
	{name: "meta-bg", args: []string{"-O", "meta_bg,^resize_inode"}},
	{name: "meta-bg-1k", args: []string{"-b", "1024", "-O", "meta_bg,^resize_inode", "-g", "1024"}},
	{name: "no-flex-bg", args: []string{"-O", "^flex_bg"}},
	{name: "large-dir", args: []string{"-O", "large_dir"}},
	{name: "ea-inode", args: []string{"-O", "ea_inode"}},
	{name: "sparse-super2", args: []string{"-O", "sparse_super2,^resize_inode"}},
	{name: "no-sparse-super", args: []string{"-b", "1024", "-O", "^sparse_super,^resize_inode"}},
	{name: "no-journal", args: []string{"-O", "^has_journal"}},
	{name: "no-filetype", args: []string{"-O", "^filetype"}},
	{name: "orphan-file", args: []string{"-O", "orphan_file"}},
	{name: "quota", args: []string{"-O", "quota"}, quota: true},
	{name: "mmp", args: []string{"-O", "mmp"}},
	{name: "project", args: []string{"-O", "project,quota"}, quota: true},
	{name: "casefold", args: []string{"-O", "casefold"}},
	{name: "encrypt", args: []string{"-O", "encrypt"}},
	{name: "verity", args: []string{"-O", "verity"}},
	{name: "stable-inodes", args: []string{"-O", "stable_inodes"}},
}

// Every way of making a file system reads back as the folder it was made from,
// and as the kernel reads it.
func TestReadsWhatMke2fsWrites(t *testing.T) {
	testtool.Need(t, "e2fsck", "dumpe2fs", "blkid")
	tree, inlineTree := buildTree(t, true), buildTree(t, false)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			from := tree
			if k.inline {
				from = inlineTree
			}
			args := append([]string{"-t", cmp.Or(k.typ, "ext4"), "-L", "a label", "-M", "/last/mount"}, k.args...)
			img := mkfs(t, k.size(), from, args...)
			if !k.quota {
				testtool.Run(t, "e2fsck", "-fn", img)
			}
			fs := openImage(t, img)
			j := judge{}
			if k.noXattrs {
				j.skipXattr = func(string) bool { return true }
			}
			compareTree(t, fs, from, j)
			compareSuper(t, fs, img)
			compareWithKernel(t, fs, img, j)
		})
	}
}

// The suite of all drivers passes on those file systems that differ in how
// files and directories are stored.
func TestSuite(t *testing.T) {
	tree := buildTree(t, false)
	for _, k := range kinds {
		switch k.name {
		case "default", "ext2-1k", "inline-data", "64k":
			t.Run(k.name, func(t *testing.T) {
				img := mkfs(t, k.size(), tree, append([]string{"-t", cmp.Or(k.typ, "ext4")}, k.args...)...)
				dev := openDevice(t, img)
				fs, err := Driver.Open(ctx, dev)
				require.NoError(t, err)
				vfstest.Run(t, fs, dev)
			})
		}
	}
}

// compareSuper compares what Info says with what dumpe2fs and blkid say.
func compareSuper(t *testing.T, fs *FS, img string) {
	t.Helper()
	info := fs.Info()
	said := map[string]string{}
	for line := range strings.Lines(testtool.Run(t, "dumpe2fs", "-h", img)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			said[name] = strings.TrimSpace(value)
		}
	}
	assert.Equal(t, said["Filesystem UUID"], info.UUID)
	assert.Equal(t, said["Filesystem volume name"], info.Label)
	assert.Equal(t, said["Last mounted on"], info.LastMount)
	features := strings.Fields(said["Filesystem features"])
	if said["Filesystem features"] == "(none)" {
		features = nil
	}
	slices.Sort(features)
	assert.Equal(t, features, slices.Sorted(slices.Values(info.Features)))
	assert.Equal(t, vfs.Clean, info.State, info.StateNote)
	assert.Equal(t, strings.TrimSpace(testtool.Run(t, "blkid", "-p", "-o", "value", "-s", "TYPE", img)), info.Type)
}

// compareWithKernel compares fs with the same image as the kernel shows it,
// where that can mount it.
func compareWithKernel(t *testing.T, fs *FS, img string, j judge) {
	t.Helper()
	if syscall.Geteuid() != 0 {
		return
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "ro,noload,loop", img, dir).CombinedOutput(); err != nil {
		t.Logf("not compared with the kernel, which cannot mount this: %s", out)
		return
	}
	defer func() { testtool.Run(t, "umount", dir) }()
	j.nanoseconds = true
	compareTree(t, fs, dir, j)
	compareStatfs(t, fs, dir)
}

func compareStatfs(t *testing.T, fs *FS, dir string) {
	t.Helper()
	var want syscall.Statfs_t
	require.NoError(t, syscall.Statfs(dir, &want))
	got, err := fs.Statfs(ctx)
	require.NoError(t, err)
	assert.Equal(t, vfs.Statfs{
		BlockSize: int64(want.Bsize), Blocks: want.Blocks, Free: want.Bfree, Avail: want.Bavail,
		Files: want.Files, FilesFree: want.Ffree, NameMax: int(want.Namelen),
	}, got)
}
