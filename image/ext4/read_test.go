package ext4

import (
	"testing"

	"github.com/resflash/resflash/image/internal/testtool"
)

// Every way of making a file system reads back as the folder it was made from.
func TestReadsWhatMke2fsWrites(t *testing.T) {
	tree := buildTree(t)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"default", nil},
		{"ext4-4k", []string{"-t", "ext4", "-b", "4096"}},
		{"ext3", []string{"-t", "ext3"}},
		{"ext2", []string{"-t", "ext2"}},
		{"ext2-1k", []string{"-t", "ext2", "-b", "1024"}},
		{"ext2-revision-0", []string{"-t", "ext2", "-r", "0", "-O", "none"}},
		{"no-extent", []string{"-t", "ext4", "-O", "^extent,^64bit"}},
		{"1k", []string{"-t", "ext4", "-b", "1024"}},
		{"2k", []string{"-t", "ext4", "-b", "2048"}},
		{"64k", []string{"-t", "ext4", "-b", "65536"}},
		{"inline-data", []string{"-t", "ext4", "-O", "inline_data"}},
		{"inline-data-512", []string{"-t", "ext4", "-O", "inline_data", "-I", "512"}},
		{"bigalloc", []string{"-t", "ext4", "-O", "bigalloc", "-C", "65536"}},
		{"64bit", []string{"-t", "ext4", "-O", "64bit"}},
		{"no-64bit", []string{"-t", "ext4", "-O", "^64bit"}},
		{"no-metadata-csum", []string{"-t", "ext4", "-O", "^metadata_csum"}},
		{"uninit-bg", []string{"-t", "ext4", "-O", "^metadata_csum,uninit_bg"}},
		{"uninit-bg-32", []string{"-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit"}},
		{"metadata-csum-seed", []string{"-t", "ext4", "-O", "metadata_csum_seed"}},
		{"128-byte-inodes", []string{"-t", "ext4", "-I", "128"}},
		{"1024-byte-inodes", []string{"-t", "ext4", "-I", "1024"}},
		{"meta-bg", []string{"-t", "ext4", "-O", "meta_bg,^resize_inode"}},
		{"meta-bg-1k", []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode", "-g", "1024"}},
		{"no-flex-bg", []string{"-t", "ext4", "-O", "^flex_bg"}},
		{"large-dir", []string{"-t", "ext4", "-O", "large_dir"}},
		{"ea-inode", []string{"-t", "ext4", "-O", "ea_inode"}},
		{"sparse-super2", []string{"-t", "ext4", "-O", "sparse_super2"}},
		{"no-journal", []string{"-t", "ext4", "-O", "^has_journal"}},
		{"no-filetype", []string{"-t", "ext4", "-O", "^filetype"}},
		{"orphan-file", []string{"-t", "ext4", "-O", "orphan_file"}},
		{"quota", []string{"-t", "ext4", "-O", "quota"}},
		{"mmp", []string{"-t", "ext4", "-O", "mmp"}},
		{"project", []string{"-t", "ext4", "-O", "project,quota"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			testtool.Need(t, "e2fsck")
			img := mkfs(t, 128<<20, tree, c.args...)
			testtool.Run(t, "e2fsck", "-fn", img)
			fs := openImage(t, img)
			compareTree(t, fs, tree, judge{})
		})
	}
}
