// Package testext has mke2fs and the Linux kernel make ext2, ext3 and ext4 file
// systems of all kinds for tests.
package testext

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/resflash/resflash/integration/testtool"
)

// A Mix is a choice of features.
type Mix struct {
	Name string
	Args []string // of mke2fs
	Size int64    // bytes; 0 is 16 MiB
	// Kernel says that the kernel of the host mounts it for writing.
	Kernel bool
}

// Mixes are the choices that tests go through.
func Mixes() []Mix {
	mix := func(name, args string, kernel bool) Mix {
		return Mix{Name: name, Args: strings.Fields(args), Kernel: kernel}
	}
	list := []Mix{
		mix("default", "-t ext4", true),
		mix("1k", "-t ext4 -b 1024", true),
		mix("2k", "-t ext4 -b 2048", true),
		mix("no-64bit", "-t ext4 -O ^64bit", true),
		mix("no-csum", "-t ext4 -O ^metadata_csum", true),
		mix("no-csum-1k", "-t ext4 -b 1024 -O ^metadata_csum,^64bit", true),
		mix("no-uninit", "-t ext4 -O ^metadata_csum,^uninit_bg", true),
		mix("ext2", "-t ext2", true),
		mix("ext2-rev0", "-t ext2 -r 0 -O none", false),
		mix("ext3", "-t ext3", true),
		mix("ext3-1k", "-t ext3 -b 1024", true),
		mix("inline-data", "-t ext4 -O inline_data", true),
		mix("inline-data-1k", "-t ext4 -O inline_data -I 512 -b 1024", true),
		mix("bigalloc", "-t ext4 -O bigalloc -b 1024 -C 2048", true),
		mix("bigalloc-4k", "-t ext4 -O bigalloc -b 4096 -C 16384", false),
		mix("ea-inode", "-t ext4 -O ea_inode", true),
		mix("large-dir", "-t ext4 -O large_dir -b 1024", true),
		mix("sparse-super2", "-t ext4 -O sparse_super2", true),
		mix("meta-bg", "-t ext4 -O meta_bg,^resize_inode -b 1024", true),
		mix("no-flex", "-t ext4 -O ^flex_bg -b 1024", true),
		mix("small-inodes", "-t ext4 -I 128", true),
		mix("orphan-file", "-t ext4 -O orphan_file", true),
		mix("csum-seed", "-t ext4 -O metadata_csum_seed", true),
		mix("project", "-t ext4 -O project", false),
		mix("fast-commit", "-t ext4 -O fast_commit", true),
		mix("mmp", "-t ext4 -O mmp", true),
		mix("no-journal", "-t ext4 -O ^has_journal", true),
		mix("casefold", "-t ext4 -O casefold", false),
		mix("small-groups", "-t ext4 -b 1024 -g 2048 -O ^resize_inode", true),
		mix("all-supers", "-t ext4 -b 1024 -O ^sparse_super,^resize_inode", true),
	}
	return list
}

// Size is how large the image is, in bytes.
func (m Mix) size() int64 {
	if m.Size == 0 {
		return 16 << 20
	}
	return m.Size
}

// Make makes an image with the contents of the folder tree, or none if it is
// "".
func (m Mix) Make(t testing.TB, tree string) string {
	t.Helper()
	testtool.Need(t, "mke2fs")
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, m.size()); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q", "-F", "-N", "2048", "-U", "c0ffee00-0517-4c11-9e3f-f00dfacecafe"}
	if tree != "" {
		args = append(args, "-d", tree)
	}
	testtool.Run(t, "mke2fs", append(append(args, m.Args...), name)...)
	return name
}

// Tree makes a folder with one of everything.
func Tree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	Fill(t, dir, 250)
	return dir
}

// Fill makes one of everything in a folder: files of sizes around all limits,
// with holes and in many pieces, links, special files for root, a directory of
// many names, and extended attributes where the folder has them.
func Fill(t testing.TB, dir string, many int) {
	t.Helper()
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"empty", "many", "deep/er/and/deeper", "dirs"} {
		check(os.MkdirAll(path(d), 0o755))
	}
	for _, n := range []int{0, 1, 59, 60, 61, 150, 1023, 1024, 1025, 4095, 4096, 4097, 13000, 70000, 300000} {
		check(os.WriteFile(path(fmt.Sprintf("size-%d", n)), pattern(n), 0o644))
	}
	for i := range many {
		check(os.WriteFile(path(fmt.Sprintf("many/file-%04d-with-a-name-that-takes-room", i)), []byte(fmt.Sprint(i)), 0o644))
	}
	for i := range 20 {
		check(os.MkdirAll(path(fmt.Sprintf("dirs/%d/sub", i)), 0o755))
		check(os.WriteFile(path(fmt.Sprintf("dirs/%d/file", i)), pattern(i*300), 0o600))
	}
	pieces, err := os.Create(path("pieces"))
	check(err)
	for i := range int64(40) {
		_, err := pieces.WriteAt(pattern(4096), i*3*4096)
		check(err)
	}
	check(pieces.Truncate(1 << 20))
	check(pieces.Close())
	sparse, err := os.Create(path("sparse"))
	check(err)
	_, err = sparse.WriteAt([]byte("end"), 1<<31-10)
	check(err)
	check(sparse.Close())
	for _, n := range []int{1, 58, 59, 60, 61, 255, 1000} {
		check(os.Symlink(strings.Repeat("x", n), path(fmt.Sprintf("link-%d", n))))
	}
	for i := range 3 {
		check(os.Link(path("size-1025"), path(fmt.Sprintf("hard-%d", i))))
	}
	check(syscall.Mkfifo(path("fifo"), 0o640))
	if os.Geteuid() == 0 {
		check(unix.Mknod(path("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		check(unix.Mknod(path("disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(300, 70000))))
	}
	// Where there are attributes: small ones, one that does not fit an inode,
	// and a block of them that two files share.
	if unix.Setxattr(path("size-1"), "user.comment", []byte("hello"), 0) == nil {
		_ = unix.Setxattr(path("many"), "user.dir", []byte("d"), 0)
		for _, name := range []string{"size-4096", "size-4097"} {
			_ = unix.Setxattr(path(name), "user.big", pattern(600), 0)
		}
	}
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8 + n)
	}
	return p
}

// WithKernel mounts an image with the kernel and lets fn change it. Without
// root it skips the test.
func WithKernel(t testing.TB, image string, fn func(dir string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts an image with the kernel")
	}
	testtool.Need(t, "mount", "umount")
	dir := t.TempDir()
	testtool.Run(t, "mount", "-t", "ext4", "-o", "loop", image, dir)
	defer testtool.Run(t, "umount", dir)
	fn(dir)
}
