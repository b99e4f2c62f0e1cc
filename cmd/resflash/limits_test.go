package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// twoFormats changes into a new folder with an ext4 a.img and a FAT b.img.
func twoFormats(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	works(t, "mkfs", "--type", "ext4", "--size", "8M", "a.img")
	works(t, "mkfs", "--type", "fat", "--size", "8M", "b.img")
}

// A file with two names is two files where there are no hard links.
func TestHardLinksAreCopiedIntoFAT(t *testing.T) {
	twoFormats(t)
	require.NoError(t, os.Mkdir("tree", 0o755))
	require.NoError(t, os.WriteFile("tree/one", []byte("text\n"), 0o755))
	require.NoError(t, os.Link("tree/one", "tree/two"))
	works(t, "cp", "-r", "tree", "b.img:/")
	works(t, "cp", "-a", "tree", "a.img:/")
	works(t, "chown", "5:6", "a.img:/tree/one")
	works(t, "chmod", "4711", "a.img:/tree/one")
	works(t, "cp", "-a", "a.img:/tree", "b.img:/again")
	for _, file := range []string{"b.img:/tree/one", "b.img:/tree/two", "b.img:/again/one", "b.img:/again/two"} {
		assert.Equal(t, "text\n", works(t, "cat", file))
	}
	works(t, "check", "b.img")
}

// FAT gives every file the archive attribute, which ext4 has not.
func TestCopyFromFATToExt4(t *testing.T) {
	twoFormats(t)
	works(t, "mkdir", "b.img:/EFI")
	writes(t, "loader\n", "b.img:/EFI/boot.efi")
	works(t, "cp", "-a", "b.img:/EFI", "a.img:/")
	assert.Equal(t, "loader\n", works(t, "cat", "a.img:/EFI/boot.efi"))
	works(t, "chflags", "uhidden", "b.img:/EFI/boot.efi")
	_, stderr, code := resflash("cp", "-a", "b.img:/EFI", "a.img:/")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, stderr, "file flags of 1 file left out")
	works(t, "mv", "b.img:/EFI", "a.img:/moved")
	assert.Equal(t, "loader\n", works(t, "cat", "a.img:/moved/boot.efi"))
}

// An immutable file cannot be given another name, and so gets its flag last.
func TestImmutableFileWithTwoNamesIsCopied(t *testing.T) {
	twoFormats(t)
	works(t, "mkfs", "--type", "ffs2", "--size", "8M", "c.img")
	works(t, "mkdir", "c.img:/d")
	writes(t, "text\n", "c.img:/d/one")
	works(t, "ln", "c.img:/d/one", "c.img:/d/two")
	works(t, "chflags", "schg", "c.img:/d/one")
	for _, to := range []string{"c.img:/e", "a.img:/e"} {
		works(t, "cp", "-a", "c.img:/d", to)
		var st []struct {
			Links int
			Flags []string
		}
		decode(t, works(t, "stat", "--json", to+"/one", to+"/two"), &st)
		assert.Equal(t, 2, st[0].Links)
		assert.Equal(t, []string{"schg"}, st[1].Flags)
	}
}

// What a format cannot hold is said, not that a file flag may forbid it.
func TestWhatTheFormatHasNotIsNamed(t *testing.T) {
	twoFormats(t)
	writes(t, "x", "a.img:/file")
	writes(t, "x", "b.img:/file")
	for want, args := range map[string]string{
		"FAT has no symbolic links":   "ln -s there b.img:/link",
		"FAT has no hard links":       "ln b.img:/file b.img:/link",
		"FAT has no devices":          "mknod b.img:/null c 1 3",
		"FAT has no owners":           "chown 1:1 b.img:/file",
		"FAT has no set-id":           "chmod u+s b.img:/file",
		"FAT has no such file flag":   "chflags schg b.img:/file",
		"has no ':' in it":            "touch b.img:/a:b",
		"does not end in a dot":       "touch b.img:/a.",
		"ext4 has no such file flag":  "chflags uchg a.img:/file",
		"--inodes means nothing for":  "mkfs --type fat --size 8M --inodes 9 c.img",
		"--hidden means nothing for":  "mkfs --type ext4 --size 8M --hidden 9 c.img",
		"none/c.img: no such file or": "mkfs --type ext4 --size 8M none/c.img",
	} {
		_, stderr, code := resflash(strings.Fields(args)...)
		assert.Contains(t, stderr, want)
		assert.NotContains(t, stderr, "chflags takes it away")
		assert.Contains(t, []int{exitNotSupported, exitUsage, exitHost}, code, args)
	}
}

// Small partitions with FAT32 are made, as mkfs.fat does, but not silently.
func TestSmallFAT32IsNoted(t *testing.T) {
	t.Chdir(t.TempDir())
	_, stderr, code := resflash("mkfs", "--type", "fat32", "--size", "16M", "small.img")
	assert.Equal(t, exitOK, code)
	assert.Contains(t, stderr, "fewer than 65525 clusters")
	_, stderr, _ = resflash("mkfs", "--type", "fat32", "--size", "64M", "large.img")
	assert.Empty(t, stderr)
}
